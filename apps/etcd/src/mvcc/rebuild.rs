//! Makes a store from the contents of another one, and checks that they can be those of a store.
//!
//! The contents come from a file or from another member. What the store relies on is checked: keys
//! and versions are in order, and no number is so large that counting on would overflow.

use std::collections::{BTreeMap, VecDeque};

use bytes::Bytes;
use thiserror::Error;

use super::history::History;
use super::{FIRST_REVISION, NEVER_COMPACTED, Revision, Store, Value, Version, cost};

/// No number of a store is larger.
const MAX_NUMBER: i64 = 1 << 62;

/// Contents that no store has.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[error("{0}")]
pub struct Implausible(&'static str);

/// A store that is being made.
#[derive(Debug)]
pub struct Rebuild {
    /// The store, without its keys.
    store: Store,
    /// The keys in order. Invariant: all but the last have a version. A map is made of them at the
    /// end, since inserting each would search its place in vain.
    keys: Vec<(Bytes, History)>,
    /// What [`Store::superseding`] will hold, in the order of the keys.
    superseding: Vec<(i64, Bytes)>,
}

impl Rebuild {
    /// A store whose newest and compacted revisions are these.
    ///
    /// # Errors
    ///
    /// If no store has these revisions.
    pub fn begin(revision: i64, compacted: i64) -> Result<Rebuild, Implausible> {
        let is_sound = (FIRST_REVISION..=MAX_NUMBER).contains(&revision)
            && (NEVER_COMPACTED..=revision).contains(&compacted);
        if !is_sound {
            return Err(Implausible("its revisions are out of range"));
        }
        let store = Store { revision, compacted, ..Store::default() };
        Ok(Rebuild { store, keys: Vec::new(), superseding: Vec::new() })
    }

    /// The next key.
    ///
    /// # Errors
    ///
    /// If it is not after all keys so far, or the key before has no version.
    pub fn key(&mut self, key: Bytes) -> Result<(), Implausible> {
        if self.keys.last().is_some_and(|(before, _)| *before >= key) {
            return Err(Implausible("its keys are not in order"));
        }
        self.check_last_key()?;
        self.keys.push((key, History::default()));
        Ok(())
    }

    /// The next version of that key.
    ///
    /// # Errors
    ///
    /// If there is no key, or the version cannot follow the one before.
    pub fn version(&mut self, version: Version) -> Result<(), Implausible> {
        let Some((key, history)) = self.keys.last_mut() else {
            return Err(Implausible("a version belongs to no key"));
        };
        check(&version, history.last(), self.store.revision, self.store.compacted)?;
        if !history.is_empty() {
            self.superseding.push((version.revision.main, key.clone()));
        }
        self.store.bytes += cost(key, &version);
        history.push(version);
        Ok(())
    }

    /// The store.
    ///
    /// # Errors
    ///
    /// If the last key has no version.
    pub fn finish(mut self) -> Result<Store, Implausible> {
        self.check_last_key()?;
        self.store.keys = BTreeMap::from_iter(self.keys);
        self.superseding.sort_unstable_by_key(|(revision, _)| *revision);
        self.store.superseding = VecDeque::from(self.superseding);
        Ok(self.store)
    }

    fn check_last_key(&self) -> Result<(), Implausible> {
        match self.keys.last() {
            Some((_, history)) if history.is_empty() => Err(Implausible("a key has no version")),
            _ => Ok(()),
        }
    }
}

/// Checks a version against the one before it, in a store with these revisions.
fn check(
    version: &Version,
    before: Option<&Version>,
    revision: i64,
    compacted: i64,
) -> Result<(), Implausible> {
    let Revision { main, sub } = version.revision;
    let is_in_range = (FIRST_REVISION + 1..=revision).contains(&main)
        && (0..=MAX_NUMBER).contains(&sub)
        && version.value.as_ref().is_none_or(|value| is_value_in_range(value, main));
    if !is_in_range {
        return Err(Implausible("a number of a version is out of range"));
    }
    match before {
        None if version.value.is_none() => Err(Implausible("a key begins with a deletion")),
        Some(before) if before.revision >= version.revision => {
            Err(Implausible("the versions of a key are not in order"))
        }
        Some(before) if before.value.is_none() && version.value.is_none() => {
            Err(Implausible("a key is deleted twice"))
        }
        Some(_) if main <= compacted => Err(Implausible("a version was compacted")),
        _ => Ok(()),
    }
}

fn is_value_in_range(value: &Value, main: i64) -> bool {
    (FIRST_REVISION + 1..=main).contains(&value.created)
        && (1..=MAX_NUMBER).contains(&value.version)
}
