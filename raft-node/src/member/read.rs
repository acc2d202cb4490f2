//! Reads entries that are no longer in memory, concurrently with the writer. Owns a reader of the
//! store.

use raft_core::storage::LogReader;

use super::clients::Waiters;
use super::worker::Worker;
use crate::pump::{Event, Fetch};

/// The worker that carries out the pump's reads from the store.
pub(crate) struct Read {
    reader: Box<dyn LogReader>,
}

impl Read {
    pub(crate) fn new(reader: Box<dyn LogReader>) -> Read {
        Read { reader }
    }
}

impl Worker for Read {
    const NAME: &'static str = "the log's reader";

    type Work = Fetch;

    /// A peer that needs entries from the store is behind, so a faster turn would not help it.
    fn takes_turn(_fetch: &Fetch) -> bool {
        false
    }

    async fn work(&mut self, fetch: Fetch) -> Option<Event<Waiters>> {
        let result = self.reader.read(fetch.first..fetch.last.next(), fetch.max_bytes).await;
        Some(Event::Fetched { fetch: fetch.id, result })
    }

    async fn finish(self) {}
}
