//! Compares the time of a write to the log with the time of a write to the disk itself: alternates
//! one raw write and sync over written blocks with one write to the log in each of its ways of
//! writing. Then measures how many bytes are written to the disk for a byte of payload, and how
//! long it takes to open a log with many entries.
//!
//! The log is measured once it writes to segments that were written beforehand. `kontiki bench log
//! --verbs` measures the ways of writing themselves, without a log.
//!
//! `cargo run --release -p kontiki-log-file --example sync_cost -- DIR [ENTRIES] [PER_BATCH]`

use std::fs::OpenOptions;
use std::io::{Error, Write};
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::time::{Duration, Instant};

use log_file::{FileLog, FileLogConfig, Io, WriteVerb};
use raft_core::storage::{LogStore, Store, WriteBatch};
use raft_core::types::{Entry, EntryId, EntryKind, LogIndex, Term};

const ROUNDS: u64 = 2000;
/// How many bytes are written to a log before it is measured, so that it has left its first
/// segment.
const WARM_UP_BYTES: u64 = 4 << 20;
const PAYLOAD: &[u8; 256] = &[7; 256];

fn batch(first: u64, count: u64) -> WriteBatch {
    let entry = |index| {
        let id = EntryId::new(Term::new(1), LogIndex::new(index));
        Entry::new(id, EntryKind::Command, PAYLOAD.as_slice().into())
    };
    WriteBatch::of_entries((first..first + count).map(entry).collect())
}

fn percentile(samples: &mut [Duration], of_thousand: usize) -> f64 {
    samples.sort_unstable();
    samples[samples.len() * of_thousand / 1000].as_secs_f64() * 1e6
}

