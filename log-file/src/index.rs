//! What the log holds in memory: where each entry lies, eight bytes per entry, and their terms.
//!
//! Payloads stay on the disk. The segment of an entry is told by the few *extents* (one whenever a
//! new segment begins), its term by the few term runs.

use std::collections::VecDeque;
use std::sync::{Arc, RwLock};

use bytes::Bytes;
use raft_core::storage::{LogBounds, LogError};
use raft_core::types::{EntryId, LogIndex, Term, TermRun};

use crate::format::{Seal, record_bytes};

/// The index, as the writer and its readers share it.
pub(crate) type SharedIndex = Arc<RwLock<Index>>;

/// Where the record of an entry lies in its segment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Slot {
    /// The offset of the record header, in units of 8 bytes.
    place: u32,
    payload_bytes: u32,
}

impl Slot {
    /// A segment reaches no further than 32 GiB, which `config` and the writer see to.
    pub(crate) fn new(offset: u64, payload_bytes: u32) -> Slot {
        let place = u32::try_from(offset / 8).expect("a segment is shorter than 32 GiB");
        Slot { place, payload_bytes }
    }

    pub(crate) fn offset(self) -> u64 {
        u64::from(self.place) * 8
    }

    pub(crate) fn payload_bytes(self) -> u64 {
        u64::from(self.payload_bytes)
    }

    /// Where the record ends, padding included.
    pub(crate) fn end(self) -> u64 {
        self.offset() + record_bytes(self.payload_bytes())
    }
}

/// Entries from `first` on lie in this segment, until the next extent.
#[derive(Clone, Copy, Debug)]
struct Extent {
    first: LogIndex,
    seal: Seal,
}

/// Where the entries are, and what they are called.
#[derive(Debug, Default)]
pub(crate) struct Index {
    boundary: EntryId,
    slots: VecDeque<Slot>,
    extents: VecDeque<Extent>,
    runs: VecDeque<TermRun>,
    /// The payloads of membership entries, which every start must know.
    memberships: VecDeque<(LogIndex, Bytes)>,
    /// The store is gone, and others may change the files.
    is_closed: bool,
}

impl Index {
    /// Nothing that is read from now on is to be judged by this index.
    pub(crate) fn close(&mut self) {
        self.is_closed = true;
    }

    pub(crate) fn is_closed(&self) -> bool {
        self.is_closed
    }

    pub(crate) fn bounds(&self) -> LogBounds {
        LogBounds { boundary: self.boundary, last: self.last() }
    }

    pub(crate) fn last(&self) -> EntryId {
        let index = self.boundary.index.plus(self.slots.len() as u64);
        match self.runs.back() {
            Some(run) => EntryId::new(run.term, index),
            None => self.boundary,
        }
    }

    /// The term at an index, the boundary's included.
    pub(crate) fn term(&self, index: LogIndex) -> Result<Term, LogError> {
        if index == self.boundary.index {
            return Ok(self.boundary.term);
        }
        self.check_inside(index, index)?;
        let after = self.runs.partition_point(|run| run.first <= index);
        Ok(self.runs[after - 1].term)
    }

    /// Whether the indices from `first` to `last` lie after the boundary and before the end.
    pub(crate) fn check_inside(&self, first: LogIndex, last: LogIndex) -> Result<(), LogError> {
        self.bounds().check_inside(first, last)
    }

    /// Where an entry that is inside lies.
    pub(crate) fn find(&self, index: LogIndex) -> (Seal, Slot) {
        let after = self.extents.partition_point(|extent| extent.first <= index);
        let slot = self.slots[index.since(self.boundary.index) as usize - 1];
        (self.extents[after - 1].seal, slot)
    }

