//! What a backend's own tests may use from the suite: entries, random batches, and everything that
//! a store shows.
//!
//! The suite checks what every store must do. The properties of one store beyond that (its files,
//! its disk space, failures below its own disk interface) are tested in its crate with these
//! helpers.

#[cfg(target_os = "linux")]
use std::ops::RangeInclusive;
use std::pin::pin;
use std::task::{Context, Poll, Waker};

use raft_core::storage::{LogBounds, LogError, LogErrorKind, Recovered, Store, Tail, WriteBatch};
use raft_core::types::{Entry, HardState, Identity};

pub use super::drafts::{Draft, LogOutline, draft};
pub use super::samples::{hard_state, id, identity, index, membership, sized_entry};
pub use super::settings::is_deep;

/// Runs a verb of a store that never waits, or waits by blocking: one poll must complete it.
pub fn now<F: Future>(verb: F) -> F::Output {
    match pin!(verb).poll(&mut Context::from_waker(Waker::noop())) {
        Poll::Ready(output) => output,
        Poll::Pending => panic!("a verb of this store must complete at the first poll"),
    }
}

/// Small commands of one term and one size, so that a test can compute their positions.
pub fn entries(range: RangeInclusive<u64>, term: u64) -> Vec<Entry> {
    range.map(|index| sized_entry(index, term, 0, 20)).collect()
}

/// The kind of the error, which must have occurred.
pub fn kind<T>(result: Result<T, LogError>) -> LogErrorKind {
    match result {
        Ok(_) => panic!("the request must fail"),
        Err(error) => error.kind,
    }
}

/// Everything that a store shows, with what it recovers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Inspected {
    /// Where the log begins and ends.
    pub bounds: LogBounds,
    /// Term and vote.
    pub hard_state: HardState,
    /// The member that the store belongs to.
    pub identity: Option<Identity>,
    /// The result of `recover`, except that the tail is always clean, since two histories need not
    /// agree on the tail.
    pub recovered: Recovered,
    /// All entries.
    pub entries: Vec<Entry>,
}

/// Reads everything that a store shows. Returns an error if an entry cannot be read.
pub fn look(log: &mut dyn Store) -> Result<Inspected, LogError> {
    let recovered = Recovered { tail: Tail::Clean, ..now(log.recover())? };
    let bounds = log.bounds();
    let (mut next, end) = (bounds.first(), bounds.last.index.next());
    let mut entries = Vec::new();
    while next < end {
        let read = now(log.reader().read(next..end, u64::MAX))?;
        assert!(!read.is_empty(), "a read of existing entries returned none (P10)");
        next = next.plus(read.len() as u64);
        entries.extend(read);
    }
    let identity = now(log.load_identity())?;
    Ok(Inspected { bounds, hard_state: now(log.load_hard_state())?, identity, recovered, entries })
}

/// The batch that a draft becomes for a store with these contents.
pub fn batch_for(inspected: &Inspected, draft: &Draft, mark: u64) -> WriteBatch {
    let ids = inspected.entries.iter().map(|entry| entry.id).collect();
    let committed = inspected.recovered.commit_hint;
    let (bounds, hard_state) = (inspected.bounds, inspected.hard_state);
    let outline = LogOutline { bounds, hard_state, committed, ids };
    draft.batch_for(&outline, mark)
}
