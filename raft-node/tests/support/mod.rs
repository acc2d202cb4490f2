//! Helpers for several tests of this crate: members of a cluster by number, and a memory log whose
//! properties a test can change.

use std::ops::Range;

use async_trait::async_trait;
use bytes::Bytes;
use log_memory::MemoryLog;
use raft_core::storage::{
    BatchStore, LogBounds, LogError, LogOp, LogReader, Recovered, StableState, StoreInfo,
    WriteBatch,
};
use raft_core::types::{Entry, Identity, LogIndex, Membership, NodeId, Term};

/// The member with this number.
pub fn node_id(number: u64) -> NodeId {
    NodeId::new(number).expect("not zero")
}

/// A cluster of the members 1 to `size`, all of them voters.
pub fn membership_of(size: u64) -> Membership {
    let members = (1..=size).map(|number| (node_id(number), Bytes::new()));
    Membership::of_voters(members).expect("sound")
}

/// The properties of a memory log that a test changes. The defaults change nothing.
#[async_trait]
pub trait Changes: Clone + Send + Sync + 'static {
    /// The declarations, given those of a memory log.
    fn declare(&self, info: StoreInfo) -> StoreInfo {
        info
    }

    /// Whether a read may block its thread.
    fn read_may_block(&self) -> bool {
        true
    }

    /// Runs before each write. If it returns an error, the write is not made and has this outcome.
    async fn before_write(&self) -> Result<(), LogError> {
        Ok(())
    }

    /// Runs before each read of entries.
    async fn before_read(&self) {}

    /// Runs before the log is closed.
    async fn before_close(&self) {}
}

/// A memory log with changes.
pub struct ChangedLog<C> {
    pub log: MemoryLog,
    pub changes: C,
}

#[async_trait]
impl<C: Changes> BatchStore for ChangedLog<C> {
    fn declaration(&self) -> StoreInfo {
        self.changes.declare(self.log.declaration())
    }

    fn log_bounds(&self) -> LogBounds {
        self.log.log_bounds()
    }

    fn log_reader(&self) -> Box<dyn LogReader> {
        let (reader, changes) = (self.log.log_reader(), self.changes.clone());
        Box::new(ChangedReader { reader, changes })
    }

    fn stable_state(&self, op: LogOp) -> Result<StableState, LogError> {
        self.log.stable_state(op)
    }

    fn check_usable(&self, op: LogOp) -> Result<(), LogError> {
        self.log.check_usable(op)
    }

    async fn change(&mut self, op: LogOp, batch: WriteBatch) -> Result<(), LogError> {
        self.changes.before_write().await?;
        self.log.change(op, batch).await
    }

    async fn write_identity(&mut self, identity: Identity) -> Result<(), LogError> {
        self.log.write_identity(identity).await
    }

    async fn recover_all(&mut self) -> Result<Recovered, LogError> {
        self.log.recover_all().await
    }

    async fn finish(&mut self) -> Result<(), LogError> {
        self.changes.before_close().await;
        self.log.finish().await
    }
}

struct ChangedReader<C> {
    reader: Box<dyn LogReader>,
    changes: C,
}

#[async_trait]
impl<C: Changes> LogReader for ChangedReader<C> {
    async fn read(&mut self, range: Range<LogIndex>, max: u64) -> Result<Vec<Entry>, LogError> {
        self.changes.before_read().await;
        self.reader.read(range, max).await
    }

    async fn term(&mut self, index: LogIndex) -> Result<Term, LogError> {
        self.reader.term(index).await
    }

    fn may_block(&self) -> bool {
        self.changes.read_may_block()
    }
}
