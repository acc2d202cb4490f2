//! A plain store in memory, correct unless a bug is planted in it.
//!
//! It is independent of the model and of the memory log, so that a mistake in one of the three
//! shows as a difference.

use std::collections::BTreeMap;
use std::ops::Range;
use std::sync::{Arc, Mutex, MutexGuard};
use std::thread::ThreadId;

use async_trait::async_trait;
use bytes::Bytes;
use raft_core::storage::record::decode_membership;
use raft_core::storage::{Detects, Durability, LogBounds, LogError, LogErrorKind, LogOp};
use raft_core::storage::{LogReader, WriteBatch};
use raft_core::storage::{LogStore, Recovered, Refusal, StableStore, Store, StoreInfo, Tail};
use raft_core::types::{Entry, EntryId, EntryKind, HardState, Identity, LogIndex, Membership};
use raft_core::types::{NodeId, Term, TermRun};

use crate::bug::Bug;
use crate::reader::PlantedReader;

/// The state that survives the handles.
#[derive(Clone, Default)]
pub struct StoredState {
    pub boundary: EntryId,
    pub entries: Vec<Entry>,
    hard_state: HardState,
    identity: Option<Identity>,
    hint: LogIndex,
    /// The entries that a bug brings back when the store is opened again.
    ghosts: Vec<Entry>,
    /// Memberships in a separate table, which a bug does not clear completely.
    members: BTreeMap<u64, Membership>,
    /// How often entries were removed; readers with a cache compare it.
    pub cuts: u64,
    /// Held by each reader that exists.
    pub readers: Arc<()>,
    is_open: bool,
}

/// The largest payload that a store with a limit accepts.
const LIMIT: u64 = 1 << 20;

pub type SharedState = Arc<Mutex<StoredState>>;

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

pub fn lock(stored: &SharedState) -> MutexGuard<'_, StoredState> {
    stored.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
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

impl StoredState {
    pub fn bounds(&self) -> LogBounds {
        let last = self.entries.last().map_or(self.boundary, |entry| entry.id);
        LogBounds { boundary: self.boundary, last }
    }

    pub fn entry(&self, index: LogIndex) -> Option<&Entry> {
        self.entries.iter().find(|entry| entry.id.index == index)
    }

    fn reopen(&mut self, bug: Option<Bug>) {
        let ghosts = std::mem::take(&mut self.ghosts);
        match bug {
            Some(Bug::EmptyLogForgetsItsBoundary) if self.entries.is_empty() => {
                self.boundary = EntryId::ZERO;
            }
            Some(Bug::PurgedEntriesComeBack) if !ghosts.is_empty() => {
                let first = ghosts[0].id;
                self.boundary = EntryId::new(first.term, first.index.prev());
                self.entries.splice(0..0, ghosts);
            }
            Some(Bug::TruncationIsNotPersistent) => {
                let next = self.bounds().last.index.next();
                self.entries.extend(ghosts.into_iter().skip_while(|ghost| ghost.id.index < next));
            }
            Some(Bug::VoteIsForgottenAtReopening) => self.hard_state.vote = None,
            Some(Bug::OnlyTheFirstEntryIsFound) => self.entries.truncate(1),
            Some(Bug::OpeningReadsAThousand) => self.entries.truncate(1000),
            Some(Bug::CountOf16BitsAtReopening) => {
                self.entries.truncate(self.entries.len() & 0xffff);
            }
            Some(Bug::NodeOf32BitsAtReopening) => {
                let narrow = |node: NodeId| NodeId::new(u64::from(node.get() as u32));
                let own = self.identity;
                self.identity =
                    own.and_then(|own| Some(Identity { node: narrow(own.node)?, ..own }));
            }
            Some(Bug::LastAppendIsNotPersistent) => {
                self.entries.pop();
            }
            _ => self.entries.iter_mut().for_each(|entry| read_wrongly(entry, bug)),
        }
    }

