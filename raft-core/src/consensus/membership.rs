//! Which configuration is in force, and which other members it names.
//!
//! Section 6 of the paper; thesis, chapter 4. The newest membership *in the log* is in force from
//! the moment it is appended, committed or not, and truncating it restores the previous one (law
//! L13); [`log_view`](super::log_view) holds them. A request is answered whether or not its sender
//! is a member, since the sender's configuration may be newer than this one (K18).
//!
//! So far only bootstrap writes a membership. Membership changes will be in this file: learners
//! first, joint consensus, one change at a time, none before an entry of the leader's own term is
//! committed.

use alloc::sync::Arc;
use alloc::vec::Vec;

use super::raft::Raft;
use crate::types::{LogIndex, Membership, NodeId};

impl Raft {
    /// The newest membership in the log, committed or not; none on a blank store.
    pub fn membership(&self) -> Option<&Arc<Membership>> {
        self.log.membership()
    }

    /// The membership in force at an index, from the boundary on.
    pub fn membership_at(&self, index: LogIndex) -> Option<&Arc<Membership>> {
        self.log.membership_at(index)
    }

    /// Whether this member votes.
    pub(super) fn is_voter(&self) -> bool {
        self.membership().is_some_and(|membership| membership.is_voter(self.id()))
    }

    /// The voters besides this member.
    pub(super) fn other_voters(&self) -> Vec<NodeId> {
        let Some(membership) = self.membership() else { return Vec::new() };
        let others = membership.members().filter(|node| *node != self.id());
        others.filter(|node| membership.is_voter(*node)).collect()
    }

    /// The members besides this one, voters or not.
    pub(super) fn other_members(&self) -> Vec<NodeId> {
        let Some(membership) = self.membership() else { return Vec::new() };
        membership.members().filter(|node| *node != self.id()).collect()
    }
}
