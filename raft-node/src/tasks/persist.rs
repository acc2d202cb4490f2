//! Makes batches durable, one after another. Owns the store.

use std::sync::Arc;

use raft_core::storage::{Store, WriteBatch};
use tracing::warn;

use crate::desk::Desk;
use crate::engine::Shared;
use crate::pump::Event;

/// Writes what is put on the desk until it is closed, then closes the store.
pub(crate) async fn run(
    mut store: Box<dyn Store>,
    desk: Arc<Desk<WriteBatch>>,
    shared: Arc<Shared>,
) {
    let mut failed = false;
    while let Some(batch) = desk.take().await {
        let result = store.write(batch).await;
        failed = result.is_err();
        shared.post(Event::Written(result));
    }
    if !failed && let Err(error) = store.close().await {
        warn!(%error, "the log store did not close cleanly; nothing acknowledged is lost");
    }
}
