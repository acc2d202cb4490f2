//! The versions of one key, oldest first.

use std::vec::Drain;

use bytes::Bytes;

/// The point of a write: the transaction's revision, and the change's position in it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Revision {
    /// The revision of the transaction.
    pub main: i64,
    /// How many changes the transaction had made before this one.
    pub sub: i64,
}

impl Revision {
    /// The point after all changes of the transaction with this revision.
    pub fn whole(main: i64) -> Revision {
        Revision { main, sub: i64::MAX }
    }
}

/// A version of a key: the result of one change.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Version {
    /// The point at which it was written.
    pub revision: Revision,
    /// The value, or `None` if the key was deleted.
    pub value: Option<Value>,
}

/// A key's value in one version.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Value {
    /// The revision in which the key was last created.
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

    /// The newest version that was written at or before `point`.
    pub(super) fn at(&self, point: Revision) -> Option<&Version> {
        // Most reads need the newest.
        let newest = self.versions.last()?;
        if newest.revision <= point {
            return Some(newest);
        }
        self.versions[..self.count_until(point)].last()
    }

    /// The versions that some revision from `compacted` on sees, up to the point `until`.
    pub(super) fn readable(&self, compacted: i64, until: Revision) -> &[Version] {
        let until = self.count_until(until);
        let from = self.superfluous(compacted).min(until);
        &self.versions[from..until]
    }

    pub(super) fn push(&mut self, version: Version) {
        if self.versions.capacity() == 0 {
            // Most keys have one version, and a list would begin with space for four.
            self.versions.reserve_exact(1);
        }
        self.versions.push(version);
    }

    pub(super) fn is_empty(&self) -> bool {
        self.versions.is_empty()
    }

    #[cfg(test)]
    pub(super) fn len(&self) -> usize {
        self.versions.len()
    }

    /// Removes the versions that no revision from `compacted` on sees: all that are older than the
    /// one that `compacted` sees, and that one too if it is a tombstone.
    pub(super) fn prune(&mut self, compacted: i64) -> Drain<'_, Version> {
        let superfluous = self.superfluous(compacted);
        self.versions.drain(..superfluous)
    }

    /// How many versions no revision from `compacted` on sees.
    fn superfluous(&self, compacted: i64) -> usize {
        let seen = self.count_until(Revision::whole(compacted));
        let tombstone = self.versions[..seen].last().is_some_and(|last| last.value.is_none());
        if tombstone { seen } else { seen.saturating_sub(1) }
    }

    fn count_until(&self, point: Revision) -> usize {
        self.versions.partition_point(|version| version.revision <= point)
    }
}
