//! Makes batches durable, one after another. Owns the store.

use raft_core::storage::{Store, WriteBatch};
use tracing::warn;

use super::clients::Waiters;
use super::worker::Worker;
use crate::pump::Event;

/// Writes what it is given, and closes the store at the end.
pub(crate) struct Persist {
    store: Box<dyn Store>,
    failed: bool,
}

impl Persist {
    pub(crate) fn new(store: Box<dyn Store>) -> Persist {
        Persist { store, failed: false }
    }
}

impl Worker for Persist {
    const NAME: &'static str = "the log store";

    type Work = WriteBatch;

    /// A single entry is that of a single client, which waits for nothing else. Where there are
    /// more, turns of the disks' threads would break up what gathers for the member's own task.
    fn takes_turn(batch: &WriteBatch) -> bool {
        batch.append.len() <= 1
    }

    async fn work(&mut self, batch: WriteBatch) -> Event<Waiters> {
        let result = self.store.write(batch).await;
        self.failed = result.is_err();
        Event::Written(result)
    }

    async fn finish(mut self) {
        if !self.failed
            && let Err(error) = self.store.close().await
        {
            warn!(%error, "the log store did not close cleanly; nothing acknowledged is lost");
        }
    }
}
