//! Runs batches as transactions, and has checkpoints run between them.
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

use crate::checkpointer::Checkpointer;
use crate::database::{StoredRow, failed};
use crate::full_disk::{counting_quotas, is_disk_full};
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
    database: Checkpointer,
    pub(crate) state: State,
    place: String,
    checkpoint_bytes: u64,
    /// About how many bytes the write-ahead log has grown since the last checkpoint.
    grown_bytes: u64,
}

impl Writer {
    pub(crate) fn new(
        database: Connection,
        state: State,
        place: String,
        checkpoint_bytes: u64,
    ) -> Writer {
        let database = Checkpointer::start(database);
        Writer { database, state, place, checkpoint_bytes, grown_bytes: 0 }
    }

    /// Runs one transaction, which is durable when this returns `Ok`. After `NoSpace` nothing has
    /// changed; after any other error the outcome is unknown.
    pub(crate) fn write(
        &mut self,
        op: LogOp,
        content: &Content<'_>,
        summary: &RwLock<LogSummary>,
    ) -> Result<(), LogError> {
        self.end_checkpoint()?;
        let state = next_state(self.state, content);
        let run = self.transact(content, &state);
        run.map_err(|error| self.not_written(op, error))?;
        self.state = state;
        let mut summary = summary.write().expect("no reader panics");
        summary.apply(&content.plan, content.entries, |_| ());
        drop(summary);
        self.checkpoint_if_due(content);
        Ok(())
    }

    /// Waits for the end of a checkpoint that is in progress. If it failed, earlier batches are
    /// durable, but this handle must write no more.
    pub(crate) fn end_checkpoint(&mut self) -> Result<(), LogError> {
        let Some(outcome) = self.database.outcome() else { return Ok(()) };
        let is_whole = match outcome {
            Err(error) if is_disk_full(&error) => {
                warn!(%error, "the log in {} is not checkpointed: the disk is full", self.place);
                false
            }
            // A reader can delay the rest of a checkpoint, but not the writer.
            done => done.map_err(|error| failed(LogOp::Sync, &self.place, error))?,
        };
        self.grown_bytes = if is_whole { 0 } else { self.checkpoint_bytes / 2 };
        Ok(())
    }

    /// The error for a transaction that failed. A transaction for which there was no space is
    /// rolled back first.
    fn not_written(&self, op: LogOp, error: rusqlite::Error) -> LogError {
        let database = self.database.database();
        if is_disk_full(&error)
            && !database.is_autocommit()
            && let Err(error) = run(&database, "ROLLBACK", [])
        {
            return LogError::io(op, error).at(&self.place);
        }
        failed(op, &self.place, error)
    }

    fn transact(&self, content: &Content<'_>, state: &State) -> rusqlite::Result<()> {
        let database = self.database.database();
        counting_quotas(&database, self.transact_on(&database, content, state))
    }

    fn transact_on(
        &self,
        database: &Connection,
        content: &Content<'_>,
        state: &State,
    ) -> rusqlite::Result<()> {
        run(database, "BEGIN IMMEDIATE", [])?;
        if content.plan.reset.is_some() {
            run(database, "DELETE FROM log", [])?;
        }
        if let Some(last) = content.plan.truncate {
            run(database, "DELETE FROM log WHERE idx > ?1", [last.index.get() as i64])?;
        }
        for entry in content.entries {
            insert(database, &StoredRow::of(entry, self.state.directory), &entry.payload)?;
        }
        let reset = content.plan.reset;
        if state.oldest_row > reset.map_or(self.state.oldest_row, |it| it.index.next()) {
            let end = state.oldest_row.get() as i64;
            run(database, "DELETE FROM log WHERE idx < ?1", [end])?;
        }
        let changed =
            run(database, "UPDATE state SET record = ?1 WHERE one = 1", [state.encode()])?;
        if changed != 1 {
            return Err(rusqlite::Error::StatementChangedRows(changed));
        }
        run(database, "COMMIT", []).map(|_| ())
    }

    /// Requests a checkpoint, which runs after this write, if the write-ahead log is long enough.
    fn checkpoint_if_due(&mut self, content: &Content<'_>) {
        let payload: u64 = content.entries.iter().map(Entry::size).sum();
        self.grown_bytes += payload + OTHER_PAGES * PAGE_BYTES as u64;
        if self.grown_bytes >= self.checkpoint_bytes {
            self.database.ask();
        }
    }
}

fn run(database: &Connection, sql: &str, values: impl Params) -> rusqlite::Result<usize> {
    database.prepare_cached(sql)?.execute(values)
}

fn insert(database: &Connection, row: &StoredRow, payload: &[u8]) -> rusqlite::Result<usize> {
    let [index, term, kind, hash, head] = row.columns();
    let sql = "INSERT INTO log VALUES (?1, ?2, ?3, ?4, ?5, ?6)";
    run(database, sql, (index, term, kind, hash, head, payload))
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
