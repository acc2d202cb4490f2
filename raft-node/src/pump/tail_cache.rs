//! The newest entries, in memory.
//!
//! Peers and a state machine that keep up are served from here, without a read of the store.
//! Entries that are not written yet are never evicted, whatever the limit is, since the store does
//! not have them.

use std::collections::VecDeque;

use raft_core::types::{Entry, EntryId, LogIndex, LogSpan};

use crate::Entries;

/// The memory that an entry takes besides its payload, in bytes.
const ENTRY_BYTES: u64 = size_of::<Entry>() as u64;

/// Applied entries may take the limit divided by this: only a peer that lags behind still needs
/// them, and a small working set stays in the processor's cache.
const APPLIED_SHARE: u64 = 8;

/// Entries that are applied and stored by all peers may take this many bytes, since a new leader
/// may need them. They are few enough to stay in the processor's cache.
const IDLE_BYTES: u64 = 64 << 10;

/// How far the log is written, applied and replicated.
#[derive(Clone, Copy, Debug)]
pub(super) struct Reach {
    /// The store has the entries up to here.
    pub(super) written: LogIndex,
    /// The state machine has applied the entries up to here.
    pub(super) applied: LogIndex,
    /// No peer needs the entries up to here.
    pub(super) stored_by_all: LogIndex,
}

/// Runs of entries, roughly as they were appended. The last run ends with the log's last entry.
#[derive(Debug)]
pub(super) struct TailCache {
    runs: VecDeque<Entries>,
    count: u64,
    bytes: u64,
    limit: u64,
}

impl TailCache {
    pub(super) fn new(limit: u64) -> TailCache {
        TailCache { runs: VecDeque::new(), count: 0, bytes: 0, limit }
    }

    /// Evicts every entry after `index`.
    pub(super) fn truncate_after(&mut self, index: LogIndex) {
        while let Some(run) = self.runs.back()
            && run[run.len() - 1].id.index > index
        {
            let kept = run.part(run[0].id.index, index);
            let run = self.runs.pop_back().expect("it was there");
            self.forget(&run);
            self.remember(&kept.unwrap_or_default());
        }
    }

    /// Evicts all entries: another log begins.
    pub(super) fn clear(&mut self) {
        *self = TailCache::new(self.limit);
    }

    /// Adds entries that follow the last one. Older ones are evicted, as far as they are written:
    /// the sooner if they are applied, and soonest if all peers have them, too.
    pub(super) fn push(&mut self, entries: &Entries, reach: Reach) {
        if let (Some(last), Some(first)) = (self.last(), entries.first()) {
            assert_eq!(first.id.index, last.next(), "the tail has no holes");
        }
        self.remember(entries);
        let applied = reach.written.min(reach.applied);
        self.make_room(self.limit, reach.written);
        self.make_room(self.limit / APPLIED_SHARE, applied);
        self.make_room(IDLE_BYTES, applied.min(reach.stored_by_all));
    }

    fn remember(&mut self, entries: &Entries) {
        if entries.is_empty() {
            return;
        }
        self.bytes += entries.bytes();
        self.count += entries.len() as u64;
        if !self.runs.back_mut().is_some_and(|run| run.try_append(entries)) {
            self.runs.push_back(entries.clone());
        }
    }

    fn forget(&mut self, run: &Entries) {
        self.bytes -= run.bytes();
        self.count -= run.len() as u64;
    }

    /// Forgets the oldest runs, but none with an entry after `upto`, until the others take no more
    /// than `bytes`.
    fn make_room(&mut self, bytes: u64, upto: LogIndex) {
        while self.memory() > bytes
            && let Some(run) = self.runs.front()
            && run[run.len() - 1].id.index <= upto
        {
            let run = self.runs.pop_front().expect("it was there");
            self.forget(&run);
        }
    }

    fn last(&self) -> Option<LogIndex> {
        Some(self.runs.back()?.last()?.id.index)
    }

    /// The last of the entries from `first` to `last` that still fits in `max_bytes`, at least
    /// `first`. `None` if `first` is not here.
    pub(super) fn fitting(
        &self,
        first: LogIndex,
        last: LogIndex,
        max_bytes: u64,
    ) -> Option<LogIndex> {
        let end = self.last()?;
        let start = LogIndex::new(end.get() + 1 - self.count);
        if first < start || last < first || end < first {
            return None;
        }
        let last = last.min(end);
        if self.bytes <= max_bytes {
            return Some(last);
        }
        let mut bytes = 0;
        let fits = |entry: &&Entry| {
            bytes += entry.size();
            bytes <= max_bytes
        };
        let count = self.pieces(first, last).flatten().take_while(fits).count();
        Some(first.plus(count.max(1) as u64).prev())
    }

