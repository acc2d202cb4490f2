//! The store itself: one open handle on a memory disk.

use async_trait::async_trait;
use raft_core::storage::record::decode_membership;
use raft_core::storage::{
    Detects, Durability, LogBounds, LogError, LogErrorKind, LogOp, LogReader,
};
use raft_core::storage::{LogStore, Recovered, StableStore, Store, StoreInfo};
use raft_core::storage::{Tail, WriteBatch, check_identity};
use raft_core::types::{Entry, EntryId, EntryKind, HardState, Identity, LogIndex};
use raft_core::types::{Membership, TermRun};

use crate::disk::{MemoryDisk, Platter, SyncMode};
use crate::reader::MemoryReader;
use crate::state::{State, Undo};

/// A log in memory.
#[derive(Debug)]
pub struct MemoryLog {
    disk: MemoryDisk,
    process: u64,
    durability: Durability,
    poisoned: bool,
}

impl MemoryLog {
    /// An empty log that goes with the process.
    pub fn new() -> MemoryLog {
        let disk = MemoryDisk::new(SyncMode::EachWrite);
        let process = disk.begin_process().expect("nobody else knows this disk");
        MemoryLog { disk, process, durability: Durability::Volatile, poisoned: false }
    }

    /// The log on a disk that outlives this handle. Refused while another handle is open.
    pub fn open(disk: &MemoryDisk) -> Result<MemoryLog, LogError> {
        let process = disk.begin_process()?;
        let durability = Durability::PowerLoss;
        Ok(MemoryLog { disk: disk.clone(), process, durability, poisoned: false })
    }

    /// Runs one change: checked, applied, settled. A failure to settle poisons this handle (P15).
    fn change(
        &mut self,
        op: LogOp,
        run: impl FnOnce(&mut State) -> Result<Undo, LogError>,
    ) -> Result<(), LogError> {
        if self.poisoned {
            return Err(LogError::new(op, LogErrorKind::Poisoned));
        }
        let mut platter = self.disk.lock();
        platter.check_alive(self.process, op)?;
        let undo = run(&mut platter.state)?;
        let settled = platter.settle(undo, op);
        self.poisoned = settled.is_err();
        settled
    }

    fn change_batch(&mut self, op: LogOp, batch: WriteBatch) -> Result<(), LogError> {
        self.change(op, |state| {
            let plan = state.check(&batch)?;
            Ok(state.apply(batch, plan))
        })
    }

    fn inspect<T>(
        &self,
        op: LogOp,
        look: impl FnOnce(&Platter) -> Result<T, LogError>,
    ) -> Result<T, LogError> {
        let platter = self.disk.lock();
        platter.check_alive(self.process, op)?;
        look(&platter)
    }
}

impl Default for MemoryLog {
    fn default() -> MemoryLog {
        MemoryLog::new()
    }
}

impl Drop for MemoryLog {
    fn drop(&mut self) {
        self.disk.lock().leave(self.process);
    }
}

#[async_trait]
impl LogStore for MemoryLog {
    fn bounds(&self) -> LogBounds {
        self.disk.lock().state.bounds()
    }

    async fn append(&mut self, entries: &[Entry]) -> Result<(), LogError> {
        self.change_batch(LogOp::Append, WriteBatch::of_entries(entries.to_vec()))
    }

    async fn truncate_after(&mut self, index: LogIndex) -> Result<(), LogError> {
        self.change_batch(LogOp::Truncate, WriteBatch::of_truncation(index))
    }

    async fn purge_upto(&mut self, upto: EntryId) -> Result<(), LogError> {
        self.change_batch(LogOp::Purge, WriteBatch::of_purge(upto))
    }

    async fn reset(&mut self, boundary: EntryId) -> Result<(), LogError> {
        self.change_batch(LogOp::Reset, WriteBatch::of_reset(boundary))
    }

    fn reader(&self) -> Box<dyn LogReader> {
        Box::new(MemoryReader::new(self.disk.clone(), self.process))
    }
}

#[async_trait]
impl StableStore for MemoryLog {
    async fn load_identity(&mut self) -> Result<Option<Identity>, LogError> {
        self.inspect(LogOp::Identity, |platter| Ok(platter.state.facts.identity))
    }

    async fn save_identity(&mut self, identity: &Identity) -> Result<(), LogError> {
        self.change(LogOp::Identity, |state| {
            check_identity(state.facts.identity, identity)?;
            Ok(state.set_identity(*identity))
        })
    }

    async fn load_hard_state(&mut self) -> Result<HardState, LogError> {
        self.inspect(LogOp::HardState, |platter| Ok(platter.state.facts.hard_state))
    }

    async fn save_hard_state(&mut self, hard_state: HardState) -> Result<(), LogError> {
        self.change_batch(LogOp::HardState, WriteBatch::of_hard_state(hard_state))
    }
}

#[async_trait]
impl Store for MemoryLog {
    fn info(&self) -> StoreInfo {
        StoreInfo {
            backend: "memory".into(),
            durability: self.durability,
            atomic_batch: true,
            may_block: false,
            detects: Detects::Nothing,
            sync_verb: "none".into(),
            format_version: 1,
        }
    }

    async fn write(&mut self, batch: WriteBatch) -> Result<(), LogError> {
        self.change_batch(LogOp::Write, batch)
    }

    async fn recover(&mut self) -> Result<Recovered, LogError> {
        self.inspect(LogOp::Open, |platter| recovered(&platter.state))
    }
}

/// One pass over the entries.
fn recovered(state: &State) -> Result<Recovered, LogError> {
    let bounds = state.bounds();
    let mut term_runs: Vec<TermRun> = Vec::new();
    let mut memberships = Vec::new();
    for entry in state.entries.from(bounds.first()) {
        let run = TermRun { first: entry.id.index, term: entry.id.term };
        if term_runs.last().is_none_or(|last| last.term != run.term) {
            term_runs.push(run);
        }
        if entry.kind == EntryKind::Membership {
            memberships.push((entry.id.index, membership(&entry)?));
        }
    }
    Ok(Recovered {
        bounds,
        hard_state: state.facts.hard_state,
        term_runs,
        memberships,
        commit_hint: state.facts.commit_hint.min(bounds.last.index),
        tail: Tail::Clean,
    })
}

fn membership(entry: &Entry) -> Result<Membership, LogError> {
    decode_membership(&entry.payload).map_err(|cause| {
        let kind = LogErrorKind::Corrupt { index: Some(entry.id.index) };
        LogError::new(LogOp::Open, kind).because(cause)
    })
}
