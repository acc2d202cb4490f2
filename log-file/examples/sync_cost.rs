//! How close a write to the log comes to what the disk itself takes, measured in pairs: one raw
//! write and sync over written blocks, one write to the log, in turn. Then how long an opening of
//! many entries takes.
//!
//! `cargo run --release -p log-file --example sync_cost -- DIR [ENTRIES] [ENTRIES_PER_BATCH]`

use std::fs::OpenOptions;
use std::io::{Error, Write};
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::pin::pin;
use std::task::{Context, Poll, Waker};
use std::time::{Duration, Instant};

use log_file::{FileLog, FileLogConfig};
use raft_core::storage::{LogStore, Store, WriteBatch};
use raft_core::types::{Entry, EntryId, EntryKind, LogIndex, Term};

const PAIRS: usize = 4000;
const PAYLOAD: &[u8; 256] = &[7; 256];

fn now<F: Future>(verb: F) -> F::Output {
    match pin!(verb).poll(&mut Context::from_waker(Waker::noop())) {
        Poll::Ready(output) => output,
        Poll::Pending => panic!("a verb of this log never pends"),
    }
}

fn batch(first: u64, count: u64) -> WriteBatch {
    let entry = |index| {
        let id = EntryId::new(Term::new(1), LogIndex::new(index));
        Entry::new(id, EntryKind::Command, PAYLOAD.as_slice().into())
    };
    WriteBatch::of_entries((first..first + count).map(entry).collect())
}

fn percentile(samples: &mut [Duration], of_thousand: usize) -> u128 {
    samples.sort_unstable();
    samples[samples.len() * of_thousand / 1000].as_micros()
}

/// Pairs of a raw write and a write of `count` entries to the log, in one directory.
fn measure_pairs(dir: &Path, count: u64) -> Result<(), Box<dyn std::error::Error>> {
    let raw_bytes = vec![1; (count as usize * 296 + 80).next_multiple_of(8)];
    let mut options = OpenOptions::new();
    let raw = options.read(true).write(true).create(true).truncate(true);
    let mut raw = raw.open(dir.join("raw"))?;
    // In small calls: see `growth` for what large ones would cost each sync.
    for _ in 0..1024 {
        raw.write_all(&[0; 64 << 10])?;
    }
    raw.sync_all()?;
    let mut log = FileLog::open(FileLogConfig::new(dir.join(format!("pairs-{count}"))))?;
    let (mut of_raw, mut of_log) = (Vec::new(), Vec::new());
    for pair in 0..PAIRS as u64 {
        let offset = pair * raw_bytes.len() as u64 % (60 << 20);
        let batch = batch(pair * count + 1, count);
        let mut write_raw = || -> std::io::Result<()> {
            let start = Instant::now();
            raw.write_all_at(&raw_bytes, offset)?;
            raw.sync_data()?;
            of_raw.push(start.elapsed());
            Ok(())
        };
        // The first of a pair pays for what others left behind, so they take turns.
        if pair % 2 == 0 {
            write_raw()?;
        }
        let start = Instant::now();
        now(log.write(batch))?;
        of_log.push(start.elapsed());
        if pair % 2 == 1 {
            write_raw()?;
        }
    }
    let figures = [500, 990].map(|at| (percentile(&mut of_raw, at), percentile(&mut of_log, at)));
    println!(
        "{count} x 256 B: raw p50 {} us, p99 {} us; log p50 {} us, p99 {} us",
        figures[0].0, figures[1].0, figures[0].1, figures[1].1
    );
    Ok(())
}

fn measure_opening(dir: &Path, entries: u64, each: u64) -> Result<(), Box<dyn std::error::Error>> {
    let config = FileLogConfig::new(dir.join("many"));
    let mut log = FileLog::open(config.clone())?;
    let start = Instant::now();
    for first in (1..=entries).step_by(each as usize) {
        now(log.write(batch(first, each)))?;
    }
    println!("{entries} entries, {each} per batch: written in {:?}", start.elapsed());
    drop(log);
    let start = Instant::now();
    let log = FileLog::open(config)?;
    println!("opened in {:?}, up to {}", start.elapsed(), log.bounds().last);
    let start = Instant::now();
    let (mut reader, mut next) = (log.reader(), LogIndex::new(1));
    while next <= log.bounds().last.index {
        let read = now(reader.read(next..log.bounds().last.index.next(), 1 << 20))?;
        next = next.plus(read.len() as u64);
    }
    println!("read and checked in {:?}", start.elapsed());
    Ok(())
}

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let mut arguments = std::env::args().skip(1);
    let Some(dir) = arguments.next() else {
        return Err(Error::other("usage: sync_cost DIR [ENTRIES] [ENTRIES_PER_BATCH]").into());
    };
    let entries = arguments.next().map_or(Ok(1_000_000), |text| text.parse())?;
    let each = arguments.next().map_or(Ok(10), |text| text.parse())?;
    std::fs::create_dir_all(&dir)?;
    let dir = Path::new(&dir);
    for round in 0..2 {
        println!("round {round}");
        let dir = dir.join(format!("round-{round}"));
        std::fs::create_dir_all(&dir)?;
        measure_pairs(&dir, 1)?;
        measure_pairs(&dir, 64)?;
    }
    measure_opening(dir, entries, each)
}
