//! Why a member stops.

use raft_core::consensus::Contradiction;
use raft_core::storage::{LogError, LogErrorKind};
use raft_core::types::{EntryId, EntryKind, NodeId};
use thiserror::Error;

use crate::Fatal;

/// Why a member stopped.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum StopReason {
    /// The store failed. The member can be started again once the cause is gone.
    #[error("the log store failed: {0}")]
    Store(#[from] LogError),
    /// The state machine cannot apply a committed entry. The member can be started again once the
    /// state machine has what it lacked.
    #[error("the state machine failed: {0}")]
    StateMachine(Fatal),
    /// A part of the member panicked: there is a bug in that part or in its input.
    #[error("{place} panicked: {message}")]
    Panic {
        /// The part.
        place: &'static str,
        /// Its message.
        message: String,
    },
    /// A committed entry is of a kind that this version does not apply: a newer version wrote it.
    /// The member can be started again with that version.
    #[error("entry {id} is of kind {kind:?}, which this version does not apply")]
    UnknownEntry {
        /// The entry.
        id: EntryId,
        /// Its kind.
        kind: EntryKind,
    },
    /// An entry raises the feature level of the cluster beyond what this program supports: a newer
    /// program wrote it. The member can be started again with such a program.
    #[error(
        "entry {id} raises the feature level of the cluster to {level}, and this program supports \
         levels up to {supported}: start this member with a newer program"
    )]
    NewerLevel {
        /// The entry.
        id: EntryId,
        /// The level that it raises the cluster to.
        level: u32,
        /// The newest level that this program supports.
        supported: u32,
    },
    /// A membership is in a version of its record that this program does not read: a newer one
    /// wrote it. The member has not stored it, and can be started again with that program.
    #[error("entry {id} holds a membership of version {version}, which this program cannot read")]
    NewerMembership {
        /// The entry.
        id: EntryId,
        /// The version.
        version: u8,
    },
    /// The member was removed from the cluster. It does not come back: its node id is never used
    /// again. A new member may start with an empty directory and a new id.
    #[error("this member was removed from the cluster{}", says(.by))]
    Removed {
        /// The member that said so; none if this member's own log does.
        by: Option<NodeId>,
    },
    /// Acknowledged data was lost: a majority of the members lost entries that they had
    /// acknowledged. Starting the member again does not help. This member's store still holds the
    /// committed entry.
    #[error("acknowledged data was lost: {0}")]
    DataLost(Contradiction),
}

fn says(by: &Option<NodeId>) -> String {
    by.map_or_else(String::new, |node| format!(", says node {node}"))
}

impl StopReason {
    /// Whether acknowledged bytes are damaged or lost, which no new start repairs.
    pub fn is_damage(&self) -> bool {
        match self {
            StopReason::Store(error) => matches!(error.kind, LogErrorKind::Corrupt { .. }),
            StopReason::DataLost(_) => true,
            StopReason::UnknownEntry { .. }
            | StopReason::NewerLevel { .. }
            | StopReason::NewerMembership { .. }
            | StopReason::Removed { .. }
            | StopReason::StateMachine(_)
            | StopReason::Panic { .. } => false,
        }
    }
}
