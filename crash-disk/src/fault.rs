//! Injected faults: which operation fails, how, and for how long.

use std::collections::BTreeMap;
use std::ffi::OsStr;

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
    waiting: Vec<Waiting>,
    failures: u64,
    counts: BTreeMap<Operation, u64>,
}

/// A pending fault.
#[derive(Debug)]
struct Waiting {
    fault: Fault,
    /// Only operations on files whose names contain this count.
    within: Option<String>,
    /// How many operations of its kind it has seen.
    seen: u64,
}

impl Waiting {
    fn concerns(&self, operation: Operation, name: Option<&OsStr>) -> bool {
        let is_kind = self.fault.on == operation || self.fault.on == Operation::Any;
        is_kind && is_within(self.within.as_deref(), name)
    }
}

/// Whether a name contains this text, if a text is given.
pub(crate) fn is_within(part: Option<&str>, name: Option<&OsStr>) -> bool {
    part.is_none_or(|part| name.is_some_and(|name| name.to_string_lossy().contains(part)))
}

impl Faults {
    pub(crate) fn add(&mut self, fault: Fault, within: Option<String>) {
        self.waiting.push(Waiting { fault, within, seen: 0 });
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

    /// Counts an operation on the file with this name, and returns how it must fail, if it must.
    /// The name is asked for only if a fault depends on it.
    pub(crate) fn meet<'a>(
        &mut self,
        operation: Operation,
        name: impl FnOnce() -> Option<&'a OsStr>,
    ) -> Option<Failure> {
        *self.counts.entry(operation).or_default() += 1;
        let by_name = self.waiting.iter().any(|waiting| waiting.within.is_some());
        let name = by_name.then(name).flatten();
        let mut found = None;
        for waiting in self.waiting.iter_mut().filter(|it| it.concerns(operation, name)) {
            waiting.seen += 1;
            let Fault { nth, failure, lasts, .. } = waiting.fault;
            if waiting.seen == nth || (lasts && waiting.seen > nth) {
                found = Some(failure);
            }
        }
        self.failures += u64::from(found.is_some());
        found
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_nth_operation_of_a_kind_fails_once_or_permanently() {
        let mut faults = Faults::default();
        let fault = Fault { on: Operation::Sync, nth: 2, failure: Failure::Io, lasts: false };
        faults.add(fault, None);
        let mut met = |kinds: &[Operation]| {
            kinds.iter().map(|kind| faults.meet(*kind, || None).is_some()).collect::<Vec<_>>()
        };
        let (write, sync) = (Operation::Write, Operation::Sync);
        assert_eq!(met(&[sync, write, sync, sync]), [false, false, true, false]);
        let lasting = Fault { on: Operation::Any, nth: 2, failure: Failure::NoSpace, lasts: true };
        faults.add(lasting, None);
        let mut met = |kind| faults.meet(kind, || None);
        assert_eq!([met(write), met(sync)], [None, Some(Failure::NoSpace)]);
        assert_eq!(met(write), Some(Failure::NoSpace));
        assert_eq!(
            (faults.failures(), faults.count(sync), faults.count(Operation::Any)),
            (3, 4, 7)
        );
        assert_eq!((faults.clear(), faults.failures()), (3, 0));
        assert_eq!(faults.meet(sync, || None), None);
    }

    #[test]
    fn a_fault_of_a_name_counts_only_operations_on_such_files() {
        let mut faults = Faults::default();
        let fault = Fault { on: Operation::Sync, nth: 2, failure: Failure::Io, lasts: false };
        faults.add(fault, Some(".sst".to_owned()));
        let names = [Some("1.sst"), Some("1.log"), None, Some("2.sst"), Some("3.sst")];
        let met = names.map(|name| faults.meet(Operation::Sync, || name.map(OsStr::new)).is_some());
        assert_eq!(met, [false, false, false, true, false]);
        assert_eq!(faults.count(Operation::Sync), 5);
    }
}
