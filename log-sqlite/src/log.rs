//! The store itself: opening, the verbs, closing.

use std::sync::{Arc, RwLock, RwLockReadGuard};

use async_trait::async_trait;
use raft_core::storage::record::decode_membership;
use raft_core::storage::{
    Detects, Durability, Gate, LogBounds, LogError, LogErrorKind, LogOp, LogReader,
};
use raft_core::storage::{LogStore, Plan, Recovered, StableStore, Store, StoreInfo};
use raft_core::storage::{Tail, WriteBatch, check_identity};
use raft_core::types::{Entry, EntryId, HardState, Identity, LogIndex};

use crate::config::{MAX_INDEX, MAX_PAYLOAD_BYTES, SqliteLogConfig};
use crate::database::{create, open_writer};
use crate::directory::{DATABASE_NAME, Directory, PROOF_NAME, WAL_NAME};
use crate::load::load;
use crate::reader::{ReadConnection, SqliteReader};
use crate::recover::{Recovery, prove, recover};
use crate::state::{FORMAT_VERSION, State};
use crate::view::{SharedView, View};
use crate::writer::{Content, Writer};

/// A log in an SQLite database. Everything that a verb returned `Ok` for survives a power cut.
pub struct SqliteLog {
    readers: Arc<ReadConnection>,
    view: SharedView,
    writer: Writer,
    tail: Tail,
    /// The last batch that the proof covers.
    proven_batch: u64,
    is_poisoned: bool,
    /// Unlocked last, when the connections are closed.
    directory: Directory,
}

impl SqliteLog {
    /// Opens the log in a directory, or begins one there. What it shows is durable when it returns.
    pub fn open(config: SqliteLogConfig) -> Result<SqliteLog, LogError> {
        let directory = Directory::open(&config.dir)?;
        let kept = [DATABASE_NAME, WAL_NAME, PROOF_NAME];
        if !kept.iter().any(|name| directory.has(name)) {
            create(&directory)?;
        }
        let Recovery { state, tail } = recover(&directory)?;
        let database = open_writer(&directory, &state)?;
        let place = directory.place(DATABASE_NAME);
        #[cfg(feature = "mutants")]
        if config.mutant == Some(crate::config::Mutant::SynchronousNormal) {
            let set = database.pragma_update(None, "synchronous", "NORMAL");
            set.map_err(|error| crate::database::failed(LogOp::Open, &place, error))?;
        }
        let view = load(&database, &state, &place)?;
        Ok(SqliteLog {
            readers: Arc::new(ReadConnection::new(directory.path(DATABASE_NAME))),
            view: Arc::new(RwLock::new(view)),
            writer: Writer::new(database, state, place, config.checkpoint_bytes),
            tail,
            proven_batch: state.batch,
            is_poisoned: false,
            directory,
        })
    }

    fn change(&mut self, op: LogOp, batch: WriteBatch) -> Result<(), LogError> {
        self.check_poison(op)?;
        let plan = self.plan(&batch)?;
        let content = Content::of(plan, &batch);
        if content.is_hint() {
            // A hint alone rides with the next batch, or is lost, as a hint may be.
            self.writer.state.commit_hint = content.plan.commit_hint;
            return Ok(());
        }
        self.transact(op, &content)
    }

    fn plan(&self, batch: &WriteBatch) -> Result<Plan, LogError> {
        let view = self.view();
        let gate = Gate::new(view.bounds(), self.writer.state.hard_state);
        let gate = gate.committed_up_to(self.writer.state.commit_hint);
        let gate = gate.payloads_up_to(MAX_PAYLOAD_BYTES).indices_up_to(MAX_INDEX);
        gate.pass(batch, |index| view.term(index))
    }

    fn transact(&mut self, op: LogOp, content: &Content<'_>) -> Result<(), LogError> {
        let written = self.writer.write(op, content, &self.view);
        self.is_poisoned = written.is_err();
        written
    }

    fn check_poison(&self, op: LogOp) -> Result<(), LogError> {
        match self.is_poisoned {
            true => Err(LogError::new(op, LogErrorKind::Poisoned)),
            false => Ok(()),
        }
    }

    fn view(&self) -> RwLockReadGuard<'_, View> {
        self.view.read().expect("no writer panics")
    }
}

