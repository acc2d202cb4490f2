//! Which writes were issued to the disk, and up to where the log is durable.
//!
//! The rest of the protocol changes its state as soon as a write is *issued*; every promise to a
//! peer or a client waits here until the write is *durable* (law L6). Each write has an end: the
//! log's last index once it is applied. Completions come in the order of issue.
//!
//! **Late completions and rewritten indexes.** A write appends up to 10; before it completes,
//! entries after 7 are truncated and replaced. Its completion does not cover the new entries 8 to
//! 10. So every truncation lowers the ends of the writes in flight, and the durable index with
//! them; indexes alone decide, and no term is needed. (The historic bug, known as ABA, was to
//! compare with the log's current state when the completion arrived.)

use alloc::collections::VecDeque;

use super::output::WriteSeq;
use crate::types::LogIndex;

/// Writes in flight, and the durable end of the log.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) struct Writes {
    issued: WriteSeq,
    completed: WriteSeq,
    in_flight: VecDeque<InFlight>,
    durable: LogIndex,
    /// The end of the newest snapshot that was installed. What it includes is durable, whatever
    /// writes of the log are in flight.
    installed: LogIndex,
    /// Ticks since the last completion, while anything is in flight.
    waited: u32,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct InFlight {
    seq: WriteSeq,
    end: LogIndex,
}

impl Writes {
    /// At start everything the store shows is durable (promise P2).
    pub(super) fn new(last: LogIndex) -> Writes {
        Writes {
            issued: WriteSeq(0),
            completed: WriteSeq(0),
            in_flight: VecDeque::new(),
            durable: last,
            installed: LogIndex::ZERO,
            waited: 0,
        }
    }

    /// The number that the next write will have.
    pub(super) fn next_seq(&self) -> WriteSeq {
        WriteSeq(self.issued.0 + 1)
    }

    /// Records a write that leaves the log with this end.
    pub(super) fn issue(&mut self, end: LogIndex) -> WriteSeq {
        self.issued = self.next_seq();
        self.in_flight.push_back(InFlight { seq: self.issued, end });
        self.issued
    }

    /// Records that every entry after `index` is truncated: nothing beyond it is durable now, and
    /// no write issued so far will make it so.
    pub(super) fn lower_to(&mut self, index: LogIndex) {
        self.durable = self.durable.min(index);
        for write in &mut self.in_flight {
            write.end = write.end.min(index);
        }
    }

    /// Records that every write up to `seq` is durable. False if that was known before.
    pub(super) fn complete(&mut self, seq: WriteSeq) -> bool {
        assert!(seq <= self.issued, "write {} completed before it was issued", seq.0);
        if seq <= self.completed {
            return false;
        }
        self.completed = seq;
        self.waited = 0;
        while let Some(write) = self.in_flight.front()
            && write.seq <= seq
        {
            self.durable = write.end;
            self.in_flight.pop_front();
        }
        true
    }

    /// Records that a durable snapshot includes everything up to `last`.
    pub(super) fn install(&mut self, last: LogIndex) {
        self.installed = self.installed.max(last);
    }

    /// The last index up to which the log as it stands, or the snapshot before it, is durable.
    pub(super) fn durable(&self) -> LogIndex {
        self.durable.max(self.installed)
    }

    /// Whether this write is durable.
    pub(super) fn is_durable(&self, seq: WriteSeq) -> bool {
        seq <= self.completed
    }

    /// Counts one tick.
    pub(super) fn tick(&mut self) {
        if self.in_flight.is_empty() {
            self.waited = 0;
        } else {
            self.waited = self.waited.saturating_add(1);
        }
    }

    /// The number of ticks for which a write has been in flight without any completion.
    pub(super) fn waited(&self) -> u32 {
        self.waited
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(index: u64) -> LogIndex {
        LogIndex::new(index)
    }

    #[test]
    fn a_late_completion_does_not_confirm_a_rewritten_index() {
        let mut writes = Writes::new(at(5));
        let first = writes.issue(at(10));
        writes.lower_to(at(7));
        let second = writes.issue(at(10));
        writes.complete(first);
        assert_eq!(writes.durable(), at(7));
        writes.complete(second);
        assert_eq!(writes.durable(), at(10));
    }

    #[test]
    fn an_older_completion_changes_nothing() {
        let mut writes = Writes::new(at(0));
        let first = writes.issue(at(1));
        let second = writes.issue(at(2));
        assert!(writes.complete(second));
        assert!(!writes.complete(first));
        assert_eq!(writes.durable(), at(2));
    }

    #[test]
    fn waiting_counts_from_the_last_completion() {
        let mut writes = Writes::new(at(0));
        writes.tick();
        assert_eq!(writes.waited(), 0);
        let first = writes.issue(at(1));
        writes.tick();
        writes.tick();
        assert_eq!(writes.waited(), 2);
        writes.complete(first);
        writes.tick();
        assert_eq!(writes.waited(), 0);
    }
}
