//! Linearizable reads without a log entry: ReadIndex (thesis, section 6.4; K35). Law L15.
//!
//! A read may be served from a member's state once that state includes everything committed when
//! the read arrived. The leader knows the commit index once an entry of its own term is committed
//! (before that, reads wait), and knows that it still leads once a majority has answered in a
//! *round* that began after the read arrived. Rounds are numbered, so an answer to an earlier one
//! confirms nothing.
//!
//! A follower asks its leader, and serves the read itself. It asks about one read at a time; its
//! driver lets all reads that arrive in the meantime share the next (etcd's server does the same).
//! So a leader has at most one read of each follower, and no messages accumulate while an answer is
//! slow. The follower asks again at each heartbeat interval, since a question or an answer may be
//! lost.
//!
//! A read that may be answered by a lease is answered at once if the leader has one; see
//! [`lease`](super::lease).

use alloc::vec::Vec;

use super::message::{Body, ReadId, Round};
use super::output::Output;
use super::planted::planted;
use super::quorum;
use super::raft::Raft;
use super::refusal::{Refusal, Rejection};
use super::role::{Follower, Role, WaitingRead};
use super::time::Time;
use crate::types::{EntryId, LogIndex, NodeId};

impl Raft {
    /// Handles a read by a client of this member.
    pub(super) fn on_read(&mut self, read: ReadId, by_lease: bool, out: &mut Vec<Output>) {
        match &mut self.role {
            Role::Leader(_) => self.accept_read(read, None, by_lease, out),
            Role::Follower(Follower { leader: Some(leader), read: open, .. }) if open.is_none() => {
                let leader = *leader;
                let commit = self.commit;
                let follower = self.follower();
                (follower.read, follower.by_lease) = (Some(read), by_lease);
                follower.read_floor = commit;
                self.send_when_durable(leader, Body::ReadIndex { read, by_lease }, out);
            }
            Role::Follower(Follower { leader: Some(_), .. }) => {
                let refusal = Refusal::ReadIsOpen;
                out.push(Output::ReadRefused { read, refusal });
            }
            _ => {
                let refusal = Refusal::NotLeader { hint: self.leader() };
                out.push(Output::ReadRefused { read, refusal });
            }
        }
    }

    /// Handles a follower's question on behalf of its client.
    pub(super) fn on_read_index(
        &mut self,
        from: NodeId,
        read: ReadId,
        by_lease: bool,
        out: &mut Vec<Output>,
    ) {
        if self.is_leader() {
            self.accept_read(read, Some(from), by_lease, out);
        } else {
            self.reject(from, Rejection::NotLeader, out);
        }
    }

    fn accept_read(
        &mut self,
        read: ReadId,
        origin: Option<NodeId>,
        by_lease: bool,
        out: &mut Vec<Output>,
    ) {
        let lease = self.lease_index().filter(|_| by_lease);
        let Role::Leader(leader) = &mut self.role else { return };
        if let Some(follower) = origin {
            let of_follower = |waiting: &WaitingRead| waiting.origin == Some(follower);
            if let Some(at) = leader.reads.iter().position(of_follower) {
                if leader.reads[at].read == read && lease.is_none() {
                    // The follower repeats its question; the rounds that heartbeats carry will
                    // answer the first one.
                    return;
                }
                // The follower asks about one read at a time, so it no longer waits for the earlier
                // one, or it gets its answer now.
                leader.reads.remove(at);
            }
        }
        if let Some(index) = lease {
            return self.answer_read(read, origin, index, out);
        }
        leader.reads.push_back(WaitingRead { read, origin, point: None });
        self.start_waiting_reads(out);
    }

    /// Once an entry of this term is committed, gives an index to every read that has none yet, and
    /// starts one round for them all.
    pub(super) fn start_waiting_reads(&mut self, out: &mut Vec<Output>) {
        let commit = self.commit;
        let early = planted!(self, ReadBeforeOwnTermCommit);
        let Role::Leader(leader) = &self.role else { return };
        let knows_commit = commit >= leader.first_of_term || early;
        if !knows_commit || leader.reads.back().is_none_or(|read| read.point.is_some()) {
            return;
        }
        self.begin_round();
        let Role::Leader(leader) = &mut self.role else { return };
        let point = Some((commit, leader.round));
        for waiting in leader.reads.iter_mut().rev().take_while(|read| read.point.is_none()) {
            waiting.point = point;
        }
        self.broadcast_heartbeat(out);
        self.confirm_reads(out);
    }

