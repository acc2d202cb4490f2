//! Reads entries in parallel with the writer, on a separate connection.
//!
//! One read is one short transaction: it sees the bounds and the entries at one moment. So a read
//! that races with a truncation, a purge or a reset sees the log before or after it, never in the
//! middle (P12). All readers of a store share the connection, which the store closes when it is
//! dropped.

use std::ops::Range;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, RwLock};

use async_trait::async_trait;
use raft_core::storage::record::Unreadable;
use raft_core::storage::{
    LogError, LogErrorKind, LogOp, LogReader, LogSummary, ReadBudget, range_to_read,
};
use raft_core::types::{Entry, LogIndex, Term};
use rusqlite::{Connection, OptionalExtension, Transaction};

use crate::database::{StoredRow, failed, integrity_faults, load_state, open_reader, unreadable};

/// The connection that all readers of a store share.
pub(crate) struct ReadConnection {
    path: PathBuf,
    state: Mutex<ConnectionState>,
}

enum ConnectionState {
    /// No read has opened it yet.
    Unused,
    Open(Connection),
    /// The store was dropped.
    Closed,
}

impl ReadConnection {
    pub(crate) fn new(path: PathBuf) -> ReadConnection {
        ReadConnection { path, state: Mutex::new(ConnectionState::Unused) }
    }

    /// Reads on a connection that is open already.
    pub(crate) fn over(path: PathBuf, connection: Connection) -> ReadConnection {
        ReadConnection { path, state: Mutex::new(ConnectionState::Open(connection)) }
    }

    /// Every read fails, since SQLite cannot open the database.
    pub(crate) fn closed(path: PathBuf) -> ReadConnection {
        ReadConnection { path, state: Mutex::new(ConnectionState::Closed) }
    }

    pub(crate) fn is_open(&self) -> bool {
        matches!(*self.lock(), ConnectionState::Open(_))
    }

    /// The faults that SQLite's own check finds; none if no connection is open.
    pub(crate) fn integrity_faults(&self) -> Result<Vec<String>, LogError> {
        match &*self.lock() {
            ConnectionState::Open(connection) => {
                integrity_faults(connection).map_err(|error| self.failed(error))
            }
            ConnectionState::Unused | ConnectionState::Closed => Ok(Vec::new()),
        }
    }

    /// Ends all reads: later reads get an error.
    pub(crate) fn close(&self) {
        *self.lock() = ConnectionState::Closed;
    }

    fn lock(&self) -> MutexGuard<'_, ConnectionState> {
        self.state.lock().expect("no reader panics")
    }

    fn place(&self) -> String {
        self.path.display().to_string()
    }

    fn failed(&self, error: rusqlite::Error) -> LogError {
        failed(LogOp::Read, &self.place(), error)
    }

    /// The entries of a range that is not empty, all read at one moment.
    pub(crate) fn read(
        &self,
        range: &Range<LogIndex>,
        max_bytes: u64,
    ) -> Result<Vec<Entry>, LogError> {
        let mut state = self.lock();
        if let ConnectionState::Unused = *state {
            let connection = open_reader(&self.path).map_err(|error| self.failed(error))?;
            *state = ConnectionState::Open(connection);
        }
        let ConnectionState::Open(connection) = &*state else {
            return Err(LogError::io(LogOp::Read, "the store was closed").at(self.place()));
        };
        let moment = connection.unchecked_transaction().map_err(|error| self.failed(error))?;
        self.read_at(&moment, range, max_bytes)
    }

    /// Reads in one transaction, which shows the log as it was at one moment.
    fn read_at(
        &self,
        moment: &Transaction<'_>,
        range: &Range<LogIndex>,
        max_bytes: u64,
    ) -> Result<Vec<Entry>, LogError> {
        let state = load_state(moment).map_err(|error| self.failed(error))?;
        let Some(state) = state else {
            let kind = LogErrorKind::Corrupt { index: None };
            return Err(LogError::new(LogOp::Read, kind).at(self.place()));
        };
        state.bounds.check_inside(range.start, range.end.prev())?;
        let (mut entries, mut budget) = (Vec::new(), ReadBudget::new(max_bytes));
        let mut at = range.start;
        while at < range.end {
            let entry = match self.entry(moment, state.directory, at) {
                Ok(entry) => entry,
                // The entries before the fault are sound (P10); the next read begins at the fault.
                Err(error) if error.kind != LogErrorKind::Io && !entries.is_empty() => break,
                Err(error) => return Err(error),
            };
            if !budget.takes(entry.size()) {
                break;
            }
            entries.push(entry);
            at = at.next();
        }
        Ok(entries)
    }

    fn entry(
        &self,
        moment: &Transaction<'_>,
        directory: u64,
        index: LogIndex,
    ) -> Result<Entry, LogError> {
        let find = || {
            let sql = "SELECT idx, term, kind, hash, head, payload FROM log WHERE idx = ?1";
            let mut query = moment.prepare_cached(sql)?;
            let found = query.query_row([index.get() as i64], |row| {
                let payload = row.get_ref(5)?.as_blob().unwrap_or_default();
                let stored = StoredRow::read(row, payload.len() as u64)?;
                Ok(stored.checked_entry(directory, payload))
            });
            found.optional()
        };
        let found = find().map_err(|error| self.failed(error))?;
        let entry = match found.unwrap_or(Err(Unreadable::Damaged)) {
            Ok(entry) if entry.id.index == index => Ok(entry),
            Ok(_) => Err(Unreadable::Damaged),
            Err(fault) => Err(fault),
        };
        entry.map_err(|fault| unreadable(LogOp::Read, index, &self.place(), fault))
    }
}

pub(crate) struct SqliteReader {
    connection: Arc<ReadConnection>,
    summary: Arc<RwLock<LogSummary>>,
}

impl SqliteReader {
    pub(crate) fn new(
        connection: Arc<ReadConnection>,
        summary: Arc<RwLock<LogSummary>>,
    ) -> SqliteReader {
        SqliteReader { connection, summary }
    }
}

#[async_trait]
impl LogReader for SqliteReader {
    async fn read(
        &mut self,
        range: Range<LogIndex>,
        max_bytes: u64,
    ) -> Result<Vec<Entry>, LogError> {
        match range_to_read(&range)? {
            Some(_) => self.connection.read(&range, max_bytes),
            None => Ok(Vec::new()),
        }
    }

    async fn term(&mut self, index: LogIndex) -> Result<Term, LogError> {
        self.summary.read().expect("no writer panics").term(index)
    }
}
