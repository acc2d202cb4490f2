//! How a change is requested from a store, how its answer is judged, and the text of both.

use std::fmt;

use raft_core::storage::{LogError, LogErrorKind, Refusal, Store, WriteBatch};
use raft_core::types::Entry;

use super::contents::After;
use super::report::{Checked, broken, promised};

/// The lowest limit on a payload that a store may have, in bytes.
const FAIR_LIMIT: u64 = 1 << 20;

/// The verbs of a batch one by one, in the order of its fields.
pub(crate) async fn by_verbs(store: &mut dyn Store, batch: &WriteBatch) -> Result<(), LogError> {
    if let Some(hard_state) = batch.hard_state {
        store.save_hard_state(hard_state).await?;
    }
    if let Some(boundary) = batch.reset {
        store.reset(boundary).await?;
    }
    if let Some(cut) = batch.truncate_after {
        store.truncate_after(cut).await?;
    }
    if !batch.append.is_empty() || *batch == WriteBatch::default() {
        store.append(&batch.append).await?;
    }
    match batch.purge_upto {
        Some(upto) => store.purge_upto(upto).await,
        None => Ok(()),
    }
}

/// Whether an entry was refused because it exceeds the store's limit, and that limit is not too
/// low.
pub(crate) fn is_fair_limit(error: &LogError, batch: &WriteBatch) -> bool {
    match error.kind {
        LogErrorKind::Refused(Refusal::TooLarge { limit, .. }) => {
            limit >= FAIR_LIMIT && batch.append.iter().any(|entry| entry.size() > limit)
        }
        _ => false,
    }
}

/// Compares the answer to a change with the model's.
pub(crate) fn check_answer(result: Result<(), LogError>, refusal: Option<Refusal>) -> Checked {
    match (result, refusal) {
        (Ok(()), None) => Ok(()),
        (Ok(()), Some(refusal)) => {
            let promise = match refusal {
                Refusal::Gap { .. } | Refusal::FallingTerm { .. } => 5,
                Refusal::HardStateGoesBack => 8,
                _ => 16,
            };
            broken(promise, format!("Ok, for a request to be refused: {refusal}"))
        }
        (Err(error), Some(refusal)) => {
            let is_refusal = matches!(error.kind, LogErrorKind::Refused(_));
            promised(13, is_refusal, || format!("`{error}`, where it should be: {refusal}"))
        }
        (Err(error), None) => match error.kind {
            LogErrorKind::Refused(_) | LogErrorKind::Poisoned => {
                broken(16, format!("an allowed request failed: {error}"))
            }
            _ => broken(13, format!("an allowed request failed: {error}")),
        },
    }
}

/// Compares the answer to a question with the model's.
pub(crate) fn check_found<T: PartialEq>(
    result: Result<T, LogError>,
    wanted: Result<T, Vec<LogErrorKind>>,
    words: impl Fn(&T) -> String,
) -> Checked<Option<T>> {
    match (result, wanted) {
        (Ok(found), Ok(wanted)) if found == wanted => Ok(Some(found)),
        (Ok(found), Ok(wanted)) => {
            broken(10, format!("returned [{}], not [{}]", words(&found), words(&wanted)))
        }
        (Err(error), Ok(wanted)) => {
            broken(10, format!("`{error}`, where [{}] was expected", words(&wanted)))
        }
        (Err(error), Err(errors)) if errors.iter().any(|kind| is_same(&error.kind, kind)) => {
            Ok(None)
        }
        (Err(error), Err(errors)) => {
            broken(13, format!("`{error}`, where it should be: {}", errors[0]))
        }
        (Ok(found), Err(errors)) => {
            broken(13, format!("returned [{}], where it should be: {}", words(&found), errors[0]))
        }
    }
}

/// Any refusal is accepted in place of another: of two reasons a store may name either.
fn is_same(found: &LogErrorKind, wanted: &LogErrorKind) -> bool {
    let refused = |kind: &LogErrorKind| matches!(kind, LogErrorKind::Refused(_));
    found == wanted || (refused(found) && refused(wanted))
}

/// The last change of a batch, which decides which promises a difference breaks.
pub(crate) fn after(batch: &WriteBatch, refused: bool) -> After {
    match batch {
        _ if refused => After::Refused,
        WriteBatch { purge_upto: Some(_), .. } => After::Purged,
        batch if !batch.append.is_empty() => After::Appended,
        WriteBatch { truncate_after: Some(_), .. } => After::Truncated,
        WriteBatch { reset: Some(_), .. } => After::Reset,
        _ => After::Saved,
    }
}

/// The text of a batch, as a line of the journal.
pub(crate) fn in_words(batch: &WriteBatch) -> String {
    let mut words = Vec::new();
    let mut add = |verb: &str, what: Option<&dyn fmt::Display>| {
        words.extend(what.map(|what| format!("{verb} {what}")));
    };
    add("save", batch.hard_state.as_ref().map(|it| it as &dyn fmt::Display));
    add("reset to", batch.reset.as_ref().map(|it| it as &dyn fmt::Display));
    add("truncate after", batch.truncate_after.as_ref().map(|it| it as &dyn fmt::Display));
    let ids = ids_in_words(&batch.append);
    add("append", (!ids.is_empty()).then_some(&ids as &dyn fmt::Display));
    add("purge up to", batch.purge_upto.as_ref().map(|it| it as &dyn fmt::Display));
    add("hint commit", batch.commit_hint.as_ref().map(|it| it as &dyn fmt::Display));
    if words.is_empty() { "write nothing".to_owned() } else { words.join(", ") }
}

/// The ids of all entries, or of the first and the last of very many.
fn ids_in_words(entries: &[Entry]) -> String {
    const LISTED: usize = 40;
    match entries {
        [first, .., last] if entries.len() > LISTED => {
            format!("{} entries from {} to {}", entries.len(), first.id, last.id)
        }
        _ => entries.iter().map(|entry| entry.id.to_string()).collect::<Vec<_>>().join(" "),
    }
}
