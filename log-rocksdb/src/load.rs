//! The summary of a log at open: from its marks, and from the entries that hold memberships.

use bytes::Bytes;
use raft_core::storage::{LogError, LogOp, LogSummary, SummaryPart};
use raft_core::types::LogIndex;
use rocksdb::{DB, IteratorMode, ReadOptions};

use crate::database::{corrupt, failed, log, meta, not_an_entry, unreadable};
use crate::keys::{MEMBERSHIP_KEYS, RUN_KEYS, decode_entry, decode_mark, entry_key};
use crate::state::State;

/// The summary of a log, from its marks. A missing, unknown or damaged mark is an error.
pub(crate) fn load_view(database: &DB, state: &State, place: &str) -> Result<LogSummary, LogError> {
    match load_sound_part(database, state, place) {
        (summary, None) => Ok(summary),
        (_, Some(damage)) => Err(damage),
    }
}

/// The summary of a log as far as its marks are sound, and the damage. If the runs are damaged, the
/// summary has no entry; a membership that cannot be read is left out.
pub(crate) fn load_sound_part(
    database: &DB,
    state: &State,
    place: &str,
) -> (LogSummary, Option<LogError>) {
    let (mut summary, mut noted) = (LogSummary::with_bounds(state.bounds), Vec::new());
    let scanned = [RUN_KEYS, MEMBERSHIP_KEYS]
        .into_iter()
        .try_for_each(|keys| scan(database, state, keys, place, &mut summary, &mut noted));
    let is_complete = [summary.run_count() as u32, noted.len() as u32] == state.marks;
    let mut damage = scanned.err();
    for index in noted {
        match payload(database, state, index, place) {
            Ok(payload) => summary.add_membership(index, payload),
            Err(error) => {
                damage.get_or_insert(error);
            }
        }
    }
    let is_sound = summary.is_sound();
    if !is_sound {
        summary = LogSummary::empty(state.bounds.boundary);
    }
    if !(is_sound && is_complete) {
        let place = format!("{place}: the runs and memberships do not match the state");
        damage.get_or_insert_with(|| corrupt(LogOp::Open, None, place));
    }
    (summary, damage)
}

/// Reads the marks between two keys: the runs, and the indexes of memberships.
fn scan(
    database: &DB,
    state: &State,
    [start, end]: [&[u8]; 2],
    place: &str,
    summary: &mut LogSummary,
    memberships: &mut Vec<LogIndex>,
) -> Result<(), LogError> {
    let mut options = ReadOptions::default();
    options.set_iterate_range(start..end);
    for mark in database.iterator_cf_opt(meta(database), options, IteratorMode::Start) {
        let (key, value) = mark.map_err(|error| failed(LogOp::Open, place, error))?;
        match decode_mark(&key, &value, state.directory) {
            Some(SummaryPart::Run(run)) => summary.add_run(run),
            Some(SummaryPart::Membership(index)) => memberships.push(index),
            None => {
                let place = format!("{place}, key {}", key.escape_ascii());
                return Err(corrupt(LogOp::Open, None, place));
            }
        }
    }
    Ok(())
}

/// The payload of an entry, as it is stored.
fn payload(database: &DB, state: &State, index: LogIndex, place: &str) -> Result<Bytes, LogError> {
    let key = entry_key(index);
    let found = database.get_pinned_cf(log(database), key);
    let found = found.map_err(|error| unreadable(LogOp::Open, index, place, error))?;
    let value = found.as_deref().unwrap_or_default();
    let entry = decode_entry(index, &key, value, state.directory);
    let entry = entry.map_err(|fault| not_an_entry(LogOp::Open, index, place, fault))?;
    Ok(entry.payload)
}
