//! Who waits: the names that a node gives its pump for groups of clients.

use std::sync::Arc;

use bytes::Bytes;
use raft_core::types::LogIndex;

use crate::cell::Cell;
use crate::pump::Clients;
use crate::{ProposeError, ReadError};

/// A node's clients.
#[derive(Debug)]
pub(crate) struct Waiters;

impl Clients for Waiters {
    type Proposals = Arc<Cell<Result<Bytes, ProposeError>>>;
    type Reads = Arc<ReadGroup>;
}

/// Reads that came in together.
#[derive(Debug)]
pub(crate) struct ReadGroup {
    pub(crate) answers: Arc<Cell<Result<ReadAnswer, ReadError>>>,
    /// What each asks; nothing, where only the moment is waited for.
    pub(crate) queries: Vec<Option<Bytes>>,
}

/// What a read learns.
#[derive(Debug)]
pub(crate) struct ReadAnswer {
    /// The index that was committed when it came, and that has been applied.
    pub(crate) index: LogIndex,
    /// The machine's answer; empty where nothing was asked.
    pub(crate) answer: Bytes,
}
