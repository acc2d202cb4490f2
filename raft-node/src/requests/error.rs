//! The errors of requests: each states whether the request may have been applied, and whether to
//! retry.

use std::time::Duration;

use raft_core::types::NodeId;
use thiserror::Error;

/// Why a proposal has no answer.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum ProposeError {
    /// There is no leader to accept the command. Nothing happened; try again, at the hint if there
    /// is one.
    #[error("{}", not_leader_text(.hint))]
    NotLeader {
        /// The member that may lead.
        hint: Option<NodeId>,
    },
    /// Too many proposals wait, here or at the leader: its disk is behind, or it is handing over.
    /// Nothing happened; try again later.
    #[error("too many proposals are waiting")]
    Busy,
    /// The command is larger than the limit. Nothing happened; trying again does not help.
    #[error("the command has {size} bytes, more than the limit of {limit}")]
    TooLarge {
        /// The command's bytes.
        size: u64,
        /// The most that a command may have.
        limit: u64,
    },
    /// The member was shut down, or has stopped by itself. Nothing happened.
    #[error("this member is closed")]
    Closed,
    /// Another entry was committed in the command's place, so the command is never applied. Try
    /// again.
    #[error("another leader's entry was committed in its place")]
    Lost,
    /// The deadline passed, or the member closed or stopped, before the outcome was known: the
    /// command may have been applied, or may still be. Trying again may apply it twice.
    #[error("the outcome is not known")]
    Unknown,
}

/// Why a read has no answer. A read changes nothing, so it may always be tried again.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum ReadError {
    /// No leader is known that could confirm what is current.
    #[error("{}", not_leader_text(.hint))]
    NotLeader {
        /// The member that may lead.
        hint: Option<NodeId>,
    },
    /// Too many reads, or too many bytes of queries, are waiting. Try again later.
    #[error("too many reads are waiting")]
    Busy,
    /// The query is larger than all that may wait at once. Trying again does not help.
    #[error("the query has {size} bytes, more than the limit of {limit}")]
    TooLarge {
        /// The query's bytes.
        size: u64,
        /// The most that all queries together may have.
        limit: u64,
    },
    /// The member was shut down, or has stopped by itself.
    #[error("this member is closed")]
    Closed,
    /// The deadline passed before a majority confirmed what is current, or before the index that
    /// the read must include was applied here.
    #[error("no majority answered in time, or what must be included was not applied in time")]
    Timeout,
    /// What this member has heard from a leader is older than the read allows. Try again later, or
    /// at another member, or without [`Consistency::Local`](crate::Consistency).
    #[error("{}", too_old_text(.age))]
    TooOld {
        /// How long ago this member last heard its leader; `None` if it has not since it started.
        age: Option<Duration>,
    },
}

/// Why no snapshot was taken.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum SnapshotError {
    /// The state machine takes no snapshots, or the member has no directory for them
    /// ([`NodeConfig::snapshots`](crate::NodeConfig)). Trying again does not help.
    #[error("this member takes no snapshots")]
    Unsupported,
    /// The state machine has applied nothing yet. Try again later.
    #[error("nothing is applied yet")]
    NothingApplied,
    /// Too many requests for a snapshot are waiting. Try again later.
    #[error("too many requests for a snapshot are waiting")]
    Busy,
    /// The snapshot could not be written, for this reason: the disk is full, for example. The older
    /// one is still there. Try again once the cause is gone.
    #[error("the snapshot could not be written: {0}")]
    Failed(String),
    /// The member was shut down, or has stopped by itself.
    #[error("this member is closed")]
    Closed,
}

fn too_old_text(age: &Option<Duration>) -> String {
    match age {
        Some(age) => format!("what this member knows is {} ms old", age.as_millis()),
        None => "this member has not heard a leader since it started".to_owned(),
    }
}

fn not_leader_text(hint: &Option<NodeId>) -> String {
    match hint {
        Some(leader) => format!("this member is not the leader, node {leader} may be"),
        None => "there is no leader at the moment".to_owned(),
    }
}
