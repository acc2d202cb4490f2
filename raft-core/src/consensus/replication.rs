//! The leader's side of replication: heartbeats, probing, pipelining, backing off.
//!
//! Section 5.3 of the paper; thesis, sections 10.2.1 (the leader's disk writes in parallel with the
//! followers') and 10.2.2 (batching and pipelining). Laws L2 (a leader only appends), L12 (match
//! and next index).
//!
//! Sends name entries by their ids; the pump may send fewer, and reports what was sent. At most one
//! send for each peer is open, so that entries go in order. Absent: payloads.

use alloc::collections::VecDeque;
use alloc::vec::Vec;

use super::input::NotSent;
use super::message::{Body, Message, Round, Verdict};
use super::output::{Output, SendId, Source};
use super::planted::planted;
use super::progress::{Pace, Progress};
use super::quorum;
use super::raft::Raft;
use super::refusal::{Refusal, Rejection};
use super::role::{Leader, Role};
use super::round_times::RoundTimes;
use super::time::Time;
use crate::types::{EntryId, LogIndex, LogSpan, NodeId};

impl Raft {
    /// Starts to lead: assumes that every log is complete, and opens the term with an entry of its
    /// own, since nothing older can be committed by counting (section 8; K2, K12).
    pub(super) fn become_leader(&mut self, out: &mut Vec<Output>) {
        let next = self.log.last().next();
        let others = self.receivers().into_iter();
        let peers = others.map(|peer| (peer, Progress::new(next))).collect();
        self.role = Role::Leader(Leader {
            peers,
            first_of_term: next,
            since: self.now,
            round: Round(0),
            round_times: RoundTimes::default(),
            reads: VecDeque::new(),
            heartbeat_elapsed: 0,
            quorum_elapsed: 0,
            is_settled: false,
            transfer: None,
            asked_to_campaign: false,
        });
        self.leader_heard = None;
        out.push(Output::Became(self.soft_state()));
        self.append_as_leader(1, Source::Noop, out);
    }

    /// Accepts proposals, if this member leads, and is neither handing over nor leaving.
    pub(super) fn on_propose(&mut self, count: u64, origins: &[NodeId], out: &mut Vec<Output>) {
        assert!(count > 0, "a proposal has at least one command");
        if !self.is_leader() {
            let refusal = Refusal::NotLeader { hint: self.leader() };
            return out.push(Output::ProposalRefused(refusal));
        }
        if let Some(to) = self.transfer_target()
            && !planted!(self, ProposalDuringTransfer)
        {
            let refusal = Refusal::TransferUnderWay { to };
            return out.push(Output::ProposalRefused(refusal));
        }
        if self.is_leaving() && !planted!(self, LeavingLeaderAccepts) {
            return out.push(Output::ProposalRefused(Refusal::LeaderLeaves));
        }
        self.append_as_leader(count, Source::Proposals, out);
        for origin in origins {
            self.await_commit(*origin, self.log.last());
        }
    }

    /// Appends entries of this term, issues their write, and sends them while the disk writes.
    fn append_as_leader(&mut self, count: u64, source: Source, out: &mut Vec<Output>) {
        self.append_own(count, source);
        self.send_appended(out);
    }

    /// Appends entries of this term.
    pub(super) fn append_own(&mut self, count: u64, source: Source) {
        let span = LogSpan::of_term(self.log.last_id(), self.term(), count);
        self.append_to_log(span, source);
    }

    /// Issues the write of what was appended, and sends it while the disk writes.
    pub(super) fn send_appended(&mut self, out: &mut Vec<Output>) {
        self.issue_write(out);
        if planted!(self, LeaderCountsBeforeSync) {
            self.count_commit(out);
        }
        self.replicate(out);
    }

    // ---- sending ----

