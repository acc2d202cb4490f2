//! The multi-version key space: every version of every key, named by the revision that wrote it.
//!
//! A store has one *revision*. It begins at 1, and each transaction that changes something raises
//! it by one, whatever the number of its changes. A second number, the position in the transaction,
//! distinguishes these changes. A deletion leaves a tombstone, so that earlier revisions can still
//! be read. [`Store::compact`] discards history: revisions below the compacted one are refused from
//! then on, and [`Store::sweep`] frees, in small steps, the versions that can no longer be read.
//!
//! Reads go through a [`View`], changes through [`Store::write`]. [`Contents`] visits everything
//! that a store holds at one revision, and [`Rebuild`] makes the same store from it. Absent:
//! watchers of changes and leases of keys, which will have their own modules.

mod contents;
mod deletion;
mod history;
mod pins;
mod rebuild;
mod span;
mod view;
mod walk;
mod write;

use std::collections::{BTreeMap, VecDeque};

use bytes::Bytes;

use crate::errors::Refusal;

pub use contents::{Contents, Piece};
pub use deletion::Deletion;
pub use history::{Revision, Value, Version};
pub use pins::Pin;
pub use rebuild::{Implausible, Rebuild};
pub use span::Span;
pub use view::{Found, View};
pub use walk::Walk;
pub use write::Write;

use history::History;
use pins::Pins;

/// The revision of a store to which nothing was ever written.
pub const FIRST_REVISION: i64 = 1;

/// The compacted revision of a store that was never compacted. Compacting at 0 is allowed, once.
const NEVER_COMPACTED: i64 = -1;

/// About how many bytes one version takes in addition to its key and value.
const VERSION_OVERHEAD_BYTES: u64 = 128;

/// The key space of one member.
#[derive(Debug)]
pub struct Store {
    /// The revision of the last transaction that changed something.
    revision: i64,
    /// The lowest revision that can still be read.
    compacted: i64,
    /// The keys in order, each with its versions. Invariant: each has at least one.
    keys: BTreeMap<Bytes, History>,
    /// The changes that made an older version of their key unneeded, or will when compacted, in the
    /// order of revisions. A sweep examines these.
    superseding: VecDeque<(i64, Bytes)>,
    /// About how many bytes the versions take.
    bytes: u64,
    /// The revisions that reads in progress still need.
    pins: Pins,
}

impl Default for Store {
    fn default() -> Store {
        Store {
            revision: FIRST_REVISION,
            compacted: NEVER_COMPACTED,
            keys: BTreeMap::new(),
            superseding: VecDeque::new(),
            bytes: 0,
            pins: Pins::default(),
        }
    }
}

impl Store {
    /// The revision of the last transaction that changed something.
    pub fn revision(&self) -> i64 {
        self.revision
    }

    /// About how many bytes the store takes.
    pub fn size(&self) -> u64 {
        self.bytes
    }

    /// The store as it is now.
    pub fn view(&self) -> View<'_> {
        View::new(self, Revision::whole(self.revision))
    }

    /// Keeps what `revision` sees readable until the pin is dropped.
    pub fn pin(&self, revision: i64) -> Pin {
        self.pins.pin(revision)
    }

    /// Runs a transaction: all changes of `work` get the next revision, which becomes the store's
    /// if there was any change.
    pub fn write<R>(&mut self, work: impl FnOnce(&mut Write<'_>) -> R) -> R {
        let mut write = Write::new(self);
        let result = work(&mut write);
        write.finish();
        result
    }

    /// Adds a tombstone to a key that exists.
    fn add_tombstone(&mut self, key: &Bytes, revision: Revision) {
        let version = Version { revision, value: None };
        self.bytes += cost(key, &version);
        self.superseding.push_back((revision.main, key.clone()));
        if let Some(history) = self.keys.get_mut(key) {
            history.push(version);
        }
    }

    /// Discards everything that only revisions below `revision` could see.
    pub fn compact(&mut self, revision: i64) -> Result<(), Refusal> {
        if revision <= self.compacted {
            return Err(Refusal::Compacted);
        }
        if revision > self.revision {
            return Err(Refusal::FutureRevision);
        }
        self.compacted = revision;
        Ok(())
    }

    /// Frees versions that a compaction discarded, in at most `steps` steps, because a large
    /// compaction must not delay the member. Versions that a pinned revision sees stay. No result
    /// depends on how far sweeps have got. Returns the number of steps.
    pub fn sweep(&mut self, steps: usize) -> usize {
        // A pinned point may be between two changes of its revision, so all of these stay.
        let pinned = self.pins.lowest().map_or(i64::MAX, |lowest| lowest - 1);
        let given_up = self.compacted.min(pinned);
        for step in 0..steps {
            match self.superseding.front() {
                Some((revision, _)) if *revision <= given_up => {}
                _ => return step,
            }
            if let Some((_, key)) = self.superseding.pop_front() {
                self.prune(&key, given_up);
            }
        }
        steps
    }

    /// Whether a sweep has something to free, now or once a pin is dropped.
    pub fn is_to_be_swept(&self) -> bool {
        self.superseding.front().is_some_and(|(revision, _)| *revision <= self.compacted)
    }

    fn prune(&mut self, key: &Bytes, given_up: i64) {
        let Some(history) = self.keys.get_mut(key) else { return };
        for version in history.prune(given_up) {
            self.bytes = self.bytes.saturating_sub(cost(key, &version));
        }
        if history.is_empty() {
            self.keys.remove(key);
        }
    }

    #[cfg(test)]
    fn version_count(&self) -> usize {
        self.keys.values().map(History::len).sum()
    }
}

