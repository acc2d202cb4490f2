//! Which entries are committed, and which may be applied.
//!
//! Sections 5.3 of the paper (a majority stores the entry) and 5.4.2 (only entries of the current
//! term are committed by counting; older ones are committed along with them, which prevents Figure
//! 8). Laws L5, L8, L9, L11.
//!
//! A leader counts its own copy only once it is durable, but other members may be a majority
//! without it: an entry may be committed before the leader's own sync returns (thesis, section
//! 10.2.1). The leader applies the entry only after its own sync, so that no client sees an entry
//! that a power cut at this member could still remove.

use alloc::vec::Vec;

use super::output::Output;
use super::planted::planted;
use super::quorum;
use super::raft::Raft;
use super::role::Role;
use crate::types::{LogIndex, NodeId};

impl Raft {
    /// Counts copies as a leader, and commits everything that a majority stores if the last such
    /// entry is of the leader's own term.
    pub(super) fn count_commit(&mut self, out: &mut Vec<Output>) {
        let (Role::Leader(leader), Some(membership)) = (&self.role, self.membership()) else {
            return;
        };
        let own_mark = if planted!(self, LeaderCountsBeforeSync) {
            self.log.last()
        } else {
            self.writes.durable()
        };
        let matched = |node: NodeId| match leader.peers.get(&node) {
            Some(peer) => peer.matched,
            None if node == self.id() => own_mark,
            None => LogIndex::ZERO,
        };
        let together = planted!(self, JointCountedTogether);
        let with_itself = planted!(self, RemovedLeaderCountsItself);
        let stored = if together || with_itself {
            quorum::reached_by_majority(&self.miscounted(membership), matched)
        } else {
            quorum::reached_by_majority(membership, matched)
        };
        let of_this_term =
            self.log.term(stored) == Some(self.term()) || planted!(self, CommitOldTermByCounting);
        if stored > self.commit && of_this_term {
            self.advance_commit(stored, out);
            self.on_own_term_committed(out);
        }
    }

    /// Does what waits until this leader has committed entries of its own term, after the commit
    /// index has risen.
    pub(super) fn on_own_term_committed(&mut self, out: &mut Vec<Output>) {
        self.send_wanted_commit(out);
        self.start_waiting_reads(out);
        self.continue_change(out);
    }

    /// Moves the commit index, never back (L8), and releases what may be applied.
    pub(super) fn advance_commit(&mut self, commit: LogIndex, out: &mut Vec<Output>) {
        if commit > self.commit {
            self.commit = commit;
            self.release_committed(out);
        }
    }

    /// Releases for applying every entry that is committed and durable here.
    pub(super) fn release_committed(&mut self, out: &mut Vec<Output>) {
        let upto = if planted!(self, AppliedBeforeDurable) {
            self.commit
        } else {
            self.commit.min(self.writes.durable())
        };
        if upto > self.applicable {
            self.applicable = upto;
            out.push(Output::Apply { upto });
        }
    }

    /// Records that a client of `member` waits until `index` is committed.
    pub(super) fn await_commit(&mut self, member: NodeId, index: LogIndex) {
        if let Role::Leader(leader) = &mut self.role
            && let Some(peer) = leader.peers.get_mut(&member)
        {
            peer.commit_wanted = peer.commit_wanted.max(index);
        }
    }

    /// Sends the commit index at once to the members whose clients wait for it. The others get it
    /// with the next append or heartbeat.
    fn send_wanted_commit(&mut self, out: &mut Vec<Output>) {
        let commit = self.commit;
        let Role::Leader(leader) = &self.role else { return };
        let waiting: Vec<NodeId> = leader
            .peers
            .iter()
            .filter(|(_, peer)| peer.commit_wanted.min(commit) > peer.commit_sent)
            .map(|(node, _)| *node)
            .collect();
        for member in waiting {
            self.send_heartbeat(member, out);
        }
    }
}
