//! A store that counts the writes and passes them to the store inside.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use async_trait::async_trait;
use kontiki::storage::{
    LogBounds, LogError, LogReader, LogStore, Recovered, StableStore, Store, StoreInfo, WriteBatch,
};
use kontiki::types::{Entry, EntryId, HardState, Identity, LogIndex};

/// The writes of all members, and the entries in them.
#[derive(Debug, Default)]
pub struct Counts {
    writes: AtomicU64,
    entries: AtomicU64,
}

impl Counts {
    /// The writes and entries up to now.
    pub fn read(&self) -> (u64, u64) {
        (self.writes.load(Ordering::Relaxed), self.entries.load(Ordering::Relaxed))
    }
}

/// A store whose writes are counted. It has only the operations that a running member uses.
pub struct Counted {
    store: Box<dyn Store>,
    counts: Arc<Counts>,
}

impl Counted {
    /// This store, with its writes counted in these counters.
    pub fn new(store: Box<dyn Store>, counts: Arc<Counts>) -> Counted {
        Counted { store, counts }
    }
}

#[async_trait]
impl LogStore for Counted {
    fn bounds(&self) -> LogBounds {
        self.store.bounds()
    }

    async fn append(&mut self, entries: &[Entry]) -> Result<(), LogError> {
        self.store.append(entries).await
    }

    async fn truncate_after(&mut self, index: LogIndex) -> Result<(), LogError> {
        self.store.truncate_after(index).await
    }

    async fn purge_upto(&mut self, upto: EntryId) -> Result<(), LogError> {
        self.store.purge_upto(upto).await
    }

    async fn reset(&mut self, boundary: EntryId) -> Result<(), LogError> {
        self.store.reset(boundary).await
    }

    fn reader(&self) -> Box<dyn LogReader> {
        self.store.reader()
    }
}

#[async_trait]
impl StableStore for Counted {
    async fn load_identity(&mut self) -> Result<Option<Identity>, LogError> {
        self.store.load_identity().await
    }

    async fn save_identity(&mut self, identity: &Identity) -> Result<(), LogError> {
        self.store.save_identity(identity).await
    }

    async fn load_hard_state(&mut self) -> Result<HardState, LogError> {
        self.store.load_hard_state().await
    }

    async fn save_hard_state(&mut self, hard_state: HardState) -> Result<(), LogError> {
        self.store.save_hard_state(hard_state).await
    }
}

#[async_trait]
impl Store for Counted {
    fn info(&self) -> StoreInfo {
        self.store.info()
    }

    async fn write(&mut self, batch: WriteBatch) -> Result<(), LogError> {
        self.counts.writes.fetch_add(1, Ordering::Relaxed);
        self.counts.entries.fetch_add(batch.append.len() as u64, Ordering::Relaxed);
        self.store.write(batch).await
    }

    async fn recover(&mut self) -> Result<Recovered, LogError> {
        self.store.recover().await
    }

    async fn close(&mut self) -> Result<(), LogError> {
        self.store.close().await
    }
}
