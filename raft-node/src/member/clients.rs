//! The types with which a node identifies groups of clients to its pump.

use std::sync::Arc;

use bytes::Bytes;
use raft_core::types::LogIndex;

use crate::pump::Clients;
use crate::requests::batcher::ProposeResult;
use crate::requests::error::{ProposeError, ReadError};
use crate::requests::reply::{Answer, Answers};

/// A node's clients.
#[derive(Debug)]
pub(crate) struct Waiters;

impl Clients for Waiters {
    type Proposals = Answers<ProposeResult>;
    type Reads = Arc<ReadGroup>;
}

/// The answer to a read.
pub(crate) type ReadResult = Result<ReadAnswer, ReadError>;

/// Reads that came in together.
#[derive(Debug)]
pub(crate) struct ReadGroup {
    pub(crate) answers: Answers<ReadResult>,
    /// The query of each read; `None` for a barrier, which asks nothing.
    pub(crate) queries: Vec<Option<Bytes>>,
}

/// The result of a read.
#[derive(Debug)]
pub(crate) struct ReadAnswer {
    /// The index that was committed when the read came, and that has been applied.
    pub(crate) index: LogIndex,
    /// The state machine's answer; empty for a barrier.
    pub(crate) answer: Bytes,
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
