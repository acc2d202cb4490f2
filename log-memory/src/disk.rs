//! A disk in memory: it outlives the "processes" that open it, and can lose unsynced writes.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard};

use raft_core::storage::{LogError, LogErrorKind, LogOp};

use crate::state::{State, Undo};

/// When a write becomes durable.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SyncMode {
    /// Before the method returns, as the contract requires.
    EachWrite,
    /// When [`MemoryDisk::sync`] or [`MemoryDisk::sync_first`] is called. For simulators, which
    /// must not report a write as durable before that.
    OnRequest,
}

/// A disk in memory. Clones are handles to the same disk.
#[derive(Clone, Debug)]
pub struct MemoryDisk {
    platter: Arc<Mutex<Platter>>,
}

/// What the handles of one disk share.
#[derive(Debug)]
pub(crate) struct Platter {
    pub(crate) state: State,
    mode: SyncMode,
    /// How to undo the batches that are written but not durable, oldest first.
    unsynced: VecDeque<Undo>,
    /// Whether a store has the disk open.
    in_use: bool,
    /// Counts the processes. Handles of an earlier process are invalid.
    process: u64,
    /// How many writes succeed before the next one fails; `None` if no failure is planned.
    writes_until_failure: Option<u64>,
}

impl MemoryDisk {
    /// An empty disk.
    pub fn new(mode: SyncMode) -> MemoryDisk {
        let platter = Platter {
            state: State::default(),
            mode,
            unsynced: VecDeque::new(),
            in_use: false,
            process: 0,
            writes_until_failure: None,
        };
        MemoryDisk { platter: Arc::new(Mutex::new(platter)) }
    }

    /// Makes everything written durable.
    pub fn sync(&self) {
        self.lock().unsynced.clear();
    }

    /// Makes the oldest `count` unsynced batches durable.
    pub fn sync_first(&self, count: usize) {
        let mut platter = self.lock();
        let count = count.min(platter.unsynced.len());
        platter.unsynced.drain(..count);
    }

    /// How many batches are written and not durable.
    pub fn unsynced(&self) -> usize {
        self.lock().unsynced.len()
    }

    /// Cuts the power. The oldest `keep` unsynced batches survive, the others are lost. The store
    /// that had the disk open and its readers become invalid; open a new store.
    pub fn crash(&self, keep: usize) {
        let mut platter = self.lock();
        while platter.unsynced.len() > keep {
            let undo = platter.unsynced.pop_back();
            platter.state.undo(undo.expect("more than `keep` are there"));
        }
        platter.unsynced.clear();
        platter.end_process();
    }

    /// Lets `count` writes succeed, and the next one fail. The failed write poisons its store; a
    /// crash decides whether its bytes reached the disk.
    pub fn fail_write_after(&self, count: u64) {
        self.lock().writes_until_failure = Some(count);
    }

    pub(crate) fn lock(&self) -> MutexGuard<'_, Platter> {
        self.platter.lock().expect("no thread panics while it holds the lock of a memory disk")
    }

    /// Opens the disk for one store; returns the number of its process. Everything that was written
    /// becomes durable first (P2).
    pub(crate) fn begin_process(&self) -> Result<u64, LogError> {
        let mut platter = self.lock();
        if platter.in_use {
            return Err(LogError::new(LogOp::Open, LogErrorKind::InUse));
        }
        platter.unsynced.clear();
        platter.in_use = true;
        Ok(platter.process)
    }
}

impl Platter {
    /// Ends a process cleanly, unless a crash ended it before.
    pub(crate) fn leave(&mut self, process: u64) {
        if self.process == process {
            self.end_process();
        }
    }

    fn end_process(&mut self) {
        self.process += 1;
        self.in_use = false;
    }

    /// Whether a handle belongs to the present process.
    pub(crate) fn check_alive(&self, process: u64, op: LogOp) -> Result<(), LogError> {
        if self.process == process {
            Ok(())
        } else {
            Err(LogError::new(op, LogErrorKind::Poisoned).at("a crashed memory disk"))
        }
    }

    /// Records a write that was applied; an error if it may not be acknowledged.
    pub(crate) fn settle(&mut self, undo: Undo, op: LogOp) -> Result<(), LogError> {
        match &mut self.writes_until_failure {
            Some(0) => {
                self.writes_until_failure = None;
                self.unsynced.push_back(undo);
                Err(LogError::io(op, "planned failure of a memory disk"))
            }
            left => {
                left.iter_mut().for_each(|left| *left -= 1);
                if self.mode == SyncMode::OnRequest {
                    self.unsynced.push_back(undo);
                }
                Ok(())
            }
        }
    }
}
