//! The states that a store went through, and what it may show of them after its files are damaged.

use raft_core::storage::{Detects, LogBounds, LogError, LogErrorKind, LogReader};
use raft_core::storage::{Recovered, Store, WriteBatch};
use raft_core::types::{Entry, LogIndex};

use super::contents::in_short;
use super::model::Model;
use super::report::{Checked, promised};

/// The states that a store went through, oldest first.
#[derive(Default)]
pub(crate) struct StateHistory {
    states: Vec<Model>,
    /// How many of the newest states the store may show as a whole.
    open_ends: usize,
}

/// What a check found in a damaged store, where an error counts as an answer too.
pub(crate) struct Findings {
    /// The first error that the store returned in place of data.
    pub(crate) error: Option<LogError>,
}

impl StateHistory {
    /// After a clean close or a reopening only the newest state is correct.
    pub(crate) fn proven(states: Vec<Model>) -> StateHistory {
        StateHistory { states, open_ends: 1 }
    }

    /// The store cannot prove its last write, so that write may be missing.
    pub(crate) fn with_an_open_end(states: Vec<Model>) -> StateHistory {
        StateHistory { states, open_ends: 2 }
    }

    pub(crate) fn into_states(self) -> Vec<Model> {
        self.states
    }

    /// What the store may show once it has acknowledged one more entry.
    pub(crate) fn and_then(&self, entry: &Entry) -> StateHistory {
        let batch = WriteBatch::of_entries(vec![entry.clone()]);
        let newest = &self.states[self.states.len() - self.open_ends..];
        let courses = newest.iter().map(|state| state.course(&batch));
        let mut after: Vec<Model> = courses
            .filter(|course| course.refusal.is_none())
            .filter_map(|mut course| course.states.pop())
            .collect();
        if after.is_empty() {
            // The log has lost entries, where that is allowed, and the new entry follows the rest.
            after.push(Model { entries: vec![entry.clone()], ..self.newest().clone() });
        }
        let open_ends = after.len();
        StateHistory { states: [self.states.clone(), after].concat(), open_ends }
    }

    fn newest(&self) -> &Model {
        self.states.last().expect("a store has a state")
    }

    /// Reads everything that a store shows. Each answer must be an error or correct: the answer of
    /// a store that proves its prefix must belong to a state that it may show; the answer of
    /// another store must have been written at some time.
    pub(crate) async fn look(&self, store: &mut dyn Store, level: Detects) -> Checked<Findings> {
        let legal = match level {
            Detects::ProvenPrefix => self.states_seen(store.bounds())?,
            _ => self.states.iter().collect(),
        };
        let mut findings = Findings { error: None };
        look_at_facts(store, &legal, &mut findings).await?;
        look_at_entries(store, &legal, &mut findings).await?;
        match store.recover().await {
            Ok(found) => check_recovered(&found, store.bounds(), &legal, level)?,
            Err(error) => findings.note(error)?,
        }
        Ok(findings)
    }

    /// The states that a store which proves its prefix may be in, if it has opened without an
    /// error.
    fn states_seen(&self, bounds: LogBounds) -> Checked<Vec<&Model>> {
        let newest = self.states.iter().rev().take(self.open_ends);
        let seen: Vec<&Model> = newest.filter(|state| state.bounds() == bounds).collect();
        promised(14, !seen.is_empty(), || {
            let (wanted, ends) = (self.newest().bounds(), |it: LogBounds| (it.boundary, it.last));
            let ((after, last), (from, to)) = (ends(bounds), ends(wanted));
            format!(
                "the log shows the entries after {after} up to {last} without an error; it held \
                     the entries after {from} up to {to}"
            )
        })?;
        Ok(seen)
    }
}

