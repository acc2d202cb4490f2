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
    type Proposals = Arc<ProposalGroup>;
    type Reads = Arc<ReadGroup>;
}

/// Proposals that came in together.
#[derive(Debug)]
pub(crate) struct ProposalGroup {
    pub(crate) answers: Arc<Cell<Result<Bytes, ProposeError>>>,
    /// The bytes of each, to give their room back.
    pub(crate) sizes: Vec<u32>,
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

impl ProposalGroup {
    /// The bytes of consecutive proposals.
    pub(crate) fn bytes(&self, offset: usize, count: usize) -> u64 {
        self.sizes[offset..offset + count].iter().map(|size| u64::from(*size)).sum()
    }
}
