//! The log as the protocol sees it: ids and memberships, no payloads.
//!
//! Terms rise only when leaders change, so a few *term runs*, one for each leadership, determine
//! the ids of a million entries. With them, "the term at index i" (section 5.3) needs no I/O; with
//! the memberships held by value, neither does "the configuration at index i" (section 6: the
//! newest in the log is in force, committed or not, and truncating it restores the previous one;
//! law L13).
//!
//! This view covers everything that was *issued* to the disk. The durable index is in
//! [`writes`](super::writes).

use alloc::sync::Arc;
use alloc::vec::Vec;

use crate::types::{EntryId, LogIndex, LogSpan, Membership, Term, TermRun};

/// Ids and memberships of the log above its boundary.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) struct LogView {
    boundary: EntryId,
    last: LogIndex,
    /// The indexes at which the term rises; the first run starts right after the boundary, unless
    /// there is no entry.
    runs: Vec<TermRun>,
    /// The membership in force at the boundary; `None` if there was none yet.
    base: Option<Arc<Membership>>,
    /// The memberships above the boundary, in order.
    memberships: Vec<(LogIndex, Arc<Membership>)>,
}

impl LogView {
    /// Builds the view of the log that a store holds. The store has checked the positions and
    /// terms.
    pub(super) fn new(
        boundary: EntryId,
        last: LogIndex,
        runs: Vec<TermRun>,
        base: Option<Arc<Membership>>,
        memberships: Vec<(LogIndex, Arc<Membership>)>,
    ) -> LogView {
        LogView { boundary, last, runs, base, memberships }
    }

    pub(super) fn boundary(&self) -> EntryId {
        self.boundary
    }

    pub(super) fn last(&self) -> LogIndex {
        self.last
    }

    pub(super) fn last_id(&self) -> EntryId {
        let term = self.runs.last().map_or(self.boundary.term, |run| run.term);
        EntryId::new(term, self.last)
    }

    /// Whether nothing was ever written here.
    pub(super) fn is_blank(&self) -> bool {
        self.last == LogIndex::ZERO
    }

    /// The term at an index, from the boundary to the last entry.
    pub(super) fn term(&self, index: LogIndex) -> Option<Term> {
        if index == self.boundary.index {
            return Some(self.boundary.term);
        }
        if index < self.boundary.index || index > self.last {
            return None;
        }
        match self.runs.last() {
            Some(run) if run.first <= index => Some(run.term),
            _ => {
                let after = self.runs.partition_point(|run| run.first <= index);
                self.runs.get(after.wrapping_sub(1)).map(|run| run.term)
            }
        }
    }

    /// Whether the log has the entry with this id. True for everything below the boundary, which
    /// was committed, so that every leader has it too.
    pub(super) fn contains(&self, id: EntryId) -> bool {
        id.index < self.boundary.index || self.term(id.index) == Some(id.term)
    }

    /// The last entry at or before `index` whose term is at most `term`; the boundary if none is. A
    /// leader uses it to skip a whole conflicting term at once (end of section 5.3).
    pub(super) fn last_at_or_below(&self, index: LogIndex, term: Term) -> EntryId {
        let index = index.min(self.last);
        let mut end = index;
        for run in self.runs.iter().rev().filter(|run| run.first <= index) {
            if run.term <= term {
                return EntryId::new(run.term, end);
            }
            end = run.first.prev();
        }
        self.boundary
    }

    /// The ids after `prev`, up to and with `last`. `prev` is not below the boundary.
    pub(super) fn span(&self, prev: LogIndex, last: LogIndex) -> LogSpan {
        let prev_term = self.term(prev).expect("a span starts inside the log");
        let prev = EntryId::new(prev_term, prev);
        let mut span = LogSpan::empty(prev);
        let from = self.runs.partition_point(|run| run.first <= prev.index.next());
        let first = from.saturating_sub(1);
        for (at, run) in self.runs.iter().enumerate().skip(first) {
            let end = self.runs.get(at + 1).map_or(self.last, |next| next.first.prev()).min(last);
            if end > span.last() {
                span.push_run(run.term, end).expect("terms in a log never fall");
            }
        }
        span
    }

