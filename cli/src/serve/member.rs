//! The running member, behind the interface that the etcd services expect.

use std::sync::Arc;

use bytes::Bytes;
use kontiki::consensus::RoleName;
use kontiki::types::{LogIndex, StoreId};
use kontiki::{Membership, Node, NodeId, NodeStatus};
use kontiki_etcd::Engine;
use kontiki_etcd::engine::{
    ChangeError, ClusterMember, MembershipStatus, NodeEvent, ProposeError, ReadError, Role,
    SnapshotError, Standing, TakenSnapshot, TransferError,
};
use tokio::sync::broadcast::Receiver;

use super::listed::Listed;

/// A running member.
pub struct Member {
    node: Node,
    /// The members' addresses in the settings.
    listed: Listed,
}

impl Member {
    /// The member behind this handle.
    pub fn new(node: Node, listed: Listed) -> Member {
        Member { node, listed }
    }

    fn metadata(&self, membership: &Membership, node: NodeId) -> Bytes {
        let metadata = membership.metadata(node).cloned().unwrap_or_default();
        match self.listed.addresses(node, &metadata) {
            Ok(addresses) => addresses.encode(),
            Err(_) => metadata,
        }
    }
}

impl Engine for Member {
    async fn propose(&self, command: Bytes) -> Result<Bytes, ProposeError> {
        self.node.propose(command).await
    }

    async fn barrier(&self) -> Result<LogIndex, ReadError> {
        self.node.barrier().await
    }

    async fn snapshot(&self) -> Result<TakenSnapshot, SnapshotError> {
        let last = self.node.snapshot().await?;
        // The status shows it after the next tick.
        let mut status = self.node.watch_status();
        let includes_it = |newest: &TakenSnapshot| newest.last.index >= last.index;
        let newest = |now: &Arc<NodeStatus>| now.snapshot.filter(includes_it);
        let shown = status.wait_for(|now| now.closed || newest(now).is_some()).await;
        shown.ok().and_then(|now| newest(&now)).ok_or(SnapshotError::Closed)
    }

    async fn change(
        &self,
        from: Arc<Membership>,
        target: Membership,
    ) -> Result<Arc<Membership>, ChangeError> {
        self.node.change_membership_from(from, target).await
    }

    fn cancel_change(&self) {
        self.node.cancel_change();
    }

    async fn transfer(&self, to: NodeId) -> Result<(), TransferError> {
        self.node.transfer(to).await
    }

    fn events(&self) -> Receiver<NodeEvent> {
        self.node.events()
    }

    fn membership(&self) -> MembershipStatus {
        let status = self.node.status();
        MembershipStatus {
            now: status.raft.membership.clone(),
            change: status.change.clone(),
            peers: status.raft.peers.clone(),
        }
    }

    fn store_of(&self, node: NodeId) -> Option<StoreId> {
        self.node.store_of(node)
    }

    fn standing(&self) -> Standing {
        let status = self.node.status();
        Standing {
            cluster: status.identity.cluster,
            node: status.identity.node,
            role: role(&status),
            term: status.raft.soft_state.term,
            leader: status.raft.soft_state.leader,
            commit: status.raft.commit,
            applied: status.applied,
            last: status.raft.last.index,
            durable: status.raft.durable,
            snapshot: status.snapshot,
        }
    }

    fn members(&self) -> Vec<ClusterMember> {
        let status = self.node.status();
        let Some(membership) = &status.raft.membership else { return Vec::new() };
        let member = |node| ClusterMember {
            node,
            learner: !membership.is_voter(node),
            metadata: self.metadata(membership, node),
        };
        membership.members().map(member).collect()
    }
}

fn role(status: &NodeStatus) -> Role {
    let node = status.identity.node;
    let votes = status.raft.membership.as_ref().is_none_or(|members| members.is_voter(node));
    match status.raft.soft_state.role {
        _ if status.closed || status.stopped.is_some() => Role::Stopped,
        RoleName::Leader => Role::Leader,
        RoleName::Candidate | RoleName::PreCandidate => Role::Candidate,
        RoleName::Follower if votes => Role::Follower,
        RoleName::Follower => Role::Learner,
    }
}