impl Drop for SqliteLog {
    fn drop(&mut self) {
        self.readers.close();
    }
}

/// What an SQLite log declares.
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

/// What a restarting member must know, from what is in memory.
pub(crate) fn recovered(view: &View, state: &State, tail: Tail) -> Result<Recovered, LogError> {
    let mut memberships = Vec::new();
    for (index, payload) in view.memberships() {
        let membership = decode_membership(payload).map_err(|cause| {
            let kind = LogErrorKind::Corrupt { index: Some(*index) };
            LogError::new(LogOp::Open, kind).because(cause)
        })?;
        memberships.push((*index, membership));
    }
    Ok(Recovered {
        bounds: view.bounds(),
        hard_state: state.hard_state,
        term_runs: view.runs().to_vec(),
        memberships,
        commit_hint: state.commit_hint.min(view.bounds().last.index),
        tail,
    })
}

/// The call that SQLite was built to sync with. Its build is told with these flags, and its own
/// list of compile options does not say.
fn sync_verb() -> &'static str {
    let is_told = option_env!("LIBSQLITE3_FLAGS").is_some_and(|flags| flags.contains("FDATASYNC"));
    match () {
        () if cfg!(target_vendor = "apple") => "fcntl(F_FULLFSYNC)",
        () if is_told => "fdatasync",
        () => "fsync",
    }
}

#[async_trait]
impl LogStore for SqliteLog {
    fn bounds(&self) -> LogBounds {
        self.view().bounds()
    }

    async fn append(&mut self, entries: &[Entry]) -> Result<(), LogError> {
        self.change(LogOp::Append, WriteBatch::of_entries(entries.to_vec()))
    }

    async fn truncate_after(&mut self, index: LogIndex) -> Result<(), LogError> {
        self.change(LogOp::Truncate, WriteBatch::of_truncation(index))
    }

    async fn purge_upto(&mut self, upto: EntryId) -> Result<(), LogError> {
        self.change(LogOp::Purge, WriteBatch::of_purge(upto))
    }

    async fn reset(&mut self, boundary: EntryId) -> Result<(), LogError> {
        self.change(LogOp::Reset, WriteBatch::of_reset(boundary))
    }

    fn reader(&self) -> Box<dyn LogReader> {
        Box::new(SqliteReader::new(self.readers.clone(), self.view.clone()))
    }
}

#[async_trait]
impl StableStore for SqliteLog {
    async fn load_identity(&mut self) -> Result<Option<Identity>, LogError> {
        Ok(self.writer.state.identity)
    }

    async fn save_identity(&mut self, identity: &Identity) -> Result<(), LogError> {
        self.check_poison(LogOp::Identity)?;
        match check_identity(self.writer.state.identity, identity)? {
            true => {
                let content = Content { identity: Some(*identity), ..Content::default() };
                self.transact(LogOp::Identity, &content)
            }
            false => Ok(()),
        }
    }

    async fn load_hard_state(&mut self) -> Result<HardState, LogError> {
        Ok(self.writer.state.hard_state)
    }

    async fn save_hard_state(&mut self, hard_state: HardState) -> Result<(), LogError> {
        self.change(LogOp::HardState, WriteBatch::of_hard_state(hard_state))
    }
}

#[async_trait]
impl Store for SqliteLog {
    fn info(&self) -> StoreInfo {
        store_info()
    }

    async fn write(&mut self, batch: WriteBatch) -> Result<(), LogError> {
        self.change(LogOp::Write, batch)
    }

    async fn recover(&mut self) -> Result<Recovered, LogError> {
        recovered(&self.view(), &self.writer.state, self.tail.clone())
    }

    /// Records that all that was written is synced, if that is not on record yet.
    async fn close(&mut self) -> Result<(), LogError> {
        self.check_poison(LogOp::Close)?;
        if let Some(failed) = self.writer.take_failure() {
            self.is_poisoned = true;
            return Err(failed);
        }
        if self.proven_batch == self.writer.state.batch {
            return Ok(());
        }
        let proven = prove(&self.directory, &self.writer.state);
        self.is_poisoned = proven.is_err();
        proven.map_err(|error| LogError { op: LogOp::Close, ..error })?;
        self.proven_batch = self.writer.state.batch;
        Ok(())
    }
}
