//! The part of a log that a backend holds in memory, so that it answers without I/O: where the log
//! begins and ends, where the terms of its entries change, and which entries are memberships.
//!
//! A backend applies each batch to its summary once the batch is durable ([`LogSummary::apply`]),
//! and fills the summary at open from what it finds on the disk. For a backend that stores runs and
//! memberships beside the entries, each change of them is reported ([`SummaryChange`]).
//!
//! The summary ensures that the boundary's term outlives its entry (P6), that a truncated entry
//! leaves no trace (P7), and that a restart recovers exactly what the log holds (P18).
//!
//! Absent: the positions of entries on the disk, and their payloads.

use alloc::format;
use alloc::vec::Vec;

use bytes::Bytes;

use super::record::{Unreadable, decode_membership};
use super::{LogBounds, LogError, LogErrorKind, LogOp, Plan, Recovered, Tail};
use crate::types::{Entry, EntryId, EntryKind, HardState, LogIndex, Membership, Term, TermRun};

/// The part of a log that is in memory.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct LogSummary {
    bounds: LogBounds,
    /// Invariant: index and term rise from run to run, no run begins above the last entry, and
    /// there is no run if and only if there is no entry. The first run may begin below the first
    /// entry: a purge removes runs and shortens none.
    runs: Vec<TermRun>,
    /// The payloads of membership entries, as they are stored. Invariant: the index rises, and each
    /// lies above the boundary and not above the last entry.
    memberships: Vec<(LogIndex, Bytes)>,
}

/// A part of a summary that a backend may store beside the entries.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SummaryPart {
    /// From this index on the entries have this term.
    Run(TermRun),
    /// This entry is a membership.
    Membership(LogIndex),
}

/// How a batch changes a summary.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SummaryChange {
    /// The part is new.
    Added(SummaryPart),
    /// The part was removed.
    Removed(SummaryPart),
}

impl LogSummary {
    /// A log without entries.
    pub fn empty(boundary: EntryId) -> LogSummary {
        LogSummary::with_bounds(LogBounds { boundary, last: boundary })
    }

    /// A log with these bounds whose runs and memberships are stored, and are added next with
    /// [`LogSummary::add_run`] and [`LogSummary::add_membership`]. [`LogSummary::is_sound`] then
    /// says whether they fit.
    pub fn with_bounds(bounds: LogBounds) -> LogSummary {
        LogSummary { bounds, ..LogSummary::default() }
    }

    /// Where the log begins and ends.
    pub fn bounds(&self) -> LogBounds {
        self.bounds
    }

    /// How many runs there are.
    pub fn run_count(&self) -> usize {
        self.runs.len()
    }

    /// How many memberships there are.
    pub fn membership_count(&self) -> usize {
        self.memberships.len()
    }

    /// The term at an index, the boundary's included (P6); `Compacted` or `Unavailable` elsewhere.
    pub fn term(&self, index: LogIndex) -> Result<Term, LogError> {
        if index == self.bounds.boundary.index {
            return Ok(self.bounds.boundary.term);
        }
        self.bounds.check_inside(index, index)?;
        let begun = self.runs.partition_point(|run| run.first <= index);
        Ok(self.runs[begun - 1].term)
    }

    /// What a member needs when it restarts (P18); a hint beyond the last entry is lowered to it.
    /// An error names the entry whose payload is not a membership.
    pub fn recovered(
        &self,
        hard_state: HardState,
        commit_hint: LogIndex,
        tail: Tail,
    ) -> Result<Recovered, LogError> {
        let mut term_runs = self.runs.clone();
        if let Some(oldest) = term_runs.first_mut() {
            oldest.first = oldest.first.max(self.bounds.first());
        }
        let decode =
            |(index, payload): &(LogIndex, Bytes)| Ok((*index, membership_of(*index, payload)?));
        let memberships = self.memberships.iter().map(decode).collect::<Result<_, LogError>>()?;
        let commit_hint = commit_hint.min(self.bounds.last.index);
        Ok(Recovered { bounds: self.bounds, hard_state, term_runs, memberships, commit_hint, tail })
    }

