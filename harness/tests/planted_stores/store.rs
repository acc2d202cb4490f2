//! A plain store in memory, correct unless a bug is planted in it.
//!
//! It is independent of the model and of the memory log, so that a mistake in one of the three
//! shows as a difference.

use std::sync::{Arc, Mutex};
use std::thread::ThreadId;

use async_trait::async_trait;
use raft_core::storage::record::decode_membership;
use raft_core::storage::{Detects, Durability, LogBounds, LogError, LogErrorKind, LogOp};
use raft_core::storage::{LogReader, LogStore, Recovered, Refusal, StableStore, Store};
use raft_core::storage::{StoreInfo, Tail, WriteBatch};
use raft_core::types::{Entry, EntryId, EntryKind, HardState, Identity, LogIndex, TermRun};

use crate::bug::Bug;
use crate::reader::PlantedReader;
use crate::state::{SharedState, StoredState, lock};

/// One handle.
pub struct PlantedStore {
    stored: SharedState,
    bug: Option<Bug>,
    is_poisoned: bool,
    /// The thread that opened it.
    home: ThreadId,
    /// A batch that a bug acknowledged and did not write yet.
    late: WriteBatch,
    is_closed: bool,
}

impl PlantedStore {
    pub fn open(stored: &SharedState, bug: Option<Bug>) -> Result<PlantedStore, LogError> {
        let mut disk = lock(stored);
        if disk.is_open && bug != Some(Bug::TwoOpeners) {
            return Err(LogError::new(LogOp::Open, LogErrorKind::InUse));
        }
        disk.is_open = true;
        disk.reopen(bug);
        let (home, late) = (std::thread::current().id(), WriteBatch::default());
        let stored = stored.clone();
        Ok(PlantedStore { stored, bug, is_poisoned: false, home, late, is_closed: false })
    }

    fn has(&self, bug: Bug) -> bool {
        self.bug == Some(bug)
    }

    fn write_now(&mut self, batch: &WriteBatch) -> Result<(), LogError> {
        self.run(LogOp::Write, |disk, bug| disk.apply(batch, bug))
    }

    /// Bugs that show only in the way in which the engine writes.
    async fn write_wrongly(&mut self, bug: Bug, mut batch: WriteBatch) -> Result<(), LogError> {
        match bug {
            Bug::AcknowledgesBeforeItWrites => batch = std::mem::replace(&mut self.late, batch),
            Bug::LargeBatchesLoseTheirEnd => batch.append.truncate(10),
            Bug::LargeBatchesAreRefused if batch.append.len() > 3 => {
                let expected = self.bounds().last.index.next();
                let refusal = Refusal::Gap { expected, found: LogIndex::ZERO };
                return Err(LogError::refused(LogOp::Write, refusal));
            }
            Bug::TruncationBesideAVoteIsLost if batch.hard_state.is_some() => {
                batch.truncate_after = None;
            }
            Bug::WritesOfAnotherThreadAreLost if std::thread::current().id() != self.home => {
                return Ok(());
            }
            Bug::DroppedWriteIsPartlyApplied => {
                let rest = WriteBatch::of_entries(std::mem::take(&mut batch.append));
                self.write_now(&batch)?;
                tokio::task::yield_now().await;
                batch = rest;
            }
            _ => {}
        }
        self.write_now(&batch)
    }

    /// Runs one verb: all of it, or, if it is refused, nothing.
    fn run(
        &mut self,
        op: LogOp,
        verb: impl FnOnce(&mut StoredState, Option<Bug>) -> Result<(), Refusal>,
    ) -> Result<(), LogError> {
        if self.is_poisoned {
            return Err(LogError::new(op, LogErrorKind::Poisoned));
        }
        let mut disk = lock(&self.stored);
        let before = disk.clone();
        verb(&mut disk, self.bug).map_err(|refusal| {
            let is_too_large = matches!(refusal, Refusal::TooLarge { .. });
            if self.bug != Some(Bug::RefusedBatchIsPartlyApplied)
                && self.bug != Some(Bug::TooLargeIsPartlyApplied)
            {
                *disk = before;
            }
            self.is_poisoned = self.bug == Some(Bug::RefusalPoisons)
                || self.bug == Some(Bug::TooLargePoisons) && is_too_large;
            LogError::refused(op, refusal)
        })
    }
}

impl Drop for PlantedStore {
    fn drop(&mut self) {
        let mut disk = lock(&self.stored);
        disk.is_open = false;
        if self.has(Bug::OnlyAClosedStoreIsKept) && !self.is_closed {
            disk.entries.pop();
        }
    }
}

#[async_trait]
impl LogStore for PlantedStore {
    fn bounds(&self) -> LogBounds {
        lock(&self.stored).bounds()
    }