    /// The newest membership in the log.
    pub(super) fn membership(&self) -> Option<&Arc<Membership>> {
        self.memberships.last().map(|(_, membership)| membership).or(self.base.as_ref())
    }

    /// The index of the newest membership; the boundary's if its entry was purged.
    pub(super) fn membership_index(&self) -> LogIndex {
        self.memberships.last().map_or(self.boundary.index, |(index, _)| *index)
    }

    /// The memberships in force at an index and after it, in order.
    pub(super) fn memberships_from(
        &self,
        index: LogIndex,
    ) -> impl Iterator<Item = &Arc<Membership>> + Clone {
        let after = self.memberships.partition_point(|(at, _)| *at <= index);
        let later = self.memberships[after..].iter().map(|(_, membership)| membership);
        self.membership_at(index).into_iter().chain(later)
    }

    /// The membership in force at an index: the newest up to there.
    pub(super) fn membership_at(&self, index: LogIndex) -> Option<&Arc<Membership>> {
        let after = self.memberships.partition_point(|(at, _)| *at <= index);
        let newest = after.checked_sub(1).map(|newest| &self.memberships[newest].1);
        newest.or(self.base.as_ref())
    }

    /// Removes every entry after `index`, memberships included.
    pub(super) fn truncate_after(&mut self, index: LogIndex) {
        self.last = self.last.min(index);
        self.runs.retain(|run| run.first <= index);
        self.memberships.retain(|(at, _)| *at <= index);
    }

    /// Removes every entry up to `upto`, which is in the log. Its id and the membership in force
    /// there stay.
    pub(super) fn purge_upto(&mut self, upto: EntryId) {
        debug_assert_eq!(self.term(upto.index), Some(upto.term), "L3: purged in another log");
        let after = self.runs.partition_point(|run| run.first <= upto.index);
        self.runs.drain(..after);
        let next = upto.index.next();
        if upto.index < self.last && self.runs.first().is_none_or(|run| run.first > next) {
            self.runs.insert(0, TermRun { first: next, term: upto.term });
        }
        let after = self.memberships.partition_point(|(at, _)| *at <= upto.index);
        if let Some((_, newest)) = self.memberships.drain(..after).next_back() {
            self.base = Some(newest);
        }
        self.boundary = upto;
    }

    /// Appends the entries of a span that starts right after the last entry.
    pub(super) fn append(&mut self, span: &LogSpan) {
        debug_assert_eq!(span.prev(), self.last_id(), "an append has no holes");
        for run in span.runs() {
            if self.runs.last().is_none_or(|last| last.term != run.term) {
                self.runs.push(run);
            }
        }
        self.last = span.last();
    }

    /// Records a membership among entries that were appended.
    pub(super) fn note_membership(&mut self, index: LogIndex, membership: Arc<Membership>) {
        self.memberships.push((index, membership));
    }

    /// The term runs, which the laws check.
    pub(super) fn runs(&self) -> &[TermRun] {
        &self.runs
    }
}

#[cfg(test)]
mod tests {
    use alloc::string::ToString;
    use alloc::vec;

    use bytes::Bytes;

    use super::*;
    use crate::types::NodeId;

    /// One digit for each entry: its term.
    fn log(terms: &str) -> LogView {
        let mut log = LogView::new(EntryId::ZERO, LogIndex::ZERO, vec![], None, vec![]);
        for term in terms.bytes() {
            let term = Term::new(u64::from(term - b'0'));
            let span = LogSpan::of_term(log.last_id(), term, 1);
            log.append(&span);
        }
        log
    }

    fn terms(log: &LogView) -> alloc::string::String {
        let term = |index| log.term(LogIndex::new(index)).expect("inside").get() as u8;
        (1..=log.last().get()).map(|index| char::from(b'0' + term(index))).collect()
    }

    #[test]
    fn every_index_has_its_term() {
        for sample in ["", "1", "1114455666", "11122233333"] {
            assert_eq!(terms(&log(sample)), sample);
            for prev in 0..=sample.len() as u64 {
                let span = log(sample).span(LogIndex::new(prev), log(sample).last());
                let mut again = log(&sample[..prev as usize]);
                again.append(&span);
                assert_eq!(again, log(sample), "after {prev} of {sample}");
            }
        }
    }

