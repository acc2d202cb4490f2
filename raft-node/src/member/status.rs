//! The status and the events of a running member, for operators and programs.

use raft_core::consensus::{SoftState, Status};
use raft_core::storage::StoreInfo;
use raft_core::types::{Identity, LogIndex, NodeId};

use super::clients::Waiters;
use crate::pump::{ChangeProgress, ChangeStage, Counters, Pump, TakenSnapshot, TransferError};

/// A member's state at one moment; renewed at each tick (10 ms) and each change of role.
#[derive(Clone, Debug)]
pub struct NodeStatus {
    /// The member: its cluster, node and store.
    pub identity: Identity,
    /// Its protocol state.
    pub raft: Status,
    /// The last entry that its machine has applied.
    pub applied: LogIndex,
    /// The feature level of the cluster, as far as this member has applied the log.
    pub feature_level: u32,
    /// The newest snapshot in its directory.
    pub snapshot: Option<TakenSnapshot>,
    /// How far the change of the membership has come that this leader makes.
    pub change: Option<ChangeProgress>,
    /// The properties that its store declares.
    pub store: StoreInfo,
    /// Its counters.
    pub counters: Counters,
    /// Proposals of its own clients that wait for their outcome.
    pub proposals_waiting: u64,
    /// The bytes of those proposals.
    pub proposal_bytes_waiting: u64,
    /// Payload bytes of recent entries in memory.
    pub tail_bytes: u64,
    /// Why it stopped, if it stopped by itself.
    pub stopped: Option<String>,
    /// Whether it stopped because acknowledged bytes are damaged or lost: started again, it would
    /// stop again.
    pub damaged: bool,
    /// Whether it has ended, for whatever reason.
    pub closed: bool,
}

impl NodeStatus {
    /// The status of a pump for which no client waits yet and nothing has failed.
    pub(crate) fn of(identity: Identity, pump: &Pump<Waiters>, store: &StoreInfo) -> NodeStatus {
        NodeStatus {
            identity,
            raft: pump.status(),
            applied: pump.applied(),
            feature_level: pump.feature_level(),
            snapshot: pump.newest_snapshot(),
            change: pump.change_progress(),
            store: store.clone(),
            counters: pump.counters().clone(),
            proposals_waiting: 0,
            proposal_bytes_waiting: 0,
            tail_bytes: pump.tail_bytes(),
            stopped: None,
            damaged: false,
            closed: pump.has_ended(),
        }
    }
}

/// Something that an observer may want to know at once.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum NodeEvent {
    /// A change of the membership has reached this stage. Its outcome is the answer to
    /// [`Node::change_membership`](crate::Node::change_membership).
    ChangeStage(ChangeStage),
    /// A leadership transfer did not succeed.
    TransferFailed {
        /// The member that was to lead.
        to: NodeId,
        /// Why.
        why: TransferError,
    },
    /// The member has another role, term or leader.
    Became(SoftState),
    /// A snapshot was taken, and is durable.
    SnapshotTaken(TakenSnapshot),
    /// A snapshot of another member was installed: this member's log begins after it, unless the
    /// log already went further.
    SnapshotInstalled(TakenSnapshot),
    /// A snapshot of another member could not be received, for this reason. It is tried again
    /// later.
    SnapshotNotReceived(String),
    /// A snapshot could not be taken, for this reason. One that the limits made due is tried again
    /// later; one that only a client asked for is not.
    SnapshotFailed(String),
    /// The member stopped by itself, for this reason.
    Stopped(String),
}