    /// Sends every peer what it lacks, as far as limits allow.
    pub(super) fn replicate(&mut self, out: &mut Vec<Output>) {
        let Role::Leader(leader) = &mut self.role else { return };
        let last = self.log.last();
        let commit = self.commit;
        let term = self.hard_state.term;
        for (&to, peer) in &mut leader.peers {
            if peer.next > last || !peer.may_send(&self.config) {
                continue;
            }
            let prev = peer.next.prev();
            if prev < self.log.boundary().index {
                peer.on_compacted(self.log.boundary().index);
                out.push(Output::SnapshotNeeded { to });
                continue;
            }
            let limit = match peer.pace {
                Pace::Pipeline => self.config.max_append_entries.min(peer.room(&self.config)),
                _ => self.config.max_append_entries,
            };
            let span = self.log.span(prev, last.min(prev.plus(limit)));
            self.sends += 1;
            let send = SendId(self.sends);
            peer.sending = Some(send);
            peer.commit_sent = commit;
            let body = Body::Append { span, commit, round: leader.round };
            out.push(Output::SendEntries { to, message: Message::new(term, body), send });
        }
    }

    /// An append without entries: a heartbeat, a probe, a commit index, a round.
    pub(super) fn send_heartbeat(&mut self, to: NodeId, out: &mut Vec<Output>) {
        let commit = self.commit;
        let boundary = self.log.boundary().index;
        let Role::Leader(leader) = &mut self.role else { return };
        let Some(peer) = leader.peers.get_mut(&to) else { return };
        let prev = peer.next.prev().max(boundary);
        let span = self.log.span(prev, prev);
        peer.commit_sent = commit;
        let body = Body::Append { span, commit, round: leader.round };
        self.send_now(to, body, out);
    }

    /// Sends every peer a heartbeat.
    pub(super) fn broadcast_heartbeat(&mut self, out: &mut Vec<Output>) {
        for peer in self.peers() {
            self.send_heartbeat(peer, out);
        }
    }

    fn peers(&self) -> Vec<NodeId> {
        match &self.role {
            Role::Leader(leader) => leader.peers.keys().copied().collect(),
            _ => Vec::new(),
        }
    }

    /// Some of the entries, or all of them, were sent.
    pub(super) fn on_sent(
        &mut self,
        to: NodeId,
        send: SendId,
        upto: LogIndex,
        bytes: u64,
        out: &mut Vec<Output>,
    ) {
        if let Some(peer) = self.sender(to, send) {
            peer.on_sent(upto, bytes);
            self.replicate(out);
        }
    }

    /// The entries were not sent.
    pub(super) fn on_not_sent(
        &mut self,
        to: NodeId,
        send: SendId,
        why: NotSent,
        out: &mut Vec<Output>,
    ) {
        let Some(peer) = self.sender(to, send) else { return };
        match why {
            NotSent::Rewritten => peer.on_not_sent(),
            NotSent::Compacted => {
                peer.sending = None;
                self.need_snapshot(to, out);
            }
        }
    }

    /// The peer for which this send is open; `None` for a send of an earlier leadership.
    fn sender(&mut self, to: NodeId, send: SendId) -> Option<&mut Progress> {
        let counts_stale = planted!(self, StaleSendCounted);
        let Role::Leader(leader) = &mut self.role else { return None };
        leader.peers.get_mut(&to).filter(|peer| peer.sending == Some(send) || counts_stale)
    }

    // ---- answers ----

