//! A member's protocol state, for operators and other programs.

use alloc::sync::Arc;
use alloc::vec::Vec;

use super::output::SoftState;
use super::progress::{Pace, Progress};
use super::raft::Raft;
use super::role::Role;
use crate::types::{EntryId, LogIndex, Membership, NodeId};

/// A member's protocol state at one moment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Status {
    /// The member.
    pub id: NodeId,
    /// Role, term and leader.
    pub soft_state: SoftState,
    /// The member that this one voted for in its term.
    pub vote: Option<NodeId>,
    /// The last index known to be committed.
    pub commit: LogIndex,
    /// The last index released for applying.
    pub applicable: LogIndex,
    /// The last entry of the log.
    pub last: EntryId,
    /// The last index that is durable here.
    pub durable: LogIndex,
    /// The last purged entry.
    pub boundary: EntryId,
    /// The membership in force.
    pub membership: Option<Arc<Membership>>,
    /// The index of its entry; that of the boundary if the entry was purged. The membership is
    /// committed once the commit index is at least this.
    pub membership_index: LogIndex,
    /// The other members, if this one leads.
    pub peers: Vec<PeerStatus>,
    /// The member to which this leader is handing over.
    pub transfer: Option<NodeId>,
    /// Whether the disk has completed no write for longer than the limit.
    pub disk_stalled: bool,
}

/// A peer as its leader sees it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PeerStatus {
    /// The peer.
    pub id: NodeId,
    /// The last index that it has acknowledged.
    pub matched: LogIndex,
    /// The next index that it will be sent.
    pub next: LogIndex,
    /// Whether only a snapshot can help it.
    pub needs_snapshot: bool,
    /// Whether it votes. A learner may become a voter once it has caught up.
    pub is_voter: bool,
    /// Whether it has answered within the shortest election timeout. `matched` stays when it falls
    /// silent.
    pub answers: bool,
}

impl Raft {
    /// The state at this moment. It allocates, so it must not be called on the write path.
    pub fn status(&self) -> Status {
        Status {
            id: self.id(),
            soft_state: self.soft_state(),
            vote: self.hard_state.vote,
            commit: self.commit,
            applicable: self.applicable,
            last: self.log.last_id(),
            durable: self.writes.durable(),
            boundary: self.log.boundary(),
            membership: self.membership().cloned(),
            membership_index: self.log.membership_index(),
            peers: self.peer_status(),
            transfer: self.transfer_target(),
            disk_stalled: self.disk_is_stalled(),
        }
    }

    /// Whether a peer has answered this leader within the shortest election timeout; false if this
    /// member does not lead or does not send to that node.
    pub fn answers(&self, node: NodeId) -> bool {
        match &self.role {
            Role::Leader(leader) => self.has_answered_recently(leader, node),
            _ => false,
        }
    }

    pub(super) fn answers_now(&self, peer: &Progress) -> bool {
        peer.answered_at.is_some_and(|answered_at| self.is_recent(answered_at))
    }

    fn peer_status(&self) -> Vec<PeerStatus> {
        let Role::Leader(leader) = &self.role else { return Vec::new() };
        let status = |(id, peer): (&NodeId, &Progress)| PeerStatus {
            id: *id,
            matched: peer.matched,
            next: peer.next,
            needs_snapshot: peer.pace == Pace::Snapshot,
            is_voter: self.membership().is_some_and(|now| now.is_voter(*id)),
            answers: self.answers_now(peer),
        };
        leader.peers.iter().map(status).collect()
    }
}
