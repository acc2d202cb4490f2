//! A leader's record of one other member.
//!
//! ```text
//!            accepted                     sent: next advances
//!   Probe ----------------> Pipeline ------------------------+
//!     ^  <---------------      ^   |                         |
//!     |  conflict, not sent    +---+-------------------------+
//!     |
//!     +--> Snapshot: its log ends before this leader's boundary; left when it accepts an append
//! ```
//!
//! *Probe*: it is not known where the logs meet, so one append is in flight at a time. *Pipeline*:
//! the logs meet at a known entry, so appends follow each other without waiting, up to a limit of
//! entries and bytes (thesis, section 10.2.1). In both states, `next` advances as soon as entries
//! are sent; a conflict moves it back.

use alloc::collections::VecDeque;

use super::config::Config;
use super::message::Round;
use super::output::SendId;
use super::time::Time;
use crate::types::{EntryId, LogIndex, NodeId};

/// A leader's record of a peer's log, and of the entries in flight to the peer.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) struct Progress {
    /// The last index known to be durable in the peer's log (matchIndex). Invariant: never falls,
    /// and is below `next`.
    pub(super) matched: LogIndex,
    /// The next index to send (nextIndex).
    pub(super) next: LogIndex,
    /// How entries are sent to the peer now.
    pub(super) pace: Pace,
    /// Entries that were sent and not acknowledged: the last of each append, and its bytes.
    /// Invariant: the indexes rise, and stay below `next`.
    in_flight: VecDeque<(LogIndex, u64)>,
    /// Invariant: the sum of the bytes in `in_flight`.
    in_flight_bytes: u64,
    /// The send whose outcome is not known yet. There is at most one, so that a peer's entries are
    /// sent in order.
    pub(super) sending: Option<SendId>,
    /// The newest round that the peer has answered in.
    pub(super) round: Round,
    /// Whether the peer has answered since the last check for a majority.
    pub(super) active: bool,
    /// When the peer last answered this leader; `None` if it never did.
    pub(super) answered_at: Option<Time>,
    /// Until when the peer's promise gives a lease.
    pub(super) lease_until: Time,
    /// The last index that a client of this peer waits to see committed.
    pub(super) commit_wanted: LogIndex,
    /// The commit index that was last sent to the peer.
    pub(super) commit_sent: LogIndex,
}

/// How entries are sent to a peer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) enum Pace {
    /// One append at a time; `waiting` is true while one is in flight.
    Probe { waiting: bool },
    /// Appends follow each other without waiting.
    Pipeline,
    /// No entries are sent: only a snapshot can help.
    Snapshot,
}

impl Progress {
    /// The record of a peer about which nothing is known yet: the leader assumes that its log is
    /// complete.
    pub(super) fn new(next: LogIndex) -> Progress {
        Progress {
            matched: LogIndex::ZERO,
            next,
            pace: Pace::Probe { waiting: false },
            in_flight: VecDeque::new(),
            in_flight_bytes: 0,
            sending: None,
            round: Round(0),
            active: true,
            answered_at: None,
            lease_until: Time::ZERO,
            commit_wanted: LogIndex::ZERO,
            commit_sent: LogIndex::ZERO,
        }
    }

    /// Whether entries may be sent now.
    pub(super) fn may_send(&self, config: &Config) -> bool {
        let has_room = match self.pace {
            Pace::Probe { waiting } => !waiting,
            Pace::Pipeline => self.room(config) > 0,
            Pace::Snapshot => false,
        };
        has_room && self.sending.is_none()
    }

    /// How many more entries may be in flight.
    pub(super) fn room(&self, config: &Config) -> u64 {
        let entries = self.next.prev().since(self.matched);
        if self.in_flight_bytes < config.max_inflight_bytes {
            config.max_inflight_entries.saturating_sub(entries)
        } else {
            0
        }
    }

    /// Records that the peer answered.
    pub(super) fn on_answer(&mut self, now: Time) {
        self.active = true;
        self.answered_at = Some(now);
    }

    /// Records that entries up to `upto` were sent.
    pub(super) fn on_sent(&mut self, upto: LogIndex, bytes: u64) {
        self.sending = None;
        self.next = self.next.max(upto.next());
        self.in_flight.push_back((upto, bytes));
        self.in_flight_bytes += bytes;
        if let Pace::Probe { waiting } = &mut self.pace {
            *waiting = true;
        }
    }

    /// Records that entries were not sent; they are sent once the next heartbeat is answered.
    pub(super) fn on_not_sent(&mut self) {
        self.sending = None;
        self.restart(Pace::Probe { waiting: true });
    }

    /// Panics, citing the law, if the record of entries in flight contradicts itself.
    pub(super) fn check(&self, node: NodeId) {
        let mut before = LogIndex::ZERO;
        for (last, _) in &self.in_flight {
            assert!(before < *last, "L12: {node} was sent {last} after {before}");
            before = *last;
        }
        assert!(before < self.next, "L12: {before} is on its way to {node}, next is {}", self.next);
        let bytes: u64 = self.in_flight.iter().map(|(_, bytes)| bytes).sum();
        assert_eq!(bytes, self.in_flight_bytes, "L12: bytes on their way to {node}");
    }

