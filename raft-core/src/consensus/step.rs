//! Dispatch: which file handles which input in which role.
//!
//! The only logic here is the rules on terms that hold for every message (section 5.1, K3): a later
//! term is adopted, a request of an earlier term is refused with the current term, and a response
//! of an earlier term is dropped.

use alloc::sync::Arc;
use alloc::vec::Vec;

use super::input::Input;
use super::message::{Body, Message, Verdict};
use super::output::Output;
use super::planted::planted;
use super::raft::Raft;
use super::refusal::Rejection;
use super::role::Role;
use super::time::{TICK_MICROS, Time};
use crate::types::{EntryId, LogIndex, Membership, NodeId};

impl Raft {
    /// Handles one input, and appends what is to be done to `out`, in order.
    pub fn step(&mut self, input: Input, out: &mut Vec<Output>) {
        match input {
            Input::Tick { now } => {
                self.on_clock(now, true, out);
                self.on_tick(out);
            }
            Input::Clock { now } => self.on_clock(now, false, out),
            Input::ElectionTimeout { after } => self.set_election_timeout(after),
            Input::Message { from, message, memberships } => {
                self.on_message(from, message, memberships, out);
            }
            Input::Propose { count, origins } => self.on_propose(count, &origins, out),
            Input::ReadIndex { read, by_lease } => self.on_read(read, by_lease, out),
            Input::Transfer { to } => self.on_transfer(to, out),
            Input::ChangeMembership { target } => self.on_change(&target, out),
            Input::Install { from, last, membership } => {
                self.on_install(from, last, membership, out);
            }
            Input::Purge { upto } => self.on_purge(upto, out),
            Input::Durable { seq } => self.on_durable(seq, out),
            Input::Sent { to, send, upto, bytes } => self.on_sent(to, send, upto, bytes, out),
            Input::NotSent { to, send, why } => self.on_not_sent(to, send, why, out),
        }
        self.issue_write(out);
        #[cfg(debug_assertions)]
        self.check_laws();
    }

    /// The clock was read. If the member did not run for an election timeout or longer, what it has
    /// heard before the pause says nothing about the present.
    fn on_clock(&mut self, now: Time, is_tick: bool, out: &mut Vec<Output>) {
        if planted!(self, PauseNotSeen) {
            self.now = self.now.plus(if is_tick { TICK_MICROS } else { 0 });
            return;
        }
        let passed = now.since(self.now);
        self.now = self.now.max(now);
        if passed >= self.config.promise_micros() {
            self.on_pause(out);
        }
    }

    fn on_pause(&mut self, out: &mut Vec<Output>) {
        match &mut self.role {
            // It asks the others at its next tick, and steps down if no majority answers within an
            // election timeout. Until one has, it does not count as alive.
            Role::Leader(leader) => {
                leader.heartbeat_elapsed = self.config.heartbeat_ticks;
                leader.quorum_elapsed = 0;
                leader.peers.values_mut().for_each(|peer| peer.active = false);
            }
            // Another leader may have been elected since the others answered.
            Role::PreCandidate(_) => self.become_follower(self.term(), None, out),
            // A vote holds for the whole term.
            Role::Candidate(_) | Role::Follower(_) => {}
        }
    }

    fn on_tick(&mut self, out: &mut Vec<Output>) {
        self.writes.tick();
        // A restarted member applies the entries that are known to be committed without waiting for
        // a leader.
        self.release_committed(out);
        match self.role {
            Role::Leader(_) => self.tick_leader(out),
            Role::Follower(_) => {
                self.tick_read(out);
                self.tick_election(out);
            }
            Role::PreCandidate(_) | Role::Candidate(_) => self.tick_election(out),
        }
    }

    fn on_message(
        &mut self,
        from: NodeId,
        message: Message,
        memberships: Vec<(LogIndex, Arc<Membership>)>,
        out: &mut Vec<Output>,
    ) {
        if from == self.id() {
            return self.reject(from, Rejection::FromSelf, out);
        }
        if !message.is_in_range() {
            return self.reject(from, Rejection::OutOfRange, out);
        }
        let asks_for_vote =
            matches!(message.body, Body::PreVote { .. } | Body::Vote { in_transfer: false, .. });
        if asks_for_vote && (self.leader_is_alive() || self.is_bound()) {
            return self.on_untimely_vote(from, &message, out);
        }
        if message.term > self.term() {
            self.become_follower(message.term, None, out);
        }
        if message.term < self.term() && !self.accepts_stale(&message.body) {
            return self.on_stale_message(from, message, out);
        }
        self.dispatch(from, message.body, memberships, out);
    }

    /// Whether a message of an earlier term is handled; false without a planted bug.
    fn accepts_stale(&self, body: &Body) -> bool {
        match body {
            Body::VoteResponse { granted } => *granted && planted!(self, StaleVoteCounted),
            Body::Append { .. } => planted!(self, StaleAppendAccepted),
            _ => false,
        }
    }

    /// Dispatches a message, which is of the current term.
    fn dispatch(
        &mut self,
        from: NodeId,
        body: Body,
        memberships: Vec<(LogIndex, Arc<Membership>)>,
        out: &mut Vec<Output>,
    ) {
        match body {
            Body::PreVote { last } => self.on_pre_vote(from, last, out),
            Body::PreVoteResponse { asked, granted } => {
                self.on_pre_vote_response(from, asked, granted, out);
            }
            Body::Vote { last, in_transfer } => self.on_vote(from, last, in_transfer, out),
            Body::VoteResponse { granted } => self.on_vote_response(from, granted, out),
            Body::Append { span, commit, round } => {
                self.on_append(from, span, memberships, commit, round, out);
            }
            Body::AppendResponse { verdict, round } => {
                self.on_append_response(from, verdict, round, out);
            }
            Body::ReadIndex { read, by_lease } => self.on_read_index(from, read, by_lease, out),
            Body::ReadIndexResponse { read, index } => {
                self.on_read_index_response(from, read, index, out);
            }
            Body::TimeoutNow => self.on_timeout_now(from, out),
            Body::Promise { round, micros } => self.on_promise(from, round, micros, out),
        }
    }

    /// A message of an earlier term: a request is refused, so that its sender learns the current
    /// term; a response is dropped.
    fn on_stale_message(&mut self, from: NodeId, message: Message, out: &mut Vec<Output>) {
        let asked = message.term;
        let refusal = match message.body {
            Body::PreVote { .. } => Body::PreVoteResponse { asked, granted: false },
            Body::Vote { .. } => Body::VoteResponse { granted: false },
            Body::Append { span, round, .. } => {
                let refused = span.prev().index;
                let verdict = Verdict::Conflict { refused, hint: EntryId::ZERO };
                Body::AppendResponse { verdict, round }
            }
            Body::TimeoutNow => return self.reject(from, Rejection::StaleTimeoutNow, out),
            _ => return self.reject(from, Rejection::StaleResponse, out),
        };
        self.send_when_durable(from, refusal, out);
    }

    /// Drops a peer's message; the reason is counted.
    pub(super) fn reject(&self, from: NodeId, why: Rejection, out: &mut Vec<Output>) {
        out.push(Output::Rejected { from, why });
    }
}
