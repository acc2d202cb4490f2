//! The versions of one key, oldest first.

use std::vec::Drain;

use bytes::Bytes;

/// When something was written: the transaction's revision, and the change's place in it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Revision {
    /// The revision of the transaction.
    pub main: i64,
    /// How many changes the transaction had made before.
    pub sub: i64,
}

impl Revision {
    /// The point after all changes of the transaction with this revision.
    pub fn whole(main: i64) -> Revision {
        Revision { main, sub: i64::MAX }
    }
}

/// What one change made of a key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Version {
    /// When.
    pub revision: Revision,
    /// The value, or `None` where the key was deleted.
    pub value: Option<Value>,
}

/// A key's value in one version.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Value {
    /// The revision in which the key was created, after which it was never deleted.
    pub created: i64,
    /// How many times the key was put since then, the creation included.
    pub version: i64,
    /// The lease that the key is attached to, or 0.
    pub lease: i64,
    /// The bytes.
    pub bytes: Bytes,
}

/// The versions of one key that have not been pruned.
#[derive(Debug, Default)]
pub(super) struct History {
    versions: Vec<Version>,
}

impl History {
    /// The newest version.
    pub(super) fn last(&self) -> Option<&Version> {
        self.versions.last()
    }

    /// The newest version that was written at `point` or before.
    pub(super) fn at(&self, point: Revision) -> Option<&Version> {
        // Most reads want the newest.
        let newest = self.versions.last()?;
        if newest.revision <= point {
            return Some(newest);
        }
        self.versions[..self.count_until(point)].last()
    }

    pub(super) fn push(&mut self, version: Version) {
        self.versions.push(version);
    }

    pub(super) fn is_empty(&self) -> bool {
        self.versions.is_empty()
    }

    #[cfg(test)]
    pub(super) fn len(&self) -> usize {
        self.versions.len()
    }

    /// Removes the versions that no revision from `compacted` on sees: all older ones than the one
    /// that `compacted` sees, and that one too if it is a tombstone.
    pub(super) fn prune(&mut self, compacted: i64) -> Drain<'_, Version> {
        let seen = self.count_until(Revision::whole(compacted));
        let tombstone = self.versions[..seen].last().is_some_and(|last| last.value.is_none());
        let superfluous = if tombstone { seen } else { seen.saturating_sub(1) };
        self.versions.drain(..superfluous)
    }

    fn count_until(&self, point: Revision) -> usize {
        self.versions.partition_point(|version| version.revision <= point)
    }
}
