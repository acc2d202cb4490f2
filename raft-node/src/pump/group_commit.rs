//! Group commit: one write is in flight, and all that arrives meanwhile becomes the next one.
//!
//! Writes are grouped here, once for every backend, inside the code that the simulator runs. There
//! is no timer and no minimum size: an idle disk gets a write at once, and a busy one gets a larger
//! write when it is free.
//!
//! **The commit hint.** A write carries an index that is known to be committed, and recovery relies
//! on it (laws L5, L10). The protocol's commit index may cover entries of a *later* group, because
//! groups are merged only up to a number of bytes:
//!
//! 1. A follower's disk is busy. Two groups wait: `append 8..11` and `append 12`, of the leader of
//!    term 5, which then fails. None of these entries is committed.
//! 2. The leader of term 6 sends another entry 8. It is merged into the second group, which becomes
//!    `truncate after 7, append 8`; the leader commits that entry and sends its commit index.
//! 3. The disk is free, and the first group goes to it. It holds entry 8 of term 5. A hint of 8
//!    would make a restart apply that entry, which was never committed.
//!
//! So the hint is never above the group's `end`, which step 2 has lowered to 7.

use std::collections::VecDeque;

use raft_core::consensus::WriteSeq;
use raft_core::storage::WriteBatch;
use raft_core::types::LogIndex;

/// Writes that wait for the store, and the one that it has.
#[derive(Debug, Default)]
pub(super) struct GroupCommit {
    /// The most payload bytes of a group that is merged from several writes.
    most_bytes: u64,
    waiting: VecDeque<Group>,
    in_flight: Option<Sealed>,
    /// The last written index of the log as it stands now.
    written: LogIndex,
    /// The payload bytes of `waiting` and of `in_flight`.
    unwritten_bytes: u64,
}

#[derive(Debug)]
struct Group {
    batch: WriteBatch,
    sealed: Sealed,
}

/// The record of a group, for its completion.
#[derive(Clone, Copy, Debug)]
struct Sealed {
    /// The newest of its writes.
    upto: WriteSeq,
    /// Up to here the log as it stands now is written once the group is. Invariant: every
    /// truncation that was pushed after the group has lowered it.
    end: LogIndex,
    /// The payload bytes.
    bytes: u64,
}

/// A group on its way to the store.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Started {
    pub(super) batch: WriteBatch,
    /// The batch's payload bytes.
    pub(super) bytes: u64,
    /// Up to here the log as it stands now is written once the batch is: the greatest commit hint
    /// that the batch may carry.
    pub(super) end: LogIndex,
}

impl GroupCommit {
    /// `most_bytes` is the most payload of a group that is merged from several writes.
    pub(super) fn new(written: LogIndex, most_bytes: u64) -> GroupCommit {
        GroupCommit { written, most_bytes, ..GroupCommit::default() }
    }

    /// Queues a write with so many payload bytes, after which the log ends at `end`.
    pub(super) fn push(&mut self, seq: WriteSeq, batch: WriteBatch, bytes: u64, end: LogIndex) {
        if let Some(index) = batch.truncate_after {
            self.lower_to(index);
        }
        let sealed = Sealed { upto: seq, end, bytes };
        self.unwritten_bytes += bytes;
        let Some(last) = self.waiting.back_mut() else {
            return self.waiting.push_back(Group { batch, sealed });
        };
        let together = last.sealed.bytes + bytes;
        if together > self.most_bytes {
            return self.waiting.push_back(Group { batch, sealed });
        }
        let truncates = batch.truncate_after.is_some();
        match std::mem::take(&mut last.batch).then_sized(last.sealed.bytes, batch, bytes) {
            Ok(merged) => {
                let bytes = if truncates { merged.size() } else { together };
                self.unwritten_bytes -= together - bytes;
                *last = Group { batch: merged, sealed: Sealed { bytes, ..sealed } };
            }
            Err(both) => {
                let (first, second) = *both;
                last.batch = first;
                self.waiting.push_back(Group { batch: second, sealed });
            }
        }
    }

    /// Every entry after `index` is about to be removed.
    pub(super) fn lower_to(&mut self, index: LogIndex) {
        self.written = self.written.min(index);
        if let Some(in_flight) = &mut self.in_flight {
            in_flight.end = in_flight.end.min(index);
        }
        for group in &mut self.waiting {
            group.sealed.end = group.sealed.end.min(index);
        }
    }

    /// Whether the store has a write.
    pub(super) fn is_busy(&self) -> bool {
        self.in_flight.is_some()
    }

    /// The next write, if the store is idle and there is one.
    pub(super) fn start(&mut self) -> Option<Started> {
        if self.in_flight.is_some() {
            return None;
        }
        let group = self.waiting.pop_front()?;
        self.in_flight = Some(group.sealed);
        let Group { batch, sealed: Sealed { bytes, end, .. } } = group;
        Some(Started { batch, bytes, end })
    }

    /// The write in flight is done; returns the newest write that it carried.
    pub(super) fn finish(&mut self) -> WriteSeq {
        let sealed = self.in_flight.take().expect("a write is in flight");
        self.written = sealed.end;
        self.unwritten_bytes -= sealed.bytes;
        sealed.upto
    }

