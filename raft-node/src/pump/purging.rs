//! How far the log is purged.
//!
//! What a durable snapshot includes may go from the log (section 7 of the paper). Some entries stay
//! for a while, since a peer that lags behind a little is brought up to date faster by entries than
//! by a snapshot (K29):
//!
//! ```text
//!        held_back_bytes
//!   |<---------------------------------------------------->| last entry
//!   |        kept_entries          |
//!   |       |<-------------------->|
//!   |  for peers that need them    | newest durable snapshot, or what is applied
//! ```
//!
//! A peer that is sent entries holds the purge back, and so does the end of a snapshot that a peer
//! receives, since the peer needs what follows. While the snapshot is sent and restored, the log
//! grows, so this limit counts bytes: it bounds the disk, and it is large, because a peer that
//! finds the next entries purged begins again with another snapshot. A peer that is down holds back
//! no more than the limit. Every member purges its own log.
//!
//! Deliberately absent: when segments are removed, which the store decides.

use std::collections::VecDeque;

use raft_core::consensus::Input;
use raft_core::types::LogIndex;

use super::Pump;
use super::effects::Effects;
use super::event::Clients;
use super::planted::planted;

/// How many ticks pass between two looks at what may be purged: 1 s.
const INTERVAL: u64 = 100;

/// A purge removes at least the kept entries divided by this, so that it is rare.
const STEPS: u64 = 8;

/// How many parts of the limit the size of the log is counted in.
const PARTS: u64 = 64;

/// About how many payload bytes the log has after an index, as far as this process appended them.
#[derive(Debug)]
pub(super) struct LogSize {
    /// A mark is made after so many bytes.
    step: u64,
    /// The bytes that were ever appended.
    total: u64,
    /// The last index of an append, and the bytes that were appended up to there. Both rise.
    marks: VecDeque<(LogIndex, u64)>,
}

impl LogSize {
    /// Counts so finely that a limit of this many bytes can be kept.
    pub(super) fn new(limit: u64) -> LogSize {
        LogSize { step: (limit / PARTS).max(1), total: 0, marks: VecDeque::new() }
    }

    /// Entries up to `last` were appended, with so many payload bytes.
    pub(super) fn note(&mut self, last: LogIndex, bytes: u64) {
        self.total += bytes;
        while self.marks.back().is_some_and(|(index, _)| *index >= last) {
            self.marks.pop_back();
        }
        if self.marks.back().is_none_or(|(_, at)| self.total - at >= self.step) {
            self.marks.push_back((last, self.total));
        }
    }

    /// The first mark after which there are no more bytes than this; the last one if there is none.
    fn within(&mut self, bytes: u64) -> LogIndex {
        if self.total <= bytes {
            return LogIndex::ZERO;
        }
        while self.marks.len() > 1 && self.total - self.marks[0].1 > bytes {
            self.marks.pop_front();
        }
        self.marks.front().map_or(LogIndex::ZERO, |(index, _)| *index)
    }
}

impl<C: Clients> Pump<C> {
    /// Purges what peers held back before and do not need any more.
    pub(super) fn tick_purging(&mut self, effects: &mut Effects<C>) {
        if self.now.is_multiple_of(INTERVAL) {
            self.purge_if_due(effects);
        }
    }

    /// Purges the log if enough of it is no longer needed.
    pub(super) fn purge_if_due(&mut self, effects: &mut Effects<C>) {
        let upto = self.purgeable_upto();
        let least = (self.limits.kept_entries / STEPS).max(1);
        if upto.since(self.raft.boundary().index) >= least {
            self.step(Input::Purge { upto }, effects);
        }
    }

    fn purgeable_upto(&mut self) -> LogIndex {
        let Some(newest) = self.snapshots.newest() else { return LogIndex::ZERO };
        let applied = self.applying.applied();
        let beyond = planted!(self, PurgedBeyondSnapshot);
        let covered = if beyond { applied } else { newest.last.index.min(applied) };
        let kept = self.limits.kept_entries;
        let furthest = LogIndex::new(covered.get().saturating_sub(kept));
        let needed = self.raft.needed_after().min(self.sending.needed_after());
        let most = self.limits.held_back_bytes.max(newest.bytes);
        let too_many = self.log_size.within(most);
        needed.max(too_many).min(furthest)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(index: u64) -> LogIndex {
        LogIndex::new(index)
    }

    #[test]
    fn the_oldest_entries_are_beyond_the_limit() {
        let mut size = LogSize::new(640);
        for index in 1..=100 {
            size.note(at(index), 10);
        }
        assert_eq!(size.within(2000), at(0));
        assert_eq!(size.within(640), at(36));
        assert!(size.marks.len() <= 66, "{}", size.marks.len());
        // Entries 51 to 100 are replaced.
        size.note(at(51), 10);
        assert_eq!(size.marks.back(), Some(&(at(51), 1010)));
        assert_eq!(size.within(0), at(51), "only what follows the last entry fits");
    }
}
