//! The types with which a node identifies groups of clients to its pump.

use std::sync::Arc;

use bytes::Bytes;
use raft_core::types::{EntryId, LogIndex, Membership};

use crate::pump::{ChangeError, Clients};
use crate::requests::batcher::ProposeResult;
use crate::requests::error::{ProposeError, ReadError, SnapshotError};
use crate::requests::reply::{Answer, Answers};
use crate::sessions::{SessionAnswer, SessionError};

/// A node's clients.
#[derive(Debug)]
pub(crate) struct Waiters;

impl Clients for Waiters {
    type Proposals = Answers<ProposeResult>;
    type Reads = Arc<ReadGroup>;
    type Snapshots = Answers<SnapshotResult>;
    type Changes = Answers<ChangeResult>;
    type Sessions = Answers<SessionResult>;
}

/// The answer to a read.
pub(crate) type ReadResult = Result<ReadAnswer, ReadError>;

/// The answer to a request for a snapshot: the last entry that it includes.
pub(crate) type SnapshotResult = Result<EntryId, SnapshotError>;

/// The answer to a request to change the membership: the membership that is committed then.
pub(crate) type ChangeResult = Result<Arc<Membership>, ChangeError>;

/// The answer to a request of a session.
pub(crate) type SessionResult = Result<SessionAnswer, SessionError>;

/// Reads that came in together.
#[derive(Debug)]
pub(crate) struct ReadGroup {
    pub(crate) answers: Answers<ReadResult>,
    /// The query of each read; `None` for a barrier, which asks nothing.
    pub(crate) queries: Vec<Option<Bytes>>,
}

/// The result of a read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ReadAnswer {
    /// The answer includes no entry after this one: a later read with
    /// [`Consistency::AtLeast`](crate::Consistency) this index sees no older state. The index is
    /// committed.
    pub index: LogIndex,
    /// The state machine's answer; empty for a barrier.
    pub answer: Bytes,
}

impl Answer for ProposeResult {
    fn abandoned() -> ProposeResult {
        Err(ProposeError::Unknown)
    }
}

impl Answer for ReadResult {
    fn abandoned() -> ReadResult {
        Err(ReadError::Closed)
    }
}

impl Answer for SnapshotResult {
    fn abandoned() -> SnapshotResult {
        Err(SnapshotError::Closed)
    }
}

impl Answer for SessionResult {
    fn abandoned() -> SessionResult {
        Err(SessionError::Closed)
    }
}

impl Answer for ChangeResult {
    fn abandoned() -> ChangeResult {
        Err(ChangeError::Closed)
    }
}
