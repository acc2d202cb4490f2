//! The store: opening, its methods, closing.

use std::sync::{Arc, RwLock, RwLockReadGuard};

use async_trait::async_trait;
use raft_core::storage::{
    BatchStore, Detects, Durability, Gate, LogBounds, LogError, LogErrorKind, LogOp, LogReader,
    LogSummary, Plan, Recovered, StableState, StoreInfo, Tail, WriteBatch,
};
use raft_core::types::Identity;

use crate::config::{MAX_INDEX, MAX_PAYLOAD_BYTES, RocksLogConfig};
use crate::database::{Handle, create, failed, flush};
use crate::directory::{DATABASE_NAME, DURABLE_MARK_NAME, Directory};
use crate::load::load_view;
use crate::reader::RocksReader;
use crate::recover::{Recovery, recover, seal};
use crate::state::{FORMAT_VERSION, State};
use crate::writer::{Content, Writer};

/// A log in a RocksDB database. Every change for which a method returned `Ok` survives a power cut.
pub struct RocksLog {
    handle: Arc<Handle>,
    summary: Arc<RwLock<LogSummary>>,
    writer: Writer,
    tail: Tail,
    life: Life,
    /// Declared last, so that it is unlocked after the database is closed.
    directory: Directory,
}

/// The condition of the handle.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Life {
    Open,
    Poisoned,
    Closed,
}

impl RocksLog {
    /// Opens the log in a directory, or creates one there. Its content is durable when this
    /// returns.
    pub fn open(config: RocksLogConfig) -> Result<RocksLog, LogError> {
        let directory = Directory::open(&config.dir)?;
        if ![DATABASE_NAME, DURABLE_MARK_NAME].iter().any(|name| directory.has(name)) {
            create(&directory, config.memtable_bytes)?;
        }
        let Recovery { database, state, tail } = recover(&directory, config.memtable_bytes)?;
        let place = directory.place(DATABASE_NAME);
        let summary = load_view(&database, &state, &place)?;
        let handle = Arc::new(Handle::new(Some(database), place));
        let seen = Arc::new(RwLock::new(summary.clone()));
        let writer = Writer::new(handle.clone(), state, summary, config.memtable_bytes);
        #[cfg(feature = "mutants")]
        let writer = writer.with_bug(config.mutant);
        Ok(RocksLog { summary: seen, writer, handle, tail, life: Life::Open, directory })
    }

    fn write_batch(&mut self, op: LogOp, batch: &WriteBatch) -> Result<(), LogError> {
        self.check_usable(op)?;
        let plan = self.plan(batch)?;
        let content = Content::of(plan, batch);
        if content.is_hint() {
            // A hint alone is written with the next batch, or lost, which is allowed for a hint.
            self.writer.state.commit_hint = content.plan.commit_hint;
            return Ok(());
        }
        self.write_content(op, &content)
    }

    fn plan(&self, batch: &WriteBatch) -> Result<Plan, LogError> {
        let summary = self.writer.summary();
        let gate = Gate::new(summary.bounds(), self.writer.state.hard_state);
        let gate = gate.committed_up_to(self.writer.state.commit_hint);
        let gate = gate.payloads_up_to(MAX_PAYLOAD_BYTES).indices_up_to(MAX_INDEX);
        gate.pass(batch, |index| summary.term(index))
    }

    fn write_content(&mut self, op: LogOp, content: &Content<'_>) -> Result<(), LogError> {
        let written = self.writer.write(op, content, &self.summary);
        if written.is_err() {
            self.poison();
        }
        written
    }

    /// Refuses all later changes. RocksDB might otherwise retry the failed write once the disk has
    /// space again, and its tables would then hold less than its write-ahead log.
    fn poison(&mut self) {
        self.life = Life::Poisoned;
        self.handle.stop_background_work(false);
    }

    /// Flushes and closes the database, and seals its files.
    ///
    /// A file whose sync failed in the background must not be sealed: its bytes can be read, but a
    /// power cut may lose them, and another sync does not help.
    fn end(&mut self) -> Result<(), LogError> {
        self.handle.with(LogOp::Close, |database| {
            flush(database).map_err(|error| failed(LogOp::Close, self.handle.place(), error))
        })?;
        self.writer.stop();
        self.handle.check_background_work(LogOp::Close)?;
        self.handle.close();
        seal(&self.directory, &self.writer.state)
            .map_err(|error| LogError { op: LogOp::Close, ..error })
    }

    fn summary(&self) -> RwLockReadGuard<'_, LogSummary> {
        self.summary.read().expect("no writer panics")
    }
}

impl Drop for RocksLog {
    fn drop(&mut self) {
        self.writer.stop();
        self.handle.close();
    }
}

/// The declarations of a RocksDB log.
pub(crate) fn store_info() -> StoreInfo {
    StoreInfo {
        backend: "rocksdb".into(),
        durability: Durability::PowerLoss,
        atomic_batch: true,
        may_block: true,
        detects: Detects::ProvenPrefix,
        sync_verb: "fdatasync".into(),
        format_version: FORMAT_VERSION,
    }
}

#[async_trait]
impl BatchStore for RocksLog {
    fn declaration(&self) -> StoreInfo {
        store_info()
    }

    fn log_bounds(&self) -> LogBounds {
        self.summary().bounds()
    }

    fn log_reader(&self) -> Box<dyn LogReader> {
        Box::new(RocksReader::new(self.handle.clone(), self.summary.clone()))
    }

    fn stable_state(&self, _: LogOp) -> Result<StableState, LogError> {
        let State { identity, hard_state, .. } = self.writer.state;
        Ok(StableState { identity, hard_state })
    }

    fn check_usable(&self, op: LogOp) -> Result<(), LogError> {
        match self.life {
            Life::Open => Ok(()),
            Life::Poisoned => Err(LogError::new(op, LogErrorKind::Poisoned)),
            Life::Closed => Err(LogError::io(op, "the store was closed").at(self.handle.place())),
        }
    }

    async fn change(&mut self, op: LogOp, batch: WriteBatch) -> Result<(), LogError> {
        self.write_batch(op, &batch)
    }

    async fn write_identity(&mut self, identity: Identity) -> Result<(), LogError> {
        let content = Content { identity: Some(identity), ..Content::default() };
        self.write_content(LogOp::Identity, &content)
    }

    async fn recover_all(&mut self) -> Result<Recovered, LogError> {
        let State { hard_state, commit_hint, .. } = self.writer.state;
        self.summary().recovered(hard_state, commit_hint, self.tail.clone())
    }

    /// Writes the data in memory into tables, closes the database, and records the state of its
    /// files, so that the next opening can check that they are unchanged.
    async fn finish(&mut self) -> Result<(), LogError> {
        if self.life == Life::Closed {
            return Ok(());
        }
        self.check_usable(LogOp::Close)?;
        let ended = self.end();
        match ended {
            Ok(()) => self.life = Life::Closed,
            Err(_) => self.poison(),
        }
        ended
    }
}