    /// Answers every read whose round a majority has answered.
    pub(super) fn confirm_reads(&mut self, out: &mut Vec<Output>) {
        let (Role::Leader(leader), Some(membership)) = (&self.role, self.membership()) else {
            return;
        };
        let own = self.id();
        let answered = |node: NodeId| match leader.peers.get(&node) {
            Some(peer) => peer.round,
            None if node == own => leader.round,
            None => Round(0),
        };
        let confirmed = if planted!(self, ReadWithoutMajority) {
            leader.round
        } else {
            quorum::reached_by_majority(membership, answered)
        };
        while let Some((read, origin, index)) = self.next_confirmed_read(confirmed) {
            self.answer_read(read, origin, index, out);
        }
    }

    fn next_confirmed_read(
        &mut self,
        confirmed: Round,
    ) -> Option<(ReadId, Option<NodeId>, LogIndex)> {
        let Role::Leader(leader) = &mut self.role else { return None };
        let (index, round) = leader.reads.front()?.point?;
        if round > confirmed {
            return None;
        }
        leader.reads.pop_front().map(|waiting| (waiting.read, waiting.origin, index))
    }

    fn answer_read(
        &mut self,
        read: ReadId,
        origin: Option<NodeId>,
        index: LogIndex,
        out: &mut Vec<Output>,
    ) {
        match origin {
            None => out.push(Output::ReadReady { read, index }),
            Some(member) => {
                self.await_commit(member, index);
                self.send_now(member, Body::ReadIndexResponse { read, index }, out);
            }
        }
    }

    /// Handles the leader's answer, whose index is also a commit index.
    pub(super) fn on_read_index_response(
        &mut self,
        from: NodeId,
        read: ReadId,
        index: LogIndex,
        out: &mut Vec<Output>,
    ) {
        let Role::Follower(follower) = &mut self.role else {
            return self.reject(from, Rejection::Unasked, out);
        };
        if follower.read != Some(read) || follower.leader != Some(from) {
            return self.reject(from, Rejection::Unasked, out);
        }
        follower.read = None;
        if index < follower.read_floor {
            return self.stop_below(index, from, out);
        }
        self.note_leader_commit(index);
        self.follow_commit(index, out);
        out.push(Output::ReadReady { read, index });
    }

    /// The newest commit index that this member has from a leader, and when it got it. For a leader
    /// that has committed an entry of its own term, the time is that at which a majority had last
    /// answered it. What was committed later is not included, nor is the time that the message
    /// took.
    pub fn known_commit(&self) -> Option<(Time, LogIndex)> {
        match (&self.role, self.membership()) {
            (Role::Leader(leader), Some(membership)) if self.commit >= leader.first_of_term => {
                let own = self.id();
                let answered = |node: NodeId| match leader.peers.get(&node) {
                    Some(peer) => peer.answered_at.unwrap_or(Time::ZERO),
                    None if node == own => self.now,
                    None => Time::ZERO,
                };
                Some((quorum::reached_by_majority(membership, answered), self.commit))
            }
            _ => self.heard_commit,
        }
    }

    /// What the member's clock showed when it was last read.
    pub fn now(&self) -> Time {
        self.now
    }

    /// Whether the leader that this member follows has not yet reported a commit index as great as
    /// this member's. A new leader reports one as soon as it has committed an entry of its own
    /// term; a leader that never does lacks a committed entry. The answer to a read shows which of
    /// the two is the case, so the driver starts a read even if no client does.
    pub fn doubts_leader(&self) -> bool {
        match &self.role {
            Role::Follower(Follower { leader: Some(_), leader_commit, .. }) => {
                *leader_commit < self.commit
            }
            _ => false,
        }
    }

    /// A leader that answers reads has committed an entry of its own term, and so everything that
    /// was committed before (law L4). If its answer is below this member's commit index at the time
    /// of the question, the leader's log lacks a committed entry. If the leader's log equals the
    /// beginning of this one, no append ever shows that.
    fn stop_below(&self, index: LogIndex, leader: NodeId, out: &mut Vec<Output>) {
        let lacking = index.next();
        let term = self.log.term(lacking).unwrap_or_default();
        self.stop_at(EntryId::new(term, lacking), None, leader, out);
    }

    /// A follower asks again about the read that waits.
    pub(super) fn tick_read(&mut self, out: &mut Vec<Output>) {
        let interval = self.config.heartbeat_ticks;
        let follower = self.follower();
        let by_lease = follower.by_lease;
        let (Some(leader), Some(read)) = (follower.leader, follower.read) else {
            follower.read_waited = 0;
            return;
        };
        follower.read_waited += 1;
        if follower.read_waited >= interval {
            follower.read_waited = 0;
            self.send_when_durable(leader, Body::ReadIndex { read, by_lease }, out);
        }
    }
}