    pub(super) fn on_append_response(
        &mut self,
        from: NodeId,
        verdict: Verdict,
        round: Round,
        out: &mut Vec<Output>,
    ) {
        let last = self.log.last();
        let commit = self.commit;
        let Role::Leader(leader) = &mut self.role else {
            return self.reject(from, Rejection::Unasked, out);
        };
        let Some(peer) = leader.peers.get_mut(&from) else {
            return self.reject(from, Rejection::NotAMember, out);
        };
        peer.on_answer(self.now);
        let news = round > peer.round;
        peer.round = peer.round.max(round.min(leader.round));
        match verdict {
            Verdict::Accepted { matched } if matched > last => {
                return self.reject(from, Rejection::AcknowledgesUnknown, out);
            }
            Verdict::Accepted { matched } => {
                if peer.on_accepted(matched) && matched > commit {
                    self.count_commit(out);
                }
            }
            Verdict::Conflict { refused, hint } => self.on_conflict(from, refused, hint, out),
        }
        if news {
            self.confirm_reads(out);
        }
        self.replicate(out);
        self.continue_transfer(from, out);
    }

    /// The peer lacks the entry at `refused`. A refusal of an entry that was not sent yet moves
    /// nothing, and neither does a refusal of one that the peer has acknowledged since.
    fn on_conflict(
        &mut self,
        from: NodeId,
        refused: LogIndex,
        hint: EntryId,
        out: &mut Vec<Output>,
    ) {
        let meeting = self.log.last_at_or_below(hint.index.min(refused.prev()), hint.term);
        let boundary = self.log.boundary().index;
        let Role::Leader(leader) = &mut self.role else { return };
        let Some(peer) = leader.peers.get_mut(&from) else { return };
        if refused >= peer.next {
            return;
        }
        if refused <= peer.matched {
            return self.reject(from, Rejection::BelowMatch, out);
        }
        if refused <= boundary || hint.index < boundary {
            return self.need_snapshot(from, out);
        }
        peer.on_conflict(meeting);
    }

    // ---- time ----

    /// One tick of a leader.
    pub(super) fn tick_leader(&mut self, out: &mut Vec<Output>) {
        if self.disk_is_stalled() || self.has_lost_majority() {
            return self.become_follower(self.term(), None, out);
        }
        let Role::Leader(leader) = &mut self.role else { return };
        leader.heartbeat_elapsed += 1;
        let is_due = leader.heartbeat_elapsed >= self.config.heartbeat_ticks;
        if is_due {
            leader.heartbeat_elapsed = 0;
            self.begin_heartbeat_round();
            self.broadcast_heartbeat(out);
        }
        self.tick_transfer(is_due, out);
    }

    /// Whether less than the shortest election timeout has passed since then.
    pub(super) fn is_recent(&self, time: Time) -> bool {
        self.now.since(time) < self.config.promise_micros()
    }

    /// Whether a majority has answered this leader within the shortest election timeout. That it
    /// was elected is such an answer.
    pub(super) fn has_recent_majority(&self) -> bool {
        let (Role::Leader(leader), Some(membership)) = (&self.role, self.membership()) else {
            return false;
        };
        let own = self.id();
        self.is_recent(leader.since)
            || quorum::has_majority(membership, |node| {
                node == own || self.has_answered_recently(leader, node)
            })
    }

    /// Whether a peer has answered this leader within the shortest election timeout.
    pub(super) fn has_answered_recently(&self, leader: &Leader, node: NodeId) -> bool {
        leader.peers.get(&node).is_some_and(|peer| self.answers_now(peer))
    }

    /// Whether a whole election timeout passed without answers from a majority (thesis, section
    /// 6.2; K11). Also starts the next period.
    fn has_lost_majority(&mut self) -> bool {
        let membership = self.membership().cloned();
        let own = self.id();
        let limit = self.config.election_ticks_min;
        let (Role::Leader(leader), Some(membership)) = (&mut self.role, membership) else {
            return false;
        };
        if !self.config.check_quorum {
            return false;
        }
        leader.quorum_elapsed += 1;
        if leader.quorum_elapsed < limit {
            return false;
        }
        leader.quorum_elapsed = 0;
        let is_active = |node| node == own || leader.peers.get(&node).is_some_and(|p| p.active);
        let lost = !quorum::has_majority(&membership, is_active);
        leader.peers.values_mut().for_each(|peer| peer.active = false);
        lost
    }
}