    async fn append(&mut self, entries: &[Entry]) -> Result<(), LogError> {
        self.run(LogOp::Append, |disk, bug| disk.append(entries, bug))
    }

    async fn truncate_after(&mut self, index: LogIndex) -> Result<(), LogError> {
        self.run(LogOp::Truncate, |disk, bug| disk.truncate(index, bug))
    }

    async fn purge_upto(&mut self, upto: EntryId) -> Result<(), LogError> {
        self.run(LogOp::Purge, |disk, bug| disk.purge(upto, bug))
    }

    async fn reset(&mut self, boundary: EntryId) -> Result<(), LogError> {
        self.run(LogOp::Reset, |disk, bug| {
            disk.reset(boundary, bug);
            Ok(())
        })
    }

    fn reader(&self) -> Box<dyn LogReader> {
        let stored = if self.has(Bug::ReaderShowsAnOldState) {
            Arc::new(Mutex::new(lock(&self.stored).clone()))
        } else {
            self.stored.clone()
        };
        let (slot, kept, cuts) = (lock(&self.stored).readers.clone(), Vec::new(), 0);
        Box::new(PlantedReader { stored, bug: self.bug, kept, cuts, slot })
    }
}

#[async_trait]
impl StableStore for PlantedStore {
    async fn load_identity(&mut self) -> Result<Option<Identity>, LogError> {
        Ok(lock(&self.stored).identity)
    }

    async fn save_identity(&mut self, identity: &Identity) -> Result<(), LogError> {
        self.run(LogOp::Identity, |disk, bug| match disk.identity {
            Some(own)
                if bug == Some(Bug::IdentityIsComparedByStoreId) && own.store == identity.store =>
            {
                Ok(())
            }
            Some(own) if own != *identity && bug != Some(Bug::IdentityIsOverwritten) => {
                Err(Refusal::OtherIdentity)
            }
            _ => {
                disk.identity = Some(*identity);
                Ok(())
            }
        })
    }

    async fn load_hard_state(&mut self) -> Result<HardState, LogError> {
        Ok(lock(&self.stored).hard_state)
    }

    async fn save_hard_state(&mut self, hard_state: HardState) -> Result<(), LogError> {
        self.run(LogOp::HardState, |disk, bug| disk.save(hard_state, bug))
    }
}

#[async_trait]
impl Store for PlantedStore {
    fn info(&self) -> StoreInfo {
        StoreInfo {
            backend: "planted".into(),
            durability: Durability::ProcessCrash,
            atomic_batch: true,
            may_block: false,
            detects: Detects::Nothing,
            sync_verb: "none".into(),
            format_version: 1,
        }
    }

    async fn write(&mut self, batch: WriteBatch) -> Result<(), LogError> {
        if self.has(Bug::SleepsThoughItNeverBlocks) {
            std::thread::sleep(std::time::Duration::from_micros(200));
        }
        match self.bug {
            Some(bug) => self.write_wrongly(bug, batch).await,
            None => self.write_now(&batch),
        }
    }

    async fn close(&mut self) -> Result<(), LogError> {
        self.is_closed = true;
        if self.has(Bug::ClosingRemovesTheLastEntry) {
            lock(&self.stored).entries.pop();
        }
        Ok(())
    }

    async fn recover(&mut self) -> Result<Recovered, LogError> {
        let late = std::mem::take(&mut self.late);
        self.write_now(&late)?;
        let disk = lock(&self.stored).clone();
        let mut term_runs: Vec<TermRun> = Vec::new();
        let mut memberships = Vec::new();
        for entry in &disk.entries {
            let EntryId { term, index } = entry.id;
            if term_runs.last().map(|run| run.term) != Some(term) {
                term_runs.push(TermRun { first: index, term });
            }
            let decoded = decode_membership(&entry.payload);
            if let (EntryKind::Membership, Ok(membership)) = (entry.kind, decoded) {
                memberships.push((index, membership));
            }
        }
        if self.has(Bug::MembershipIsNotRecovered) {
            memberships.clear();
        }
        if self.has(Bug::ResetKeepsMemberships) || self.has(Bug::RewrittenMembershipStays) {
            let members = disk.members.range(disk.boundary.index.get() + 1..);
            memberships = members.map(|(at, it)| (LogIndex::new(*at), it.clone())).collect();
        }
        let highest = if self.has(Bug::HintAboveTheEnd) {
            disk.hint
        } else {
            disk.hint.min(disk.bounds().last.index)
        };
        let (bounds, hard_state, tail) = (disk.bounds(), disk.hard_state, Tail::Clean);
        Ok(Recovered { bounds, hard_state, term_runs, memberships, commit_hint: highest, tail })
    }
}
