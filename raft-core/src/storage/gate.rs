//! Checks whether the contract allows a request to a store (P16), and which parts of the request
//! have an effect.
//!
//! A store passes in the facts that it has without I/O (where its log begins and ends, its hard
//! state, its limits) and a way to look up a term. [`Gate::pass`] then returns a named refusal or a
//! [`Plan`]. The whole batch is checked before a byte is written, so that a refused batch changes
//! nothing; nothing is checked again after that.
//!
//! A backend may implement the checks itself; the conformance suite tests only its behaviour.

use super::{LogBounds, LogError, LogOp, Refusal, WriteBatch};
use crate::types::{Entry, EntryId, HardState, Identity, LogIndex, Term};

/// The facts about a store against which a batch is checked.
#[derive(Clone, Copy, Debug)]
pub struct Gate {
    bounds: LogBounds,
    hard_state: HardState,
    committed: LogIndex,
    payload_limit: u64,
    index_limit: LogIndex,
}

/// The changes of a batch, verb by verb; its entries are appended as they are.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Plan {
    /// The new term and vote, if they differ from the old ones.
    pub hard_state: Option<HardState>,
    /// The boundary that replaces the log.
    pub reset: Option<EntryId>,
    /// The last entry that a truncation leaves, if it removes one.
    pub truncate: Option<EntryId>,
    /// The new boundary, if a purge moves it.
    pub purge: Option<EntryId>,
    /// The store's commit hint after the batch. Invariant: not above the last entry, and not below
    /// the boundary unless no hint was given there. A store may forget it.
    pub commit_hint: LogIndex,
}

impl Gate {
    /// A gate without limits, for a log with these bounds.
    pub fn new(bounds: LogBounds, hard_state: HardState) -> Gate {
        let (payload_limit, index_limit) = (u64::MAX, LogIndex::new(u64::MAX));
        Gate { bounds, hard_state, committed: LogIndex::ZERO, payload_limit, index_limit }
    }

    /// Refuses to truncate below the store's commit hint: committed entries are never removed
    /// (L10). A reset is allowed, since a snapshot replaces the log.
    pub fn committed_up_to(self, committed: LogIndex) -> Gate {
        Gate { committed, ..self }
    }

    /// Refuses larger payloads.
    pub fn payloads_up_to(self, bytes: u64) -> Gate {
        Gate { payload_limit: bytes, ..self }
    }

    /// Refuses to append beyond an index that the store's keys cannot hold.
    pub fn indices_up_to(self, index: LogIndex) -> Gate {
        Gate { index_limit: index, ..self }
    }

    /// Checks a batch, in the order of its fields. `term` is called for entries of the log before
    /// the batch, after the boundary and up to the last one.
    pub fn pass(
        &self,
        batch: &WriteBatch,
        mut term: impl FnMut(LogIndex) -> Result<Term, LogError>,
    ) -> Result<Plan, LogError> {
        let mut plan = Plan { reset: batch.reset, ..Plan::default() };
        let new = batch.hard_state.filter(|new| *new != self.hard_state);
        plan.hard_state = new.map(|new| self.check_hard_state(new)).transpose()?;
        let mut bounds = match batch.reset {
            Some(boundary) => LogBounds { boundary, last: boundary },
            None => self.bounds,
        };
        let known = self.committed.min(self.bounds.last.index);
        let committed = if batch.reset.is_some() { LogIndex::ZERO } else { known };
        if let Some(cut) = batch.truncate_after {
            plan.truncate = check_truncation(bounds, committed, cut, &mut term)?;
            bounds.last = plan.truncate.unwrap_or(bounds.last);
        }
        for entry in &batch.append {
            bounds.last = self.check_next(bounds.last, entry)?;
        }
        if let Some(upto) = batch.purge_upto.filter(|upto| upto.index > bounds.boundary.index) {
            plan.purge = Some(check_purge(bounds, &batch.append, upto, &mut term)?);
        }
        // A hint beyond the last entry does not cover entries that are appended there later.
        let hint = batch.commit_hint.unwrap_or_default().min(bounds.last.index);
        plan.commit_hint = hint.max(committed);
        Ok(plan)
    }

