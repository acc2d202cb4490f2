//! The ids of consecutive entries: which entry they follow, how many there are, and their terms.
//!
//! Terms never fall along a log, so the few places where the term rises determine the ids of any
//! number of entries. The protocol compares, sends and remembers spans; payloads stay with the code
//! that moves bytes.

use alloc::vec::Vec;
use core::fmt;

use serde::{Deserialize, Serialize};
use thiserror::Error;

use super::{EntryId, LogIndex, Term};

/// Consecutive entries of one term: from `first` up to the start of the next run.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct TermRun {
    /// The index of the run's first entry.
    pub first: LogIndex,
    /// The term of all its entries.
    pub term: Term,
}

/// The ids of the entries after `prev`, up to and with `last`. May be empty.
///
/// Built through [`LogSpan::new`] or grown by [`LogSpan::push_run`], which both refuse falling
/// terms and holes; a span need not be checked again.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct LogSpan {
    prev: EntryId,
    last: LogIndex,
    /// The term of the first entry; equal to `prev.term` when the span is empty.
    first_term: Term,
    /// The runs after the first one. Empty, and so without an allocation, in all but the rare span
    /// that crosses a change of leader.
    rises: Vec<TermRun>,
}

/// Why runs do not form a span. Only bytes from a peer or a disk can cause such an error.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum SpanError {
    /// A run does not start where the one before it ends, or ends before it starts.
    #[error("the entries do not follow each other")]
    Gap,
    /// A term is below the term before it.
    #[error("the terms of the entries fall")]
    FallingTerm,
}

impl LogSpan {
    /// A span of no entries after `prev`.
    pub const fn empty(prev: EntryId) -> LogSpan {
        LogSpan { prev, last: prev.index, first_term: prev.term, rises: Vec::new() }
    }

    /// `count` entries of one term after `prev`. The term must not be below `prev.term`.
    pub fn of_term(prev: EntryId, term: Term, count: u64) -> LogSpan {
        let mut span = LogSpan::empty(prev);
        if count > 0 {
            let pushed = span.push_run(term, prev.index.plus(count));
            assert!(pushed.is_ok(), "a run of term {term} cannot follow {prev}");
        }
        span
    }

    /// The entries after `prev` up to `last`, whose terms are given by `runs` in order. The first
    /// run starts right after `prev`.
    pub fn new(
        prev: EntryId,
        runs: impl IntoIterator<Item = TermRun>,
        last: LogIndex,
    ) -> Result<LogSpan, SpanError> {
        let mut span = LogSpan::empty(prev);
        let mut open: Option<TermRun> = None;
        for run in runs {
            if let Some(before) = open {
                span.push_run(before.term, run.first.prev())?;
            }
            if run.first != span.last.next() {
                return Err(SpanError::Gap);
            }
            open = Some(run);
        }
        match open {
            Some(run) => span.push_run(run.term, last)?,
            None if last != prev.index => return Err(SpanError::Gap),
            None => {}
        }
        Ok(span)
    }

    /// Appends entries of one term, up to and with `last`. On an error nothing changes.
    pub fn push_run(&mut self, term: Term, last: LogIndex) -> Result<(), SpanError> {
        if last <= self.last {
            return Err(SpanError::Gap);
        }
        if term < self.last_id().term {
            return Err(SpanError::FallingTerm);
        }
        if self.is_empty() {
            self.first_term = term;
        } else if term > self.last_id().term {
            self.rises.push(TermRun { first: self.last.next(), term });
        }
        self.last = last;
        Ok(())
    }

    /// The entry before the span.
    pub fn prev(&self) -> EntryId {
        self.prev
    }

    /// The index of the first entry, if there is one; else the index that it would have.
    pub fn first(&self) -> LogIndex {
        self.prev.index.next()
    }

    /// The index of the last entry, or of `prev` when empty.
    pub fn last(&self) -> LogIndex {
        self.last
    }

    /// The id of the last entry, or `prev` when empty.
    pub fn last_id(&self) -> EntryId {
        let term = self.rises.last().map_or(self.first_term, |run| run.term);
        EntryId::new(term, self.last)
    }

    /// How many entries there are.
    pub fn len(&self) -> u64 {
        self.last.since(self.prev.index)
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.last == self.prev.index
    }

    /// The term at an index of the span, `prev` included.
    pub fn term_at(&self, index: LogIndex) -> Option<Term> {
        if index == self.prev.index {
            return Some(self.prev.term);
        }
        if index < self.prev.index || index > self.last {
            return None;
        }
        let rise = self.rises.iter().rev().find(|run| run.first <= index);
        Some(rise.map_or(self.first_term, |run| run.term))
    }

