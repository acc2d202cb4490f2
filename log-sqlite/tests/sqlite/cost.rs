//! What a write costs beside a plain insert of the same bytes with the same settings, printed by
//! `cargo test --release --package log-sqlite -- --nocapture cost`.

use std::time::{Duration, Instant};

use log_sqlite::{SqliteLog, SqliteLogConfig};
use raft_core::storage::{Store, WriteBatch};
use rusqlite::Connection;

use crate::samples::{now, sized_entry};

const BATCHES: u64 = 2000;

fn plain(dir: &std::path::Path) -> Connection {
    let database = Connection::open(dir.join("plain.db")).expect("opens");
    let settings = "PRAGMA journal_mode = WAL; PRAGMA synchronous = FULL;
                    CREATE TABLE plain (id INTEGER PRIMARY KEY, payload BLOB NOT NULL);";
    database.execute_batch(settings).expect("a table");
    database
}

fn median(mut times: Vec<Duration>) -> Duration {
    times.sort();
    times[times.len() / 2]
}

/// Both are measured write by write in turn, so that they meet the same disk.
#[test]
fn a_write_costs_about_as_much_as_a_plain_insert() {
    let dir = tempfile::tempdir().expect("a directory");
    let database = plain(dir.path());
    let mut log = SqliteLog::open(SqliteLogConfig::new(dir.path().join("log"))).expect("a log");
    let (mut plain_times, mut log_times) = (Vec::new(), Vec::new());
    for at in 1..=BATCHES {
        let entry = sized_entry(at, 1, 0, 256);
        let payload = entry.payload.to_vec();
        let start = Instant::now();
        let insert = database.prepare_cached("INSERT INTO plain VALUES (?1, ?2)");
        insert.expect("sound").execute((at as i64, payload)).expect("inserts");
        plain_times.push(start.elapsed());
        let start = Instant::now();
        now(log.write(WriteBatch::of_entries(vec![entry]))).expect("writes");
        log_times.push(start.elapsed());
    }
    let (plain, log) = (median(plain_times), median(log_times));
    println!("median of {BATCHES} writes of 256 bytes: plain insert {plain:?}, log {log:?}");
    assert!(log < plain * 4, "a write of {log:?} is too far from a plain insert of {plain:?}");
}