    fn check_hard_state(&self, new: HardState) -> Result<HardState, LogError> {
        if self.hard_state.may_become(new) {
            Ok(new)
        } else {
            Err(LogError::refused(LogOp::HardState, Refusal::HardStateGoesBack))
        }
    }

    fn check_next(&self, last: EntryId, entry: &Entry) -> Result<EntryId, LogError> {
        let (id, expected) = (entry.id, last.index.next());
        // Nothing follows the greatest index.
        let refusal = if id.index != expected || id.index == last.index {
            Refusal::Gap { expected, found: id.index }
        } else if id.term < last.term {
            Refusal::FallingTerm { id }
        } else if entry.size() > self.payload_limit {
            Refusal::TooLarge { id, limit: self.payload_limit }
        } else if id.index > self.index_limit {
            Refusal::TooLarge { id, limit: self.index_limit.get() }
        } else {
            return Ok(id);
        };
        Err(LogError::refused(LogOp::Append, refusal))
    }
}

impl Plan {
    /// Whether nothing changes, apart from appended entries. A hint alone is no change.
    pub fn is_empty(&self) -> bool {
        let Plan { hard_state, reset, truncate, purge, .. } = *self;
        hard_state.is_none() && reset.or(truncate).or(purge).is_none()
    }
}

/// Checks an identity; returns whether it is new and must be written. Saving the same identity
/// again succeeds; another identity is refused.
pub fn check_identity(own: Option<Identity>, new: &Identity) -> Result<bool, LogError> {
    match own {
        None => Ok(true),
        Some(own) if own == *new => Ok(false),
        Some(_) => Err(LogError::refused(LogOp::Identity, Refusal::OtherIdentity)),
    }
}

/// The last entry that a truncation leaves, if it removes one. After a reset the log has no
/// entries, so no term is looked up.
fn check_truncation(
    bounds: LogBounds,
    committed: LogIndex,
    cut: LogIndex,
    term: &mut impl FnMut(LogIndex) -> Result<Term, LogError>,
) -> Result<Option<EntryId>, LogError> {
    let LogBounds { boundary, last } = bounds;
    let refused = |refusal| Err(LogError::refused(LogOp::Truncate, refusal));
    if cut < boundary.index {
        refused(Refusal::TruncateBelowBoundary { boundary })
    } else if cut >= last.index {
        Ok(None)
    } else if cut < committed {
        refused(Refusal::TruncateBelowCommit { committed })
    } else if cut == boundary.index {
        Ok(Some(boundary))
    } else {
        Ok(Some(EntryId::new(term(cut)?, cut)))
    }
}

fn check_purge(
    bounds: LogBounds,
    appended: &[Entry],
    upto: EntryId,
    term: &mut impl FnMut(LogIndex) -> Result<Term, LogError>,
) -> Result<EntryId, LogError> {
    let refused = |refusal| Err(LogError::refused(LogOp::Purge, refusal));
    if upto.index > bounds.last.index {
        return refused(Refusal::PurgeBeyondLast { last: bounds.last });
    }
    let found = match appended.first() {
        Some(first) if upto.index >= first.id.index => {
            appended[upto.index.since(first.id.index) as usize].id
        }
        _ => EntryId::new(term(upto.index)?, upto.index),
    };
    if found == upto { Ok(upto) } else { refused(Refusal::OtherTerm { found }) }
}

#[cfg(test)]
mod tests {
    use alloc::vec::Vec;

    use bytes::Bytes;

    use super::*;
    use crate::types::EntryKind;

    fn id(index: u64, term: u64) -> EntryId {
        EntryId::new(Term::new(term), LogIndex::new(index))
    }

    fn entry(index: u64, term: u64) -> Entry {
        Entry::new(id(index, term), EntryKind::Command, Bytes::from_static(b"12345"))
    }

    /// Passes a batch for a log with entries 4 to 9 after the boundary 3@1; each entry's term is
    /// its index.
    fn pass(batch: WriteBatch) -> Result<Plan, Refusal> {
        let hard_state = HardState { term: Term::new(9), vote: None };
        let gate = Gate::new(LogBounds { boundary: id(3, 1), last: id(9, 9) }, hard_state);
        let gate = gate.payloads_up_to(5).indices_up_to(LogIndex::new(12));
        let mut asked = Vec::new();
        let term = |index: LogIndex| {
            asked.push(index.get());
            Ok(Term::new(index.get()))
        };
        let passed = gate.pass(&batch, term).map_err(|error| match error.kind {
            super::super::LogErrorKind::Refused(refusal) => refusal,
            other => panic!("not a refusal: {other:?}"),
        });
        assert!(asked.iter().all(|index| (4..=9).contains(index)), "asked for {asked:?}");
        passed
    }

