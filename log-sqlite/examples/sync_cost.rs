//! Compares the time of a write with a plain insert of the same bytes with the same settings.
//!
//! ```text
//! cargo run --release --package kontiki-log-sqlite --example sync_cost
//! ```

use std::path::Path;
use std::pin::pin;
use std::task::{Context, Poll, Waker};
use std::time::{Duration, Instant};

use bytes::Bytes;
use log_sqlite::{SqliteLog, SqliteLogConfig};
use raft_core::storage::{Store, WriteBatch};
use raft_core::types::{Entry, EntryId, EntryKind, LogIndex, Term};
use rusqlite::Connection;

const BATCHES: u64 = 2000;
const SIZE: usize = 256;

fn main() {
    let dir = tempfile::tempdir().expect("a directory");
    let database = plain(dir.path());
    let mut log = SqliteLog::open(SqliteLogConfig::new(dir.path().join("log"))).expect("a log");
    let (mut plain_times, mut log_times) = (Vec::new(), Vec::new());
    // They take turns, so that both meet the same state of the disk.
    for index in 1..=BATCHES {
        let payload = vec![7; SIZE];
        let start = Instant::now();
        let insert = database.prepare_cached("INSERT INTO plain VALUES (?1, ?2)");
        insert.expect("sound").execute((index as i64, &payload)).expect("inserts");
        plain_times.push(start.elapsed());
        let id = EntryId::new(Term::new(1), LogIndex::new(index));
        let entry = Entry::new(id, EntryKind::Command, Bytes::from(payload));
        let start = Instant::now();
        write(&mut log, entry);
        log_times.push(start.elapsed());
    }
    let (plain, log) = (median(plain_times), median(log_times));
    println!("median of {BATCHES} writes of {SIZE} bytes: plain insert {plain:?}, log {log:?}");
}

fn plain(dir: &Path) -> Connection {
    let database = Connection::open(dir.join("plain.db")).expect("opens");
    let settings = "PRAGMA journal_mode = WAL; PRAGMA synchronous = FULL;
                    CREATE TABLE plain (id INTEGER PRIMARY KEY, payload BLOB NOT NULL);";
    database.execute_batch(settings).expect("a table");
    database
}

/// A verb of this log never pends, so one poll is enough.
fn write(log: &mut SqliteLog, entry: Entry) {
    let write = pin!(log.write(WriteBatch::of_entries(vec![entry])));
    match write.poll(&mut Context::from_waker(Waker::noop())) {
        Poll::Ready(written) => written.expect("the disk works"),
        Poll::Pending => unreachable!("the log blocks instead"),
    }
}

fn median(mut times: Vec<Duration>) -> Duration {
    times.sort_unstable();
    times[times.len() / 2]
}