    fn at(index: u64) -> LogIndex {
        LogIndex::new(index)
    }

    fn of_one(node: u64) -> Arc<Membership> {
        let node = NodeId::new(node).expect("not zero");
        Arc::new(Membership::of_voters([(node, Bytes::new())]).expect("sound"))
    }

    /// Entries 4 to 8 of terms 1 1 2 2 5, after a boundary at 3@1.
    fn purged() -> LogView {
        let run = |first, term| TermRun { first: at(first), term: Term::new(term) };
        let boundary = EntryId::new(Term::new(1), at(3));
        let runs = vec![run(4, 1), run(6, 2), run(8, 5)];
        LogView::new(boundary, at(8), runs, Some(of_one(1)), vec![])
    }

    #[test]
    fn the_newest_membership_is_in_force_until_it_is_truncated() {
        let mut log = purged();
        log.note_membership(at(5), of_one(2));
        log.note_membership(at(7), of_one(3));
        assert_eq!(log.membership(), Some(&of_one(3)));
        log.truncate_after(at(6));
        assert_eq!(log.membership(), Some(&of_one(2)));
        log.truncate_after(at(4));
        assert_eq!(
            log.membership(),
            Some(&of_one(1)),
            "L13: the boundary's membership is in force"
        );
    }

    #[test]
    fn a_purged_log_answers_from_its_boundary_on() {
        let log = purged();
        let terms: Vec<Option<u64>> = (2..=9).map(|i| log.term(at(i)).map(Term::get)).collect();
        let expected = [None, Some(1), Some(1), Some(1), Some(2), Some(2), Some(5), None];
        assert_eq!(terms, expected);
        assert!(log.contains(EntryId::new(Term::new(9), at(2))), "what was purged was committed");
        assert!(!log.contains(EntryId::new(Term::new(9), at(3))));
        assert_eq!(log.last_at_or_below(at(8), Term::ZERO), log.boundary());
        assert_eq!(log.last_at_or_below(at(1), Term::new(9)), log.boundary());
        assert_eq!(log.span(at(3), at(7)).to_string(), "after 3@1: 4..5@1 6..7@2");
    }

    #[test]
    fn a_purged_log_equals_one_that_was_never_longer() {
        let whole = log("1114455666");
        for upto in 1..=10 {
            let id = EntryId::new(whole.term(at(upto)).expect("inside"), at(upto));
            let mut purged = whole.clone();
            purged.purge_upto(id);
            let mut grown = LogView::new(id, id.index, vec![], None, vec![]);
            grown.append(&whole.span(id.index, whole.last()));
            assert_eq!(purged, grown, "purged up to {upto}");
        }
    }

    #[test]
    fn the_membership_at_the_boundary_outlives_its_entry() {
        let mut log = purged();
        log.note_membership(at(5), of_one(2));
        log.note_membership(at(7), of_one(3));
        log.purge_upto(EntryId::new(Term::new(2), at(6)));
        log.truncate_after(at(6));
        assert_eq!(log.membership(), Some(&of_one(2)), "L13: that of entry 5, which was purged");
    }

    #[test]
    fn a_log_truncated_to_its_boundary_is_empty_and_accepts_entries() {
        let mut log = purged();
        log.truncate_after(at(3));
        assert_eq!(log.last_id(), log.boundary());
        assert!(!log.is_blank());
        log.append(&LogSpan::of_term(log.last_id(), Term::new(7), 2));
        assert_eq!(log.last_id(), EntryId::new(Term::new(7), at(5)));
        assert_eq!(log.runs(), [TermRun { first: at(4), term: Term::new(7) }]);
    }

    #[test]
    fn a_hint_skips_a_whole_conflicting_term() {
        let follower = log("11122233333");
        let hint = follower.last_at_or_below(LogIndex::new(9), Term::new(2));
        assert_eq!(hint, EntryId::new(Term::new(2), LogIndex::new(6)));
        let hint = follower.last_at_or_below(LogIndex::new(20), Term::new(3));
        assert_eq!(hint, EntryId::new(Term::new(3), LogIndex::new(11)));
        let hint = follower.last_at_or_below(LogIndex::new(9), Term::ZERO);
        assert_eq!(hint, EntryId::ZERO);
    }
}
