//! A log store that is a stable store too, and its two compound verbs.

use alloc::boxed::Box;

use async_trait::async_trait;

use super::scan::scan;
use super::{LogError, LogStore, Recovered, StableStore, StoreInfo, WriteBatch};

/// A log store and a stable store in one, as the engine uses it.
#[async_trait]
pub trait Store: LogStore + StableStore {
    /// The declarations of the store.
    fn info(&self) -> StoreInfo;

    /// Applies a whole batch: hard state, reset, truncation, append, purge, commit hint, in that
    /// order; durable when it returns `Ok`. A crash leaves a prefix of the batches given here (P3).
    ///
    /// The default runs the small verbs one after another, each durable before the next. That is
    /// correct (a crash leaves the hard state ahead of the entries, never behind), and enough for a
    /// first backend. A better one makes the batch one atomic unit with one sync, and declares
    /// `atomic_batch`.
    async fn write(&mut self, batch: WriteBatch) -> Result<(), LogError> {
        if let Some(hard_state) = batch.hard_state {
            self.save_hard_state(hard_state).await?;
        }
        if let Some(boundary) = batch.reset {
            self.reset(boundary).await?;
        }
        if let Some(index) = batch.truncate_after {
            self.truncate_after(index).await?;
        }
        if !batch.append.is_empty() {
            self.append(&batch.append).await?;
        }
        match batch.purge_upto {
            Some(upto) => self.purge_upto(upto).await,
            None => Ok(()),
        }
    }

    /// What a member needs when it restarts, as the log holds it (P18). The default reads the whole
    /// log once.
    async fn recover(&mut self) -> Result<Recovered, LogError> {
        let (bounds, hard_state) = (self.bounds(), self.load_hard_state().await?);
        scan(self.reader().as_mut(), bounds, hard_state).await
    }

    /// Closes the store cleanly: a durable store marks its end as proven. Dropping a store without
    /// closing it loses nothing that was acknowledged.
    async fn close(&mut self) -> Result<(), LogError> {
        Ok(())
    }
}