    fn apply(&mut self, batch: &WriteBatch, bug: Option<Bug>) -> Result<(), Refusal> {
        if let Some(hard_state) = batch.hard_state {
            self.save(hard_state, bug)?;
        }
        if let Some(boundary) = batch.reset {
            self.reset(boundary, bug);
        }
        if bug == Some(Bug::WriteAppendsBeforeItTruncates) {
            self.append(&batch.append, bug)?;
        }
        if let Some(cut) = batch.truncate_after {
            let known = self.members.clone();
            self.truncate(cut, bug)?;
            if bug == Some(Bug::RewrittenMembershipStays) && !batch.append.is_empty() {
                self.members = known;
            }
        }
        if bug != Some(Bug::WriteAppendsBeforeItTruncates) {
            self.append(&batch.append, bug)?;
        }
        if let Some(upto) = batch.purge_upto {
            self.purge(upto, bug)?;
        }
        let last = self.bounds().last.index;
        let hint = match bug {
            Some(Bug::HintAboveTheEnd) => batch.commit_hint.unwrap_or_default(),
            _ => batch.commit_hint.unwrap_or_default().min(last),
        };
        self.hint = self.hint.max(hint);
        Ok(())
    }

    fn save(&mut self, new: HardState, bug: Option<Bug>) -> Result<(), Refusal> {
        if !self.hard_state.may_become(new) && bug != Some(Bug::HardStateGoesBack) {
            return Err(Refusal::HardStateGoesBack);
        }
        self.hard_state = new;
        Ok(())
    }

    fn reset(&mut self, boundary: EntryId, bug: Option<Bug>) {
        if bug == Some(Bug::ResetToTheBoundaryDoesNothing) && boundary == self.boundary {
            return;
        }
        match bug {
            Some(Bug::ResetKeepsHigherEntries) => {
                self.entries.retain(|entry| entry.id.index > boundary.index);
            }
            _ => self.entries.clear(),
        }
        if bug != Some(Bug::ResetKeepsMemberships) {
            self.members.clear();
        }
        self.cuts += u64::from(bug != Some(Bug::OlderReaderMissesAReset));
        if bug == Some(Bug::ResetForgetsTheHardState) {
            self.hard_state = HardState::default();
        }
        self.ghosts.clear();
        self.hint = LogIndex::ZERO;
        self.boundary = boundary;
    }

    fn truncate(&mut self, cut: LogIndex, bug: Option<Bug>) -> Result<(), Refusal> {
        let boundary = self.boundary;
        if cut < boundary.index && bug != Some(Bug::TruncationBelowTheBoundary) {
            return Err(Refusal::TruncateBelowBoundary { boundary });
        }
        let committed = self.hint.min(self.bounds().last.index);
        if cut < committed && bug != Some(Bug::CommittedEntriesAreTruncated) {
            return Err(Refusal::TruncateBelowCommit { committed });
        }
        let last_kept = match bug {
            Some(Bug::TruncationKeepsOneTooMany) => cut.next(),
            _ => cut,
        };
        let kept = self.entries.partition_point(|entry| entry.id.index <= last_kept);
        let gone = self.entries.split_off(kept);
        self.members.retain(|at, _| *at <= cut.get());
        self.cuts += 1;
        if bug == Some(Bug::TruncationIsNotPersistent) {
            self.ghosts = gone;
        }
        Ok(())
    }

    fn append(&mut self, entries: &[Entry], bug: Option<Bug>) -> Result<(), Refusal> {
        assert!(
            bug != Some(Bug::Panics) || entries.iter().all(|entry| entry.size() < 1 << 20),
            "planted: an entry larger than the buffer"
        );
        let taken = if bug == Some(Bug::AppendStopsAtAThousand) { 1000 } else { entries.len() };
        for (at, entry) in entries.iter().take(taken).enumerate() {
            self.check_place(entry.id, at, bug)?;
            let has_a_limit =
                matches!(bug, Some(Bug::TooLargeIsPartlyApplied | Bug::TooLargePoisons));
            if has_a_limit && entry.size() > LIMIT {
                return Err(Refusal::TooLarge { id: entry.id, limit: LIMIT });
            }
            self.entries.push(self.as_kept(entry, bug));
            if let (EntryKind::Membership, Ok(membership)) =
                (entry.kind, decode_membership(&entry.payload))
            {
                self.members.insert(entry.id.index.get(), membership);
            }
        }
        if bug == Some(Bug::KeysInLittleEndianOrder) {
            self.entries.sort_by_key(|entry| entry.id.index.get().swap_bytes());
        }
        Ok(())
    }

