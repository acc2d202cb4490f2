//! Elections: timeouts, pre-vote, votes, and how a leader notices that it may have been replaced.
//!
//! Sections 5.2 (leader election) and 5.4.1 (election restriction) of the paper; thesis, sections
//! 9.6 (pre-vote), 4.2.3 (a live leader is not disturbed) and 6.2 (a leader that hears no majority
//! steps down). Laws L1 (one leader in a term), L4 (it has every committed entry), L6 and L7 (one
//! durable vote in a term).

use alloc::collections::BTreeMap;
use alloc::vec::Vec;

use super::message::{Body, Message};
use super::output::Output;
use super::planted::planted;
use super::quorum::{self, Tally};
use super::raft::Raft;
use super::refusal::Rejection;
use super::role::{Candidate, PreCandidate, Role};
use crate::types::{EntryId, HardState, NodeId, Term};

impl Raft {
    // ---- the timer ----

    pub(super) fn set_election_timeout(&mut self, after: u32) {
        self.election_timeout = self.election_elapsed.saturating_add(after.max(1));
    }

    /// One tick of a member that does not lead.
    pub(super) fn tick_election(&mut self, out: &mut Vec<Output>) {
        self.election_elapsed = self.election_elapsed.saturating_add(1);
        let is_bound = self.is_bound() && !planted!(self, BoundMemberCampaigns);
        if self.election_elapsed < self.election_timeout || is_bound {
            return;
        }
        self.reset_election_timer();
        self.leave_leader(out);
        if self.may_campaign() {
            self.campaign(out);
        }
    }

    /// Stops following a leader, because it is no longer heard or hands over. Requests that wait
    /// for it fail, even if this member may not campaign.
    pub(super) fn leave_leader(&mut self, out: &mut Vec<Output>) {
        if self.leader().is_some() {
            self.become_follower(self.term(), None, out);
        }
    }

    /// Whether this member may campaign: it may stand for election, its disk is not stalled, and
    /// its vote for itself in an earlier campaign is durable. Without the last rule a member whose
    /// disk is slower than the timer would never complete a campaign.
    pub(super) fn may_campaign(&self) -> bool {
        let waits_for_own_vote = matches!(&self.role, Role::Candidate(candidate)
            if !self.writes.is_durable(candidate.ballot));
        let stands = self.may_stand_for_election() || planted!(self, LearnerCampaigns);
        stands && !self.disk_is_stalled() && !waits_for_own_vote
    }

    fn campaign(&mut self, out: &mut Vec<Output>) {
        if self.config.pre_vote {
            self.become_pre_candidate(out)
        } else {
            self.become_candidate(false, out)
        }
    }

    // ---- pre-vote (thesis, section 9.6) ----

    fn become_pre_candidate(&mut self, out: &mut Vec<Output>) {
        let votes = BTreeMap::from([(self.id(), true)]);
        self.role = Role::PreCandidate(PreCandidate { votes });
        out.push(Output::Became(self.soft_state()));
        let last = self.log.last_id();
        for voter in self.other_voters() {
            self.send_now(voter, Body::PreVote { last }, out);
        }
        self.count_pre_votes(out);
    }

    /// Answers by the rules for a vote in the next term, and changes neither term nor vote nor
    /// timer.
    pub(super) fn on_pre_vote(&mut self, from: NodeId, last: EntryId, out: &mut Vec<Output>) {
        let granted = !self.is_leader() && self.log_allows_vote(last);
        self.send_now(from, Body::PreVoteResponse { asked: self.term(), granted }, out);
    }

    pub(super) fn on_pre_vote_response(
        &mut self,
        from: NodeId,
        asked: Term,
        granted: bool,
        out: &mut Vec<Output>,
    ) {
        let current = asked == self.term();
        match &mut self.role {
            Role::PreCandidate(candidate) if current => {
                candidate.votes.insert(from, granted);
                self.count_pre_votes(out);
            }
            _ => self.reject(from, Rejection::Unasked, out),
        }
    }

    fn count_pre_votes(&mut self, out: &mut Vec<Output>) {
        let Role::PreCandidate(candidate) = &self.role else { return };
        match self.tally(&candidate.votes) {
            Tally::Won => self.become_candidate(false, out),
            Tally::Lost => self.become_follower(self.term(), None, out),
            Tally::Open => {}
        }
    }

    // ---- votes ----

    /// Raises the term, votes for itself, and asks the others once that vote is durable.
    /// `in_transfer` is true if the leader asked for this election.
    pub(super) fn become_candidate(&mut self, in_transfer: bool, out: &mut Vec<Output>) {
        let hard_state = HardState { term: self.term().next(), vote: Some(self.id()) };
        self.set_hard_state(hard_state);
        self.leader_heard = None;
        let ballot = self.hard_state_seq;
        self.role = Role::Candidate(Candidate { votes: BTreeMap::new(), ballot });
        out.push(Output::Became(self.soft_state()));
        self.reset_election_timer();
        let last = self.log.last_id();
        for voter in self.other_voters() {
            let body = Body::Vote { last, in_transfer };
            if planted!(self, CandidateAsksBeforeDurable) {
                self.send_now(voter, body, out);
            } else {
                self.send_when_durable(voter, body, out);
            }
        }
    }

    /// The candidate's own vote counts once it is durable (thesis, section 9.3; K7).
    pub(super) fn count_own_vote(&mut self, out: &mut Vec<Output>) {
        let own = self.config.id;
        if let Role::Candidate(candidate) = &mut self.role
            && self.writes.is_durable(candidate.ballot)
            && candidate.votes.insert(own, true).is_none()
        {
            self.count_votes(out);
        }
    }

