//! The newest entries, kept in memory.
//!
//! Peers that keep up and a machine that keeps up are served from here, without a read. Entries
//! that are not written yet stay whatever the limit says, since nobody else has them.

use std::collections::VecDeque;
use std::ops::Range;

use raft_core::types::{Entry, EntryId, LogIndex, LogSpan};

/// What an entry takes besides its payload.
const ENTRY_BYTES: u64 = size_of::<Entry>() as u64;

/// Entries that are applied may take this part of the limit: only a peer that lags behind still
/// needs them, and what is small stays near the processor.
const APPLIED_SHARE: u64 = 8;

/// A run of entries that ends with the log's last.
#[derive(Debug)]
pub(super) struct TailCache {
    entries: VecDeque<Entry>,
    bytes: u64,
    limit: u64,
}

impl TailCache {
    pub(super) fn new(limit: u64) -> TailCache {
        TailCache { entries: VecDeque::new(), bytes: 0, limit }
    }

    /// Forgets every entry after `index`.
    pub(super) fn truncate_after(&mut self, index: LogIndex) {
        while let Some(last) = self.entries.back()
            && last.id.index > index
        {
            self.bytes -= last.size();
            self.entries.pop_back();
        }
    }

    /// Remembers entries that follow the last one; older ones make room, as far as they are
    /// written, and the sooner where they are applied.
    pub(super) fn push(&mut self, entries: &[Entry], written: LogIndex, applied: LogIndex) {
        if let (Some(last), Some(first)) = (self.entries.back(), entries.first()) {
            assert_eq!(first.id.index, last.id.index.next(), "the tail has no holes");
        }
        self.bytes += entries.iter().map(Entry::size).sum::<u64>();
        self.entries.extend(entries.iter().cloned());
        self.make_room(self.limit, written);
        self.make_room(self.limit / APPLIED_SHARE, written.min(applied));
    }

    /// Forgets the oldest entries, but none after `upto`, until the others take no more than this.
    fn make_room(&mut self, bytes: u64, upto: LogIndex) {
        while self.memory() > bytes
            && let Some(first) = self.entries.front()
            && first.id.index <= upto
        {
            self.bytes -= first.size();
            self.entries.pop_front();
        }
    }

    /// The entries from `first` to `last`, as many as fit in `max_bytes`, but at least one; `None`
    /// if `first` is not here.
    pub(super) fn read(
        &self,
        first: LogIndex,
        last: LogIndex,
        max_bytes: u64,
    ) -> Option<impl ExactSizeIterator<Item = &Entry>> {
        let start = self.entries.front()?.id.index;
        if first < start || last < first || self.entries.back()?.id.index < first {
            return None;
        }
        let skip = first.since(start) as usize;
        let end = self.entries.len().min(last.since(start) as usize + 1);
        let fitting = match self.bytes <= max_bytes {
            true => end - skip,
            false => self.fitting(skip..end, max_bytes),
        };
        Some(self.entries.range(skip..skip + fitting))
    }

    /// How many entries of a range that is not empty fit; at least one.
    fn fitting(&self, range: Range<usize>, max_bytes: u64) -> usize {
        let mut bytes = 0;
        let fits = |entry: &&Entry| {
            bytes += entry.size();
            bytes <= max_bytes
        };
        self.entries.range(range).take_while(fits).count().max(1)
    }

    /// About how much memory all of it takes: many entries without a payload are not for free.
    fn memory(&self) -> u64 {
        self.bytes + self.entries.len() as u64 * ENTRY_BYTES
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
/// equal logs up to them (law L3), so the last one tells for all.
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

    fn read(tail: &TailCache, first: u64, last: u64, max_bytes: u64) -> Option<Vec<u64>> {
        let entries = tail.read(LogIndex::new(first), LogIndex::new(last), max_bytes)?;
        Some(entries.map(|entry| entry.id.index.get()).collect())
    }

    #[test]
    fn entries_without_a_payload_make_room_too() {
        let mut tail = TailCache::new(10 * ENTRY_BYTES);
        for index in 1..=1000 {
            tail.push(&[entry(index, 0)], LogIndex::new(index - 1), LogIndex::ZERO);
        }
        assert_eq!(read(&tail, 990, 1000, 100), None);
        assert_eq!(read(&tail, 991, 1000, 100).map(|read| read.len()), Some(10));
    }

    #[test]
    fn entries_that_are_applied_make_room_sooner() {
        let mut tail = TailCache::new(16 * ENTRY_BYTES);
        for index in 1..=12 {
            tail.push(&[entry(index, 0)], LogIndex::new(index - 1), LogIndex::ZERO);
        }
        assert_eq!(read(&tail, 1, 12, 100).map(|read| read.len()), Some(12));
        tail.push(&[entry(13, 0)], LogIndex::new(12), LogIndex::new(9));
        assert_eq!(read(&tail, 9, 13, 100), None);
        assert_eq!(read(&tail, 10, 13, 100).map(|read| read.len()), Some(4));
    }

    #[test]
    fn entries_that_are_not_written_stay() {
        let mut tail = TailCache::new(10 + 2 * ENTRY_BYTES);
        tail.push(&[entry(1, 8), entry(2, 8), entry(3, 8)], LogIndex::new(0), LogIndex::ZERO);
        assert_eq!(read(&tail, 1, 3, 100), Some(vec![1, 2, 3]));
        tail.push(&[entry(4, 8)], LogIndex::new(2), LogIndex::ZERO);
        assert_eq!(read(&tail, 1, 4, 100), None);
        assert_eq!(read(&tail, 3, 4, 100), Some(vec![3, 4]));
        assert_eq!(tail.bytes(), 16);
    }

    #[test]
    fn a_read_gives_at_least_one_and_no_more_than_fits() {
        let mut tail = TailCache::new(1000);
        tail.push(&[entry(1, 8), entry(2, 8), entry(3, 0)], LogIndex::new(0), LogIndex::ZERO);
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