fn cost(key: &[u8], version: &Version) -> u64 {
    let value = version.value.as_ref().map_or(0, |value| value.bytes.len());
    VERSION_OVERHEAD_BYTES + (key.len() + value) as u64
}

#[cfg(test)]
mod tests {
    use super::*;

    fn put(store: &mut Store, key: &'static str, value: &'static str) -> i64 {
        store.write(|write| write.put(&Bytes::from(key), Bytes::from(value), 0))
    }

    fn delete(store: &mut Store, key: &str) -> (i64, i64) {
        store.write(|write| write.delete(Span::of(key.as_bytes(), b"")))
    }

    fn value_at(store: &Store, key: &str, revision: i64) -> Option<String> {
        let span = Span::of(key.as_bytes(), b"");
        let found = store.view().find(span, revision).expect("readable").next();
        found.map(|found| String::from_utf8_lossy(&found.value.bytes).into_owned())
    }

    #[test]
    fn a_revision_counts_transactions_that_change_something() {
        let mut store = Store::default();
        assert_eq!(store.revision(), 1);
        assert_eq!(put(&mut store, "a", "1"), 2);
        assert_eq!(delete(&mut store, "missing"), (0, 2));
        assert_eq!(store.revision(), 2);
        assert_eq!(delete(&mut store, "a"), (1, 3));
        assert_eq!(put(&mut store, "a", "1"), 4);
    }

    #[test]
    fn the_past_stays_readable_until_it_is_compacted() {
        let mut store = Store::default();
        put(&mut store, "a", "1");
        put(&mut store, "a", "2");
        delete(&mut store, "a");
        assert_eq!(value_at(&store, "a", 2), Some("1".to_owned()));
        assert_eq!(value_at(&store, "a", 3), Some("2".to_owned()));
        assert_eq!(value_at(&store, "a", 4), None);
        store.compact(3).expect("not yet compacted");
        assert_eq!(value_at(&store, "a", 3), Some("2".to_owned()));
        let gone = store.view().find(Span::of(b"a", b""), 2).map(|found| found.count());
        assert_eq!(gone, Err(Refusal::Compacted));
    }

    #[test]
    fn compaction_is_refused_backwards_and_beyond() {
        let mut store = Store::default();
        assert_eq!(store.compact(-1), Err(Refusal::Compacted));
        assert_eq!(store.compact(0), Ok(()));
        assert_eq!(store.compact(0), Err(Refusal::Compacted));
        assert_eq!(store.compact(2), Err(Refusal::FutureRevision));
        assert_eq!(store.compact(1), Ok(()));
    }

    #[test]
    fn a_sweep_frees_what_cannot_be_read_and_nothing_else() {
        let mut store = Store::default();
        for value in ["1", "2", "3"] {
            put(&mut store, "a", value);
        }
        put(&mut store, "b", "1");
        delete(&mut store, "b");
        put(&mut store, "c", "1");
        store.compact(6).expect("not yet compacted");
        store.sweep(1);
        store.sweep(100);
        assert_eq!(store.version_count(), 2);
        assert_eq!(store.keys.len(), 2);
        assert_eq!(value_at(&store, "a", 6), Some("3".to_owned()));
        let left: u64 =
            store.keys.keys().map(|key| VERSION_OVERHEAD_BYTES + key.len() as u64).sum();
        assert_eq!(store.size(), left + 2);
    }

    #[test]
    fn a_sweep_keeps_what_later_revisions_see() {
        let mut store = Store::default();
        put(&mut store, "a", "1");
        delete(&mut store, "a");
        put(&mut store, "a", "2");
        store.compact(2).expect("not yet compacted");
        store.sweep(100);
        assert_eq!(value_at(&store, "a", 2), Some("1".to_owned()));
        assert_eq!(value_at(&store, "a", 3), None);
        store.compact(3).expect("not yet compacted");
        store.sweep(100);
        assert_eq!(store.version_count(), 1);
        assert_eq!(value_at(&store, "a", 4), Some("2".to_owned()));
    }
}
