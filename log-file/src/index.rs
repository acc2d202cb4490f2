//! The part of the log that is in memory: the position of each entry, in eight bytes per entry, and
//! the log's summary.
//!
//! Payloads stay on the disk. The segment of an entry is found from the *extents*, one for each
//! segment, and its term from the summary.

use std::collections::VecDeque;
use std::sync::{Arc, RwLock};

use raft_core::storage::{LogSummary, Plan};
use raft_core::types::{Entry, EntryId, LogIndex};

use crate::format::{Seal, record_bytes};

/// The index, shared by the writer and its readers.
pub(crate) type SharedIndex = Arc<RwLock<Index>>;

/// Where the record of an entry lies in its segment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Slot {
    /// The offset of the record header, in units of 8 bytes.
    place: u32,
    payload_bytes: u32,
}

impl Slot {
    /// A segment is no longer than 32 GiB, which `config` and the writer guarantee.
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

/// The entries from `first` to the next extent lie in this segment.
#[derive(Clone, Copy, Debug)]
struct Extent {
    first: LogIndex,
    seal: Seal,
}

/// Where the entries are, and their ids.
#[derive(Debug, Default)]
pub(crate) struct Index {
    pub(crate) summary: LogSummary,
    places: Places,
    /// Whether the store is closed, so that others may change the files.
    is_closed: bool,
}

/// Where the entries lie, one slot for each.
#[derive(Debug, Default)]
struct Places {
    /// The entry before the first slot's.
    before: LogIndex,
    slots: VecDeque<Slot>,
    extents: VecDeque<Extent>,
}

impl Index {
    /// Closes the index: from now on it may not describe the bytes that a reader finds.
    pub(crate) fn close(&mut self) {
        self.is_closed = true;
    }

    pub(crate) fn is_closed(&self) -> bool {
        self.is_closed
    }

    pub(crate) fn last(&self) -> EntryId {
        self.summary.bounds().last
    }

    /// Where an entry of the log lies.
    pub(crate) fn find(&self, index: LogIndex) -> (Seal, Slot) {
        let Places { before, slots, extents } = &self.places;
        let begun = extents.partition_point(|extent| extent.first <= index);
        (extents[begun - 1].seal, slots[index.since(*before) as usize - 1])
    }

    /// The segment of the first entry, if there is an entry.
    pub(crate) fn first_segment(&self) -> Option<u64> {
        self.places.extents.front().map(|extent| extent.seal.segment)
    }

    /// Applies a batch that is durable, whose entries lie in these slots.
    pub(crate) fn apply(&mut self, plan: &Plan, entries: &[Entry], seal: Seal, slots: &[Slot]) {
        self.summary.apply(plan, entries, |_| ());
        if let Some(boundary) = plan.reset {
            self.places = Places { before: boundary.index, ..Places::default() };
        }
        if let Some(last) = plan.truncate {
            self.places.truncate_after(last.index);
        }
        for (entry, slot) in entries.iter().zip(slots) {
            self.places.push(entry.id.index, seal, *slot);
        }
        if let Some(upto) = plan.purge {
            self.places.purge_upto(upto.index);
        }
    }

    /// Adds the entry that follows the last one; a membership's payload is added to the summary
    /// next.
    pub(crate) fn push(&mut self, id: EntryId, seal: Seal, slot: Slot) {
        self.summary.push_id(id);
        self.places.push(id.index, seal, slot);
    }

    /// Forgets every entry after `index`, which lies neither below the boundary nor beyond the
    /// last entry.
    pub(crate) fn truncate_after(&mut self, index: LogIndex) {
        self.summary.truncate_after(index);
        self.places.truncate_after(index);
    }

    /// Forgets every entry up to `upto`, which lies neither below the boundary nor beyond the last
    /// entry.
    pub(crate) fn purge_upto(&mut self, upto: EntryId) {
        self.summary.purge_upto(upto);
        self.places.purge_upto(upto.index);
    }

    /// Forgets all entries.
    pub(crate) fn reset(&mut self, boundary: EntryId) {
        self.summary = LogSummary::empty(boundary);
        self.places = Places { before: boundary.index, ..Places::default() };
    }
}

impl Places {
    fn push(&mut self, index: LogIndex, seal: Seal, slot: Slot) {
        if self.extents.back().is_none_or(|extent| extent.seal != seal) {
            self.extents.push_back(Extent { first: index, seal });
        }
        self.slots.push_back(slot);
    }

    fn truncate_after(&mut self, index: LogIndex) {
        self.slots.truncate(index.since(self.before) as usize);
        while self.extents.back().is_some_and(|extent| extent.first > index) {
            self.extents.pop_back();
        }
    }

    fn purge_upto(&mut self, index: LogIndex) {
        self.slots.drain(..index.since(self.before) as usize);
        self.before = index;
        if self.slots.is_empty() {
            *self = Places { before: index, ..Places::default() };
        }
        while self.extents.get(1).is_some_and(|extent| extent.first <= index.next()) {
            self.extents.pop_front();
        }
        if self.slots.capacity() > 4 * self.slots.len().max(1024) {
            self.slots.shrink_to(2 * self.slots.len());
        }
    }
}

#[cfg(test)]
mod tests {
    use raft_core::storage::LogBounds;
    use raft_core::types::Term;

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
    fn both_ends_can_be_removed() {
        let mut index = index();
        index.truncate_after(LogIndex::new(7));
        index.purge_upto(id(4, 2));
        assert_eq!(index.summary.bounds(), LogBounds { boundary: id(4, 2), last: id(7, 3) });
        for (number, segment) in [(5, 2), (6, 2), (7, 3)] {
            let (found, slot) = index.find(LogIndex::new(number));
            assert_eq!((found, slot), (seal(segment), Slot::new(number * 64, 5)));
        }
        assert_eq!(index.first_segment(), Some(2));
        index.purge_upto(id(7, 3));
        assert_eq!((index.last(), index.first_segment()), (id(7, 3), None));
    }
}
