//! The laws that one member's state can break, checked after each step in debug builds and in every
//! simulation.
//!
//! `docs/laws.md` lists all laws. Those that need two members to break (one leader in a term, log
//! matching, leader completeness, state machine safety) are checked by the simulator, which sees
//! all members.

use super::raft::Raft;
use super::role::{Leader, Role};

impl Raft {
    /// Panics, citing the law, if this state breaks one.
    pub fn check_laws(&self) {
        self.check_indexes();
        self.check_terms();
        match &self.role {
            Role::Leader(leader) => self.check_leader(leader),
            Role::Follower(follower) => {
                assert!(follower.verified <= self.log.last(), "L3: verified beyond the log");
            }
            Role::Candidate(_) => {
                assert_eq!(
                    self.hard_state.vote,
                    Some(self.id()),
                    "L7: the vote is for another member"
                );
            }
            Role::PreCandidate(_) => {}
        }
    }

    fn check_indexes(&self) {
        let last = self.log.last();
        let durable = self.writes.durable();
        assert!(self.commit <= last, "L9: committed {} beyond the log's end {last}", self.commit);
        assert!(durable <= last, "L6: durable {durable} beyond the log's end {last}");
        assert!(self.applicable <= self.commit, "L9: applied beyond what is committed");
        let boundary = self.log.boundary().index;
        assert!(boundary <= self.commit, "L9: purged {boundary} beyond {}", self.commit);
    }

    fn check_terms(&self) {
        let mut before = self.log.boundary().term;
        for run in self.log.runs() {
            assert!(run.term >= before, "L14: terms fall at {}", run.first);
            before = run.term;
        }
        assert!(before <= self.term(), "L14: an entry from term {before} in {}", self.term());
    }

    fn check_leader(&self, leader: &Leader) {
        assert_eq!(self.hard_state.vote, Some(self.id()), "L7: leads without its own vote");
        let last = self.log.last();
        for (node, peer) in &leader.peers {
            assert!(peer.matched <= last, "L12: {node} matches beyond the log");
            assert!(peer.next > peer.matched, "L12: {node} is sent entries that it has");
            assert!(peer.next <= last.next(), "L12: {node} is sent entries that do not exist");
            peer.check(*node);
        }
        if let Some(transfer) = &leader.transfer {
            let is_voter = self.membership().is_some_and(|now| now.is_voter(transfer.to));
            assert!(is_voter, "K28: a transfer to {}, which is no voter", transfer.to);
        }
        let first = leader.first_of_term;
        let is_purged = first < self.log.boundary().index;
        let stands = self.log.term(first) == Some(self.term());
        assert!(is_purged || stands, "L2: the leader lost the entry that opened its term");
    }
}

#[cfg(test)]
mod tests {
    use alloc::sync::Arc;
    use alloc::vec;

    use bytes::Bytes;

    use crate::consensus::log_view::LogView;
    use crate::consensus::{Config, Input, Raft, Start, TICK_MICROS, Time, WriteSeq};
    use crate::types::{EntryId, LogIndex, Membership, NodeId, Term, TermRun};

    /// What went wrong: a leader whose log was purged beyond the first entry of its term was
    /// reported to have lost that entry (L2).
    #[test]
    fn a_leader_may_purge_the_entry_that_opened_its_term() {
        let own = NodeId::new(1).expect("not zero");
        let membership = Membership::of_voters([(own, Bytes::new())]).expect("sound");
        let run = |first, term| TermRun { first: LogIndex::new(first), term: Term::new(term) };
        let start = Start {
            last: LogIndex::new(1),
            term_runs: vec![run(1, 0)],
            memberships: vec![(LogIndex::new(1), Arc::new(membership.clone()))],
            ..Start::default()
        };
        let mut raft = Raft::new(Config::new(own, 1), start);
        let mut out = vec![];
        raft.step(Input::ElectionTimeout { after: 1 }, &mut out);
        raft.step(Input::Tick { now: Time::from_micros(TICK_MICROS) }, &mut out);
        for seq in 1..=2 {
            raft.step(Input::Durable { seq: WriteSeq(seq) }, &mut out);
        }
        raft.step(Input::Propose { count: 3, origins: vec![] }, &mut out);
        raft.step(Input::Durable { seq: WriteSeq(3) }, &mut out);
        assert_eq!((raft.is_leader(), raft.commit()), (true, LogIndex::new(5)));
        let boundary = EntryId::new(Term::new(1), LogIndex::new(4));
        let base = Some(Arc::new(membership));
        raft.log = LogView::new(boundary, LogIndex::new(5), vec![run(5, 1)], base, vec![]);
        raft.check_laws();
    }
}
