//! Loads the entries at open: their numbers are read and checked; their payloads are not read.

use bytes::Bytes;
use raft_core::storage::record::Unreadable;
use raft_core::storage::{LogError, LogOp, LogSummary};
use raft_core::types::{EntryKind, LogIndex};
use rusqlite::Connection;

use crate::database::{StoredRow, failed, unreadable};
use crate::state::State;

/// The summary of a log, from its rows. A missing, unexpected or damaged row is an error.
pub(crate) fn load(
    database: &Connection,
    state: &State,
    place: &str,
) -> Result<LogSummary, LogError> {
    match load_sound_part(database, state, place) {
        (summary, None) => Ok(summary),
        (_, Some(damage)) => Err(damage),
    }
}

/// The summary of a log up to its first damaged row, and the damage.
pub(crate) fn load_sound_part(
    database: &Connection,
    state: &State,
    place: &str,
) -> (LogSummary, Option<LogError>) {
    let mut summary = LogSummary::empty(state.bounds.boundary);
    let mut memberships = Vec::new();
    let scanned = scan(database, state, &mut summary, &mut memberships);
    let expected = summary.bounds().last.index.next();
    let mut damage = match scanned {
        Err(error) => Some(failed(LogOp::Open, place, error)),
        Ok(None) if summary.bounds().last == state.bounds.last => None,
        Ok(fault) => {
            let fault = fault.unwrap_or(Unreadable::Damaged);
            Some(unreadable(LogOp::Open, expected, place, fault))
        }
    };
    for index in memberships {
        match payload(database, state, index, place) {
            Ok(payload) => summary.add_membership(index, payload),
            Err(error) => {
                damage.get_or_insert(error);
            }
        }
    }
    (summary, damage)
}

/// Collects all rows after the boundary, and those that hold memberships. Returns the fault of the
/// first row that does not fit, if there is one.
fn scan(
    database: &Connection,
    state: &State,
    summary: &mut LogSummary,
    memberships: &mut Vec<LogIndex>,
) -> rusqlite::Result<Option<Unreadable>> {
    let Ok(behind) = i64::try_from(state.bounds.boundary.index.get()) else { return Ok(None) };
    let sql = "SELECT idx, term, kind, hash, head, length(payload) FROM log WHERE idx > ?1 \
               ORDER BY idx";
    let mut query = database.prepare(sql)?;
    let mut rows = query.query([behind])?;
    while let Some(row) = rows.next()? {
        let row = StoredRow::read(row, row.get::<_, i64>(5)? as u64)?;
        let fits = summary.is_next(row.id) && row.id.index <= state.bounds.last.index;
        match row.checked_kind(state.directory) {
            Ok(kind) if fits => {
                summary.push_id(row.id);
                if kind == EntryKind::Membership {
                    memberships.push(row.id.index);
                }
            }
            Ok(_) => return Ok(Some(Unreadable::Damaged)),
            Err(fault) => return Ok(Some(fault)),
        }
    }
    Ok(None)
}

/// The payload of a membership, as it is stored. If it is damaged, the log does not open, since no
/// member can start without it.
fn payload(
    database: &Connection,
    state: &State,
    index: LogIndex,
    place: &str,
) -> Result<Bytes, LogError> {
    let sql = "SELECT idx, term, kind, hash, head, payload FROM log WHERE idx = ?1";
    let entry = database.query_row(sql, [index.get() as i64], |row| {
        let payload = row.get_ref(5)?.as_blob().unwrap_or_default();
        let stored = StoredRow::read(row, payload.len() as u64)?;
        Ok(stored.checked_entry(state.directory, payload))
    });
    let entry = entry.map_err(|error| failed(LogOp::Open, place, error))?;
    let entry = entry.map_err(|fault| unreadable(LogOp::Open, index, place, fault))?;
    Ok(entry.payload)
}
