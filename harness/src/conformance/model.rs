//! What a store must do: the suite's own model, independent of every backend.
//!
//! It is as simple as possible: the log is a list, a batch is its verbs one after another, and a
//! refused verb returns the reason without having changed anything.

use std::ops::Range;

use raft_core::storage::record::decode_membership;
use raft_core::storage::{LogBounds, LogErrorKind, Refusal, WriteBatch};
use raft_core::types::{Entry, EntryId, EntryKind, HardState, Identity, LogIndex};
use raft_core::types::{Membership, Term, TermRun};

use super::drafts::LogOutline;

/// The state of a correct store.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Model {
    pub(crate) boundary: EntryId,
    pub(crate) entries: Vec<Entry>,
    pub(crate) hard_state: HardState,
    pub(crate) identity: Option<Identity>,
    /// The highest commit hint that was given.
    pub(crate) highest_hint: LogIndex,
    /// The highest index that the store may know to be committed. A store that has not forgotten
    /// the hint may refuse a truncation below it.
    pub(crate) committed: LogIndex,
}

/// The course of a batch: the state after each of its verbs, up to the one that is refused.
pub(crate) struct Course {
    pub(crate) states: Vec<Model>,
    pub(crate) refusal: Option<Refusal>,
}

/// A verb of a batch, on a model.
type Verb<'a> = dyn Fn(&mut Model) -> Result<(), Refusal> + 'a;

impl Model {
    pub(crate) fn last(&self) -> EntryId {
        self.entries.last().map_or(self.boundary, |entry| entry.id)
    }

    pub(crate) fn bounds(&self) -> LogBounds {
        LogBounds { boundary: self.boundary, last: self.last() }
    }

    /// The facts about this log that a draft needs.
    pub(crate) fn outline(&self) -> LogOutline {
        let ids = self.entries.iter().map(|entry| entry.id).collect();
        let (bounds, hard_state, committed) = (self.bounds(), self.hard_state, self.committed);
        LogOutline { bounds, hard_state, committed, ids }
    }

    /// The verbs of a batch, in the order of its fields.
    pub(crate) fn course(&self, batch: &WriteBatch) -> Course {
        let mut states = vec![self.clone()];
        let hint = batch.commit_hint.unwrap_or_default();
        states[0].highest_hint = self.highest_hint.max(hint);
        let verbs: [&Verb<'_>; 5] = [
            &|model| batch.hard_state.map_or(Ok(()), |new| model.save(new)),
            &|model| batch.reset.map_or(Ok(()), |boundary| model.reset(boundary)),
            &|model| batch.truncate_after.map_or(Ok(()), |cut| model.truncate_after(cut)),
            &|model| model.append(&batch.append),
            &|model| batch.purge_upto.map_or(Ok(()), |upto| model.purge_upto(upto)),
        ];
        for verb in verbs {
            let mut next = states[states.len() - 1].clone();
            match verb(&mut next) {
                Ok(()) => states.push(next),
                Err(refusal) => return Course { states, refusal: Some(refusal) },
            }
        }
        for state in &mut states[1..] {
            state.committed = state.committed.max(hint).min(state.last().index);
        }
        Course { states, refusal: None }
    }

    pub(crate) fn save_identity(&mut self, identity: Identity) -> Result<(), Refusal> {
        if self.identity.is_some_and(|own| own != identity) {
            return Err(Refusal::OtherIdentity);
        }
        self.identity = Some(identity);
        Ok(())
    }

    fn save(&mut self, new: HardState) -> Result<(), Refusal> {
        if !self.hard_state.may_become(new) {
            return Err(Refusal::HardStateGoesBack);
        }
        self.hard_state = new;
        Ok(())
    }

    fn reset(&mut self, boundary: EntryId) -> Result<(), Refusal> {
        self.entries.clear();
        self.boundary = boundary;
        self.committed = LogIndex::ZERO;
        Ok(())
    }

    fn truncate_after(&mut self, cut: LogIndex) -> Result<(), Refusal> {
        if cut < self.boundary.index {
            return Err(Refusal::TruncateBelowBoundary { boundary: self.boundary });
        }
        self.entries.retain(|entry| entry.id.index <= cut);
        Ok(())
    }

    fn append(&mut self, entries: &[Entry]) -> Result<(), Refusal> {
        let mut last = self.last();
        for entry in entries {
            let (expected, found) = (last.index.next(), entry.id.index);
            if found != expected {
                return Err(Refusal::Gap { expected, found });
            }
            if entry.id.term < last.term {
                return Err(Refusal::FallingTerm { id: entry.id });
            }
            last = entry.id;
        }
        self.entries.extend_from_slice(entries);
        Ok(())
    }

    fn purge_upto(&mut self, upto: EntryId) -> Result<(), Refusal> {
        if upto.index <= self.boundary.index {
            return Ok(());
        }
        let found = self.entries.iter().find(|entry| entry.id.index == upto.index);
        match found.map(|entry| entry.id) {
            None => Err(Refusal::PurgeBeyondLast { last: self.last() }),
            Some(found) if found != upto => Err(Refusal::OtherTerm { found }),
            Some(_) => {
                self.entries.retain(|entry| entry.id.index > upto.index);
                self.boundary = upto;
                Ok(())
            }
        }
    }

    /// What a read of a range must return. If two errors apply, the store may return either.
    pub(crate) fn read(
        &self,
        range: &Range<LogIndex>,
        max_bytes: u64,
    ) -> Result<Vec<Entry>, Vec<LogErrorKind>> {
        if range.end < range.start {
            let outside = self.check_inside(range.end, range.start.prev());
            let mut errors = vec![LogErrorKind::Refused(Refusal::InvertedRange)];
            errors.extend(outside.err().unwrap_or_default());
            return Err(errors);
        }
        self.check_inside(range.start, range.end.prev())?;
        let mut bytes = 0;
        let mut found = Vec::new();
        for entry in self.entries.iter().filter(|entry| range.contains(&entry.id.index)) {
            bytes += entry.size();
            if bytes > max_bytes && !found.is_empty() {
                break;
            }
            found.push(entry.clone());
        }
        Ok(found)
    }

    pub(crate) fn term(&self, index: LogIndex) -> Result<Term, Vec<LogErrorKind>> {
        if index == self.boundary.index {
            return Ok(self.boundary.term);
        }
        self.check_inside(index, index)?;
        let at = index.since(self.boundary.index) as usize - 1;
        Ok(self.entries[at].id.term)
    }

    fn check_inside(&self, first: LogIndex, last: LogIndex) -> Result<(), Vec<LogErrorKind>> {
        let mut errors = Vec::new();
        if first <= self.boundary.index {
            errors.push(LogErrorKind::Compacted { boundary: self.boundary });
        }
        if last > self.last().index {
            errors.push(LogErrorKind::Unavailable { last: self.last().index });
        }
        if errors.is_empty() { Ok(()) } else { Err(errors) }
    }

    pub(crate) fn term_runs(&self) -> Vec<TermRun> {
        let mut runs: Vec<TermRun> = Vec::new();
        for EntryId { term, index } in self.entries.iter().map(|entry| entry.id) {
            if runs.last().is_none_or(|run| run.term != term) {
                runs.push(TermRun { first: index, term });
            }
        }
        runs
    }

    pub(crate) fn memberships(&self) -> Vec<(LogIndex, Membership)> {
        let kept = self.entries.iter().filter(|entry| entry.kind == EntryKind::Membership);
        kept.map(|entry| {
            let membership = decode_membership(&entry.payload).expect("the suite encoded it");
            (entry.id.index, membership)
        })
        .collect()
    }
}
