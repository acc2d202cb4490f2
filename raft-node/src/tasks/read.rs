//! Reads entries that are no longer in memory, beside the writer. Owns a reader of the store.

use raft_core::storage::LogReader;

use crate::hand::Worker;
use crate::pump::{Event, Fetch};
use crate::waiters::Waiters;

/// Answers questions to the store.
pub(crate) struct Read {
    reader: Box<dyn LogReader>,
}

impl Read {
    pub(crate) fn new(reader: Box<dyn LogReader>) -> Read {
        Read { reader }
    }
}

impl Worker for Read {
    type Work = Fetch;

    /// Whoever needs entries from the store is behind, and does not wait for one of them.
    fn is_alone(_fetch: &Fetch) -> bool {
        false
    }

    async fn work(&mut self, fetch: Fetch) -> Event<Waiters> {
        let result = self.reader.read(fetch.first..fetch.last.next(), fetch.max_bytes).await;
        Event::Fetched { fetch: fetch.id, result }
    }

    async fn finish(self) {}
}