    /// The entries from `first` to `upto`, which are here, run by run.
    pub(super) fn pieces(&self, first: LogIndex, upto: LogIndex) -> impl Iterator<Item = &[Entry]> {
        let pieces = self.runs.range(self.run_of(first)..).map(move |run| run.between(first, upto));
        pieces.take_while(|piece| !piece.is_empty())
    }

    /// The entries from `first` to `upto`, which are here; copied only where they were appended in
    /// several runs.
    pub(super) fn read(&self, first: LogIndex, upto: LogIndex) -> Entries {
        let part = self.runs.get(self.run_of(first)).and_then(|run| run.part(first, upto));
        part.unwrap_or_else(|| {
            let pieces: Vec<&[Entry]> = self.pieces(first, upto).collect();
            Entries::from(pieces.concat())
        })
    }

    /// Which run holds an entry. Most calls want one of the newest runs.
    fn run_of(&self, index: LogIndex) -> usize {
        const NEWEST: usize = 4;
        let newest = self.runs.iter().rev().take(NEWEST);
        match newest.enumerate().find(|(_, run)| run[0].id.index <= index) {
            Some((back, _)) => self.runs.len() - 1 - back,
            None => self.runs.partition_point(|run| run[run.len() - 1].id.index < index),
        }
    }

    /// Roughly how much memory all of it takes: many entries without a payload take memory, too.
    fn memory(&self) -> u64 {
        self.bytes + self.count * ENTRY_BYTES
    }

    /// The payload bytes held.
    pub(super) fn bytes(&self) -> u64 {
        self.bytes
    }
}

/// Whether entries are the first ones of a span.
pub(super) fn begin_span(entries: &[Entry], span: &LogSpan) -> bool {
    let mut runs = span.runs().peekable();
    let mut expected = EntryId::new(span.prev().term, span.first());
    entries.len() as u64 <= span.len()
        && entries.iter().all(|entry| {
            if let Some(run) = runs.next_if(|run| run.first == expected.index) {
                expected.term = run.term;
            }
            let is_it = entry.id == expected;
            expected.index = expected.index.next();
            is_it
        })
}

