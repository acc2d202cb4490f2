//! What the tests of the memory log share: entries, snapshots of a log, and an executor that shows
//! that the store never waits.

use std::pin::pin;
use std::task::{Context, Poll, Waker};

use bytes::Bytes;
use log_memory::MemoryLog;
use raft_core::storage::{LogStore, Recovered, Store};
use raft_core::types::{Entry, EntryId, EntryKind, LogIndex, Term};

/// Runs a verb of a store that declares that it never blocks: one poll must do.
pub fn now<F: Future>(verb: F) -> F::Output {
    match pin!(verb).poll(&mut Context::from_waker(Waker::noop())) {
        Poll::Ready(output) => output,
        Poll::Pending => panic!("a memory log never waits"),
    }
}

pub fn index(number: u64) -> LogIndex {
    LogIndex::new(number)
}

pub fn id(index: u64, term: u64) -> EntryId {
    EntryId::new(Term::new(term), LogIndex::new(index))
}

/// An entry whose payload tells which writer made it.
pub fn entry(index: u64, term: u64, mark: u64) -> Entry {
    let payload = Bytes::from(format!("{index}@{term} by {mark}"));
    Entry::new(id(index, term), EntryKind::Command, payload)
}

pub fn entries(range: std::ops::RangeInclusive<u64>, term: u64) -> Vec<Entry> {
    range.map(|index| entry(index, term, 0)).collect()
}

/// All that can be seen of a log.
pub fn snapshot(log: &mut MemoryLog) -> (Recovered, Vec<Entry>) {
    let recovered = now(log.recover()).expect("a memory log recovers");
    let range = recovered.bounds.first()..recovered.bounds.last.index.next();
    let entries = now(log.reader().read(range, u64::MAX)).expect("all entries are there");
    (recovered, entries)
}
