//! Readers that run concurrently with the writer: the entries and the errors that they return while
//! the log changes.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use log_file::{FileLog, FileLogConfig, SimDisk};
use raft_core::storage::{LogErrorKind, LogReader, LogStore, Store, WriteBatch};

use crate::samples::{entries, id, index, kind, now, open, sized_entry};

#[test]
fn an_error_of_a_read_is_not_an_absence_and_does_not_poison() {
    let disk = SimDisk::new(1);
    let mut log = open(&disk).expect("a new log");
    now(log.append(&entries(1..=3, 1))).expect("sound");
    let name = "seg-0000000000000001";
    let bytes = disk.bytes(name).expect("it is there");
    log_file::Disk::rename(&disk, name, "elsewhere").expect("renames");
    let mut reader = log.reader();
    assert_eq!(kind(now(reader.read(index(1)..index(2), 0))), LogErrorKind::Io);
    let mut rotten = bytes.clone();
    let at = rotten.windows(7).position(|found| found == b"2@1 by ").expect("the payload");
    rotten[at] ^= 1;
    disk.put(name, rotten);
    let corrupt = LogErrorKind::Corrupt { index: Some(index(2)) };
    let sound = now(reader.read(index(1)..index(4), u64::MAX)).expect("the entries before it");
    assert_eq!(sound, entries(1..=1, 1));
    assert_eq!(kind(now(reader.read(index(2)..index(4), u64::MAX))), corrupt);
    let rest = now(reader.read(index(3)..index(4), u64::MAX)).expect("the others are sound");
    assert_eq!(rest, entries(3..=3, 1));
    assert!(now(reader.term(index(2))).is_ok(), "its id is known");
}

/// A writer appends, truncates and purges as fast as it can in tiny segments, while readers read
/// anywhere. Each entry that is read was stored under its id; no read is ever `Corrupt`.
#[test]
fn a_race_with_the_writer_is_never_damage() {
    let dir = tempfile::tempdir().expect("a directory");
    let config = FileLogConfig { segment_bytes: 16 << 10, ..FileLogConfig::new(dir.path()) };
    let mut log = FileLog::open(config).expect("a new log");
    let is_over = Arc::new(AtomicBool::new(false));
    let readers: Vec<_> = (0..2u64)
        .map(|reader| {
            let (log, is_over) = (log.reader(), is_over.clone());
            std::thread::spawn(move || read_until(log, &is_over, reader))
        })
        .collect();
    write_wildly(&mut log);
    is_over.store(true, Ordering::Release);
    let read: u64 = readers.into_iter().map(|thread| thread.join().expect("no damage")).sum();
    assert!(read > 1000, "only {read} entries were read");
}

fn write_wildly(log: &mut FileLog) {
    let rounds = if crate::samples::is_deep() { 20_000 } else { 1500 };
    for round in 1..=rounds {
        let last = log.bounds().last;
        let (mut at, mut term) = (last.index.get(), last.term.get().max(1));
        let mut batch = WriteBatch::default();
        if round % 5 == 0 {
            at = (at - at.min(3)).max(log.bounds().boundary.index.get());
            term += 1;
            batch.truncate_after = Some(index(at));
        }
        let size = 100 + (round as usize * 37) % 900;
        batch.append = (1..=4).map(|next| sized_entry(at + next, term, 0, size)).collect();
        now(log.write(batch)).expect("sound");
        if round % 7 == 0 {
            let upto = log.bounds().last.index.get().saturating_sub(20);
            if upto > log.bounds().boundary.index.get() {
                let term = now(log.reader().term(index(upto))).expect("there");
                now(log.purge_upto(id(upto, term.get()))).expect("sound");
            }
        }
    }
}

fn read_until(mut log: Box<dyn LogReader>, is_over: &AtomicBool, mut random: u64) -> u64 {
    let (mut read, mut first) = (0, index(1));
    while !is_over.load(Ordering::Acquire) {
        random = random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
        let end = first.plus(1 + (random >> 60));
        match now(log.read(first..end, 4000)) {
            Ok(entries) => {
                for (offset, entry) in (0..).zip(&entries) {
                    assert_eq!(entry.id.index, first.plus(offset));
                    let (at, term) = (entry.id.index.get(), entry.id.term.get());
                    let wanted = sized_entry(at, term, 0, entry.payload.len());
                    assert_eq!(*entry, wanted, "another entry's bytes");
                }
                read += entries.len() as u64;
                first = first.plus(random >> 62);
            }
            Err(error) => match error.kind {
                LogErrorKind::Compacted { boundary } => first = boundary.index.next(),
                LogErrorKind::Unavailable { .. } => first = index(first.get().saturating_sub(2)),
                _ => panic!("a race is not {error}"),
            },
        }
    }
    read
}

/// What went wrong: a later handle wrote to the segments of an earlier one, and a reader of the
/// earlier handle reported the bytes that it found there as damage.
#[test]
fn a_reader_that_outlives_its_store_finds_its_entries() {
    let disk = SimDisk::new(1);
    let mut log = open(&disk).expect("a new log");
    let append = |log: &mut FileLog, at| {
        now(log.append(&[sized_entry(at, 1, 0, 3000)])).expect("sound");
    };
    (1..=12).for_each(|at| append(&mut log, at));
    // Each has the file of its entry open.
    let mut readers: Vec<_> = (1..=12).map(|_| log.reader()).collect();
    for (reader, at) in readers.iter_mut().zip(1..) {
        now(reader.read(index(at)..index(at + 1), 0)).expect("sound");
    }
    drop(log);
    let mut log = open(&disk).expect("opens");
    now(log.purge_upto(id(12, 1))).expect("sound");
    (13..=40).for_each(|at| append(&mut log, at));
    // No file of an earlier handle is written again, so each reader still finds its entry.
    for (reader, at) in readers.iter_mut().zip(1..) {
        let found = now(reader.read(index(at)..index(at + 1), 0)).expect("its file is untouched");
        assert_eq!(found, [sized_entry(at, 1, 0, 3000)]);
    }
}