    /// The payload bytes that the store does not have yet.
    pub(super) fn unwritten_bytes(&self) -> u64 {
        self.unwritten_bytes
    }

    /// The last written index of the log as it stands now.
    pub(super) fn written(&self) -> LogIndex {
        self.written
    }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use raft_core::types::{Entry, EntryId, EntryKind, Term};

    use super::*;

    fn append(index: u64) -> WriteBatch {
        let id = EntryId::new(Term::new(1), LogIndex::new(index));
        WriteBatch::of_entries(vec![Entry::new(id, EntryKind::Command, Bytes::new())])
    }

    #[test]
    fn all_that_arrived_meanwhile_is_the_next_write() {
        let mut writes = GroupCommit::new(LogIndex::ZERO, 4 << 20);
        for seq in 1..=4 {
            writes.push(WriteSeq(seq), append(seq), 0, LogIndex::new(seq));
            if seq == 1 {
                assert_eq!(writes.start().map(|group| group.batch.append.len()), Some(1));
            }
        }
        assert_eq!(writes.start(), None, "one write at a time");
        assert_eq!(writes.finish(), WriteSeq(1));
        assert_eq!(writes.start().map(|group| group.batch.append.len()), Some(3));
        assert_eq!(writes.finish(), WriteSeq(4));
        assert_eq!(writes.written(), LogIndex::new(4));
    }

    #[test]
    fn bytes_count_until_they_are_written_and_not_where_a_truncation_removed_them() {
        let of_bytes = |index, size| {
            let id = EntryId::new(Term::new(1), LogIndex::new(index));
            let entry = Entry::new(id, EntryKind::Command, Bytes::from(vec![0; size]));
            WriteBatch::of_entries(vec![entry])
        };
        let mut writes = GroupCommit::new(LogIndex::ZERO, 100);
        writes.push(WriteSeq(1), of_bytes(1, 10), 10, LogIndex::new(1));
        writes.start();
        writes.push(WriteSeq(2), of_bytes(2, 20), 20, LogIndex::new(2));
        assert_eq!(writes.unwritten_bytes(), 30);
        let instead = WriteBatch { truncate_after: Some(LogIndex::new(1)), ..of_bytes(2, 5) };
        writes.push(WriteSeq(3), instead, 5, LogIndex::new(2));
        assert_eq!(writes.unwritten_bytes(), 15);
        writes.push(WriteSeq(4), of_bytes(3, 96), 96, LogIndex::new(3));
        assert_eq!(writes.unwritten_bytes(), 111, "in a group of its own");
        for left in [101, 96, 0] {
            writes.finish();
            assert_eq!(writes.unwritten_bytes(), left);
            writes.start();
        }
    }

    #[test]
    fn a_truncation_takes_back_what_was_written() {
        let mut writes = GroupCommit::new(LogIndex::new(9), 4 << 20);
        writes.push(WriteSeq(1), append(10), 0, LogIndex::new(10));
        writes.start();
        let cut = WriteBatch { truncate_after: Some(LogIndex::new(7)), ..append(8) };
        writes.push(WriteSeq(2), cut, 0, LogIndex::new(8));
        assert_eq!(writes.written(), LogIndex::new(7));
        writes.finish();
        assert_eq!(writes.written(), LogIndex::new(7));
    }

    /// What went wrong: the hint of the first group was the commit index, which was about the entry
    /// that a new leader had put in the second group (the steps at the head of this file).
    #[test]
    fn a_group_ends_where_a_later_truncation_leaves_it() {
        let of_term = |index, term| {
            let id = EntryId::new(Term::new(term), LogIndex::new(index));
            Entry::new(id, EntryKind::Command, Bytes::from_static(b"four"))
        };
        let mut writes = GroupCommit::new(LogIndex::new(6), 4);
        writes.push(WriteSeq(1), append(7), 0, LogIndex::new(7));
        assert!(writes.start().is_some(), "the disk is busy with entry 7");
        for (seq, index) in [(2, 8), (3, 9)] {
            let batch = WriteBatch::of_entries(vec![of_term(index, 5)]);
            writes.push(WriteSeq(seq), batch, 4, LogIndex::new(index));
        }
        let batch = WriteBatch {
            truncate_after: Some(LogIndex::new(7)),
            ..WriteBatch::of_entries(vec![of_term(8, 6)])
        };
        writes.push(WriteSeq(4), batch, 4, LogIndex::new(8));
        let mut groups = Vec::new();
        loop {
            writes.finish();
            let Some(started) = writes.start() else { break };
            let last = started.batch.append.last().map(|entry| entry.id);
            groups.push((last.expect("an entry"), started.end));
        }
        let id = |index, term| EntryId::new(Term::new(term), LogIndex::new(index));
        assert_eq!(
            groups[0],
            (id(8, 5), LogIndex::new(7)),
            "the hint does not cover entry 8 of term 5"
        );
        assert_eq!(groups.last(), Some(&(id(8, 6), LogIndex::new(8))));
    }
}
