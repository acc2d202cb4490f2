//! The laws that one member's state can break, checked after each step in debug builds and in every
//! simulation.
//!
//! `docs/laws.md` lists all laws. Those that need two members to break (one leader in a term, log
//! matching, leader completeness, state machine safety) are checked by the simulator, which sees
//! all.

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
                assert_eq!(self.hard_state.vote, Some(self.id()), "L7: votes for another");
            }
            Role::PreCandidate(_) => {}
        }
    }

    fn check_indexes(&self) {
        let (last, durable) = (self.log.last(), self.writes.durable());
        assert!(self.commit <= last, "L9: committed {} beyond the log's {last}", self.commit);
        assert!(durable <= last, "L6: durable {durable} beyond the log's {last}");
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
            assert!(peer.next > peer.matched, "L12: {node} is sent what it has");
            assert!(peer.next <= last.next(), "L12: {node} is sent what does not exist");
        }
        let own_term = self.log.term(leader.first_of_term) == Some(self.term());
        assert!(own_term, "L2: the leader lost the entry that opened its term");
    }
}
