//! The entries at open: their numbers are read and checked, their payloads stay where they are.

use bytes::Bytes;
use raft_core::storage::{LogError, LogErrorKind, LogOp};
use raft_core::types::{EntryKind, LogIndex};
use rusqlite::Connection;

use crate::database::{StoredRow, failed};
use crate::state::State;
use crate::view::View;

/// The view of a log, from its rows. A missing, strange or damaged row is an error.
pub(crate) fn load(database: &Connection, state: &State, place: &str) -> Result<View, LogError> {
    let bounds = state.bounds;
    let mut view = View::empty(bounds.boundary);
    let mut found = None;
    let scanned = scan(database, bounds.boundary.index, |row| {
        let expected = view.bounds().last.index.next();
        let kind = row.checked_kind(state.directory);
        let fits = row.id.index == expected && row.id.term >= view.bounds().last.term;
        match kind.filter(|_| fits && row.id.index <= bounds.last.index) {
            Some(kind) => {
                view.push_id(row.id);
                Ok(kind == EntryKind::Membership)
            }
            None => {
                found = Some(expected);
                Err(())
            }
        }
    });
    let memberships = scanned.map_err(|error| failed(LogOp::Open, place, error))?;
    let expected = view.bounds().last.index.next();
    let missing = (view.bounds().last != bounds.last).then_some(expected);
    if let Some(index) = found.or(missing) {
        return Err(damaged(index, place));
    }
    for index in memberships {
        view.push_membership(index, payload(database, state, index, place)?);
    }
    Ok(view)
}

/// Shows all rows behind an index, until one is refused; the rows that were asked for.
fn scan(
    database: &Connection,
    behind: LogIndex,
    mut show: impl FnMut(&StoredRow) -> Result<bool, ()>,
) -> rusqlite::Result<Vec<LogIndex>> {
    let mut wanted = Vec::new();
    let Ok(behind) = i64::try_from(behind.get()) else { return Ok(wanted) };
    let sql = "SELECT idx, term, kind, hash, head, length(payload) FROM log WHERE idx > ?1 \
               ORDER BY idx";
    let mut query = database.prepare(sql)?;
    let mut rows = query.query([behind])?;
    while let Some(row) = rows.next()? {
        let stored = StoredRow::read(row, row.get::<_, i64>(5)? as u64)?;
        match show(&stored) {
            Ok(true) => wanted.push(stored.id.index),
            Ok(false) => {}
            Err(()) => break,
        }
    }
    Ok(wanted)
}

/// The payload of an entry, as it is stored. A rotten one is damage here already, since no member
/// can start without it.
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
    entry.map(|entry| entry.payload).ok_or_else(|| damaged(index, place))
}

fn damaged(index: LogIndex, place: &str) -> LogError {
    LogError::new(LogOp::Open, LogErrorKind::Corrupt { index: Some(index) })
        .at(format!("{place}, table log, idx {index}"))
}
