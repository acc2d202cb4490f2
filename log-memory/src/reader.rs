//! A reader beside the writer. Each read locks the state once.

use std::ops::Range;

use async_trait::async_trait;
use raft_core::storage::{LogError, LogOp, LogReader, ReadBudget};
use raft_core::types::{Entry, LogIndex, Term};

use crate::disk::MemoryDisk;
use crate::state::State;

pub(crate) struct MemoryReader {
    disk: MemoryDisk,
    process: u64,
}

impl MemoryReader {
    pub(crate) fn new(disk: MemoryDisk, process: u64) -> MemoryReader {
        MemoryReader { disk, process }
    }
}

#[async_trait]
impl LogReader for MemoryReader {
    async fn read(
        &mut self,
        range: Range<LogIndex>,
        max_bytes: u64,
    ) -> Result<Vec<Entry>, LogError> {
        let platter = self.disk.lock();
        platter.check_alive(self.process, LogOp::Read)?;
        entries_of(&platter.state, range, max_bytes)
    }

    async fn term(&mut self, index: LogIndex) -> Result<Term, LogError> {
        let platter = self.disk.lock();
        platter.check_alive(self.process, LogOp::Read)?;
        platter.state.term(index)
    }

    fn may_block(&self) -> bool {
        false
    }
}

fn entries_of(
    state: &State,
    range: Range<LogIndex>,
    max_bytes: u64,
) -> Result<Vec<Entry>, LogError> {
    state.bounds().check_read(&range)?;
    let count = range.end.since(range.start) as usize;
    let mut budget = ReadBudget::new(max_bytes);
    let entries = state.entries.from(range.start).take(count);
    Ok(entries.take_while(|entry| budget.takes(entry.size())).collect())
}
