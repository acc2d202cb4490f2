//! What a memory disk holds, and what a batch does to it.
//!
//! A batch is checked as a whole before anything moves, so that a refused one changes nothing. Then
//! it is applied, which leaves an [`Undo`]: a disk that lost the batch in a crash takes it back.

use std::collections::VecDeque;

use raft_core::storage::{Gate, LogBounds, LogError, LogErrorKind, LogOp, WriteBatch};
use raft_core::types::{Entry, EntryId, HardState, Identity, LogIndex, Term};

/// The small facts beside the entries.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Facts {
    pub(crate) boundary: EntryId,
    pub(crate) hard_state: HardState,
    pub(crate) identity: Option<Identity>,
    /// The highest hint since the last reset. May lie beyond the last entry; `recover` lowers it.
    pub(crate) commit_hint: LogIndex,
}

/// Everything a disk holds: the entries after the boundary, and the facts.
#[derive(Debug, Default)]
pub(crate) struct State {
    pub(crate) facts: Facts,
    pub(crate) entries: VecDeque<Entry>,
}

/// How to take one batch back, the newest batch first.
#[derive(Debug, Default)]
pub(crate) struct Undo {
    facts: Facts,
    /// The entries that a reset removed.
    replaced: Option<VecDeque<Entry>>,
    cut: VecDeque<Entry>,
    appended: usize,
    purged: Vec<Entry>,
}

impl State {
    pub(crate) fn bounds(&self) -> LogBounds {
        let boundary = self.facts.boundary;
        LogBounds { boundary, last: self.entries.back().map_or(boundary, |entry| entry.id) }
    }

    /// Where an entry stands in the deque. The index lies after the boundary.
    pub(crate) fn position(&self, index: LogIndex) -> usize {
        index.since(self.facts.boundary.index) as usize - 1
    }

    /// The term at an index, the boundary's included.
    pub(crate) fn term(&self, index: LogIndex) -> Result<Term, LogError> {
        let LogBounds { boundary, last } = self.bounds();
        if index == boundary.index {
            return Ok(boundary.term);
        }
        check_inside(index, index, boundary, last)?;
        Ok(self.entries[self.position(index)].id.term)
    }

    /// Whether the contract allows the batch here (P16).
    pub(crate) fn check(&self, batch: &WriteBatch) -> Result<(), LogError> {
        let gate = Gate::new(self.bounds(), self.facts.hard_state);
        gate.pass(batch, |index| self.term(index)).map(|_| ())
    }

    /// Applies a checked batch, in the order of its fields.
    pub(crate) fn apply(&mut self, batch: WriteBatch) -> Undo {
        let mut undo = Undo { facts: self.facts, ..Undo::default() };
        self.facts.hard_state = batch.hard_state.unwrap_or(self.facts.hard_state);
        if let Some(boundary) = batch.reset {
            undo.replaced = Some(std::mem::take(&mut self.entries));
            self.facts.boundary = boundary;
            self.facts.commit_hint = LogIndex::ZERO;
        }
        if let Some(cut) = batch.truncate_after {
            let kept = cut.since(self.facts.boundary.index) as usize;
            undo.cut = self.entries.split_off(kept.min(self.entries.len()));
        }
        undo.appended = batch.append.len();
        self.entries.extend(batch.append);
        if let Some(upto) = batch.purge_upto.filter(|id| id.index > self.facts.boundary.index) {
            undo.purged.extend(self.entries.drain(..=self.position(upto.index)));
            self.facts.boundary = upto;
        }
        self.facts.commit_hint = self.facts.commit_hint.max(batch.commit_hint.unwrap_or_default());
        undo
    }

    /// Saves an identity, where none or the same is.
    pub(crate) fn set_identity(&mut self, identity: Identity) -> Undo {
        let undo = Undo { facts: self.facts, ..Undo::default() };
        self.facts.identity = Some(identity);
        undo
    }

    /// Takes back what the newest batch did.
    pub(crate) fn take_back(&mut self, undo: Undo) {
        for entry in undo.purged.into_iter().rev() {
            self.entries.push_front(entry);
        }
        self.entries.truncate(self.entries.len() - undo.appended);
        self.entries.extend(undo.cut);
        if let Some(replaced) = undo.replaced {
            self.entries = replaced;
        }
        self.facts = undo.facts;
    }
}

/// Whether the indices from `first` to `last_wanted` lie after the boundary and up to `last`.
pub(crate) fn check_inside(
    first: LogIndex,
    last_wanted: LogIndex,
    boundary: EntryId,
    last: EntryId,
) -> Result<(), LogError> {
    if first <= boundary.index {
        return Err(LogError::new(LogOp::Read, LogErrorKind::Compacted { boundary }));
    }
    if last_wanted > last.index {
        let kind = LogErrorKind::Unavailable { last: last.index };
        return Err(LogError::new(LogOp::Read, kind));
    }
    Ok(())
}
