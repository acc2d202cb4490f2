//! The entries, in a compact form.
//!
//! A log keeps everything until it is purged, so the bytes per entry beside its payload decide how
//! much memory a long log of small commands needs. Consecutive entries of one term and kind share a
//! *block*: their payloads are concatenated, and each entry costs the four bytes of its end offset.
//! A small payload is copied, which also releases the larger buffer that it may be a slice of (a
//! block read from a connection); a large payload is held by reference count.

use std::collections::VecDeque;

use bytes::Bytes;
use raft_core::types::{Entry, EntryId, EntryKind, LogIndex};

/// Payloads of at least this size are not copied.
const LARGE_BYTES: usize = 4 << 10;

/// A new block begins when the last one holds this many bytes, or this many entries.
const BLOCK_BYTES: usize = 64 << 10;
const BLOCK_ENTRIES: usize = 8 << 10;

/// Consecutive entries.
#[derive(Debug, Default)]
pub(crate) struct Entries {
    /// Invariant: no block is empty.
    blocks: VecDeque<Block>,
}

#[derive(Debug)]
struct Block {
    first: EntryId,
    kind: EntryKind,
    payloads: Payloads,
}

#[derive(Debug)]
enum Payloads {
    /// Concatenated; `ends` holds the end offset of each.
    Packed { bytes: Vec<u8>, ends: Vec<u32> },
    /// The payload of the block's only entry.
    Large(Bytes),
}

impl Entries {
    /// The last entry's id.
    pub(crate) fn last_id(&self) -> Option<EntryId> {
        self.blocks.back().map(|block| block.id(block.len() - 1))
    }

    /// The id of a stored entry.
    pub(crate) fn id(&self, index: LogIndex) -> EntryId {
        let block = &self.blocks[self.block_of(index)];
        block.id(block.place(index))
    }

    /// The stored entries from an index on.
    pub(crate) fn from(&self, index: LogIndex) -> impl Iterator<Item = Entry> {
        let blocks = self.blocks.range(self.block_of(index)..);
        blocks.flat_map(move |block| {
            let first = if block.first.index < index { block.place(index) } else { 0 };
            (first..block.len()).map(move |place| block.entry(place))
        })
    }

    /// Appends entries that follow the last one.
    pub(crate) fn extend(&mut self, entries: Vec<Entry>) {
        let mut rest = &entries[..];
        while let Some(first) = rest.first() {
            let taken = self.blocks.back_mut().map_or(0, |block| block.extend(rest));
            rest = &rest[taken..];
            if taken == 0 {
                self.blocks.push_back(Block::of(first));
                rest = &rest[1..];
            }
        }
    }

    /// Removes and returns every entry after an index.
    pub(crate) fn split_after(&mut self, index: LogIndex) -> Entries {
        let Some(first) = self.blocks.front().map(|block| block.first.index) else {
            return Entries::default();
        };
        let from = index.next().max(first);
        let at = self.block_of(from);
        let mut rest = self.blocks.split_off(at);
        if let Some(block) = rest.front_mut()
            && block.first.index < from
        {
            let tail = block.split_off(block.place(from));
            self.blocks.push_back(std::mem::replace(block, tail));
        }
        Entries { blocks: rest }
    }

    /// Appends entries that were split off after the last one.
    pub(crate) fn append(&mut self, mut later: Entries) {
        self.blocks.append(&mut later.blocks);
    }

    /// The number of the block that holds an index; the number of blocks if none does.
    fn block_of(&self, index: LogIndex) -> usize {
        let after = self.blocks.partition_point(|block| block.first.index <= index);
        match after.checked_sub(1) {
            Some(at) if self.blocks[at].place(index) < self.blocks[at].len() => at,
            _ => after,
        }
    }
}

impl Block {
    fn of(entry: &Entry) -> Block {
        let payloads = if entry.payload.len() < LARGE_BYTES {
            Payloads::Packed {
                bytes: entry.payload.to_vec(),
                ends: vec![entry.payload.len() as u32],
            }
        } else {
            Payloads::Large(entry.payload.clone())
        };
        Block { first: entry.id, kind: entry.kind, payloads }
    }

    /// Appends as many of these entries, which follow the last one, as belong to this block;
    /// returns how many.
    fn extend(&mut self, entries: &[Entry]) -> usize {
        let Payloads::Packed { bytes, ends } = &mut self.payloads else { return 0 };
        let before = ends.len();
        for entry in entries {
            let size = entry.payload.len();
            let is_alike = (entry.id.term, entry.kind) == (self.first.term, self.kind);
            let fits = size < LARGE_BYTES && bytes.len() + size <= BLOCK_BYTES;
            if !is_alike || !fits || ends.len() == BLOCK_ENTRIES {
                break;
            }
            bytes.extend_from_slice(&entry.payload);
            ends.push(bytes.len() as u32);
        }
        ends.len() - before
    }