    /// The peer's log meets the leader's, durably up to `matched`. Returns whether `matched` is
    /// greater than every index acknowledged before.
    pub(super) fn on_accepted(&mut self, matched: LogIndex) -> bool {
        let advanced = matched > self.matched;
        self.matched = self.matched.max(matched);
        self.next = self.next.max(self.matched.next());
        while let Some((last, bytes)) = self.in_flight.front()
            && *last <= matched
        {
            self.in_flight_bytes -= bytes;
            self.in_flight.pop_front();
        }
        // An answer that acknowledges nothing new may belong to an append that was sent before the
        // probe. If it counted as the answer to the probe, the whole window would be sent again;
        // and if messages overtake each other, each answer to that window would cause another
        // resend, too. And a peer that needs a snapshot needs it until it has the boundary,
        // whatever entries before the boundary are acknowledged late.
        let is_sent_entries = self.pace != Pace::Snapshot;
        if (advanced && is_sent_entries) || matched >= self.next.prev() {
            self.pace = Pace::Pipeline;
        }
        advanced
    }

    /// The peer lacks the entry before an append; the logs may meet at `meeting`. `next` never goes
    /// back to an acknowledged index.
    pub(super) fn on_conflict(&mut self, meeting: EntryId) {
        self.next = meeting.index.next().max(self.matched.next());
        self.restart(Pace::Probe { waiting: false });
    }

    /// The peer lacks entries up to `boundary`, which were purged. Heartbeats ask whether it has
    /// the boundary now.
    pub(super) fn on_compacted(&mut self, boundary: LogIndex) {
        self.next = boundary.max(self.matched).next();
        self.restart(Pace::Snapshot);
    }

    /// Forgets the entries in flight.
    pub(super) fn restart(&mut self, pace: Pace) {
        self.pace = pace;
        self.in_flight.clear();
        self.in_flight_bytes = 0;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::types::Term;

    fn at(index: u64) -> LogIndex {
        LogIndex::new(index)
    }

    fn meeting(index: u64) -> EntryId {
        EntryId::new(Term::new(1), at(index))
    }

    /// Limits of 10 entries and 100 bytes.
    fn config() -> Config {
        let own = NodeId::new(1).expect("not zero");
        Config { max_inflight_entries: 10, max_inflight_bytes: 100, ..Config::new(own, 0) }
    }

    /// A peer that has everything up to 5.
    fn pipelining() -> Progress {
        let mut peer = Progress::new(at(6));
        assert!(peer.on_accepted(at(5)));
        peer
    }

    #[test]
    fn only_one_append_is_in_flight_while_the_logs_are_not_known_to_meet() {
        let mut peer = Progress::new(at(6));
        assert!(peer.may_send(&config()));
        peer.on_sent(at(7), 1);
        assert!(!peer.may_send(&config()));
        peer.on_accepted(at(7));
        assert_eq!((peer.pace, peer.next), (Pace::Pipeline, at(8)));
        assert!(peer.may_send(&config()));
    }

    #[test]
    fn room_shrinks_with_what_is_sent_and_grows_with_what_is_accepted() {
        let mut peer = pipelining();
        peer.on_sent(at(12), 10);
        assert_eq!(peer.room(&config()), 3);
        peer.on_sent(at(15), 10);
        assert_eq!(peer.room(&config()), 0);
        peer.on_accepted(at(13));
        assert_eq!(peer.room(&config()), 8);
    }

    #[test]
    fn bytes_are_freed_with_the_whole_append_that_carried_them() {
        let mut peer = pipelining();
        peer.on_sent(at(7), 60);
        peer.on_sent(at(9), 60);
        assert_eq!(peer.room(&config()), 0);
        peer.on_accepted(at(6));
        assert_eq!(peer.room(&config()), 0);
        peer.on_accepted(at(7));
        assert_eq!(peer.room(&config()), 8);
    }

    #[test]
    fn a_conflict_never_goes_back_below_what_is_matched() {
        let mut peer = pipelining();
        peer.on_sent(at(9), 60);
        peer.on_conflict(meeting(2));
        assert_eq!((peer.next, peer.matched), (at(6), at(5)));
        assert_eq!(peer.pace, Pace::Probe { waiting: false });
        assert_eq!(peer.room(&config()), 10);
    }

    #[test]
    fn an_older_acceptance_moves_nothing_back() {
        let mut peer = pipelining();
        peer.on_sent(at(9), 1);
        assert!(peer.on_accepted(at(9)));
        assert!(!peer.on_accepted(at(7)));
        assert_eq!((peer.matched, peer.next), (at(9), at(10)));
    }

    #[test]
    fn a_peer_in_need_of_a_snapshot_is_asked_about_the_boundary_and_leaves_by_accepting_it() {
        let mut peer = Progress::new(at(30));
        peer.on_compacted(at(20));
        assert_eq!(peer.next, at(21));
        assert!(!peer.may_send(&config()));
        peer.on_accepted(at(20));
        assert!(peer.may_send(&config()));
    }

    /// What went wrong: entries up to 5 were on their way when the log was purged up to 20. Their
    /// acknowledgement ended the need of a snapshot, and since 15 entries then counted as in
    /// flight, nothing was ever sent again.
    #[test]
    fn a_late_acknowledgement_does_not_end_the_need_of_a_snapshot() {
        let mut peer = Progress::new(at(30));
        peer.on_compacted(at(20));
        assert!(peer.on_accepted(at(5)));
        assert_eq!((peer.pace, peer.next), (Pace::Snapshot, at(21)));
    }
}
