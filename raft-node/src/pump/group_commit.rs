//! Group commit: one write in flight, and all that came meanwhile is the next one.
//!
//! It is done here once for every backend, inside the code that the simulator runs. No timer, no
//! least size: an idle disk gets a write at once, a busy one gets a larger one when it is free.

use std::collections::VecDeque;

use raft_core::consensus::WriteSeq;
use raft_core::storage::WriteBatch;
use raft_core::types::LogIndex;

/// Writes that wait for the store, and the one that it has.
#[derive(Debug, Default)]
pub(super) struct GroupCommit {
    waiting: VecDeque<Group>,
    in_flight: Option<Sealed>,
    /// The last index that has been written, of the log as it stands.
    written: LogIndex,
}

#[derive(Debug)]
struct Group {
    batch: WriteBatch,
    /// The batch's payload bytes, so that merging does not count them anew each time.
    bytes: u64,
    sealed: Sealed,
}

/// What completes with a group: the newest of its writes, and the log's end.
#[derive(Clone, Copy, Debug)]
struct Sealed {
    upto: WriteSeq,
    end: LogIndex,
}

impl GroupCommit {
    pub(super) fn new(written: LogIndex) -> GroupCommit {
        GroupCommit { written, ..GroupCommit::default() }
    }

    /// Queues a write with so many payload bytes, after which the log ends at `end`.
    pub(super) fn push(&mut self, seq: WriteSeq, batch: WriteBatch, bytes: u64, end: LogIndex) {
        if let Some(cut) = batch.truncate_after {
            self.lower_to(cut);
        }
        let sealed = Sealed { upto: seq, end };
        let Some(last) = self.waiting.back_mut() else {
            return self.waiting.push_back(Group { batch, bytes, sealed });
        };
        let cuts = batch.truncate_after.is_some();
        match std::mem::take(&mut last.batch).then_sized(last.bytes, batch, bytes) {
            Ok(merged) => {
                let bytes = if cuts { merged.size() } else { last.bytes + bytes };
                *last = Group { batch: merged, bytes, sealed };
            }
            Err(both) => {
                let (first, second) = *both;
                last.batch = first;
                self.waiting.push_back(Group { batch: second, bytes, sealed });
            }
        }
    }

    /// What was written beyond `cut` is about to go.
    fn lower_to(&mut self, cut: LogIndex) {
        self.written = self.written.min(cut);
        if let Some(in_flight) = &mut self.in_flight {
            in_flight.end = in_flight.end.min(cut);
        }
        for group in &mut self.waiting {
            group.sealed.end = group.sealed.end.min(cut);
        }
    }

    /// Whether the store has a write.
    pub(super) fn is_busy(&self) -> bool {
        self.in_flight.is_some()
    }

    /// The next write and its payload bytes, if the store is idle and there is one.
    pub(super) fn start(&mut self) -> Option<(WriteBatch, u64)> {
        if self.in_flight.is_some() {
            return None;
        }
        let group = self.waiting.pop_front()?;
        self.in_flight = Some(group.sealed);
        Some((group.batch, group.bytes))
    }

    /// The write in flight is done; the newest write that it carried.
    pub(super) fn finish(&mut self) -> WriteSeq {
        let sealed = self.in_flight.take().expect("a write is in flight");
        self.written = sealed.end;
        sealed.upto
    }

    /// The last index that has been written, of the log as it stands.
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
    fn all_that_came_meanwhile_is_the_next_write() {
        let mut writes = GroupCommit::new(LogIndex::ZERO);
        for seq in 1..=4 {
            writes.push(WriteSeq(seq), append(seq), 0, LogIndex::new(seq));
            if seq == 1 {
                assert_eq!(writes.start().map(|(batch, _)| batch.append.len()), Some(1));
            }
        }
        assert_eq!(writes.start(), None, "one write at a time");
        assert_eq!(writes.finish(), WriteSeq(1));
        assert_eq!(writes.start().map(|(batch, _)| batch.append.len()), Some(3));
        assert_eq!(writes.finish(), WriteSeq(4));
        assert_eq!(writes.written(), LogIndex::new(4));
    }

    #[test]
    fn a_cut_takes_back_what_was_written() {
        let mut writes = GroupCommit::new(LogIndex::new(9));
        writes.push(WriteSeq(1), append(10), 0, LogIndex::new(10));
        writes.start();
        let cut = WriteBatch { truncate_after: Some(LogIndex::new(7)), ..append(8) };
        writes.push(WriteSeq(2), cut, 0, LogIndex::new(8));
        assert_eq!(writes.written(), LogIndex::new(7));
        writes.finish();
        assert_eq!(writes.written(), LogIndex::new(7));
    }
}
