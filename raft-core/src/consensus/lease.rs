//! Leases: a leader that answers reads without asking, as long as no other leader can be elected.
//!
//! Thesis, section 6.4.1 (K44, K45). Leases are off unless a bound on the drift of clocks is
//! declared ([`Config::lease_drift`](super::Config)). Then the members work together as follows:
//!
//! ```text
//!   leader, its clock:   s: heartbeat of round r      lease until s + E / (1 + drift)
//!                        |----------------------------------------->|
//!   voter, its clock:         h: hears r, promises          h + E: may vote again
//!                             |------------------------------------------------>|
//! ```
//!
//! 1. Each heartbeat begins a round, and the leader records when (s). A message that is sent in the
//!    round is sent after s.
//! 2. A voter that hears a leader promises not to vote for another member until E, its shortest
//!    election timeout, has passed on its clock. Its promise names the newest round that it has
//!    heard, so it began after the leader's s. The promise holds whatever the term becomes: unlike
//!    the knowledge of a leader, it does not end with the term. It binds the voter's vote for
//!    itself
//!    as well. A voter that restarts has forgotten its promises, so it waits for E before it votes.
//! 3. As long as a majority of each membership that may be the cluster's is bound, no member can be
//!    elected. While E / (1 + drift) passes on the leader's clock, less than E passes on any
//!    voter's. So the leader has a lease until that time after s, for the latest s that such a
//!    majority has promised for.
//!
//! Votes that a leader asked for itself break promises (K24): a leader that has asked a member to
//! campaign has no lease any more in its term, even if the transfer is abandoned, because the
//! request may arrive at any time. And, as for ReadIndex, a leader knows what is committed only
//! once an entry of its own term is (K35).
//!
//! A promise names its own length, so members need not be configured alike: a member without leases
//! promises nothing. Absent: what a clock does while its machine is suspended
//! (`docs/assumptions.md`).

use alloc::vec::Vec;

use super::message::{Body, Round};
use super::output::Output;
use super::planted::planted;
use super::quorum;
use super::raft::Raft;
use super::refusal::Rejection;
use super::role::Role;
use super::time::{TICK_MICROS, Time};
use crate::types::{LogIndex, NodeId};

impl Raft {
    // ---- the leader ----

    /// The time until which this leader's lease holds; `None` if it has none.
    pub fn lease_until(&self) -> Option<Time> {
        self.config.lease_drift?;
        let Role::Leader(leader) = &self.role else { return None };
        let knows_commit =
            self.commit >= leader.first_of_term || planted!(self, LeaseBeforeOwnTermCommit);
        let has_asked = leader.asked_to_campaign && !planted!(self, LeaseKeptOverTransfer);
        if !knows_commit || has_asked {
            return None;
        }
        let own = self.id();
        let until = |node: NodeId| match leader.peers.get(&node) {
            Some(peer) => peer.lease_until,
            None if node == own => Time::MAX,
            None => Time::ZERO,
        };
        self.live_memberships().map(|live| quorum::reached_by_majority(live, until)).min()
    }

    /// The index from which this leader may serve a read without asking, because its lease holds
    /// now; `None` if it holds none.
    pub fn lease_index(&self) -> Option<LogIndex> {
        self.lease_until().filter(|until| self.now < *until).map(|_| self.commit)
    }

    /// A heartbeat of a leader begins a round, if leases are on.
    pub(super) fn begin_heartbeat_round(&mut self) {
        if self.config.lease_drift.is_some() {
            self.begin_round();
        }
    }

    /// Begins the next round of a leader.
    pub(super) fn begin_round(&mut self) {
        let (now, kept) = (self.now, self.config.promise_micros());
        let Role::Leader(leader) = &mut self.role else { return };
        leader.round = Round(leader.round.0 + 1);
        leader.round_times.begin(leader.round, now, kept);
    }

    /// A peer has promised not to vote for another member until this time has passed since it heard
    /// the round.
    pub(super) fn on_promise(
        &mut self,
        from: NodeId,
        round: Round,
        micros: u64,
        out: &mut Vec<Output>,
    ) {
        let late = planted!(self, LeaseFromAcknowledgement).then_some(self.now);
        let lease = self.config.lease_micros(micros);
        let Role::Leader(leader) = &mut self.role else {
            return self.reject(from, Rejection::Unasked, out);
        };
        let began = leader.round_times.began(round).filter(|_| round <= leader.round);
        let Some(peer) = leader.peers.get_mut(&from) else {
            return self.reject(from, Rejection::NotAMember, out);
        };
        peer.on_answer(self.now);
        if let (Some(began), Some(lease)) = (late.or(began), lease) {
            peer.lease_until = peer.lease_until.max(began.plus(lease));
        }
    }

    // ---- the voter ----

    /// Whether a promise binds this member: it votes for no other member, and not for itself.
    pub(super) fn is_bound(&self) -> bool {
        let promise = self.config.promise_micros();
        self.bound_since.is_some_and(|since| self.now.since(since) < promise)
    }

    /// This member hears its leader: it is bound from now on. It tells the leader so, at most twice
    /// in a heartbeat interval.
    pub(super) fn promise(&mut self, leader: NodeId, out: &mut Vec<Output>) {
        if self.config.lease_drift.is_none() {
            return;
        }
        self.bound_since = Some(self.now);
        let pause = u64::from(self.config.heartbeat_ticks) * TICK_MICROS / 2;
        let now = self.now;
        let follower = self.follower();
        let is_new = follower.round > follower.promised_round;
        let is_due = follower.promised_at.is_none_or(|last| now.since(last) >= pause);
        if is_new && is_due {
            (follower.promised_round, follower.promised_at) = (follower.round, Some(now));
            let round = follower.round;
            let micros = self.config.promise_micros();
            self.send_when_durable(leader, Body::Promise { round, micros }, out);
        }
    }
}
