//! What of the log is in memory: its bounds, where its terms change, and its memberships.

use std::sync::{Arc, RwLock};

use bytes::Bytes;
use raft_core::storage::{LogBounds, LogError};
use raft_core::types::{Entry, EntryId, EntryKind, LogIndex, Term, TermRun};

/// A view that the writer changes and the readers see.
pub(crate) type SharedView = Arc<RwLock<View>>;

/// What of the log is in memory.
#[derive(Debug, Default)]
pub(crate) struct View {
    bounds: LogBounds,
    runs: Vec<TermRun>,
    /// The memberships in the log, as they are stored.
    memberships: Vec<(LogIndex, Bytes)>,
}

impl View {
    /// A log without entries.
    pub(crate) fn empty(boundary: EntryId) -> View {
        let bounds = LogBounds { boundary, last: boundary };
        View { bounds, ..View::default() }
    }

    pub(crate) fn bounds(&self) -> LogBounds {
        self.bounds
    }

    pub(crate) fn runs(&self) -> &[TermRun] {
        &self.runs
    }

    pub(crate) fn memberships(&self) -> &[(LogIndex, Bytes)] {
        &self.memberships
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

    pub(crate) fn push(&mut self, entry: &Entry) {
        self.push_id(entry.id);
        if entry.kind == EntryKind::Membership {
            self.push_membership(entry.id.index, entry.payload.clone());
        }
    }

    pub(crate) fn push_id(&mut self, id: EntryId) {
        if self.runs.last().is_none_or(|run| run.term != id.term) {
            self.runs.push(TermRun { first: id.index, term: id.term });
        }
        self.bounds.last = id;
    }

    pub(crate) fn push_membership(&mut self, index: LogIndex, payload: Bytes) {
        self.memberships.push((index, payload));
    }

    /// Forgets every entry behind `last`, which stays.
    pub(crate) fn cut(&mut self, last: EntryId) {
        self.runs.retain(|run| run.first <= last.index);
        self.memberships.retain(|(index, _)| *index <= last.index);
        self.bounds.last = last;
    }

    /// Forgets every entry up to `boundary`, which is not beyond the last.
    pub(crate) fn purge(&mut self, boundary: EntryId) {
        let first = boundary.index.next();
        let whole = self.runs.partition_point(|run| run.first <= first);
        self.runs.drain(..whole.saturating_sub(1));
        if boundary.index == self.bounds.last.index {
            self.runs.clear()
        } else {
            self.runs[0].first = first
        }
        self.memberships.retain(|(index, _)| *index > boundary.index);
        self.bounds.boundary = boundary;
    }
}