    /// The runs of the span, in order; none when empty.
    pub fn runs(&self) -> impl Iterator<Item = TermRun> + '_ {
        let first = TermRun { first: self.first(), term: self.first_term };
        (!self.is_empty()).then_some(first).into_iter().chain(self.rises.iter().copied())
    }

    /// The part of the span up to and with `last`; the whole if it ends before.
    pub fn up_to(&self, last: LogIndex) -> LogSpan {
        let last = last.clamp(self.prev.index, self.last);
        let mut cut = self.clone();
        cut.last = last;
        cut.rises.retain(|run| run.first <= last);
        if last == self.prev.index {
            cut.first_term = self.prev.term;
        }
        cut
    }

    /// The part of the span after `index`, which lies in it or is `prev`.
    pub fn after(&self, index: LogIndex) -> LogSpan {
        let term = self.term_at(index);
        let prev = EntryId::new(term.expect("an index of the span"), index);
        let mut rest = LogSpan::empty(prev);
        rest.last = self.last;
        rest.rises = self.rises.iter().copied().filter(|run| run.first > index.next()).collect();
        if let Some(first_term) = self.term_at(index.next()) {
            rest.first_term = first_term;
        }
        rest
    }
}

/// A span is written `after prev: ids`, each run as `first..last@term`.
impl fmt::Display for LogSpan {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "after {}:", self.prev)?;
        if self.is_empty() {
            return write!(f, " nothing");
        }
        let mut runs = self.runs().peekable();
        while let Some(run) = runs.next() {
            let last = runs.peek().map_or(self.last, |next| next.first.prev());
            if run.first == last {
                write!(f, " {last}@{}", run.term)?
            } else {
                write!(f, " {}..{last}@{}", run.first, run.term)?
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use alloc::string::ToString;
    use alloc::vec;

    use super::*;

    fn id(index: u64, term: u64) -> EntryId {
        EntryId::new(Term::new(term), LogIndex::new(index))
    }

    fn run(first: u64, term: u64) -> TermRun {
        TermRun { first: LogIndex::new(first), term: Term::new(term) }
    }

    fn span() -> LogSpan {
        LogSpan::new(id(4, 1), [run(5, 1), run(7, 3), run(8, 6)], LogIndex::new(9)).expect("sound")
    }

    #[test]
    fn a_span_gives_the_term_of_each_entry() {
        let terms: vec::Vec<u64> =
            (4..=9).map(|i| span().term_at(LogIndex::new(i)).expect("inside").get()).collect();
        assert_eq!(terms, vec![1, 1, 1, 3, 6, 6]);
        assert_eq!(span().term_at(LogIndex::new(3)), None);
        assert_eq!(span().term_at(LogIndex::new(10)), None);
        assert_eq!(span().to_string(), "after 4@1: 5..6@1 7@3 8..9@6");
    }

    #[test]
    fn both_parts_of_a_span_give_the_same_terms() {
        for cut in 4..=9 {
            let head = span().up_to(LogIndex::new(cut));
            let tail = span().after(LogIndex::new(cut));
            assert_eq!(head.len() + tail.len(), span().len());
            assert_eq!(head.last_id(), tail.prev());
            for index in 5..=9 {
                let index = LogIndex::new(index);
                let part = if index.get() <= cut { &head } else { &tail };
                assert_eq!(part.term_at(index), span().term_at(index), "{index} of a cut at {cut}");
            }
            let rebuilt = LogSpan::new(tail.prev(), tail.runs(), tail.last());
            assert_eq!(rebuilt, Ok(tail));
        }
    }

    #[test]
    fn gaps_and_falling_terms_are_refused() {
        let gap = LogSpan::new(id(4, 1), [run(6, 1)], LogIndex::new(9));
        assert_eq!(gap, Err(SpanError::Gap));
        let fall = LogSpan::new(id(4, 2), [run(5, 1)], LogIndex::new(9));
        assert_eq!(fall, Err(SpanError::FallingTerm));
        let short = LogSpan::new(id(4, 1), [run(5, 1)], LogIndex::new(4));
        assert_eq!(short, Err(SpanError::Gap));
        let none = LogSpan::new(id(4, 1), [], LogIndex::new(5));
        assert_eq!(none, Err(SpanError::Gap));
    }
}
