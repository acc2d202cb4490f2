//! How far the log is purged.
//!
//! What a durable snapshot includes may go from the log (section 7 of the paper). Some entries stay
//! for a while, since a peer that lags behind a little is brought up to date faster by entries than
//! by a snapshot (K29):
//!
//! ```text
//!        held_back_entries
//!   |<------------------------------------>|
//!   |               kept_entries           |
//!   |           |<------------------------>|
//!   |  for peers that need them            | newest durable snapshot, or what is applied
//! ```
//!
//! A peer that is sent entries holds the purge back, and so does the end of a snapshot that a peer
//! is receiving, since the peer needs what follows. A peer that is down holds back no more than the
//! limit. Every member purges its own log.
//!
//! Deliberately absent: when segments are removed, which the store decides.

use raft_core::consensus::Input;
use raft_core::types::LogIndex;

use super::Pump;
use super::event::{Clients, Effects};
use super::planted::planted;

/// How many ticks pass between two looks at what may be purged: 1 s.
const INTERVAL: u64 = 100;

/// A purge removes at least the kept entries divided by this, so that it is rare.
const STEPS: u64 = 8;

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

    fn purgeable_upto(&self) -> LogIndex {
        let Some(newest) = self.snapshots.newest() else { return LogIndex::ZERO };
        let applied = self.applying.applied();
        let beyond = planted!(self, PurgedBeyondSnapshot);
        let covered = if beyond { applied } else { newest.last.index.min(applied) };
        let before = |count: u64| LogIndex::new(covered.get().saturating_sub(count));
        let needed = self.raft.needed_after().min(self.sending.needed_after());
        let furthest = before(self.limits.kept_entries);
        let least = before(self.limits.held_back_entries.max(self.limits.kept_entries));
        needed.clamp(least, furthest)
    }
}
