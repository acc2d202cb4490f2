//! Bytes of a newer version under correct checksums: the log does not open, and the error says so.

use std::path::Path;

use raft_core::storage::{LogErrorKind, LogStore};
use rusqlite::Connection;

use crate::samples::{entries, now, open};

/// A log of three entries, to be changed with SQLite; returns the number of the log too.
fn changed(dir: &Path, change: impl Fn(&Connection, [u8; 8]) -> rusqlite::Result<usize>) {
    let mut log = open(dir).expect("a new log");
    now(log.append(&entries(1..=3, 1))).expect("sound");
    drop(log);
    let database = Connection::open(dir.join("log.db")).expect("opens");
    let state = state_of(&database);
    let directory = state[16..24].try_into().expect("8 bytes");
    assert_eq!(change(&database, directory).expect("changed"), 1);
}

fn state_of(database: &Connection) -> Vec<u8> {
    let sql = "SELECT record FROM state WHERE one = 1";
    database.query_row(sql, [], |row| row.get(0)).expect("the state")
}

/// Changes one byte of the state record, and corrects its checksum.
fn change_state(database: &Connection, at: usize, value: u8) -> rusqlite::Result<usize> {
    let mut state = state_of(database);
    state[at] = value;
    let checksum = crc32c::crc32c(&state[..156]);
    state[156..].copy_from_slice(&checksum.to_le_bytes());
    database.execute("UPDATE state SET record = ?1", [state])
}

/// Gives entry 3 another kind, and corrects the checksum of its row.
fn change_kind(database: &Connection, directory: [u8; 8], kind: i64) -> rusqlite::Result<usize> {
    let sql = "SELECT idx, term, kind, length(payload), hash FROM log WHERE idx = 3";
    let row: [i64; 5] = database.query_row(sql, [], |row| {
        Ok([row.get(0)?, row.get(1)?, row.get(2)?, row.get(3)?, row.get(4)?])
    })?;
    let [index, term, _, length, hash] = row;
    let numbers = [index, term, kind, length, hash];
    let bytes = numbers.iter().flat_map(|number| number.to_le_bytes());
    let head = crc32c::crc32c(&directory.into_iter().chain(bytes).collect::<Vec<u8>>());
    let sql = "UPDATE log SET kind = ?1, head = ?2 WHERE idx = 3";
    database.execute(sql, [kind, i64::from(head)])
}

fn check(said: &str, change: impl Fn(&Connection, [u8; 8]) -> rusqlite::Result<usize>) {
    let dir = tempfile::tempdir().expect("a directory");
    changed(dir.path(), change);
    let error = open(dir.path()).err().unwrap_or_else(|| panic!("{said}: it opens"));
    assert_eq!(error.kind, LogErrorKind::Format, "{said}: {error}");
    assert!(error.place.contains(said) && error.place.contains("log.db"), "{said}: {error}");
}

/// The control: the same changes, but with values that this version knows.
#[test]
fn a_row_and_a_record_with_corrected_checksums_open() {
    let dir = tempfile::tempdir().expect("a directory");
    changed(dir.path(), |database, directory| {
        change_state(database, 74, 0)?;
        change_kind(database, directory, 0)
    });
    let log = open(dir.path()).expect("opens");
    assert_eq!(log.bounds().last.index.get(), 3);
}

/// What went wrong: all of these were reported as damage, for which an operator replaces a member.
#[test]
fn what_a_newer_version_wrote_is_refused_by_name() {
    check("an entry of an unknown kind", |database, directory| {
        change_kind(database, directory, 200)
    });
    check("bytes that were reserved", |database, _| change_state(database, 75, 1));
    check("bytes that were reserved", |database, _| change_state(database, 155, 1));
    check("bytes that were reserved", |database, _| change_state(database, 151, 1));
    check("a record of another version", |database, _| change_state(database, 76, 2));
    check("a state record of another version", |database, _| change_state(database, 4, 2));
}
