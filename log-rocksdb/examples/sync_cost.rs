//! Measures a write beside a plain synced put of the same bytes, and the time of opening.
//!
//! ```text
//! cargo run --release --package kontiki-log-rocksdb --example sync_cost -- [ENTRIES]
//! ```

use std::pin::pin;
use std::task::{Context, Poll, Waker};
use std::time::{Duration, Instant};

use bytes::Bytes;
use log_rocksdb::{RocksLog, RocksLogConfig};
use raft_core::storage::{Store, WriteBatch};
use raft_core::types::{Entry, EntryId, EntryKind, LogIndex, Term};
use rocksdb::{DB, WriteOptions};

const WRITES: u64 = 2000;
const SIZE: usize = 256;
const BATCH: u64 = 1000;

fn main() {
    let dir = tempfile::tempdir().expect("a directory");
    let plain = DB::open_default(dir.path().join("plain")).expect("opens");
    let mut synced = WriteOptions::default();
    synced.set_sync(true);
    let config = RocksLogConfig::new(dir.path().join("log"));
    let mut log = RocksLog::open(config.clone()).expect("a log");
    let (mut plain_times, mut log_times) = (Vec::new(), Vec::new());
    // Puts and writes alternate, so that both see the same conditions of the disk.
    for index in 1..=WRITES {
        let start = Instant::now();
        plain.put_opt(index.to_be_bytes(), [7; SIZE], &synced).expect("puts");
        plain_times.push(start.elapsed());
        let start = Instant::now();
        now(log.write(WriteBatch::of_entries(vec![entry(index)]))).expect("the write succeeds");
        log_times.push(start.elapsed());
    }
    let (plain, own) = (median(plain_times), median(log_times));
    println!("median of {WRITES} writes of {SIZE} bytes: plain put {plain:?}, log {own:?}");
    let entries = std::env::args().nth(1).map_or(0, |text| text.parse().expect("a number"));
    for first in (WRITES + 1..=entries).step_by(BATCH as usize) {
        let batch = (first..first + BATCH).map(entry).collect();
        now(log.write(WriteBatch::of_entries(batch))).expect("the write succeeds");
    }
    drop(log);
    for after in ["a drop", "a close"] {
        let start = Instant::now();
        let mut log = RocksLog::open(config.clone()).expect("opens");
        println!("{} entries opened after {after} in {:?}", entries.max(WRITES), start.elapsed());
        now(log.close()).expect("closes");
    }
}

fn entry(index: u64) -> Entry {
    let id = EntryId::new(Term::new(1), LogIndex::new(index));
    Entry::new(id, EntryKind::Command, Bytes::from_static(&[7; SIZE]))
}

/// A method of this log is never pending, so one poll is enough.
fn now<F: Future>(verb: F) -> F::Output {
    match pin!(verb).poll(&mut Context::from_waker(Waker::noop())) {
        Poll::Ready(output) => output,
        Poll::Pending => unreachable!("the log blocks instead"),
    }
}

fn median(mut times: Vec<Duration>) -> Duration {
    times.sort_unstable();
    times[times.len() / 2]
}
