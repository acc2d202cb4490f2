//! What of the log is in memory: its bounds, where its terms change, and its memberships.
//!
//! The writer keeps one for itself, whose changes are noted in the database, and another that the
//! readers see and that follows when the database has taken the batch.

use std::sync::{Arc, RwLock};

use bytes::Bytes;
use raft_core::storage::{LogBounds, LogError, Plan};
use raft_core::types::{Entry, EntryId, EntryKind, LogIndex, Term, TermRun};

use crate::keys::Mark;

/// A view that the writer changes and the readers see.
pub(crate) type SharedView = Arc<RwLock<View>>;

/// A change of what is noted beside the entries.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Change {
    Noted(Mark),
    Gone(Mark),
}

/// What of the log is in memory.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct View {
    bounds: LogBounds,
    /// As they are noted: the first may begin below the boundary.
    runs: Vec<TermRun>,
    /// The memberships in the log, as they are stored.
    memberships: Vec<(LogIndex, Bytes)>,
}

impl View {
    /// A log with these bounds, and nothing noted yet.
    pub(crate) fn of(bounds: LogBounds) -> View {
        View { bounds, ..View::default() }
    }

    pub(crate) fn bounds(&self) -> LogBounds {
        self.bounds
    }

    /// The runs of the entries that are in the log.
    pub(crate) fn runs(&self) -> Vec<TermRun> {
        let mut runs = self.runs.clone();
        if let Some(run) = runs.first_mut() {
            run.first = run.first.max(self.bounds.first());
        }
        runs
    }

    pub(crate) fn memberships(&self) -> &[(LogIndex, Bytes)] {
        &self.memberships
    }

    /// How many runs and memberships are noted.
    pub(crate) fn marks(&self) -> [u32; 2] {
        [self.runs.len() as u32, self.memberships.len() as u32]
    }

    /// The term at an index, the boundary's included.
    pub(crate) fn term(&self, index: LogIndex) -> Result<Term, LogError> {
        if index == self.bounds.boundary.index {
            return Ok(self.bounds.boundary.term);
        }
        self.bounds.check_inside(index, index)?;
        let after = self.runs.partition_point(|run| run.first <= index);
        Ok(self.runs[after - 1].term)
    }

    /// Takes over a checked batch, and says what changed of what is noted, in order.
    pub(crate) fn take(
        &mut self,
        plan: &Plan,
        entries: &[Entry],
        changed: &mut impl FnMut(Change),
    ) {
        if let Some(boundary) = plan.reset {
            self.cut(LogIndex::ZERO, changed);
            self.bounds = LogBounds { boundary, last: boundary };
        }
        if let Some(last) = plan.truncate {
            self.cut(last.index, changed);
            self.bounds.last = last;
        }
        for entry in entries {
            self.push(entry, changed);
        }
        if let Some(boundary) = plan.purge {
            self.purge(boundary, changed);
        }
    }

    /// Takes a run that is noted already.
    pub(crate) fn push_run(&mut self, run: TermRun) {
        self.runs.push(run);
    }

    /// Takes a membership that is noted already.
    pub(crate) fn push_membership(&mut self, index: LogIndex, payload: Bytes) {
        self.memberships.push((index, payload));
    }

    /// Whether runs and memberships are in order and fit the bounds.
    pub(crate) fn is_sound(&self) -> bool {
        let LogBounds { last, .. } = self.bounds;
        let first = self.bounds.first();
        let is_rising = self
            .runs
            .windows(2)
            .all(|two| two[0].first < two[1].first && two[0].term < two[1].term);
        let is_covered = match (self.runs.first(), self.runs.last()) {
            (Some(oldest), Some(newest)) => {
                let next = self.runs.get(1).map_or(last.index.next(), |run| run.first);
                oldest.first <= first && next > first && newest.term == last.term
            }
            _ => true,
        };
        let in_log = |index: LogIndex| first <= index && index <= last.index;
        is_rising
            && is_covered
            && self.runs.is_empty() == self.bounds.is_empty()
            && self.runs.last().is_none_or(|run| run.first <= last.index)
            && self.memberships.iter().all(|(index, _)| in_log(*index))
    }

    fn push(&mut self, entry: &Entry, changed: &mut impl FnMut(Change)) {
        let EntryId { term, index } = entry.id;
        if self.runs.last().is_none_or(|run| run.term != term) {
            let run = TermRun { first: index, term };
            self.runs.push(run);
            changed(Change::Noted(Mark::Run(run)));
        }
        if entry.kind == EntryKind::Membership {
            self.push_membership(index, entry.payload.clone());
            changed(Change::Noted(Mark::Membership(index)));
        }
        self.bounds.last = entry.id;
    }

    /// Forgets what is noted of entries behind an index.
    fn cut(&mut self, last: LogIndex, changed: &mut impl FnMut(Change)) {
        // The first run may begin below the boundary, and yet have nothing left above it.
        let is_all = last <= self.bounds.boundary.index;
        let begun = self.runs.partition_point(|run| run.first <= last);
        let kept = if is_all { 0 } else { begun };
        self.runs.drain(kept..).for_each(|run| changed(Change::Gone(Mark::Run(run))));
        let kept = self.memberships.partition_point(|(index, _)| *index <= last);
        let gone = self.memberships.drain(kept..);
        gone.for_each(|(index, _)| changed(Change::Gone(Mark::Membership(index))));
    }

    /// Forgets every entry up to `boundary`, which is not beyond the last.
    fn purge(&mut self, boundary: EntryId, changed: &mut impl FnMut(Change)) {
        let first = boundary.index.next();
        let begun = self.runs.partition_point(|run| run.first <= first);
        let is_all = boundary.index == self.bounds.last.index;
        let gone = if is_all { self.runs.len() } else { begun.saturating_sub(1) };
        self.runs.drain(..gone).for_each(|run| changed(Change::Gone(Mark::Run(run))));
        let gone = self.memberships.partition_point(|(index, _)| *index <= boundary.index);
        let gone = self.memberships.drain(..gone);
        gone.for_each(|(index, _)| changed(Change::Gone(Mark::Membership(index))));
        self.bounds.boundary = boundary;
    }
}
