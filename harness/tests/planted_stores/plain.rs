//! A store that implements only the small verbs: `write` and `recover` are the defaults of the
//! contract.

use async_trait::async_trait;
use raft_core::storage::{LogBounds, LogError, LogReader, LogStore, StableStore, Store, StoreInfo};
use raft_core::types::{Entry, EntryId, HardState, Identity, LogIndex};

use crate::store::PlantedStore;

pub struct PlainStore(pub PlantedStore);

#[async_trait]
impl LogStore for PlainStore {
    fn bounds(&self) -> LogBounds {
        self.0.bounds()
    }

    async fn append(&mut self, entries: &[Entry]) -> Result<(), LogError> {
        self.0.append(entries).await
    }

    async fn truncate_after(&mut self, index: LogIndex) -> Result<(), LogError> {
        self.0.truncate_after(index).await
    }

    async fn purge_upto(&mut self, upto: EntryId) -> Result<(), LogError> {
        self.0.purge_upto(upto).await
    }

    async fn reset(&mut self, boundary: EntryId) -> Result<(), LogError> {
        self.0.reset(boundary).await
    }

    fn reader(&self) -> Box<dyn LogReader> {
        self.0.reader()
    }
}

#[async_trait]
impl StableStore for PlainStore {
    async fn load_identity(&mut self) -> Result<Option<Identity>, LogError> {
        self.0.load_identity().await
    }

    async fn save_identity(&mut self, identity: &Identity) -> Result<(), LogError> {
        self.0.save_identity(identity).await
    }

    async fn load_hard_state(&mut self) -> Result<HardState, LogError> {
        self.0.load_hard_state().await
    }

    async fn save_hard_state(&mut self, hard_state: HardState) -> Result<(), LogError> {
        self.0.save_hard_state(hard_state).await
    }
}

#[async_trait]
impl Store for PlainStore {
    fn info(&self) -> StoreInfo {
        StoreInfo { atomic_batch: false, ..self.0.info() }
    }
}
