//! Runs batches as transactions, and runs checkpoints between them.
//!
//! If the disk is full, SQLite fails before the transaction's commit is written, and the part that
//! was written does not belong to the log. So the transaction is rolled back, and may be retried
//! (`NoSpace`). A checkpoint for which there is no space is postponed: the write-ahead log keeps
//! everything until one succeeds.

use std::sync::RwLock;

use raft_core::storage::{LogError, LogOp, LogSummary, Plan, WriteBatch};
use raft_core::types::{Entry, Identity};
use rusqlite::{Connection, Params};
use tracing::warn;

use crate::database::{StoredRow, checkpoint, failed, is_disk_full};
use crate::state::State;
use crate::wal::PAGE_BYTES;

/// How many purged rows one transaction deletes at most, so that no write waits for a large purge.
const DELETED_ROWS: u64 = 2048;
/// About how many pages a transaction writes in addition to those that its payloads fill.
const OTHER_PAGES: u64 = 3;

/// The changes of one transaction.
#[derive(Default)]
pub(crate) struct Content<'a> {
    pub(crate) plan: Plan,
    pub(crate) entries: &'a [Entry],
    pub(crate) identity: Option<Identity>,
}

impl Content<'_> {
    /// The changes of a batch that was checked, according to its plan.
    pub(crate) fn of(plan: Plan, batch: &WriteBatch) -> Content<'_> {
        Content { plan, entries: &batch.append, identity: None }
    }

    /// Whether it changes nothing but the hint.
    pub(crate) fn is_hint(&self) -> bool {
        self.plan.is_empty() && self.entries.is_empty() && self.identity.is_none()
    }
}

/// The writer's connection, and the state after its last transaction.
pub(crate) struct Writer {
    database: Connection,
    pub(crate) state: State,
    place: String,
    checkpoint_bytes: u64,
    /// About how many bytes the write-ahead log has grown since the last checkpoint.
    grown_bytes: u64,
    /// Why the last checkpoint failed. The batch before it is durable all the same; the next write
    /// returns this error.
    failed_checkpoint: Option<LogError>,
}

impl Writer {
    pub(crate) fn new(
        database: Connection,
        state: State,
        place: String,
        checkpoint_bytes: u64,
    ) -> Writer {
        let (grown_bytes, failed_checkpoint) = (0, None);
        Writer { database, state, place, checkpoint_bytes, grown_bytes, failed_checkpoint }
    }

    /// Runs one transaction, which is durable when this returns `Ok`. After `NoSpace` nothing has
    /// changed; after any other error the outcome is unknown.
    pub(crate) fn write(
        &mut self,
        op: LogOp,
        content: &Content<'_>,
        summary: &RwLock<LogSummary>,
    ) -> Result<(), LogError> {
        if let Some(failed) = self.failed_checkpoint.take() {
            return Err(failed);
        }
        let state = next_state(self.state, content);
        let run = self.transact(content, &state);
        run.map_err(|error| self.not_written(op, error))?;
        self.state = state;
        let mut summary = summary.write().expect("no reader panics");
        summary.apply(&content.plan, content.entries, |_| ());
        drop(summary);
        let checkpoint = self.checkpoint_if_due(content);
        self.failed_checkpoint =
            checkpoint.err().map(|error| failed(LogOp::Sync, &self.place, error));
        Ok(())
    }

    /// Why the last checkpoint failed, if it did: earlier batches are durable, but this handle must
    /// write no more.
    pub(crate) fn take_failure(&mut self) -> Option<LogError> {
        self.failed_checkpoint.take()
    }

    /// What is said of a transaction that failed. One without space is rolled back first.
    fn not_written(&self, op: LogOp, error: rusqlite::Error) -> LogError {
        if is_disk_full(&error)
            && !self.database.is_autocommit()
            && let Err(error) = self.run("ROLLBACK", [])
        {
            return LogError::io(op, error).at(&self.place);
        }
        failed(op, &self.place, error)
    }

    fn transact(&self, content: &Content<'_>, state: &State) -> rusqlite::Result<()> {
        self.run("BEGIN IMMEDIATE", [])?;
        if content.plan.reset.is_some() {
            self.run("DELETE FROM log", [])?;
        }
        if let Some(last) = content.plan.truncate {
            self.run("DELETE FROM log WHERE idx > ?1", [last.index.get() as i64])?;
        }
        for entry in content.entries {
            self.insert(entry)?;
        }
        let reset = content.plan.reset;
        if state.oldest_row > reset.map_or(self.state.oldest_row, |it| it.index.next()) {
            let end = state.oldest_row.get() as i64;
            self.run("DELETE FROM log WHERE idx < ?1", [end])?;
        }
        let changed = self.run("UPDATE state SET record = ?1 WHERE one = 1", [state.encode()])?;
        if changed != 1 {
            return Err(rusqlite::Error::StatementChangedRows(changed));
        }
        self.run("COMMIT", []).map(|_| ())
    }

    fn run(&self, sql: &str, values: impl Params) -> rusqlite::Result<usize> {
        self.database.prepare_cached(sql)?.execute(values)
    }

    fn insert(&self, entry: &Entry) -> rusqlite::Result<usize> {
        let [index, term, kind, hash, head] = StoredRow::of(entry, self.state.directory).columns();
        let payload: &[u8] = &entry.payload;
        let sql = "INSERT INTO log VALUES (?1, ?2, ?3, ?4, ?5, ?6)";
        self.run(sql, (index, term, kind, hash, head, payload))
    }

    fn checkpoint_if_due(&mut self, content: &Content<'_>) -> rusqlite::Result<()> {
        let payload: u64 = content.entries.iter().map(Entry::size).sum();
        self.grown_bytes += payload + OTHER_PAGES * PAGE_BYTES as u64;
        if self.grown_bytes < self.checkpoint_bytes {
            return Ok(());
        }
        let is_whole = match checkpoint(&self.database) {
            Err(error) if is_disk_full(&error) => {
                warn!(%error, "the log in {} is not checkpointed: the disk is full", self.place);
                false
            }
            // A reader can delay the rest of a checkpoint, but not the writer.
            done => done?,
        };
        self.grown_bytes = if is_whole { 0 } else { self.checkpoint_bytes / 2 };
        Ok(())
    }
}

/// The state after a transaction.
fn next_state(mut state: State, content: &Content<'_>) -> State {
    let Plan { hard_state, reset, truncate, purge, .. } = content.plan;
    state.batch += 1;
    state.hard_state = hard_state.unwrap_or(state.hard_state);
    state.identity = content.identity.or(state.identity);
    if let Some(boundary) = reset {
        state.bounds.boundary = boundary;
        state.bounds.last = boundary;
        state.oldest_row = boundary.index.next();
    }
    let appended = content.entries.last().map(|entry| entry.id);
    state.bounds.last = appended.or(truncate).unwrap_or(state.bounds.last);
    state.bounds.boundary = purge.unwrap_or(state.bounds.boundary);
    if content.identity.is_none() {
        state.commit_hint = content.plan.commit_hint;
    }
    let due = state.bounds.boundary.index.next();
    state.oldest_row = due.min(state.oldest_row.plus(DELETED_ROWS));
    state
}
