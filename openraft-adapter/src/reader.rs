//! A log reader of openraft as a reader of this project.
//!
//! openraft's `try_get_log_entries` returns the entries of a range that it finds. It reports
//! neither that the beginning was purged nor that the end does not exist yet. The adapter checks
//! the range against the log's bounds before the read, and again if entries are missing, since a
//! change may be in progress. If no change ran during the read, an entry that is missing inside the
//! bounds is damage.

use std::ops::Range;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use raft_core::storage::{LogError, LogErrorKind, LogOp, LogReader};
use raft_core::types::{Entry, LogIndex, Term};

use crate::foreign::ForeignReader;
use crate::shared::Shared;

/// Holds a reader once the store has returned it. It is empty again when the store is dropped.
pub(crate) type Slot<R> = tokio::sync::Mutex<Option<R>>;

/// How long a read waits before it is repeated because the log was changing.
const PAUSE: Duration = Duration::from_micros(200);

/// A reader of an [`OpenraftLog`](crate::OpenraftLog).
pub(crate) struct Reader<R> {
    slot: Arc<Slot<R>>,
    shared: Arc<Shared>,
}

impl<R: ForeignReader> Reader<R> {
    pub(crate) fn new(slot: Arc<Slot<R>>, shared: Arc<Shared>) -> Reader<R> {
        Reader { slot, shared }
    }

    /// The entries of a non-empty range that the store has.
    async fn entries(&self, range: Range<LogIndex>) -> Result<Vec<Entry>, LogError> {
        let slot = self.slot.clone();
        let work = async move {
            let mut reader = slot.lock().await;
            let reader = reader.as_mut().expect("get_log_reader panicked");
            reader.entries(range).await
        };
        let found = self.shared.tasks.run(work).await;
        let found = found.unwrap_or_else(|| Err("the store is gone".into()));
        found.map_err(|error| LogError::io(LogOp::Read, error))
    }
}

#[async_trait]
impl<R: ForeignReader> LogReader for Reader<R> {
    async fn read(
        &mut self,
        range: Range<LogIndex>,
        max_bytes: u64,
    ) -> Result<Vec<Entry>, LogError> {
        loop {
            let rested = self.shared.at_rest();
            let bounds = self.shared.bounds();
            bounds.check_read(&range)?;
            if range.is_empty() {
                return Ok(Vec::new());
            }
            let mut found = self.entries(range.clone()).await?;
            let wanted = range.end.since(range.start);
            if found.len() as u64 == wanted {
                fit(&mut found, max_bytes);
                return Ok(found);
            }
            if rested.is_some() && self.shared.at_rest() == rested {
                let kind = LogErrorKind::Corrupt { index: first_missing(&range, &found) };
                let what = format!("{} of {wanted} entries were found", found.len());
                return Err(LogError::new(LogOp::Read, kind).because(what));
            }
            self.shared.tasks.run(tokio::time::sleep(PAUSE)).await;
        }
    }

    async fn term(&mut self, index: LogIndex) -> Result<Term, LogError> {
        let boundary = self.shared.bounds().boundary;
        if index == boundary.index {
            return Ok(boundary.term);
        }
        let found = self.read(index..index.next(), 0).await?;
        Ok(found.first().map_or(Term::ZERO, |entry| entry.id.term))
    }
}

/// Keeps as many entries as fit, but at least one.
fn fit(entries: &mut Vec<Entry>, max_bytes: u64) {
    let mut bytes = 0_u64;
    let fits = |entry: &&Entry| {
        bytes = bytes.saturating_add(entry.size());
        bytes <= max_bytes
    };
    let count = entries.iter().take_while(fits).count().max(1);
    entries.truncate(count);
}

fn first_missing(range: &Range<LogIndex>, found: &[Entry]) -> Option<LogIndex> {
    let places = (range.start.get()..range.end.get()).map(LogIndex::new);
    let mut found = found.iter().map(|entry| entry.id.index);
    places.into_iter().find(|at| found.next() != Some(*at))
}
