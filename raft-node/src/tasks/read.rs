//! Reads entries that are no longer in memory, beside the writer. Owns a reader of the store.

use std::sync::Arc;

use raft_core::storage::LogReader;

use crate::desk::Desk;
use crate::engine::Shared;
use crate::pump::{Event, Fetch};

/// Answers questions until the desk is closed.
pub(crate) async fn run(
    mut reader: Box<dyn LogReader>,
    desk: Arc<Desk<Fetch>>,
    shared: Arc<Shared>,
) {
    while let Some(fetch) = desk.take().await {
        let result = reader.read(fetch.first..fetch.last.next(), fetch.max_bytes).await;
        shared.post(Event::Fetched { fetch: fetch.id, result });
    }
}