/// Whether entries that follow each other in one log are the first ones of a span: equal ids mean
/// equal logs up to them (law L3), so the last one decides for all.
pub(super) fn run_into_span(first: &Entry, last: &Entry, span: &LogSpan) -> bool {
    first.id.index == span.first() && span.term_at(last.id.index) == Some(last.id.term)
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use raft_core::types::{EntryKind, Term, TermRun};

    use super::*;

    fn entry(index: u64, size: usize) -> Entry {
        let id = EntryId::new(Term::new(1), LogIndex::new(index));
        Entry::new(id, EntryKind::Command, Bytes::from(vec![0; size]))
    }

    fn push(tail: &mut TailCache, entries: &[Entry], written: u64, applied: u64) {
        let entries = Entries::from(entries.to_vec());
        let written = LogIndex::new(written);
        let applied = LogIndex::new(applied);
        tail.push(&entries, Reach { written, applied, stored_by_all: LogIndex::ZERO });
    }

    fn read(tail: &TailCache, first: u64, last: u64, max_bytes: u64) -> Option<Vec<u64>> {
        let first = LogIndex::new(first);
        let last = LogIndex::new(last);
        let upto = tail.fitting(first, last, max_bytes)?;
        let indexes: Vec<u64> =
            tail.read(first, upto).iter().map(|entry| entry.id.index.get()).collect();
        let pieces = tail.pieces(first, upto).flatten().map(|entry| entry.id.index.get());
        assert!(pieces.eq(indexes.iter().copied()), "both ways give the same");
        Some(indexes)
    }

    /// As many entries as make a run of their own.
    const MANY: u64 = 20;

    fn push_many(tail: &mut TailCache, first: u64, size: usize, written: u64, applied: u64) {
        let entries: Vec<Entry> = (first..first + MANY).map(|index| entry(index, size)).collect();
        push(tail, &entries, written, applied);
    }

    #[test]
    fn entries_without_a_payload_make_room_too() {
        let mut tail = TailCache::new(2 * MANY * ENTRY_BYTES);
        for first in (1..=1000).step_by(MANY as usize) {
            push_many(&mut tail, first, 0, first - 1, 0);
        }
        assert_eq!(read(&tail, 960, 1000, 100), None);
        assert_eq!(read(&tail, 961, 1000, 100).map(|read| read.len()), Some(40));
    }

    #[test]
    fn a_few_at_a_time_make_room_by_the_page() {
        let mut tail = TailCache::new(8192);
        for index in 1..=1000 {
            push(&mut tail, &[entry(index, 0)], index - 1, 0);
        }
        assert!(tail.memory() <= 8192 && tail.memory() >= 4096);
        assert_eq!(read(&tail, 990, 1000, 100).map(|read| read.len()), Some(11));
    }

    #[test]
    fn entries_that_are_applied_make_room_sooner() {
        let mut tail = TailCache::new(8 * MANY * ENTRY_BYTES);
        push_many(&mut tail, 1, 0, 0, 0);
        push_many(&mut tail, 21, 0, 20, 19);
        assert_eq!(read(&tail, 1, 40, 100).map(|read| read.len()), Some(40));
        push_many(&mut tail, 41, 0, 40, 39);
        assert_eq!(read(&tail, 20, 60, 100), None);
        assert_eq!(read(&tail, 21, 60, 100).map(|read| read.len()), Some(40));
    }

    #[test]
    fn entries_that_all_peers_have_make_room_soonest() {
        let mut tail = TailCache::new(1 << 20);
        for first in (1..=10_000).step_by(MANY as usize) {
            push_many(&mut tail, first, 0, first - 1, first - 1);
        }
        assert!(tail.memory() > IDLE_BYTES, "a peer lags behind");
        let reach = |stored_by_all| {
            let newest = LogIndex::new(10_000);
            Reach { written: newest, applied: newest, stored_by_all: LogIndex::new(stored_by_all) }
        };
        tail.push(&Entries::default(), reach(8500));
        assert!(read(&tail, 8480, 8480, 0).is_none() && read(&tail, 8501, 8501, 0).is_some());
        tail.push(&Entries::default(), reach(10_000));
        assert!(tail.memory() <= IDLE_BYTES && tail.memory() > IDLE_BYTES / 2);
    }

    #[test]
    fn entries_that_are_not_written_are_not_evicted() {
        let mut tail = TailCache::new(8 * MANY + 2 * MANY * ENTRY_BYTES);
        push_many(&mut tail, 1, 8, 0, 0);
        push_many(&mut tail, 21, 8, 0, 0);
        push_many(&mut tail, 41, 8, 19, 0);
        assert_eq!(read(&tail, 1, 60, 1000).map(|read| read.len()), Some(60));
        push(&mut tail, &[], 20, 0);
        assert_eq!(read(&tail, 20, 60, 1000), None);
        assert_eq!(read(&tail, 21, 60, 1000).map(|read| read.len()), Some(40));
        push(&mut tail, &[], 60, 0);
        assert_eq!(tail.bytes(), 8 * MANY);
    }

    #[test]
    fn a_truncation_inside_a_run_leaves_its_front() {
        let mut tail = TailCache::new(1000);
        push(&mut tail, &[entry(1, 1), entry(2, 2)], 0, 0);
        push(&mut tail, &[entry(3, 4), entry(4, 8), entry(5, 16)], 0, 0);
        tail.truncate_after(LogIndex::new(3));
        assert_eq!((read(&tail, 1, 9, 100), tail.bytes()), (Some(vec![1, 2, 3]), 7));
        push(&mut tail, &[entry(4, 32)], 0, 0);
        assert_eq!(read(&tail, 2, 4, 34), Some(vec![2, 3]));
        tail.truncate_after(LogIndex::ZERO);
        assert_eq!((read(&tail, 1, 1, 100), tail.bytes(), tail.count), (None, 0, 0));
    }

    #[test]
    fn a_read_gives_at_least_one_and_no_more_than_fits() {
        let mut tail = TailCache::new(1000);
        push(&mut tail, &[entry(1, 8), entry(2, 8), entry(3, 0)], 0, 0);
        assert_eq!(read(&tail, 1, 3, 0), Some(vec![1]));
        assert_eq!(read(&tail, 1, 3, 15), Some(vec![1]));
        assert_eq!(read(&tail, 1, 3, 16), Some(vec![1, 2, 3]));
        assert_eq!(read(&tail, 4, 4, 16), None);
    }

    #[test]
    fn entries_are_those_of_a_span_only_one_by_one() {
        let id = |index, term| EntryId::new(Term::new(term), LogIndex::new(index));
        let run = |first, term| TermRun { first: LogIndex::new(first), term: Term::new(term) };
        let span = LogSpan::new(id(4, 1), [run(5, 1), run(7, 3)], LogIndex::new(8));
        let span = span.expect("sound");
        let entries = |ids: &[(u64, u64)]| -> Vec<Entry> {
            let entry = |(index, term)| Entry::new(id(index, term), EntryKind::Noop, Bytes::new());
            ids.iter().copied().map(entry).collect()
        };
        let whole = [(5, 1), (6, 1), (7, 3), (8, 3)];
        assert!((0..=4).all(|count| begin_span(&entries(&whole[..count]), &span)));
        for wrong in [&[(6, 1)][..], &[(5, 1), (7, 3)], &[(5, 1), (6, 1), (7, 1)], &[(5, 3)]] {
            assert!(!begin_span(&entries(wrong), &span), "{wrong:?}");
        }
        let longer = [&whole[..], &[(9, 3)]].concat();
        assert!(!begin_span(&entries(&longer), &span));
    }
}