    fn len(&self) -> usize {
        match &self.payloads {
            Payloads::Packed { ends, .. } => ends.len(),
            Payloads::Large(_) => 1,
        }
    }

    /// The position in the block of an index that is not before the block.
    fn place(&self, index: LogIndex) -> usize {
        index.since(self.first.index) as usize
    }

    fn id(&self, place: usize) -> EntryId {
        EntryId::new(self.first.term, self.first.index.plus(place as u64))
    }

    fn entry(&self, place: usize) -> Entry {
        let payload = match &self.payloads {
            Payloads::Packed { bytes, ends } => {
                Bytes::copy_from_slice(&bytes[begin(ends, place)..ends[place] as usize])
            }
            Payloads::Large(payload) => payload.clone(),
        };
        Entry::new(self.id(place), self.kind, payload)
    }

    /// Removes and returns the entries from a position on, which is neither the first nor beyond
    /// the last.
    fn split_off(&mut self, place: usize) -> Block {
        let first = self.id(place);
        let Payloads::Packed { bytes, ends } = &mut self.payloads else {
            unreachable!("a block of one entry has one place")
        };
        let begin = begin(ends, place);
        let mut tail = ends.split_off(place);
        tail.iter_mut().for_each(|end| *end -= begin as u32);
        let payloads = Payloads::Packed { bytes: bytes.split_off(begin), ends: tail };
        Block { first, kind: self.kind, payloads }
    }
}

fn begin(ends: &[u32], place: usize) -> usize {
    place.checked_sub(1).map_or(0, |before| ends[before] as usize)
}

#[cfg(test)]
mod tests {
    use raft_core::types::Term;

    use super::*;

    /// Entries 4 to 13 of two terms and two kinds, some large.
    fn samples() -> Vec<Entry> {
        let sizes = [0, 5, LARGE_BYTES, 7, 0, LARGE_BYTES - 1, LARGE_BYTES + 1, 1, 2, 3];
        let entry = |(at, size): (usize, usize)| {
            let id = EntryId::new(Term::new(1 + at as u64 / 4), LogIndex::new(4 + at as u64));
            let kind = if at == 8 { EntryKind::Noop } else { EntryKind::Command };
            Entry::new(id, kind, Bytes::from(vec![at as u8; size]))
        };
        sizes.into_iter().enumerate().map(entry).collect()
    }

    fn all(entries: &Entries) -> Vec<Entry> {
        entries.from(LogIndex::new(1)).collect()
    }

    #[test]
    fn stored_entries_are_returned_unchanged() {
        let mut entries = Entries::default();
        assert_eq!((entries.last_id(), all(&entries)), (None, vec![]));
        entries.extend(samples()[..3].to_vec());
        entries.extend(samples()[3..].to_vec());
        assert_eq!(all(&entries), samples());
        for sample in samples() {
            assert_eq!(entries.id(sample.id.index), sample.id);
            let rest: Vec<Entry> = entries.from(sample.id.index).collect();
            assert_eq!(rest, samples()[sample.id.index.get() as usize - 4..]);
        }
        assert_eq!(entries.last_id(), Some(samples()[9].id));
        assert_eq!(entries.from(LogIndex::new(14)).next(), None);
    }

    #[test]
    fn both_parts_of_a_split_can_be_joined_again() {
        for cut in 0..=20 {
            let mut entries = Entries::default();
            entries.extend(samples());
            let rest = entries.split_after(LogIndex::new(cut));
            let kept = (cut.max(3) as usize - 3).min(10);
            assert_eq!(all(&entries), samples()[..kept], "cut after {cut}");
            assert_eq!(all(&rest), samples()[kept..], "cut after {cut}");
            entries.append(rest);
            assert_eq!(all(&entries), samples());
        }
    }

    #[test]
    fn a_long_log_of_small_commands_takes_little_memory() {
        let mut entries = Entries::default();
        let id = |index| EntryId::new(Term::new(1), LogIndex::new(index));
        let entry = |index| Entry::new(id(index), EntryKind::Command, Bytes::new());
        (1..=100_000).for_each(|index| entries.extend(vec![entry(index)]));
        assert!(entries.blocks.len() <= 100_000 / BLOCK_ENTRIES + 1);
        assert_eq!(entries.id(LogIndex::new(77_777)), id(77_777));
    }
}