    /// Applies a batch that the [`Gate`](super::Gate) has passed, verb by verb in the order of the
    /// contract, and calls `changed` for each part that is added or removed, in that order.
    pub fn apply(
        &mut self,
        plan: &Plan,
        entries: &[Entry],
        mut changed: impl FnMut(SummaryChange),
    ) {
        if let Some(boundary) = plan.reset {
            self.remove_after(LogIndex::ZERO, &mut changed);
            self.bounds = LogBounds { boundary, last: boundary };
        }
        if let Some(last) = plan.truncate {
            self.remove_after(last.index, &mut changed);
            self.bounds.last = last;
        }
        for entry in entries {
            self.push_entry(entry, &mut changed);
        }
        if let Some(boundary) = plan.purge {
            self.purge(boundary, &mut changed);
        }
    }

    /// Adds the entry that follows the last one.
    pub fn push(&mut self, entry: &Entry) {
        self.push_entry(entry, &mut |_| ());
    }

    /// Like [`LogSummary::push`], for an entry that was read from a disk. If it does not follow,
    /// nothing changes, and the error names the entry that is missing or damaged.
    pub fn push_checked(&mut self, entry: &Entry) -> Result<(), LogError> {
        if self.is_next(entry.id) {
            self.push(entry);
            Ok(())
        } else {
            let index = Some(self.bounds.last.index.next());
            Err(LogError::new(LogOp::Open, LogErrorKind::Corrupt { index })
                .because(format!("entry {} does not follow {}", entry.id, self.bounds.last)))
        }
    }

    /// Whether an entry with this id may follow the last one (P5).
    pub fn is_next(&self, id: EntryId) -> bool {
        id.index == self.bounds.last.index.next() && id.term >= self.bounds.last.term
    }

    /// Like [`LogSummary::push`], for an entry whose payload is not read: a membership's is added
    /// with [`LogSummary::add_membership`].
    pub fn push_id(&mut self, id: EntryId) {
        self.push_run(id, &mut |_| ());
    }

    /// Adds a run that is stored already.
    pub fn add_run(&mut self, run: TermRun) {
        self.runs.push(run);
    }

    /// Adds the payload of a membership entry; in the order of the indexes.
    pub fn add_membership(&mut self, index: LogIndex, payload: Bytes) {
        self.memberships.push((index, payload));
    }

    /// Forgets every entry after `index`, which lies neither below the boundary nor beyond the
    /// last entry.
    ///
    /// # Panics
    /// If `index` lies outside.
    pub fn truncate_after(&mut self, index: LogIndex) {
        let term = self.term(index).expect("the new end lies in the log");
        self.remove_after(index, &mut |_| ());
        self.bounds.last = EntryId::new(term, index);
    }

    /// Forgets every entry up to `boundary`, which lies neither below the old one nor beyond the
    /// last entry.
    pub fn purge_upto(&mut self, boundary: EntryId) {
        self.purge(boundary, &mut |_| ());
    }

