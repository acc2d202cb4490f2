//! The store: one open handle on a memory disk.

use async_trait::async_trait;
use raft_core::storage::{
    BatchStore, Detects, Durability, LogBounds, LogError, LogErrorKind, LogOp, LogReader,
    LogSummary, Recovered, StableState, StoreInfo, Tail, WriteBatch,
};
use raft_core::types::Identity;

use crate::disk::{MemoryDisk, Platter, SyncMode};
use crate::reader::MemoryReader;
use crate::state::{Facts, State, Undo};

/// A log in memory.
#[derive(Debug)]
pub struct MemoryLog {
    disk: MemoryDisk,
    process: u64,
    durability: Durability,
    poisoned: bool,
}

impl MemoryLog {
    /// An empty log that ends with the process.
    pub fn new() -> MemoryLog {
        let disk = MemoryDisk::new(SyncMode::EachWrite);
        let process = disk.begin_process().expect("the disk is new");
        MemoryLog { disk, process, durability: Durability::Volatile, poisoned: false }
    }

    /// The log on a disk that outlives this handle. Refused while another handle is open.
    pub fn open(disk: &MemoryDisk) -> Result<MemoryLog, LogError> {
        let process = disk.begin_process()?;
        let durability = Durability::PowerLoss;
        Ok(MemoryLog { disk: disk.clone(), process, durability, poisoned: false })
    }

    /// Runs one change: checks, applies and settles it. A failure to settle poisons this handle
    /// (P15).
    fn run(
        &mut self,
        op: LogOp,
        change: impl FnOnce(&mut State) -> Result<Undo, LogError>,
    ) -> Result<(), LogError> {
        self.check_usable(op)?;
        let mut platter = self.disk.lock();
        platter.check_alive(self.process, op)?;
        let undo = change(&mut platter.state)?;
        let settled = platter.settle(undo, op);
        self.poisoned = settled.is_err();
        settled
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
impl BatchStore for MemoryLog {
    fn declaration(&self) -> StoreInfo {
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

    fn log_bounds(&self) -> LogBounds {
        self.disk.lock().state.bounds()
    }

    fn log_reader(&self) -> Box<dyn LogReader> {
        Box::new(MemoryReader::new(self.disk.clone(), self.process))
    }

    fn stable_state(&self, op: LogOp) -> Result<StableState, LogError> {
        self.inspect(op, |platter| {
            let Facts { identity, hard_state, .. } = platter.state.facts;
            Ok(StableState { identity, hard_state })
        })
    }

    fn check_usable(&self, op: LogOp) -> Result<(), LogError> {
        if self.poisoned { Err(LogError::new(op, LogErrorKind::Poisoned)) } else { Ok(()) }
    }

    async fn change(&mut self, op: LogOp, batch: WriteBatch) -> Result<(), LogError> {
        self.run(op, |state| {
            let plan = state.check(&batch)?;
            Ok(state.apply(batch, plan))
        })
    }

    async fn write_identity(&mut self, identity: Identity) -> Result<(), LogError> {
        self.run(LogOp::Identity, |state| Ok(state.set_identity(identity)))
    }

    async fn recover_all(&mut self) -> Result<Recovered, LogError> {
        self.inspect(LogOp::Open, |platter| {
            let State { facts, entries } = &platter.state;
            let mut summary = LogSummary::empty(facts.boundary);
            entries.from(summary.bounds().first()).for_each(|entry| summary.push(&entry));
            summary.recovered(facts.hard_state, facts.commit_hint, Tail::Clean)
        })
    }
}