    fn check_place(&mut self, id: EntryId, at: usize, bug: Option<Bug>) -> Result<(), Refusal> {
        let (mut expected, found) = (self.bounds().last.index.next(), id.index);
        if bug == Some(Bug::FirstIndexIsAlwaysOne) && self.entries.is_empty() {
            expected = LogIndex::new(1);
        }
        let is_excused = match bug {
            Some(Bug::GapIsAccepted) => at == 0 && found > expected,
            Some(Bug::HoleInsideAnAppendIsAccepted) => at > 0 && found > expected,
            Some(Bug::OverwritesWithoutTruncation) if found > self.boundary.index => {
                self.entries.retain(|entry| entry.id.index < found);
                found < expected
            }
            _ => false,
        };
        if found != expected && !is_excused {
            return Err(Refusal::Gap { expected, found });
        }
        if id.term < self.bounds().last.term && bug != Some(Bug::FallingTermIsAccepted) {
            return Err(Refusal::FallingTerm { id });
        }
        Ok(())
    }

    fn as_kept(&self, entry: &Entry, bug: Option<Bug>) -> Entry {
        let mut kept = entry.clone();
        if bug == Some(Bug::TrailingZerosAreLost) {
            lose_trailing_zeros(&mut kept.payload);
        }
        if bug == Some(Bug::LengthOf65536IsZero) && kept.payload.len() == 1 << 16 {
            kept.payload.clear();
        }
        if bug == Some(Bug::IndexOf32Bits) {
            kept.id.index = LogIndex::new(u64::from(kept.id.index.get() as u32));
        }
        if bug == Some(Bug::TermOf32Bits) {
            kept.id.term = Term::new(u64::from(kept.id.term.get() as u32));
        }
        if bug == Some(Bug::KindIsForgotten) {
            kept.kind = EntryKind::Command;
        }
        kept
    }

    fn purge(&mut self, upto: EntryId, bug: Option<Bug>) -> Result<(), Refusal> {
        if upto.index <= self.boundary.index {
            if bug == Some(Bug::PurgeGoesBack) {
                self.boundary = upto;
            }
            return Ok(());
        }
        match self.entry(upto.index).map(|entry| entry.id) {
            None if bug == Some(Bug::PurgeBeyondTheEnd) => {}
            None => return Err(Refusal::PurgeBeyondLast { last: self.bounds().last }),
            Some(found) if found != upto && bug != Some(Bug::PurgeIgnoresTheTerm) => {
                return Err(Refusal::OtherTerm { found });
            }
            Some(_) => {}
        }
        let kept = self.entries.partition_point(|entry| entry.id.index <= upto.index);
        let gone: Vec<Entry> = self.entries.drain(..kept).collect();
        if bug == Some(Bug::PurgedEntriesComeBack) {
            self.ghosts = gone;
        }
        self.cuts += 1;
        self.boundary = upto;
        Ok(())
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

/// An entry as it is found at an opening.
fn read_wrongly(entry: &mut Entry, bug: Option<Bug>) {
    let payload = &mut entry.payload;
    match bug {
        Some(Bug::KindIsForgottenAtReopening) => entry.kind = EntryKind::Command,
        Some(Bug::LengthOf16BitsAtReopening) => payload.truncate(payload.len() & 0xffff),
        Some(Bug::LargePayloadIsLostAtReopening) if payload.len() > 1 << 20 => payload.clear(),
        Some(Bug::TrailingZerosAreLostAtReopening) => lose_trailing_zeros(payload),
        _ => {}
    }
}

fn lose_trailing_zeros(payload: &mut Bytes) {
    let zeros = payload.iter().rev().take_while(|byte| **byte == 0).count();
    payload.truncate(payload.len() - zeros);
}

/// Checks that a range is inside the log, as every reader must.
pub fn check_inside(bounds: LogBounds, range: &Range<LogIndex>) -> Result<(), LogErrorKind> {
    let LogBounds { boundary, last } = bounds;
    if range.start <= boundary.index {
        Err(LogErrorKind::Compacted { boundary })
    } else if range.end > last.index.next() {
        Err(LogErrorKind::Unavailable { last: last.index })
    } else {
        Ok(())
    }
}

/// The term at an index; an error if the index is outside the log.
pub fn term_of(disk: &StoredState, index: LogIndex) -> Result<Term, LogErrorKind> {
    if index == disk.boundary.index {
        return Ok(disk.boundary.term);
    }
    check_inside(disk.bounds(), &(index..index.next()))?;
    let entry = disk.entry(index);
    entry.map(|entry| entry.id.term).ok_or(LogErrorKind::Corrupt { index: Some(index) })
}
