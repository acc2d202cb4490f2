//! The newest entries, kept in memory.
//!
//! Peers that keep up and a machine that keeps up are served from here, without a read. Entries
//! that are not written yet stay whatever the limit says, since nobody else has them.

use std::collections::VecDeque;

use raft_core::types::{Entry, LogIndex, LogSpan};

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
    /// written.
    pub(super) fn push(&mut self, entries: &[Entry], written: LogIndex) {
        if let (Some(last), Some(first)) = (self.entries.back(), entries.first()) {
            assert_eq!(first.id.index, last.id.index.next(), "the tail has no holes");
        }
        self.bytes += entries.iter().map(Entry::size).sum::<u64>();
        self.entries.extend(entries.iter().cloned());
        while self.bytes > self.limit
            && let Some(first) = self.entries.front()
            && first.id.index <= written
        {
            self.bytes -= first.size();
            self.entries.pop_front();
        }
    }

    /// The entries from `first` to `last`, as many as fit in `max_bytes`, but at least one; `None`
    /// if
    /// `first` is not here.
    pub(super) fn read(
        &self,
        first: LogIndex,
        last: LogIndex,
        max_bytes: u64,
    ) -> Option<Vec<Entry>> {
        let start = self.entries.front()?.id.index;
        if first < start || last < first || self.entries.back()?.id.index < first {
            return None;
        }
        let skip = first.since(start) as usize;
        let wanted = last.since(first) as usize + 1;
        let mut bytes = 0;
        let fits = |entry: &&Entry| {
            let is_first = bytes == 0 && entry.id.index == first;
            bytes += entry.size();
            is_first || bytes <= max_bytes
        };
        Some(self.entries.range(skip..).take(wanted).take_while(fits).cloned().collect())
    }

    /// The payload bytes held.
    pub(super) fn bytes(&self) -> u64 {
        self.bytes
    }
}

/// Whether entries are the first ones of a span.
pub(super) fn begin_span(entries: &[Entry], span: &LogSpan) -> bool {
    let mut index = span.first();
    entries.iter().all(|entry| {
        let expected = index;
        index = index.next();
        entry.id.index == expected && span.term_at(expected) == Some(entry.id.term)
    })
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use raft_core::types::{EntryId, EntryKind, Term};

    use super::*;

    fn entry(index: u64, size: usize) -> Entry {
        let id = EntryId::new(Term::new(1), LogIndex::new(index));
        Entry::new(id, EntryKind::Command, Bytes::from(vec![0; size]))
    }

    fn indexes(entries: Option<Vec<Entry>>) -> Option<Vec<u64>> {
        Some(entries?.iter().map(|entry| entry.id.index.get()).collect())
    }

    fn read(tail: &TailCache, first: u64, last: u64, max_bytes: u64) -> Option<Vec<u64>> {
        indexes(tail.read(LogIndex::new(first), LogIndex::new(last), max_bytes))
    }

    #[test]
    fn entries_that_are_not_written_stay() {
        let mut tail = TailCache::new(10);
        tail.push(&[entry(1, 8), entry(2, 8), entry(3, 8)], LogIndex::new(0));
        assert_eq!(read(&tail, 1, 3, 100), Some(vec![1, 2, 3]));
        tail.push(&[entry(4, 8)], LogIndex::new(2));
        assert_eq!(read(&tail, 1, 4, 100), None);
        assert_eq!(read(&tail, 3, 4, 100), Some(vec![3, 4]));
        assert_eq!(tail.bytes(), 16);
    }

    #[test]
    fn a_read_gives_at_least_one_and_no_more_than_fits() {
        let mut tail = TailCache::new(100);
        tail.push(&[entry(1, 8), entry(2, 8), entry(3, 0)], LogIndex::new(0));
        assert_eq!(read(&tail, 1, 3, 0), Some(vec![1]));
        assert_eq!(read(&tail, 1, 3, 15), Some(vec![1]));
        assert_eq!(read(&tail, 1, 3, 16), Some(vec![1, 2, 3]));
        assert_eq!(read(&tail, 4, 4, 16), None);
    }
}
