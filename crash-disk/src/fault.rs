//! Injected faults: which operation fails, how, and for how long.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

/// A kind of operation, for counts and faults.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum Operation {
    /// A write to a file.
    Write,
    /// A sync of a file or a directory.
    Sync,
    /// A new file, directory or link.
    Create,
    /// A rename.
    Rename,
    /// The removal of a name.
    Unlink,
    /// A change of a file's size, or of the space that is allocated for it.
    Truncate,
    /// A read from a file; reads that the page cache serves do not count.
    Read,
    /// Any of these.
    Any,
}

/// Every kind except [`Operation::Any`].
pub const OPERATIONS: [Operation; 7] = [
    Operation::Write,
    Operation::Sync,
    Operation::Create,
    Operation::Rename,
    Operation::Unlink,
    Operation::Truncate,
    Operation::Read,
];

/// How an operation fails.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum Failure {
    /// With `EIO`, and nothing happens. A sync that fails in this way drops the pages that it
    /// should have made durable, as on Linux: they can still be read, the next sync returns `Ok`,
    /// and a power cut loses them.
    Io,
    /// With `ENOSPC`, and nothing happens.
    NoSpace,
    /// With `EDQUOT`, and nothing happens: this user's share of the disk is used up.
    Quota,
    /// A write writes only the first half of its bytes, and reports that. Any other operation fails
    /// with `EIO`.
    Short,
    /// A sync does nothing and returns `Ok`, as on a disk that acknowledges a sync without carrying
    /// it out. Any other operation succeeds.
    Lie,
}

/// A fault to inject.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Fault {
    /// The kind of operation that fails.
    pub on: Operation,
    /// Which operation of that kind fails, counted from 1 from now on.
    pub nth: u64,
    /// How it fails.
    pub failure: Failure,
    /// Whether all later operations of that kind fail too.
    pub lasts: bool,
}

/// The pending faults of a disk, and the counts of its operations.
#[derive(Debug, Default)]
pub(crate) struct Faults {
    waiting: Vec<(Fault, u64)>,
    failures: u64,
    counts: BTreeMap<Operation, u64>,
}

impl Faults {
    pub(crate) fn add(&mut self, fault: Fault) {
        self.waiting.push((fault, 0));
    }

    /// Removes all faults; returns how many operations failed since faults were last removed.
    pub(crate) fn clear(&mut self) -> u64 {
        self.waiting.clear();
        std::mem::take(&mut self.failures)
    }

    pub(crate) fn failures(&self) -> u64 {
        self.failures
    }

    pub(crate) fn count(&self, on: Operation) -> u64 {
        match on {
            Operation::Any => self.counts.values().sum(),
            one => self.counts.get(&one).copied().unwrap_or(0),
        }
    }

    /// Counts an operation, and returns how it must fail, if it must.
    pub(crate) fn meet(&mut self, operation: Operation) -> Option<Failure> {
        *self.counts.entry(operation).or_default() += 1;
        let mut found = None;
        for (fault, seen) in &mut self.waiting {
            if fault.on != operation && fault.on != Operation::Any {
                continue;
            }
            *seen += 1;
            if *seen == fault.nth || (fault.lasts && *seen > fault.nth) {
                found = Some(fault.failure);
            }
        }
        self.failures += u64::from(found.is_some());
        found
    }
}

#[cfg(test)]
mod tests {
    use super::{Failure, Fault, Faults, Operation};

    #[test]
    fn the_nth_operation_of_a_kind_fails_once_or_permanently() {
        let mut faults = Faults::default();
        let fault = Fault { on: Operation::Sync, nth: 2, failure: Failure::Io, lasts: false };
        faults.add(fault);
        let mut met = |kinds: &[Operation]| {
            kinds.iter().map(|kind| faults.meet(*kind).is_some()).collect::<Vec<_>>()
        };
        let (write, sync) = (Operation::Write, Operation::Sync);
        assert_eq!(met(&[sync, write, sync, sync]), [false, false, true, false]);
        faults.add(Fault { on: Operation::Any, nth: 2, failure: Failure::NoSpace, lasts: true });
        let mut met = |kind| faults.meet(kind);
        assert_eq!([met(write), met(sync)], [None, Some(Failure::NoSpace)]);
        assert_eq!(met(write), Some(Failure::NoSpace));
        assert_eq!(
            (faults.failures(), faults.count(sync), faults.count(Operation::Any)),
            (3, 4, 7)
        );
        assert_eq!((faults.clear(), faults.failures()), (3, 0));
        assert_eq!(faults.meet(sync), None);
    }
}
