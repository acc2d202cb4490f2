//! Operations that fail: which one, how, and for how long.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

/// A kind of operation, as it is counted and made to fail.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum Operation {
    /// Bytes put into a file.
    Write,
    /// A file or a directory made durable.
    Sync,
    /// A new file, directory or link.
    Create,
    /// A name that moves.
    Rename,
    /// A name that is removed.
    Unlink,
    /// A file made longer or shorter, or space taken for it or given back.
    Truncate,
    /// Bytes read from a file; what the page cache holds is not asked for.
    Read,
    /// Any of these.
    Any,
}

/// Every kind but [`Operation::Any`].
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
    /// With `EIO`, and nothing happens. A sync that fails so drops what it had to make durable, as
    /// Linux does: it is still read, the next sync says `Ok`, and a power cut takes it.
    Io,
    /// With `ENOSPC`, and nothing happens.
    NoSpace,
    /// A write takes only the first half of its bytes, and says so. Any other operation fails with
    /// `EIO`.
    Short,
    /// A sync does nothing and says `Ok`: a disk that lies. Any other operation goes well.
    Lie,
}

/// A fault to come.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Fault {
    /// What fails.
    pub on: Operation,
    /// Which one, counted from 1 from now on.
    pub nth: u64,
    /// How.
    pub failure: Failure,
    /// Whether everything of that kind after it fails too.
    pub lasts: bool,
}

/// The faults that a disk has before it, and what happened on it so far.
#[derive(Debug, Default)]
pub(crate) struct Faults {
    waiting: Vec<(Fault, u64)>,
    struck: u64,
    counts: BTreeMap<Operation, u64>,
}

impl Faults {
    pub(crate) fn add(&mut self, fault: Fault) {
        self.waiting.push((fault, 0));
    }

    /// Ends all faults; how often one struck since the last time.
    pub(crate) fn heal(&mut self) -> u64 {
        self.waiting.clear();
        std::mem::take(&mut self.struck)
    }

    pub(crate) fn struck(&self) -> u64 {
        self.struck
    }

    pub(crate) fn count(&self, on: Operation) -> u64 {
        match on {
            Operation::Any => self.counts.values().sum(),
            one => self.counts.get(&one).copied().unwrap_or(0),
        }
    }

    /// Counts an operation that comes, and says whether and how it has to fail.
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
        self.struck += u64::from(found.is_some());
        found
    }
}

#[cfg(test)]
mod tests {
    use super::{Failure, Fault, Faults, Operation};

    #[test]
    fn the_nth_of_a_kind_fails_once_or_from_then_on() {
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
        assert_eq!((faults.struck(), faults.count(sync), faults.count(Operation::Any)), (3, 4, 7));
        assert_eq!((faults.heal(), faults.struck()), (3, 0));
        assert_eq!(faults.meet(sync), None);
    }
}