/// The ways in which a log is written.
fn ways() -> [(&'static str, Io, WriteVerb); 4] {
    [
        ("fdatasync", Io::Thread, WriteVerb::Fdatasync),
        ("dsync", Io::Thread, WriteVerb::Dsync),
        ("direct", Io::Thread, WriteVerb::Direct),
        ("ring", Io::Ring, WriteVerb::Auto),
    ]
}

/// A log, the times of its writes, and the number of its entries.
struct Measured {
    name: &'static str,
    log: FileLog,
    took: Vec<Duration>,
    entries: u64,
}

impl Measured {
    async fn write(&mut self, count: u64) -> Result<Duration, Box<dyn std::error::Error>> {
        let batch = batch(self.entries + 1, count);
        self.entries += count;
        let start = Instant::now();
        self.log.write(batch).await?;
        Ok(start.elapsed())
    }
}

/// Opens a log in each way, and writes until each has left its first segment.
async fn open_all(dir: &Path, count: u64) -> Result<Vec<Measured>, Box<dyn std::error::Error>> {
    let mut all = Vec::new();
    for (name, io, write_verb) in ways() {
        let config = FileLogConfig::new(dir.join(format!("{name}-{count}")));
        let log = FileLog::open(FileLogConfig { io, write_verb, ..config })?;
        println!("{name}: {}", log.info().sync_verb);
        let mut measured = Measured { name, log, took: Vec::new(), entries: 0 };
        while measured.entries * 256 < WARM_UP_BYTES {
            measured.write(2048).await?;
        }
        all.push(measured);
    }
    // Meanwhile housekeeping writes the next segments beforehand.
    std::thread::sleep(Duration::from_secs(2));
    for measured in &mut all {
        for _ in 0..20 {
            measured.write(1).await?;
        }
    }
    Ok(all)
}

/// Alternates a raw write with a write of `count` entries to each log, in one directory.
async fn measure_rounds(dir: &Path, count: u64) -> Result<(), Box<dyn std::error::Error>> {
    let raw_bytes = vec![1; (count as usize * 296 + 80).next_multiple_of(8)];
    let mut options = OpenOptions::new();
    let raw = options.read(true).write(true).create(true).truncate(true);
    let mut raw = raw.open(dir.join("raw"))?;
    // The calls are small: `zero_fill` explains what large ones would cost each sync.
    for _ in 0..1024 {
        raw.write_all(&[0; 64 << 10])?;
    }
    raw.sync_all()?;
    let mut all = open_all(dir, count).await?;
    let mut of_raw = Vec::new();
    for round in 0..ROUNDS {
        let offset = round * raw_bytes.len() as u64 % (60 << 20);
        let start = Instant::now();
        raw.write_all_at(&raw_bytes, offset)?;
        raw.sync_data()?;
        of_raw.push(start.elapsed());
        // Each write waits for work that the previous write left to the disk, so the order changes.
        let first = round as usize % all.len();
        for at in 0..all.len() {
            let measured = &mut all[(first + at) % 4];
            let took = measured.write(count).await?;
            measured.took.push(took);
        }
    }
    let (p50, p99) = (percentile(&mut of_raw, 500), percentile(&mut of_raw, 990));
    println!("{count} x 256 B: raw p50 {p50:.1} us, p99 {p99:.1} us");
    for Measured { name, took, .. } in &mut all {
        let (own50, own99) = (percentile(took, 500), percentile(took, 990));
        let (times50, times99) = (own50 / p50, own99 / p99);
        println!("  {name}: p50 {own50:.1} us ({times50:.2}), p99 {own99:.1} us ({times99:.2})");
    }
    Ok(())
}

/// How many bytes this process has written to disks, where the system reports it.
fn bytes_written() -> Option<u64> {
    let text = std::fs::read_to_string("/proc/self/io").ok()?;
    text.lines().find_map(|line| line.strip_prefix("write_bytes: ")?.parse().ok())
}

/// How many bytes are written to the disk for each byte of payload, in segments that are reused.
async fn measure_bytes(dir: &Path) -> Result<(), Box<dyn std::error::Error>> {
    const COUNT: u64 = 64;
    const BATCHES: u64 = 4000;
    for (name, io, write_verb) in ways() {
        let config = FileLogConfig::new(dir.join(format!("bytes-{name}")));
        let config = FileLogConfig { io, write_verb, segment_bytes: 8 << 20, ..config };
        let mut log = FileLog::open(config)?;
        let mut before = None;
        for number in 0..2 * BATCHES {
            if number == BATCHES {
                before = bytes_written();
            }
            let last = number * COUNT;
            let purge =
                (number % 64 == 63).then(|| EntryId::new(Term::new(1), LogIndex::new(last)));
            log.write(WriteBatch { purge_upto: purge, ..batch(last + 1, COUNT) }).await?;
        }
        if let (Some(before), Some(after)) = (before, bytes_written()) {
            let times = (after - before) as f64 / (BATCHES * COUNT * 256) as f64;
            println!("{name}: {times:.2} bytes written per byte of payload, 64 x 256 B");
        }
    }
    Ok(())
}

async fn measure_opening(
    dir: &Path,
    entries: u64,
    each: u64,
) -> Result<(), Box<dyn std::error::Error>> {
    let config = FileLogConfig::new(dir.join("many"));
    let mut log = FileLog::open(config.clone())?;
    let start = Instant::now();
    for first in (1..=entries).step_by(each as usize) {
        log.write(batch(first, each)).await?;
    }
    println!("{entries} entries, {each} per batch: written in {:?}", start.elapsed());
    drop(log);
    let start = Instant::now();
    let log = FileLog::open(config)?;
    println!("opened in {:?}, up to {}", start.elapsed(), log.bounds().last);
    let start = Instant::now();
    let (mut reader, mut next) = (log.reader(), LogIndex::new(1));
    while next <= log.bounds().last.index {
        let read = reader.read(next..log.bounds().last.index.next(), 1 << 20).await?;
        next = next.plus(read.len() as u64);
    }
    println!("read and checked in {:?}", start.elapsed());
    Ok(())
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
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
        measure_rounds(&dir, 1).await?;
        measure_rounds(&dir, 64).await?;
    }
    measure_bytes(dir).await?;
    measure_opening(dir, entries, each).await
}