    /// Whether runs and memberships that were read from a disk fit the bounds.
    pub fn is_sound(&self) -> bool {
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

    fn push_entry(&mut self, entry: &Entry, changed: &mut impl FnMut(SummaryChange)) {
        self.push_run(entry.id, changed);
        if entry.kind == EntryKind::Membership {
            self.add_membership(entry.id.index, entry.payload.clone());
            changed(SummaryChange::Added(SummaryPart::Membership(entry.id.index)));
        }
    }

    fn push_run(&mut self, id: EntryId, changed: &mut impl FnMut(SummaryChange)) {
        if self.runs.last().is_none_or(|run| run.term != id.term) {
            let run = TermRun { first: id.index, term: id.term };
            self.runs.push(run);
            changed(SummaryChange::Added(SummaryPart::Run(run)));
        }
        self.bounds.last = id;
    }

    /// Removes the parts of entries after an index.
    fn remove_after(&mut self, last: LogIndex, changed: &mut impl FnMut(SummaryChange)) {
        // The first run may begin below the boundary, and yet have nothing left above it.
        let is_all = last <= self.bounds.boundary.index;
        let begun = self.runs.partition_point(|run| run.first <= last);
        let kept = if is_all { 0 } else { begun };
        remove(&mut self.runs, kept.., changed, |run| SummaryPart::Run(*run));
        let kept = self.memberships.partition_point(|(index, _)| *index <= last);
        remove(&mut self.memberships, kept.., changed, |(index, _)| {
            SummaryPart::Membership(*index)
        });
    }

    fn purge(&mut self, boundary: EntryId, changed: &mut impl FnMut(SummaryChange)) {
        let first = boundary.index.next();
        let begun = self.runs.partition_point(|run| run.first <= first);
        let is_all = boundary.index == self.bounds.last.index;
        let gone = if is_all { self.runs.len() } else { begun.saturating_sub(1) };
        remove(&mut self.runs, ..gone, changed, |run| SummaryPart::Run(*run));
        let gone = self.memberships.partition_point(|(index, _)| *index <= boundary.index);
        remove(&mut self.memberships, ..gone, changed, |(index, _)| {
            SummaryPart::Membership(*index)
        });
        self.bounds.boundary = boundary;
        if is_all {
            self.bounds.last = boundary;
        }
    }
}

fn membership_of(index: LogIndex, payload: &[u8]) -> Result<Membership, LogError> {
    decode_membership(payload).map_err(|error| {
        let kind = Unreadable::from(error.clone()).kind(Some(index));
        LogError::new(LogOp::Open, kind).because(error)
    })
}

fn remove<T>(
    parts: &mut Vec<T>,
    gone: impl core::ops::RangeBounds<usize>,
    changed: &mut impl FnMut(SummaryChange),
    part: impl Fn(&T) -> SummaryPart,
) {
    parts.drain(gone).for_each(|gone| changed(SummaryChange::Removed(part(&gone))));
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::storage::record::encode_membership;
    use crate::types::{Membership, NodeId};

    fn id(index: u64, term: u64) -> EntryId {
        EntryId::new(Term::new(term), LogIndex::new(index))
    }

    fn run(first: u64, term: u64) -> TermRun {
        TermRun { first: LogIndex::new(first), term: Term::new(term) }
    }

    fn membership() -> Bytes {
        let voter = NodeId::new(1).expect("not zero");
        encode_membership(&Membership::of_voters([(voter, Bytes::new())]).expect("sound"))
    }

    fn entry(index: u64, term: u64) -> Entry {
        if index.is_multiple_of(4) {
            Entry::new(id(index, term), EntryKind::Membership, membership())
        } else {
            Entry::new(id(index, term), EntryKind::Command, Bytes::new())
        }
    }

    /// Entries 1 to 9 of the terms 1 1 2 2 2 3 3 3 3; 4 and 8 are memberships.
    fn summary() -> LogSummary {
        let mut summary = LogSummary::default();
        let terms = [1, 1, 2, 2, 2, 3, 3, 3, 3];
        (1..=9).zip(terms).for_each(|(index, term)| summary.push(&entry(index, term)));
        summary
    }

    /// Bounds, runs and memberships as they are recovered at a restart.
    fn recovered_of(summary: &LogSummary) -> (LogBounds, Vec<TermRun>, Vec<u64>) {
        let hint = LogIndex::new(u64::MAX);
        let found =
            summary.recovered(HardState::default(), hint, Tail::Clean).expect("memberships");
        assert_eq!(found.commit_hint, found.bounds.last.index, "never beyond the last entry");
        assert!(summary.is_sound());
        let memberships = found.memberships.iter().map(|(index, _)| index.get()).collect();
        (found.bounds, found.term_runs, memberships)
    }

    #[test]
    fn both_ends_can_be_removed() {
        let mut summary = summary();
        summary.truncate_after(LogIndex::new(7));
        summary.purge_upto(id(4, 2));
        let bounds = LogBounds { boundary: id(4, 2), last: id(7, 3) };
        assert_eq!(recovered_of(&summary), (bounds, [run(5, 2), run(6, 3)].into(), [].into()));
        assert_eq!(summary.term(LogIndex::new(4)).expect("the boundary"), Term::new(2));
        assert_eq!(summary.term(LogIndex::new(5)).expect("inside"), Term::new(2));
        assert!(summary.term(LogIndex::new(3)).is_err() && summary.term(LogIndex::new(8)).is_err());
        summary.purge_upto(id(7, 3));
        let bounds = LogBounds { boundary: id(7, 3), last: id(7, 3) };
        assert_eq!(recovered_of(&summary), (bounds, [].into(), [].into()));
    }

    /// Removes each of the two ends at each index, and compares with a summary that never had the
    /// rest.
    #[test]
    fn a_removal_leaves_no_trace() {
        let whole: Vec<Entry> =
            (1..=9).zip([1, 1, 2, 2, 2, 3, 3, 3, 3]).map(|(i, t)| entry(i, t)).collect();
        for cut in 0..=9u64 {
            let id = whole[..cut as usize].last().map_or(EntryId::ZERO, |entry| entry.id);
            let mut truncated = summary();
            truncated.truncate_after(id.index);
            let mut shorter = LogSummary::default();
            whole[..cut as usize].iter().for_each(|entry| shorter.push(entry));
            assert_eq!(truncated, shorter, "truncated after {cut}");
            let mut purged = summary();
            purged.purge_upto(id);
            let mut later = LogSummary::empty(id);
            whole[cut as usize..].iter().for_each(|entry| later.push(entry));
            assert_eq!(recovered_of(&purged), recovered_of(&later), "purged up to {cut}");
        }
    }

    /// A backend that stores the parts has, after each change, the same parts as the summary.
    #[test]
    fn each_change_of_a_part_is_reported() {
        let mut summary = LogSummary::default();
        let mut stored: Vec<SummaryPart> = Vec::new();
        let mut apply = |plan: Plan, entries: &[Entry]| {
            summary.apply(&plan, entries, |change| match change {
                SummaryChange::Added(part) => stored.push(part),
                SummaryChange::Removed(part) => {
                    let at = stored.iter().position(|it| *it == part).expect("it was added");
                    stored.remove(at);
                }
            });
            let mut again = LogSummary::with_bounds(summary.bounds());
            let mut parts = stored.clone();
            parts.sort_by_key(|part| match part {
                SummaryPart::Run(run) => run.first,
                SummaryPart::Membership(index) => *index,
            });
            for part in parts {
                match part {
                    SummaryPart::Run(run) => again.add_run(run),
                    SummaryPart::Membership(index) => again.add_membership(index, membership()),
                }
            }
            assert!(again.is_sound());
            assert_eq!(again, summary);
        };
        let entries: Vec<Entry> = (1..=9).map(|index| entry(index, index.div_ceil(3))).collect();
        apply(Plan::default(), &entries);
        apply(Plan { purge: Some(id(5, 2)), ..Plan::default() }, &[]);
        // The run of term 2 begins below the boundary, and a truncation at the boundary removes it.
        apply(Plan { truncate: Some(id(5, 2)), ..Plan::default() }, &[]);
        apply(
            Plan { purge: Some(id(8, 4)), ..Plan::default() },
            &[6, 7, 8, 9].map(|i| entry(i, 4)),
        );
        apply(Plan { reset: Some(id(20, 4)), ..Plan::default() }, &[entry(21, 4)]);
        apply(Plan { reset: Some(id(3, 1)), ..Plan::default() }, &[]);
    }

    #[test]
    fn parts_that_do_not_fit_the_bounds_are_not_sound() {
        let bounds = LogBounds { boundary: id(4, 2), last: id(9, 3) };
        let is_sound = |runs: &[TermRun], membership: u64| {
            let mut summary = LogSummary::with_bounds(bounds);
            runs.iter().for_each(|run| summary.add_run(*run));
            summary.add_membership(LogIndex::new(membership), Bytes::new());
            summary.is_sound()
        };
        let sound = [run(3, 2), run(6, 3)];
        assert!(is_sound(&sound, 5) && is_sound(&sound, 9));
        assert!(!is_sound(&sound, 4) && !is_sound(&sound, 10), "outside of the log");
        assert!(!is_sound(&[], 5), "entries without a term");
        assert!(!is_sound(&[run(6, 3)], 6), "the first entry has no term");
        assert!(!is_sound(&[run(3, 2), run(5, 3)], 6), "a run without an entry");
        assert!(!is_sound(&[run(3, 2), run(6, 2)], 6), "the term of the last entry");
        assert!(!is_sound(&[run(3, 4), run(6, 3)], 6), "falling terms");
        assert!(!is_sound(&[run(3, 2), run(10, 3)], 6), "beyond the last entry");
    }
}
