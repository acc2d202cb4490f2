//! The state of the planted store, which its handles share, and the effect of each verb on it.

use std::collections::BTreeMap;
use std::ops::Range;
use std::sync::{Arc, Mutex, MutexGuard};

use bytes::Bytes;
use raft_core::storage::record::decode_membership;
use raft_core::storage::{LogBounds, LogErrorKind, Refusal, WriteBatch};
use raft_core::types::{Entry, EntryId, EntryKind, HardState, Identity, LogIndex, Membership};
use raft_core::types::{NodeId, Term};

use crate::bug::Bug;

/// The largest payload that a store with a limit accepts.
const LIMIT: u64 = 1 << 20;

/// The state that survives the handles.
#[derive(Clone, Default)]
pub struct StoredState {
    pub boundary: EntryId,
    pub entries: Vec<Entry>,
    pub hard_state: HardState,
    pub identity: Option<Identity>,
    pub hint: LogIndex,
    /// The entries that a bug brings back when the store is opened again.
    ghosts: Vec<Entry>,
    /// Memberships in a separate table, which a bug does not clear completely.
    pub members: BTreeMap<u64, Membership>,
    /// How often entries were removed; readers with a cache compare it.
    pub cuts: u64,
    /// Held by each reader that exists.
    pub readers: Arc<()>,
    pub is_open: bool,
}

pub type SharedState = Arc<Mutex<StoredState>>;

pub fn lock(stored: &SharedState) -> MutexGuard<'_, StoredState> {
    stored.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
}

impl StoredState {
    pub fn bounds(&self) -> LogBounds {
        let last = self.entries.last().map_or(self.boundary, |entry| entry.id);
        LogBounds { boundary: self.boundary, last }
    }

    pub fn entry(&self, index: LogIndex) -> Option<&Entry> {
        self.entries.iter().find(|entry| entry.id.index == index)
    }

    pub fn reopen(&mut self, bug: Option<Bug>) {
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

    pub fn apply(&mut self, batch: &WriteBatch, bug: Option<Bug>) -> Result<(), Refusal> {
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

    pub fn save(&mut self, new: HardState, bug: Option<Bug>) -> Result<(), Refusal> {
        if !self.hard_state.may_become(new) && bug != Some(Bug::HardStateGoesBack) {
            return Err(Refusal::HardStateGoesBack);
        }
        self.hard_state = new;
        Ok(())
    }

    pub fn reset(&mut self, boundary: EntryId, bug: Option<Bug>) {
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

    pub fn truncate(&mut self, cut: LogIndex, bug: Option<Bug>) -> Result<(), Refusal> {
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

    pub fn append(&mut self, entries: &[Entry], bug: Option<Bug>) -> Result<(), Refusal> {
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

    pub fn purge(&mut self, upto: EntryId, bug: Option<Bug>) -> Result<(), Refusal> {
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
