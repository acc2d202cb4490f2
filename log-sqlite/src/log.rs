//! The store itself: opening, the verbs, closing.

use std::sync::{Arc, RwLock, RwLockReadGuard};

use async_trait::async_trait;
use raft_core::storage::{
    BatchStore, Detects, Durability, Gate, LogBounds, LogError, LogErrorKind, LogOp, LogReader,
    LogSummary, Plan, Recovered, StableState, StoreInfo, Tail, WriteBatch,
};
use raft_core::types::Identity;

use crate::config::{MAX_INDEX, MAX_PAYLOAD_BYTES, SqliteLogConfig};
use crate::database::{create, open_writer};
use crate::directory::{DATABASE_NAME, DURABLE_MARK_NAME, Directory, WAL_NAME};
use crate::load::load;
use crate::reader::{ReadConnection, SqliteReader};
use crate::recover::{Recovery, prove, recover};
use crate::state::{FORMAT_VERSION, State};
use crate::writer::{Content, Writer};

/// A log in an SQLite database. Every change for which a verb returned `Ok` survives a power cut.
pub struct SqliteLog {
    readers: Arc<ReadConnection>,
    summary: Arc<RwLock<LogSummary>>,
    writer: Writer,
    tail: Tail,
    /// The last batch that the durable mark covers.
    proven_batch: u64,
    is_poisoned: bool,
    /// Unlocked last, when the connections are closed.
    directory: Directory,
}

impl SqliteLog {
    /// Opens the log in a directory, or creates one there. The content of the log is durable when
    /// this returns.
    pub fn open(config: SqliteLogConfig) -> Result<SqliteLog, LogError> {
        let directory = Directory::open(&config.dir)?;
        let kept = [DATABASE_NAME, WAL_NAME, DURABLE_MARK_NAME];
        if !kept.iter().any(|name| directory.has(name)) {
            create(&directory)?;
        }
        let Recovery { state, tail, proven_batch } = recover(&directory)?;
        let database = open_writer(&directory, &state)?;
        let place = directory.place(DATABASE_NAME);
        #[cfg(feature = "mutants")]
        if config.mutant == Some(crate::config::Mutant::SynchronousNormal) {
            let set = database.pragma_update(None, "synchronous", "NORMAL");
            set.map_err(|error| crate::database::failed(LogOp::Open, &place, error))?;
        }
        let summary = load(&database, &state, &place)?;
        Ok(SqliteLog {
            readers: Arc::new(ReadConnection::new(directory.path(DATABASE_NAME))),
            summary: Arc::new(RwLock::new(summary)),
            writer: Writer::new(database, state, place, config.checkpoint_bytes),
            tail,
            proven_batch,
            is_poisoned: false,
            directory,
        })
    }

    fn write_batch(&mut self, op: LogOp, batch: &WriteBatch) -> Result<(), LogError> {
        self.check_usable(op)?;
        let plan = self.plan(batch)?;
        let content = Content::of(plan, batch);
        if content.is_hint() {
            // A hint alone is written with the next batch, or is lost, as a hint may be.
            self.writer.state.commit_hint = content.plan.commit_hint;
            return Ok(());
        }
        self.transact(op, &content)
    }

    fn plan(&self, batch: &WriteBatch) -> Result<Plan, LogError> {
        let summary = self.summary();
        let gate = Gate::new(summary.bounds(), self.writer.state.hard_state);
        let gate = gate.committed_up_to(self.writer.state.commit_hint);
        let gate = gate.payloads_up_to(MAX_PAYLOAD_BYTES).indices_up_to(MAX_INDEX);
        gate.pass(batch, |index| summary.term(index))
    }

    fn transact(&mut self, op: LogOp, content: &Content<'_>) -> Result<(), LogError> {
        let written = self.writer.write(op, content, &self.summary);
        self.is_poisoned = written.as_ref().is_err_and(|error| !error.is_harmless());
        written
    }

    fn summary(&self) -> RwLockReadGuard<'_, LogSummary> {
        self.summary.read().expect("no writer panics")
    }
}

impl Drop for SqliteLog {
    fn drop(&mut self) {
        self.readers.close();
    }
}

/// The declaration of an SQLite log.
pub(crate) fn store_info() -> StoreInfo {
    StoreInfo {
        backend: "sqlite".into(),
        durability: Durability::PowerLoss,
        atomic_batch: true,
        may_block: true,
        detects: Detects::ProvenPrefix,
        sync_verb: sync_verb().into(),
        format_version: FORMAT_VERSION,
    }
}

/// The call that SQLite was built to use for a sync. Only these build flags show it; SQLite's own
/// list of compile options does not.
fn sync_verb() -> &'static str {
    let is_defined =
        option_env!("LIBSQLITE3_FLAGS").is_some_and(|flags| flags.contains("FDATASYNC"));
    if cfg!(target_vendor = "apple") {
        "fcntl(F_FULLFSYNC)"
    } else if is_defined {
        "fdatasync"
    } else {
        "fsync"
    }
}

#[async_trait]
impl BatchStore for SqliteLog {
    fn declaration(&self) -> StoreInfo {
        store_info()
    }

    fn log_bounds(&self) -> LogBounds {
        self.summary().bounds()
    }

    fn log_reader(&self) -> Box<dyn LogReader> {
        Box::new(SqliteReader::new(self.readers.clone(), self.summary.clone()))
    }

    fn stable_state(&self, _: LogOp) -> Result<StableState, LogError> {
        let State { identity, hard_state, .. } = self.writer.state;
        Ok(StableState { identity, hard_state })
    }

    fn check_usable(&self, op: LogOp) -> Result<(), LogError> {
        if self.is_poisoned { Err(LogError::new(op, LogErrorKind::Poisoned)) } else { Ok(()) }
    }

    async fn change(&mut self, op: LogOp, batch: WriteBatch) -> Result<(), LogError> {
        self.write_batch(op, &batch).map_err(|error| error.giving_back(batch))
    }

    async fn write_identity(&mut self, identity: Identity) -> Result<(), LogError> {
        let content = Content { identity: Some(identity), ..Content::default() };
        self.transact(LogOp::Identity, &content)
    }

    async fn recover_all(&mut self) -> Result<Recovered, LogError> {
        let State { hard_state, commit_hint, .. } = self.writer.state;
        self.summary().recovered(hard_state, commit_hint, self.tail.clone())
    }

    /// Writes a durable mark that everything is synced, unless the last durable mark already says
    /// so.
    async fn finish(&mut self) -> Result<(), LogError> {
        self.check_usable(LogOp::Close)?;
        let ended = self.writer.end_checkpoint();
        self.is_poisoned = ended.is_err();
        ended.map_err(|error| LogError { op: LogOp::Close, ..error })?;
        if self.proven_batch == self.writer.state.batch {
            return Ok(());
        }
        let proven = prove(&self.directory, &self.writer.state);
        self.is_poisoned = proven.as_ref().is_err_and(|error| !error.is_harmless());
        proven.map_err(|error| LogError { op: LogOp::Close, ..error })?;
        self.proven_batch = self.writer.state.batch;
        Ok(())
    }
}
