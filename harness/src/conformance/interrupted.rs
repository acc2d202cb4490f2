//! What a store may hold when a batch was interrupted: by a power cut, a failed operation, or a
//! dropped future (P3, P4).

use raft_core::storage::WriteBatch;

use super::model::Model;
use super::subject::Way;

/// What may be found after a batch that a store did not answer, or answered with a failure.
pub(crate) fn states_after(
    before: &Model,
    batch: &WriteBatch,
    way: Way,
    atomic: bool,
) -> Vec<Model> {
    match (atomic, way) {
        (true, Way::SmallVerbs) => before.course(batch).states,
        (true, Way::Write) | (false, _) => states_during(before, batch, atomic),
    }
}

/// What a cut may leave while a batch is written: first the state before it, last the state after
/// it, and, for a store whose batches are not atomic, the state after each verb and each part of a
/// verb in between.
pub(crate) fn states_during(before: &Model, batch: &WriteBatch, atomic: bool) -> Vec<Model> {
    let course = before.course(batch);
    assert!(course.refusal.is_none(), "a script makes no request that is refused: {batch:?}");
    let states = course.states;
    if atomic {
        return vec![states[0].clone(), states[states.len() - 1].clone()];
    }
    let mut legal = vec![states[0].clone()];
    for pair in states.windows(2) {
        legal.extend(between(&pair[0], &pair[1]));
        legal.push(pair[1].clone());
    }
    legal
}

/// What may be found between two states if the verb between them is not atomic: part of an append,
/// or a suffix or a prefix that is partly removed.
fn between(before: &Model, after: &Model) -> Vec<Model> {
    let mut states = Vec::new();
    if after.boundary == before.boundary {
        let longer = if after.entries.len() > before.entries.len() { after } else { before };
        let lengths = before.entries.len().min(after.entries.len()) + 1..longer.entries.len();
        for length in lengths {
            let entries = longer.entries[..length].to_vec();
            states.push(Model { entries, hard_state: before.hard_state, ..after.clone() });
        }
    } else if before.entries.ends_with(&after.entries) {
        let gone = before.entries.len() - after.entries.len();
        for count in 1..gone {
            let (boundary, entries) = (before.entries[count - 1].id, &before.entries[count..]);
            states.push(Model { boundary, entries: entries.to_vec(), ..after.clone() });
        }
    }
    states
}
