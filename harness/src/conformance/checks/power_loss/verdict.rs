//! Whether the state after a power cut is legal, and which promise it breaks if not.

use raft_core::storage::{LogError, Recovered, Store};
use raft_core::types::EntryId;

use crate::conformance::contents::{After, Contents, check_recovered};
use crate::conformance::model::Model;
use crate::conformance::report::{Checked, broken, promised, with_causes};

/// The opened store; an opening that failed breaks a promise.
pub(super) fn opened(opened: Result<Box<dyn Store>, LogError>) -> Checked<Box<dyn Store>> {
    opened.or_else(|error| broken(3, format!("the store does not open: {}", with_causes(&error))))
}

/// Returns which of the legal states a store shows. The first legal state is the acknowledged one;
/// the older states were replaced and must not come back.
pub(super) async fn of(
    store: &mut dyn Store,
    legal: &[Model],
    older: &[Model],
    atomic: bool,
) -> Checked<Model> {
    let (contents, recovered) = look(store).await?;
    match legal.iter().find(|model| contents.check(model, After::Reopened).is_ok()) {
        Some(model) => {
            check_recovered(&recovered, model)?;
            Ok(model.clone())
        }
        None => {
            judge(&contents, legal, older, atomic)?;
            // Each part is legal on its own, but not together.
            broken(if atomic { 4 } else { 3 }, format!("{}; {}", found(&contents), wanted(legal)))
        }
    }
}

/// Reads everything that a store shows, and what its recovery reports.
async fn look(store: &mut dyn Store) -> Checked<(Contents, Recovered)> {
    let recovered = match store.recover().await {
        Ok(recovered) => recovered,
        Err(error) => return broken(18, format!("the store does not recover: {error}")),
    };
    Ok((Contents::of(store).await?, recovered))
}

fn judge(contents: &Contents, legal: &[Model], older: &[Model], atomic: bool) -> Checked {
    let words = || format!("{}; {}", found(contents), wanted(legal));
    // If one change was lost, its kind decides which promise is broken; if several were lost, it is
    // P1.
    let shows = |model: &Model| contents.check(model, After::Reopened).is_ok();
    let several = older.split_last().is_some_and(|(_, before)| before.iter().any(shows));
    let is_shorter = contents.bounds.last.index < legal[0].last().index;
    promised(1, !is_shorter || !(several || shows(&Model::default())), || {
        format!("more than one acknowledged change is lost: {}", words())
    })?;
    let hard_states = |state| legal.iter().any(|model| model.hard_state == state);
    promised(8, hard_states(contents.hard_state), || {
        let before = older.iter().any(|model| model.hard_state == contents.hard_state);
        let what = if before { "went back" } else { "is none that was saved" };
        format!("the hard state {what}: {}", words())
    })?;
    let identity = legal.iter().any(|model| model.identity == contents.identity);
    promised(1, identity, || format!("the identity is not what was saved: {}", words()))?;
    let (bounds, acknowledged) = (contents.bounds, &legal[0]);
    let is_legal = |id: EntryId| legal.iter().any(|model| holds(model, id));
    let unknown = contents.entries.iter().find(|entry| !is_legal(entry.id));
    if let Some(unknown) = unknown {
        let was_there = older.iter().any(|model| holds(model, unknown.id));
        let (promise, what) = if was_there {
            (7, "was removed and came back")
        } else {
            (3, "was never written there")
        };
        return broken(promise, format!("entry {} {what}: {}", unknown.id, words()));
    }
    let boundary = legal.iter().any(|model| model.boundary == bounds.boundary);
    promised(6, boundary, || format!("the boundary is a different one: {}", words()))?;
    let least = legal.iter().filter(|model| model.boundary == bounds.boundary);
    let least = least.map(|model| model.last().index).min().unwrap_or(acknowledged.last().index);
    promised(1, bounds.last.index >= least, || format!("acknowledged data is lost: {}", words()))?;
    let known = |entry| legal.iter().any(|model| model.entries.contains(entry));
    let wrong = contents.entries.iter().find(|entry| !known(entry));
    promised(10, wrong.is_none(), || format!("an entry has different bytes: {}", words()))?;
    let half = legal.iter().any(|model| model.bounds() == bounds);
    promised(if atomic { 4 } else { 3 }, half, || format!("half of a batch: {}", words()))
}

fn holds(model: &Model, id: EntryId) -> bool {
    model.entries.iter().any(|entry| entry.id == id)
}

fn found(contents: &Contents) -> String {
    let bounds = contents.bounds;
    let (boundary, last, state) = (bounds.boundary, bounds.last, contents.hard_state);
    format!("found the log after {boundary} up to {last}, hard state ({state})")
}

fn wanted(legal: &[Model]) -> String {
    let one = |model: &Model| {
        let (boundary, last, state) = (model.boundary, model.last(), model.hard_state);
        format!("after {boundary} up to {last}, hard state ({state})")
    };
    match legal {
        [only] => format!("it must be {}", one(only)),
        [first, .., last] => {
            format!("it must be {}, or {}, or a state between", one(first), one(last))
        }
        [] => "nothing is legal".to_owned(),
    }
}
