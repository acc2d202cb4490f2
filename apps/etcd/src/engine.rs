//! The interface of the services to the engine that replicates their commands.
//!
//! It is a trait, so that the tests can run the services on a member without a cluster and compare
//! them with a real etcd.

use std::fmt;
use std::future::Future;
use std::sync::Arc;

use bytes::Bytes;
use kontiki::consensus::PeerStatus;
use kontiki::types::{ClusterId, LogIndex, NodeId, StoreId, Term};

pub use kontiki::{
    ChangeError, ChangeProgress, Membership, NodeEvent, ProposeError, ReadError, SnapshotError,
    TakenSnapshot, TransferError,
};
use tokio::sync::broadcast;

/// A running member, as its services see it.
pub trait Engine: Send + Sync + 'static {
    /// Replicates a command, applies it, and returns the machine's answer.
    fn propose(&self, command: Bytes) -> impl Future<Output = Result<Bytes, ProposeError>> + Send;

    /// Returns once everything that was committed before the call is applied on this member.
    fn barrier(&self) -> impl Future<Output = Result<LogIndex, ReadError>> + Send;

    /// Takes a snapshot of everything that is applied on this member now, and returns once it is
    /// durable; or returns the newest snapshot, if nothing was applied since.
    fn snapshot(&self) -> impl Future<Output = Result<TakenSnapshot, SnapshotError>> + Send;

    /// Changes the membership to `target`, the whole way, if `from` is in force and this member
    /// leads. The membership carries [`crate::MemberAddresses`].
    fn change(
        &self,
        from: Arc<Membership>,
        target: Membership,
    ) -> impl Future<Output = Result<Arc<Membership>, ChangeError>> + Send;

    /// Gives up the change that this member makes, if that is still possible.
    fn cancel_change(&self);

    /// Hands the leadership of this member over to another voter, and waits until that one leads.
    fn transfer(&self, to: NodeId) -> impl Future<Output = Result<(), TransferError>> + Send;

    /// The member's events from now on; a receiver that lags behind misses the oldest.
    fn events(&self) -> broadcast::Receiver<NodeEvent>;

    /// The newest membership in this member's log, and how far a change of it has come.
    fn membership(&self) -> MembershipStatus;

    /// The store of another member, if this one knows it. A node that has never been started has
    /// none.
    fn store_of(&self, node: NodeId) -> Option<StoreId>;

    /// The present status of the member. Called for each answer, so it has to be cheap.
    fn standing(&self) -> Standing;

    /// The members of the cluster according to this member's log, in the order of their ids.
    fn members(&self) -> Vec<ClusterMember>;
}

/// The status of a member.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Standing {
    /// The cluster that it belongs to.
    pub cluster: ClusterId,
    /// The member's id.
    pub node: NodeId,
    /// Its present role.
    pub role: Role,
    /// Its current term.
    pub term: Term,
    /// The leader of its term, if it has learned of one.
    pub leader: Option<NodeId>,
    /// The last entry that is committed as far as this member has learned.
    pub commit: LogIndex,
    /// The last entry that its machine has applied.
    pub applied: LogIndex,
    /// The last entry of its log.
    pub last: LogIndex,
    /// The last entry that is durable.
    pub durable: LogIndex,
    /// The newest snapshot that is durable.
    pub snapshot: Option<TakenSnapshot>,
}

/// What a member knows of its cluster's membership.
#[derive(Clone, Debug, Default)]
pub struct MembershipStatus {
    /// The newest membership in its log; `None` while the log is blank.
    pub now: Option<Arc<Membership>>,
    /// The change that it makes, if it leads and makes one.
    pub change: Option<ChangeProgress>,
    /// How far the other members have come, if it leads.
    pub peers: Vec<PeerStatus>,
}

/// The role of a member.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Role {
    /// It follows a leader, or waits for one.
    Follower,
    /// It requests votes, or asks whether it would get them.
    Candidate,
    /// It leads.
    Leader,
    /// It receives the log and does not vote.
    Learner,
    /// It was shut down, or stopped at an error of its store.
    Stopped,
}

impl fmt::Display for Role {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Role::Follower => "follower",
            Role::Candidate => "candidate",
            Role::Leader => "leader",
            Role::Learner => "learner",
            Role::Stopped => "stopped",
        })
    }
}

/// One member of the cluster.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ClusterMember {
    /// The member's id.
    pub node: NodeId,
    /// Whether it receives the log without voting.
    pub learner: bool,
    /// Its metadata in the membership: [`crate::MemberAddresses`], encoded.
    pub metadata: Bytes,
}