    /// Grants at most one vote in a term, to a candidate whose log is at least as good as this one
    /// (section 5.4.1); repeats its answer to the same candidate.
    pub(super) fn on_vote(
        &mut self,
        from: NodeId,
        last: EntryId,
        in_transfer: bool,
        out: &mut Vec<Output>,
    ) {
        let vote = self.hard_state.vote;
        let free = vote.is_none_or(|vote| vote == from);
        let unchecked = in_transfer && planted!(self, TransferVoteByTrust);
        let granted = free && (self.log_allows_vote(last) || unchecked);
        if !granted {
            return self.send_when_durable(from, Body::VoteResponse { granted }, out);
        }
        if matches!(self.role, Role::PreCandidate(_)) {
            self.become_follower(self.term(), None, out);
        }
        self.reset_election_timer();
        if vote.is_none() {
            self.set_hard_state(HardState { term: self.term(), vote: Some(from) });
        }
        if planted!(self, VoteBeforeDurable) {
            return self.send_now(from, Body::VoteResponse { granted }, out);
        }
        self.send_when_durable(from, Body::VoteResponse { granted }, out);
    }

    pub(super) fn on_vote_response(&mut self, from: NodeId, granted: bool, out: &mut Vec<Output>) {
        match &mut self.role {
            Role::Candidate(candidate) => {
                candidate.votes.insert(from, granted);
                self.count_votes(out);
            }
            _ => self.reject(from, Rejection::Unasked, out),
        }
    }

    fn count_votes(&mut self, out: &mut Vec<Output>) {
        let Role::Candidate(candidate) = &self.role else { return };
        match self.tally(&candidate.votes) {
            Tally::Won => self.become_leader(out),
            Tally::Lost => self.become_follower(self.term(), None, out),
            Tally::Open => {}
        }
    }

    // ---- what both kinds of vote share ----

    fn tally(&self, votes: &BTreeMap<NodeId, bool>) -> Tally {
        match self.membership() {
            Some(membership) if planted!(self, JointCountedTogether) => {
                quorum::tally(&self.miscounted(membership), |node| votes.get(&node).copied())
            }
            Some(membership) => quorum::tally(membership, |node| votes.get(&node).copied()),
            None => Tally::Open,
        }
    }

    /// Whether this member may vote for a member whose log ends with `last`. It may not if its own
    /// log has an entry that the other lacks and that may be committed, if its store is blank and
    /// so has no record of earlier votes, or if its disk is stalled.
    fn log_allows_vote(&self, last: EntryId) -> bool {
        let own = self.log.last_id();
        let complete =
            if planted!(self, VoteByLengthAlone) { last.index >= own.index } else { last >= own };
        complete && !self.log.is_blank() && !self.disk_is_stalled()
    }

    /// Whether a leader was heard within the shortest election timeout. While this is true, a vote
    /// request gets no answer and does not raise the term (thesis, section 4.2.3; K24), unless that
    /// leader itself asked for the election. A leader that checks for its majority counts as heard
    /// if a majority has answered in that time.
    pub(super) fn leader_is_alive(&self) -> bool {
        match &self.role {
            Role::Leader(_) => self.config.check_quorum && self.has_recent_majority(),
            _ => self.leader_heard.is_some_and(|heard| self.is_recent(heard)),
        }
    }

    /// Handles a vote request that arrives while a leader is alive. A pre-vote is refused, since a
    /// refusal promises nothing; a vote request is not answered.
    pub(super) fn on_untimely_vote(
        &mut self,
        from: NodeId,
        message: &Message,
        out: &mut Vec<Output>,
    ) {
        self.reject(from, Rejection::LeaderIsAlive, out);
        if matches!(message.body, Body::PreVote { .. }) && message.term <= self.term() {
            let refusal = Body::PreVoteResponse { asked: message.term, granted: false };
            self.send_now(from, refusal, out);
        }
    }
}

#[cfg(test)]
mod tests {
    use alloc::collections::BTreeSet;

    use super::*;
    use crate::consensus::{Config, Start};

    /// K6: a new timeout is drawn each time, within its bounds, both included.
    #[test]
    fn each_timeout_is_a_new_draw_within_its_bounds() {
        let own = NodeId::new(1).expect("not zero");
        let mut config = Config::new(own, 42);
        (config.election_ticks_min, config.election_ticks_max) = (30, 33);
        let mut raft = Raft::new(config, Start::default());
        let mut drawn = BTreeSet::new();
        for _ in 0..100 {
            raft.reset_election_timer();
            drawn.insert(raft.election_timeout);
        }
        assert_eq!(drawn, BTreeSet::from([30, 31, 32, 33]));
    }

    /// Members that were given the same seed do not time out together. What went wrong: they drew
    /// from one sequence, shifted by one number, so that two of them could split every vote.
    #[test]
    fn one_seed_gives_each_member_its_own_timeouts() {
        let timeouts = |node: u64| {
            let own = NodeId::new(node).expect("not zero");
            let mut raft = Raft::new(Config::new(own, 0), Start::default());
            let mut draw = || {
                raft.reset_election_timer();
                raft.election_timeout
            };
            [(); 40].map(|()| draw())
        };
        let one = timeouts(1);
        let other = timeouts(2);
        for shift in 0..8 {
            assert_ne!(one[shift..shift + 32], other[..32], "{shift} draws apart");
            assert_ne!(other[shift..shift + 32], one[..32], "{shift} draws apart");
        }
    }
}
