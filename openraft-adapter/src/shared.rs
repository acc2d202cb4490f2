//! The state that a store and its readers share: the tasks, where the log begins and ends, and
//! whether a change is in progress.
//!
//! Each change is counted when it begins and when it ends. A read that finds an entry missing while
//! no change runs has found damage; if a change ran, the read is repeated.

use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};

use raft_core::storage::LogBounds;

use crate::tasks::{Tasks, lock};

/// The state that a store and its readers share.
pub(crate) struct Shared {
    pub(crate) tasks: Tasks,
    /// The bounds that the store last reported.
    bounds: Mutex<LogBounds>,
    /// How many changes have begun, and how many have ended. Invariant: ended <= begun.
    begun: AtomicU64,
    ended: AtomicU64,
}

impl Shared {
    pub(crate) fn new(tasks: Tasks) -> Shared {
        let (begun, ended) = (AtomicU64::new(0), AtomicU64::new(0));
        Shared { tasks, bounds: Mutex::default(), begun, ended }
    }

    pub(crate) fn bounds(&self) -> LogBounds {
        *lock(&self.bounds)
    }

    pub(crate) fn set_bounds(&self, bounds: LogBounds) {
        *lock(&self.bounds) = bounds;
    }

    /// Begins a change. It ends when the guard is dropped, even if the store panics.
    pub(crate) fn begin_change(&self) -> Change<'_> {
        self.begun.fetch_add(1, Ordering::SeqCst);
        Change(self)
    }

    /// The number of changes that have ended; `None` while one is in progress.
    pub(crate) fn at_rest(&self) -> Option<u64> {
        let ended = self.ended.load(Ordering::SeqCst);
        (self.begun.load(Ordering::SeqCst) == ended).then_some(ended)
    }
}

/// A change in progress.
pub(crate) struct Change<'a>(&'a Shared);

impl Drop for Change<'_> {
    fn drop(&mut self) {
        self.0.ended.fetch_add(1, Ordering::SeqCst);
    }
}