    pub(crate) fn runs(&self) -> impl Iterator<Item = TermRun> + '_ {
        self.runs.iter().copied()
    }

    pub(crate) fn memberships(&self) -> impl Iterator<Item = &(LogIndex, Bytes)> {
        self.memberships.iter()
    }

    /// The segment of the first entry, if there is an entry.
    pub(crate) fn first_segment(&self) -> Option<u64> {
        self.extents.front().map(|extent| extent.seal.segment)
    }

    /// Takes note of the entry that follows the last one.
    pub(crate) fn push(&mut self, id: EntryId, seal: Seal, slot: Slot) {
        if self.runs.back().is_none_or(|run| run.term != id.term) {
            self.runs.push_back(TermRun { first: id.index, term: id.term });
        }
        if self.extents.back().is_none_or(|extent| extent.seal != seal) {
            self.extents.push_back(Extent { first: id.index, seal });
        }
        self.slots.push_back(slot);
    }

    pub(crate) fn push_membership(&mut self, index: LogIndex, payload: Bytes) {
        self.memberships.push_back((index, payload));
    }

    /// Forgets every entry after `index`, which is not below the boundary.
    pub(crate) fn truncate_after(&mut self, index: LogIndex) {
        self.slots.truncate(index.since(self.boundary.index) as usize);
        while self.runs.back().is_some_and(|run| run.first > index) {
            self.runs.pop_back();
        }
        while self.extents.back().is_some_and(|extent| extent.first > index) {
            self.extents.pop_back();
        }
        while self.memberships.back().is_some_and(|(at, _)| *at > index) {
            self.memberships.pop_back();
        }
    }

    /// Forgets every entry up to `upto`, which is not beyond the last.
    pub(crate) fn purge_upto(&mut self, upto: EntryId) {
        let gone = upto.index.since(self.boundary.index) as usize;
        self.slots.drain(..gone);
        self.boundary = upto;
        if self.slots.is_empty() {
            return self.reset(upto);
        }
        let first = upto.index.next();
        while self.runs.get(1).is_some_and(|run| run.first <= first) {
            self.runs.pop_front();
        }
        self.runs[0].first = first;
        while self.extents.get(1).is_some_and(|extent| extent.first <= first) {
            self.extents.pop_front();
        }
        while self.memberships.front().is_some_and(|(at, _)| *at < first) {
            self.memberships.pop_front();
        }
        if self.slots.capacity() > 4 * self.slots.len().max(1024) {
            self.slots.shrink_to(2 * self.slots.len());
        }
    }

    /// Forgets all entries.
    pub(crate) fn reset(&mut self, boundary: EntryId) {
        *self = Index { boundary, ..Index::default() };
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn id(index: u64, term: u64) -> EntryId {
        EntryId::new(Term::new(term), LogIndex::new(index))
    }

    fn seal(segment: u64) -> Seal {
        Seal { segment, salt: segment }
    }

    /// Entries 1 to 9: three per segment, and terms 1 1 2 2 2 3 3 3 3.
    fn index() -> Index {
        let mut index = Index::default();
        for (number, term) in (1..=9).zip([1, 1, 2, 2, 2, 3, 3, 3, 3]) {
            index.push(id(number, term), seal(number.div_ceil(3)), Slot::new(number * 64, 5));
        }
        index
    }

    #[test]
    fn an_entry_takes_eight_bytes() {
        assert_eq!(size_of::<Slot>(), 8);
    }

    #[test]
    fn both_ends_can_be_cut() {
        let mut index = index();
        index.truncate_after(LogIndex::new(7));
        index.purge_upto(id(4, 2));
        assert_eq!(index.bounds(), LogBounds { boundary: id(4, 2), last: id(7, 3) });
        let runs: Vec<(u64, u64)> =
            index.runs().map(|run| (run.first.get(), run.term.get())).collect();
        assert_eq!(runs, [(5, 2), (6, 3)]);
        for (number, segment) in [(5, 2), (6, 2), (7, 3)] {
            let (found, slot) = index.find(LogIndex::new(number));
            assert_eq!((found, slot), (seal(segment), Slot::new(number * 64, 5)));
        }
        assert_eq!(index.first_segment(), Some(2));
        assert!(index.term(LogIndex::new(3)).is_err());
        assert!(index.term(LogIndex::new(8)).is_err());
        index.purge_upto(id(7, 3));
        assert_eq!((index.last(), index.first_segment()), (id(7, 3), None));
    }
}