async fn look_at_facts(
    store: &mut dyn Store,
    legal: &[&Model],
    findings: &mut Findings,
) -> Checked {
    match store.load_hard_state().await {
        Ok(found) => {
            let is_true = legal.iter().any(|state| state.hard_state == found);
            promised(14, is_true, || format!("the hard state is reported as ({found})"))?;
        }
        Err(error) => findings.note(error)?,
    }
    match store.load_identity().await {
        Ok(found) => {
            let is_true = legal.iter().any(|state| state.identity == found);
            promised(14, is_true, || format!("the identity is reported as {found:?}"))
        }
        Err(error) => findings.note(error),
    }
}

async fn look_at_entries(
    store: &mut dyn Store,
    legal: &[&Model],
    findings: &mut Findings,
) -> Checked {
    let LogBounds { boundary, last } = store.bounds();
    let stood = legal.iter().any(|state| state.boundary == boundary);
    promised(14, stood, || format!("the boundary is reported as {boundary}"))?;
    let written: Vec<&Entry> = legal.iter().flat_map(|state| &state.entries).collect();
    let most = written.iter().map(|entry| entry.id.index).max().max(Some(boundary.index));
    promised(14, Some(last.index) <= most, || {
        format!("the log ends at {last}, which was never written")
    })?;
    let mut reader = store.reader();
    let mut at = boundary.index.next();
    while at <= last.index {
        look_at(at, reader.as_mut(), &written, findings).await?;
        at = at.next();
    }
    Ok(())
}

async fn look_at(
    at: LogIndex,
    reader: &mut dyn LogReader,
    written: &[&Entry],
    findings: &mut Findings,
) -> Checked {
    match reader.read(at..at.next(), u64::MAX).await {
        Ok(found) => {
            let is_true = found.len() == 1
                && found[0].id.index == at
                && written.iter().any(|entry| **entry == found[0]);
            promised(14, is_true, || {
                let found: Vec<String> = found.iter().map(in_short).collect();
                format!("entry {at} reads as [{}], which was never written", found.join(", "))
            })?;
        }
        Err(error) => findings.note(error)?,
    }
    match reader.term(at).await {
        Ok(term) => {
            let is_true = written.iter().any(|it| (it.id.index, it.id.term) == (at, term));
            promised(14, is_true, || format!("the term of {at} is reported as {term}"))
        }
        Err(error) => findings.note(error),
    }
}

/// Checks that recovery agrees with the bounds, and reports nothing that was never written.
fn check_recovered(
    found: &Recovered,
    bounds: LogBounds,
    legal: &[&Model],
    level: Detects,
) -> Checked {
    promised(14, found.bounds == bounds, || {
        format!("recover reported {:?} of a store that shows {bounds:?}", found.bounds)
    })?;
    let known: Vec<_> = legal.iter().flat_map(|state| state.memberships()).collect();
    let unknown = found.memberships.iter().find(|one| !known.contains(one));
    promised(14, unknown.is_none(), || {
        format!("recover reported {unknown:?}, which was never written")
    })?;
    let is_whole = legal.iter().any(|state| {
        state.term_runs() == found.term_runs && state.memberships() == found.memberships
    });
    promised(14, is_whole || level != Detects::ProvenPrefix, || {
        format!("recover reported {found:?} without an error")
    })?;
    let highest = legal.iter().map(|state| state.highest_hint).max();
    promised(14, Some(found.commit_hint) <= highest, || {
        format!(
            "recover reported the commit hint {}, above every hint that was given",
            found.commit_hint
        )
    })
}

impl Findings {
    /// Accepts an error in place of data, if damage may cause it.
    fn note(&mut self, error: LogError) -> Checked {
        check_kind(&error)?;
        self.error.get_or_insert(error);
        Ok(())
    }
}

/// Checks that an error is one that a store may return for damage. It would be false to report that
/// entries were purged or are beyond the end, or that a sound request breaks the contract.
pub(crate) fn check_kind(error: &LogError) -> Checked {
    use LogErrorKind::{Compacted, Refused, Unavailable};
    let is_true = !matches!(error.kind, Compacted { .. } | Unavailable { .. } | Refused(_));
    promised(13, is_true, || format!("damage was reported as `{error}`"))
}
