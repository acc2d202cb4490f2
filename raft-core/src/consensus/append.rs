//! The follower's side of replication: match, truncate what conflicts, append, acknowledge.
//!
//! Section 5.3 of the Raft paper. Laws L3 (log matching), L6 (acknowledged means durable), L10
//! (nothing committed is truncated).
//!
//! A follower tracks two indexes. *Verified* is the last index up to which this log is known to
//! equal the leader's; the commit index and every acknowledgement stay at or below it. It does not
//! suffice that an index lies within the log (K8). *Durable* is the last index up to which this log
//! is on the disk. Every answer reports the lesser of the two, including answers to heartbeats and
//! duplicates.

use alloc::sync::Arc;
use alloc::vec::Vec;

use super::message::{Body, Round, Verdict};
use super::output::{Contradiction, Output, Source, WriteSeq};
use super::planted::planted;
use super::raft::Raft;
use super::refusal::Rejection;
use super::role::{Follower, Role};
use crate::types::{EntryId, LogIndex, LogSpan, Membership, NodeId, Term};

impl Raft {
    /// Handles entries, or a heartbeat, from the leader of this term.
    pub(super) fn on_append(
        &mut self,
        from: NodeId,
        span: LogSpan,
        memberships: Vec<(LogIndex, Arc<Membership>)>,
        commit: LogIndex,
        round: Round,
        out: &mut Vec<Output>,
    ) {
        if self.is_leader() {
            return self.reject(from, Rejection::SecondLeader, out);
        }
        if span.last_id().term > self.term() {
            return self.reject(from, Rejection::EntryFromTheFuture, out);
        }
        if self.leader().is_some_and(|leader| leader != from) {
            return self.reject(from, Rejection::SecondLeader, out);
        }
        self.hear_leader(from, round, out);
        if !self.log.contains(span.prev()) {
            return self.refuse_append(from, &span, out);
        }
        if self.truncate_conflict(from, &span, out) {
            let wrote = self.append_missing(&span, memberships);
            self.verify(self.known_after(&span));
            self.note_leader_commit(commit);
            self.heard_commit = Some((self.now, commit));
            self.follow_commit(commit, out);
            self.answer_append(wrote, out);
        }
    }

    /// A candidate that hears the term's leader follows it (section 5.2); a follower's timer
    /// restarts.
    fn hear_leader(&mut self, from: NodeId, round: Round, out: &mut Vec<Output>) {
        if self.leader().is_none() {
            self.become_follower(self.term(), Some(from), out);
        }
        self.reset_election_timer();
        self.leader_heard = Some(self.now);
        let follower = self.follower();
        follower.round = follower.round.max(round);
        self.promise(from, out);
    }

    /// Refuses an append because this log lacks the entry before the span. The answer reports where
    /// the logs may meet, so that the leader skips a whole term at a time (end of section 5.3;
    /// K10).
    fn refuse_append(&mut self, from: NodeId, span: &LogSpan, out: &mut Vec<Output>) {
        let refused = span.prev().index;
        let own = self.log.term(refused);
        if let Some(term) = own.filter(|_| refused > LogIndex::ZERO && refused <= self.commit) {
            let own = EntryId::new(term, refused);
            return self.stop_at(own, Some(span.prev()), from, out);
        }
        let round = self.follower().round;
        let hint = self.log.last_at_or_below(refused.prev(), span.prev().term);
        let verdict = Verdict::Conflict { refused, hint };
        self.send_when_durable(from, Body::AppendResponse { verdict, round }, out);
    }

    /// Truncates this log from the first entry that the span contradicts, if there is one: an
    /// append that was delayed or repeated, and contradicts nothing, removes nothing (K8, K9).
    /// Returns false if the span contradicts a committed entry, which stops this member, or an
    /// entry that the same leader sent before, which a correct leader never does.
    fn truncate_conflict(&mut self, from: NodeId, span: &LogSpan, out: &mut Vec<Output>) -> bool {
        let Some(conflict) = self.first_conflict(span) else { return true };
        if conflict <= self.commit {
            let id = |term: Option<Term>| EntryId::new(term.unwrap_or_default(), conflict);
            let own = id(self.log.term(conflict));
            self.stop_at(own, Some(id(span.term_at(conflict))), from, out);
            return false;
        }
        if conflict <= self.follower().verified && !planted!(self, TruncateWithoutConflict) {
            self.reject(from, Rejection::ContradictsItself, out);
            return false;
        }
        self.truncate_log_after(conflict.prev());
        true
    }

