//! What a store was given, state by state, and what it may show of that once its files are damaged.

use raft_core::storage::{Detects, LogBounds, LogError, LogErrorKind, LogReader};
use raft_core::storage::{Recovered, Store, WriteBatch};
use raft_core::types::{Entry, LogIndex};

use super::contents::in_short;
use super::model::Model;
use super::report::{Checked, promised};

/// The states that a store went through, oldest first.
#[derive(Default)]
pub(crate) struct Past {
    states: Vec<Model>,
    /// How many of the newest states may be seen as a whole.
    open_ends: usize,
}

/// What a store showed, if an error counts as an answer, too.
pub(crate) struct Looked {
    /// The first error that came in place of data.
    pub(crate) error: Option<LogError>,
}

impl Past {
    /// After a clean close or a reopening nothing but the newest state is right.
    pub(crate) fn proven(states: Vec<Model>) -> Past {
        Past { states, open_ends: 1 }
    }

    /// Nothing proves the last write, so it may be missing.
    pub(crate) fn with_an_open_end(states: Vec<Model>) -> Past {
        Past { states, open_ends: 2 }
    }

    pub(crate) fn into_states(self) -> Vec<Model> {
        self.states
    }

    /// What may be seen once an entry was acknowledged after what was seen.
    pub(crate) fn and_then(&self, entry: &Entry) -> Past {
        let batch = WriteBatch::of_entries(vec![entry.clone()]);
        let newest = &self.states[self.states.len() - self.open_ends..];
        let courses = newest.iter().map(|state| state.course(&batch));
        let mut after: Vec<Model> = courses
            .filter(|course| course.refusal.is_none())
            .filter_map(|mut course| course.states.pop())
            .collect();
        if after.is_empty() {
            // After a log that has lost something, if that is allowed.
            after.push(Model { entries: vec![entry.clone()], ..self.newest().clone() });
        }
        let open_ends = after.len();
        Past { states: [self.states.clone(), after].concat(), open_ends }
    }

    fn newest(&self) -> &Model {
        self.states.last().expect("a store has a state")
    }

    /// Looks at everything that a store shows. Each piece must be an error, or true: for a store
    /// that proves its prefix it must belong to a state that may be seen, for another store it must
    /// have been written at some time.
    pub(crate) async fn look(&self, store: &mut dyn Store, level: Detects) -> Checked<Looked> {
        let legal = match level {
            Detects::ProvenPrefix => self.states_seen(store.bounds())?,
            _ => self.states.iter().collect(),
        };
        let mut looked = Looked { error: None };
        look_at_facts(store, &legal, &mut looked).await?;
        look_at_entries(store, &legal, &mut looked).await?;
        match store.recover().await {
            Ok(found) => check_recovered(&found, store.bounds(), &legal, level)?,
            Err(error) => looked.note(error)?,
        }
        Ok(looked)
    }

    /// The states in which a store that proves its prefix may be; its only alternative was an
    /// error.
    fn states_seen(&self, bounds: LogBounds) -> Checked<Vec<&Model>> {
        let newest = self.states.iter().rev().take(self.open_ends);
        let seen: Vec<&Model> = newest.filter(|state| state.bounds() == bounds).collect();
        promised(14, !seen.is_empty(), || {
            let (wanted, ends) = (self.newest().bounds(), |it: LogBounds| (it.boundary, it.last));
            let ((after, last), (from, to)) = (ends(bounds), ends(wanted));
            format!(
                "without an error the log shows what lies after {after} up to {last}; it held \
                     what lies after {from} up to {to}"
            )
        })?;
        Ok(seen)
    }
}

async fn look_at_facts(store: &mut dyn Store, legal: &[&Model], looked: &mut Looked) -> Checked {
    match store.load_hard_state().await {
        Ok(found) => {
            let is_true = legal.iter().any(|state| state.hard_state == found);
            promised(14, is_true, || format!("the hard state is reported as ({found})"))?;
        }
        Err(error) => looked.note(error)?,
    }
    match store.load_identity().await {
        Ok(found) => {
            let is_true = legal.iter().any(|state| state.identity == found);
            promised(14, is_true, || format!("the identity is reported as {found:?}"))
        }
        Err(error) => looked.note(error),
    }
}

async fn look_at_entries(store: &mut dyn Store, legal: &[&Model], looked: &mut Looked) -> Checked {
    let LogBounds { boundary, last } = store.bounds();
    let stood = legal.iter().any(|state| state.boundary == boundary);
    promised(14, stood, || format!("the boundary is reported as {boundary}"))?;
    let written: Vec<&Entry> = legal.iter().flat_map(|state| &state.entries).collect();
    let most = written.iter().map(|entry| entry.id.index).max().max(Some(boundary.index));
    promised(14, Some(last.index) <= most, || format!("the log ends at {last}, never written"))?;
    let mut reader = store.reader();
    let mut at = boundary.index.next();
    while at <= last.index {
        look_at(at, reader.as_mut(), &written, looked).await?;
        at = at.next();
    }
    Ok(())
}

async fn look_at(
    at: LogIndex,
    reader: &mut dyn LogReader,
    written: &[&Entry],
    looked: &mut Looked,
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
        Err(error) => looked.note(error)?,
    }
    match reader.term(at).await {
        Ok(term) => {
            let is_true = written.iter().any(|it| (it.id.index, it.id.term) == (at, term));
            promised(14, is_true, || format!("the term of {at} is reported as {term}"))
        }
        Err(error) => looked.note(error),
    }
}

/// Recovery agrees with the bounds, and reports nothing that was never written.
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

impl Looked {
    /// An error in place of data is accepted, if it is one that damage may cause.
    fn note(&mut self, error: LogError) -> Checked {
        check_kind(&error)?;
        self.error.get_or_insert(error);
        Ok(())
    }
}

/// Which errors a store may return for damage. That something was purged, or lies beyond the end,
/// or that a sound request breaks the contract, would be false.
pub(crate) fn check_kind(error: &LogError) -> Checked {
    use LogErrorKind::{Compacted, Refused, Unavailable};
    let is_true = !matches!(error.kind, Compacted { .. } | Unavailable { .. } | Refused(_));
    promised(13, is_true, || format!("`{error}`, of damage"))
}