    #[test]
    fn what_changes_nothing_is_left_out_of_the_plan() {
        let same = HardState { term: Term::new(9), vote: None };
        let batch = WriteBatch {
            hard_state: Some(same),
            truncate_after: Some(LogIndex::new(9)),
            purge_upto: Some(id(3, 7)),
            ..WriteBatch::default()
        };
        assert!(pass(batch).expect("allowed").is_empty());
    }

    #[test]
    fn a_batch_is_checked_in_the_order_of_its_fields() {
        let batch = WriteBatch {
            truncate_after: Some(LogIndex::new(5)),
            purge_upto: Some(id(7, 8)),
            ..WriteBatch::of_entries([entry(6, 8), entry(7, 8)].to_vec())
        };
        let plan = Plan { truncate: Some(id(5, 5)), purge: Some(id(7, 8)), ..Plan::default() };
        assert_eq!(pass(batch), Ok(plan));
        let batch = WriteBatch { reset: Some(id(20, 2)), ..WriteBatch::of_purge(id(9, 9)) };
        assert_eq!(pass(batch).expect("below the new boundary").purge, None);
        assert_eq!(
            pass(WriteBatch::of_truncation(LogIndex::new(3))).map(|it| it.truncate),
            Ok(Some(id(3, 1)))
        );
    }

    /// L10 at the store: entries that are known to be committed are not removed.
    #[test]
    fn committed_entries_are_not_truncated() {
        let hard_state = HardState { term: Term::new(9), vote: None };
        let gate = Gate::new(LogBounds { boundary: id(3, 1), last: id(9, 9) }, hard_state);
        let gate = gate.committed_up_to(LogIndex::new(7));
        let pass = |batch| gate.pass(&batch, |index: LogIndex| Ok(Term::new(index.get())));
        let cut = |at| WriteBatch::of_truncation(LogIndex::new(at));
        let refused = pass(cut(6)).expect_err("entry 7 is committed");
        let committed = LogIndex::new(7);
        let below = super::super::LogErrorKind::Refused(Refusal::TruncateBelowCommit { committed });
        assert_eq!(refused.kind, below);
        assert_eq!(pass(cut(7)).expect("after the committed entry").commit_hint, committed);
        let reset = WriteBatch { reset: Some(id(5, 2)), ..cut(5) };
        assert_eq!(pass(reset).expect("a snapshot").commit_hint, LogIndex::ZERO);
        let hint = |hint| WriteBatch { commit_hint: Some(LogIndex::new(hint)), ..cut(8) };
        let hints = [2, 8, 50].map(|at| pass(hint(at)).expect("sound").commit_hint.get());
        assert_eq!(hints, [7, 8, 8], "never below what is known, never beyond the last entry");
    }

    #[test]
    fn limits_are_refused_by_name() {
        let large = Entry::new(id(10, 9), EntryKind::Command, Bytes::from_static(b"123456"));
        let refused = Err(Refusal::TooLarge { id: id(10, 9), limit: 5 });
        assert_eq!(pass(WriteBatch::of_entries([large].to_vec())), refused);
        let four = (10..=13).map(|index| entry(index, 9)).collect();
        let refused = Err(Refusal::TooLarge { id: id(13, 9), limit: 12 });
        assert_eq!(pass(WriteBatch::of_entries(four)), refused);
    }

    /// What went wrong: the greatest index counted as its own successor, so its entry was accepted
    /// repeatedly.
    #[test]
    fn nothing_follows_the_greatest_index() {
        let boundary = id(u64::MAX, 1);
        let gate = Gate::new(LogBounds { boundary, last: boundary }, HardState::default());
        let batch = WriteBatch::of_entries(Vec::from([entry(u64::MAX, 1)]));
        let passed = gate.pass(&batch, |_| Ok(Term::new(1)));
        assert!(passed.is_err(), "{passed:?}");
    }
}
