//! The content of a memory disk, and the effect of a batch on it.
//!
//! A batch is checked completely before anything changes, so that a refused batch changes nothing.
//! Applying it returns an [`Undo`], which reverts the batch if the disk loses it in a crash.

use raft_core::storage::{Gate, LogBounds, LogError, Plan, WriteBatch};
use raft_core::types::{EntryId, HardState, Identity, LogIndex, Term};

use crate::entries::Entries;

/// The state beside the entries.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Facts {
    pub(crate) boundary: EntryId,
    pub(crate) hard_state: HardState,
    pub(crate) identity: Option<Identity>,
    /// The highest index that is known to be committed since the last reset. Invariant: not above
    /// the last entry.
    pub(crate) commit_hint: LogIndex,
}

/// Everything a disk holds: the entries after the boundary, and the facts.
#[derive(Debug, Default)]
pub(crate) struct State {
    pub(crate) facts: Facts,
    pub(crate) entries: Entries,
}

/// How to undo one batch. The newest batch is undone first.
#[derive(Debug, Default)]
pub(crate) struct Undo {
    facts: Facts,
    /// The entries that a reset removed.
    replaced: Option<Entries>,
    cut: Entries,
    /// The last entry before the appended ones, if entries were appended.
    appended_after: Option<LogIndex>,
    purged: Entries,
}

impl State {
    pub(crate) fn bounds(&self) -> LogBounds {
        let boundary = self.facts.boundary;
        LogBounds { boundary, last: self.entries.last_id().unwrap_or(boundary) }
    }

    /// The term at an index, including the boundary.
    pub(crate) fn term(&self, index: LogIndex) -> Result<Term, LogError> {
        let bounds = self.bounds();
        if index == bounds.boundary.index {
            return Ok(bounds.boundary.term);
        }
        bounds.check_inside(index, index)?;
        Ok(self.entries.id(index).term)
    }

    /// Whether the contract allows the batch here (P16).
    pub(crate) fn check(&self, batch: &WriteBatch) -> Result<Plan, LogError> {
        let gate = Gate::new(self.bounds(), self.facts.hard_state);
        let gate = gate.committed_up_to(self.facts.commit_hint);
        gate.pass(batch, |index| self.term(index))
    }

    /// Applies a batch in the order of its fields. `plan` is the result of its check.
    pub(crate) fn apply(&mut self, batch: WriteBatch, plan: Plan) -> Undo {
        let mut undo = Undo { facts: self.facts, ..Undo::default() };
        self.facts.hard_state = batch.hard_state.unwrap_or(self.facts.hard_state);
        if let Some(boundary) = batch.reset {
            undo.replaced = Some(std::mem::take(&mut self.entries));
            self.facts.boundary = boundary;
        }
        if let Some(cut) = batch.truncate_after {
            undo.cut = self.entries.split_after(cut);
        }
        if let Some(first) = batch.append.first() {
            undo.appended_after = Some(first.id.index.prev());
            self.entries.extend(batch.append);
        }
        if let Some(upto) = batch.purge_upto.filter(|id| id.index > self.facts.boundary.index) {
            let rest = self.entries.split_after(upto.index);
            undo.purged = std::mem::replace(&mut self.entries, rest);
            self.facts.boundary = upto;
        }
        self.facts.commit_hint = plan.commit_hint;
        undo
    }

    /// Saves an identity; the caller has checked that there is none, or the same one.
    pub(crate) fn set_identity(&mut self, identity: Identity) -> Undo {
        let undo = Undo { facts: self.facts, ..Undo::default() };
        self.facts.identity = Some(identity);
        undo
    }

    /// Undoes the newest batch.
    pub(crate) fn undo(&mut self, undo: Undo) {
        let rest = std::mem::replace(&mut self.entries, undo.purged);
        self.entries.append(rest);
        if let Some(before) = undo.appended_after {
            self.entries.split_after(before);
        }
        self.entries.append(undo.cut);
        if let Some(replaced) = undo.replaced {
            self.entries = replaced;
        }
        self.facts = undo.facts;
    }
}