    /// The leader's log lacks an entry that is committed here: this member removes nothing, answers
    /// nothing, and stops.
    pub(super) fn stop_at(
        &self,
        own: EntryId,
        theirs: Option<EntryId>,
        leader: NodeId,
        out: &mut Vec<Output>,
    ) {
        if planted!(self, ContradictionIgnored) {
            return self.reject(leader, Rejection::ContradictsItself, out);
        }
        out.push(Output::Stop(Contradiction { leader, own, theirs }));
    }

    fn first_conflict(&self, span: &LogSpan) -> Option<LogIndex> {
        if planted!(self, TruncateWithoutConflict) && span.prev().index < self.log.last() {
            return Some(span.prev().index.max(self.commit).next());
        }
        let known = self.log.last().min(span.last());
        let mut index = span.first().max(self.log.boundary().index);
        if index > known || self.log.term(known) == span.term_at(known) {
            // Equal ids at `known` mean equal logs up to it (law L3).
            return None;
        }
        while self.log.term(index) == span.term_at(index) {
            index = index.next();
        }
        Some(index)
    }

    /// Appends the part of the span beyond this log's end; true if there is such a part.
    fn append_missing(
        &mut self,
        span: &LogSpan,
        memberships: Vec<(LogIndex, Arc<Membership>)>,
    ) -> bool {
        let end = self.log.last();
        if span.last() <= end {
            return false;
        }
        self.append_to_log(span.after(end), Source::Append);
        for (index, membership) in memberships.into_iter().filter(|(index, _)| *index > end) {
            self.log.note_membership(index, membership);
        }
        true
    }

    /// The last index up to which the logs are equal, after this span. A span that begins before
    /// the boundary shows that the leader does not know how far this log was replaced by a
    /// snapshot. The boundary is committed, so the leader has it (law L4), and the leader need not
    /// send again what the snapshot includes.
    fn known_after(&self, span: &LogSpan) -> LogIndex {
        let boundary = self.log.boundary().index;
        if span.prev().index < boundary { span.last().max(boundary) } else { span.last() }
    }

    fn verify(&mut self, last: LogIndex) {
        let follower = self.follower();
        follower.verified = follower.verified.max(last);
    }

    pub(super) fn note_leader_commit(&mut self, commit: LogIndex) {
        let follower = self.follower();
        follower.leader_commit = follower.leader_commit.max(commit);
    }

    /// The commit index follows the leader's, but never beyond what is verified (K8).
    pub(super) fn follow_commit(&mut self, commit: LogIndex, out: &mut Vec<Output>) {
        let bound = if planted!(self, CommitBeyondVerified) {
            self.log.last()
        } else {
            self.follower().verified
        };
        self.advance_commit(commit.min(bound), out);
    }

    /// Acknowledges at once if nothing was written, else once the write is durable.
    fn answer_append(&mut self, wrote: bool, out: &mut Vec<Output>) {
        if planted!(self, AckBeforeSync) && wrote {
            return self.send_accepted(self.log.last(), out);
        }
        if wrote || !self.hard_state_is_durable() {
            self.follower().ack_pending = true;
        } else {
            let matched = self.acknowledged();
            self.send_accepted(matched, out);
        }
    }

    /// The match index that this member may report to its leader (law L6).
    fn acknowledged(&mut self) -> LogIndex {
        let durable = self.writes.durable();
        if planted!(self, HeartbeatReportsVerified) {
            self.follower().verified
        } else {
            self.follower().verified.min(durable)
        }
    }

    fn send_accepted(&mut self, matched: LogIndex, out: &mut Vec<Output>) {
        let follower = self.follower();
        let Some(leader) = follower.leader else { return };
        let body =
            Body::AppendResponse { verdict: Verdict::Accepted { matched }, round: follower.round };
        self.send_now(leader, body, out);
    }

    /// Writes are durable: sends everything that waited for them.
    pub(super) fn on_durable(&mut self, seq: WriteSeq, out: &mut Vec<Output>) {
        if !self.writes.complete(seq) {
            return;
        }
        self.release_withheld(out);
        self.count_own_vote(out);
        self.release_committed(out);
        match &self.role {
            Role::Leader(_) => self.count_commit(out),
            Role::Follower(follower) if follower.ack_pending => self.send_pending_ack(out),
            _ => {}
        }
    }

    /// Sends one acknowledgement for all appends whose writes are durable now.
    fn send_pending_ack(&mut self, out: &mut Vec<Output>) {
        if !self.hard_state_is_durable() {
            return;
        }
        let durable = self.writes.durable();
        let follower = self.follower();
        follower.ack_pending = durable < follower.verified;
        let matched = follower.verified.min(durable);
        self.send_accepted(matched, out);
    }

    /// The follower's state. This may be called only while this member is a follower.
    pub(super) fn follower(&mut self) -> &mut Follower {
        match &mut self.role {
            Role::Follower(follower) => follower,
            other => unreachable!("a {} is not a follower", other.name()),
        }
    }
}
