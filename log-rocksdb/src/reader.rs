//! Reads entries beside the writer.
//!
//! One read uses one snapshot of the database: the bounds and the entries are of one moment, so a
//! read during a truncation, a purge or a reset sees the log before or after it, never between
//! (P12). But tables of purged entries are dropped completely, despite snapshots; so if an entry is
//! missing, the newest bounds are checked before it counts as damage.

use std::ops::Range;
use std::sync::{Arc, RwLock};

use async_trait::async_trait;
use raft_core::storage::record::Unreadable;
use raft_core::storage::{
    LogBounds, LogError, LogErrorKind, LogOp, LogReader, LogSummary, ReadBudget, range_to_read,
};
use raft_core::types::{Entry, LogIndex, Term};
use rocksdb::{DB, ReadOptions, Snapshot};

use crate::database::{Handle, decode_state, failed, log, meta, not_an_entry, unreadable};
use crate::keys::{STATE_KEY, decode_entry, entry_key};
use crate::state::State;

pub(crate) struct RocksReader {
    handle: Arc<Handle>,
    summary: Arc<RwLock<LogSummary>>,
}

impl RocksReader {
    pub(crate) fn new(handle: Arc<Handle>, summary: Arc<RwLock<LogSummary>>) -> RocksReader {
        RocksReader { handle, summary }
    }

    /// The entries of a range that is not empty, as far as they fit, independent of the summary.
    pub(crate) fn stored(
        &self,
        range: &Range<LogIndex>,
        max_bytes: u64,
    ) -> Result<Vec<Entry>, LogError> {
        self.handle.with(LogOp::Read, |log| self.entries(log, range, max_bytes))
    }

    fn bounds(&self) -> LogBounds {
        self.summary.read().expect("no writer panics").bounds()
    }

    /// The entries of a range that is not empty, all of one moment.
    fn entries(
        &self,
        database: &DB,
        range: &Range<LogIndex>,
        max_bytes: u64,
    ) -> Result<Vec<Entry>, LogError> {
        let (snapshot, place) = (database.snapshot(), self.handle.place());
        let state = self.state(&snapshot, database)?;
        state.bounds.check_inside(range.start, range.end.prev())?;
        let mut options = ReadOptions::default();
        options.set_iterate_range(&entry_key(range.start)[..]..&entry_key(range.end)[..]);
        let mut found = snapshot.raw_iterator_cf_opt(log(database), options);
        found.seek_to_first();
        let (mut entries, mut budget) = (Vec::new(), ReadBudget::new(max_bytes));
        let mut at = range.start;
        while at < range.end {
            let item = found.item().ok_or(Unreadable::Damaged);
            let entry = item.and_then(|(key, value)| decode_entry(at, key, value, state.directory));
            let entry = match (entry, found.status()) {
                (Ok(entry), _) => entry,
                // The entries read before the damage are sound (P10); the next read starts at it.
                (Err(_), Ok(())) if !entries.is_empty() => break,
                (Err(_), Err(error)) => return Err(unreadable(LogOp::Read, at, place, error)),
                (Err(fault), Ok(())) => return Err(not_an_entry(LogOp::Read, at, place, fault)),
            };
            if !budget.takes(entry.size()) {
                break;
            }
            entries.push(entry);
            at = at.next();
            found.next();
        }
        Ok(entries)
    }

    fn state(&self, snapshot: &Snapshot<'_>, database: &DB) -> Result<State, LogError> {
        let place = self.handle.place();
        let found = snapshot.get_pinned_cf(meta(database), STATE_KEY);
        let found = found.map_err(|error| failed(LogOp::Read, place, error))?;
        decode_state(LogOp::Read, found.as_deref(), place)
    }
}

#[async_trait]
impl LogReader for RocksReader {
    async fn read(
        &mut self,
        range: Range<LogIndex>,
        max_bytes: u64,
    ) -> Result<Vec<Entry>, LogError> {
        let Some((first, last)) = range_to_read(&range)? else { return Ok(Vec::new()) };
        match self.stored(&range, max_bytes) {
            Err(error) if matches!(error.kind, LogErrorKind::Corrupt { .. }) => {
                self.bounds().check_inside(first, last)?;
                Err(error)
            }
            read => read,
        }
    }

    async fn term(&mut self, index: LogIndex) -> Result<Term, LogError> {
        self.summary.read().expect("no writer panics").term(index)
    }
}
