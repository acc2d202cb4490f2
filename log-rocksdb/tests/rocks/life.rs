//! Tests of reopening, purging, large values, reads beside the writer, refusals, and failures.

use std::path::Path;
use std::time::{Duration, Instant};

use bytes::Bytes;
use log_rocksdb::{RocksLog, RocksLogConfig};
use raft_core::storage::{Detects, LogErrorKind, LogStore, Refusal, StableStore, Store, Tail};
use raft_core::storage::{LogOp, WriteBatch};
use raft_core::types::{Entry, EntryKind, HardState, LogIndex, NodeId, Term};

use crate::samples::{entries, files, id, index, kind, look, now, open, sized_entry};

/// The time limit for RocksDB to compact a few megabytes on a busy machine.
const PATIENCE: Duration = Duration::from_secs(60);

#[test]
fn a_directory_has_one_opener() {
    let dir = tempfile::tempdir().expect("a directory");
    let log = open(dir.path()).expect("a new log");
    let error = open(dir.path()).err().expect("refused");
    assert_eq!(error.kind, LogErrorKind::InUse);
    assert!(error.place.contains("lock"), "{error}");
    drop(log);
    open(dir.path()).expect("free again");
}

/// Opens the database itself, without the store's lock.
#[test]
fn a_database_that_another_program_has_open_is_in_use() {
    let dir = tempfile::tempdir().expect("a directory");
    drop(open(dir.path()).expect("a new log"));
    let options = rocksdb::Options::default();
    let intruder = rocksdb::DB::open_cf(&options, dir.path().join("db"), ["default", "log"]);
    assert_eq!(kind(open(dir.path())), LogErrorKind::InUse);
    drop(intruder);
    open(dir.path()).expect("free again");
}

#[test]
fn written_data_survives_a_close_and_a_drop() {
    let dir = tempfile::tempdir().expect("a directory");
    let mut expected = None;
    for round in 0..20 {
        let mut log = open(dir.path()).expect("opens");
        let inspected = look(&mut log).expect("sound");
        assert_eq!(expected.unwrap_or_else(|| inspected.clone()), inspected, "round {round}");
        assert_eq!(now(log.recover()).expect("recovers").tail, Tail::Clean);
        let next = log.bounds().last.index.get() + 1;
        let mut batch = WriteBatch::of_entries(entries(next..=next + 9, round + 1));
        batch.hard_state = Some(HardState { term: Term::new(round + 1), vote: NodeId::new(2) });
        now(log.write(batch)).expect("sound");
        expected = Some(look(&mut log).expect("sound"));
        if round % 2 == 0 {
            now(log.close()).expect("closes");
        }
    }
}

#[test]
fn a_closed_store_reports_it_and_can_be_closed_again() {
    let dir = tempfile::tempdir().expect("a directory");
    let mut log = open(dir.path()).expect("a new log");
    now(log.append(&entries(1..=2, 1))).expect("sound");
    let mut reader = log.reader();
    now(log.close()).expect("closes");
    now(log.close()).expect("closed already");
    assert_eq!(kind(now(log.append(&entries(3..=3, 1)))), LogErrorKind::Io);
    assert_eq!(kind(now(reader.read(index(1)..index(3), 1))), LogErrorKind::Io);
    assert_eq!(kind(open(dir.path())), LogErrorKind::InUse, "its handle still exists");
    drop(log);
    assert_eq!(open(dir.path()).expect("opens").bounds().last, id(2, 1));
}

#[test]
fn an_unknown_file_is_named_and_nothing_is_changed() {
    let dir = tempfile::tempdir().expect("a directory");
    std::fs::write(dir.path().join("letter.txt"), "dear reader").expect("writes");
    let error = open(dir.path()).err().expect("not a log");
    assert_eq!(error.kind, LogErrorKind::Format);
    assert!(error.place.contains("letter.txt"), "{error}");
    assert!(!dir.path().join("db").exists());
}

#[test]
fn the_files_of_an_interrupted_creation_are_removed() {
    let dir = tempfile::tempdir().expect("a directory");
    std::fs::create_dir(dir.path().join("new")).expect("creates");
    for name in ["new/CURRENT", "new.proof"] {
        std::fs::write(dir.path().join(name), "half").expect("writes");
    }
    drop(open(dir.path()).expect("a new log"));
    assert!(!dir.path().join("new").exists() && !dir.path().join("new.proof").exists());
}

/// The bytes of a log's files.
fn size(dir: &Path) -> u64 {
    let length = |name| std::fs::metadata(dir.join(name)).map_or(0, |file| file.len());
    files(dir).into_iter().map(length).sum()
}

/// Waits until the total size of the files is as wanted. It changes in the background, and one
/// listing may miss a file that is being replaced.
fn wait_for_size(dir: &Path, is_wanted: impl Fn(u64) -> bool) {
    let start = Instant::now();
    while !is_wanted(size(dir)) {
        assert!(start.elapsed() < PATIENCE, "{} bytes: {:?}", size(dir), files(dir));
        std::thread::sleep(Duration::from_millis(20));
    }
}

/// Up to half a memtable of purged payload may wait, one memtable is in the write-ahead log, and
/// there is a constant part.
#[test]
fn purged_space_is_reclaimed() {
    const MEMTABLE: u64 = 400 << 10;
    let dir = tempfile::tempdir().expect("a directory");
    let config =
        RocksLogConfig { memtable_bytes: MEMTABLE as usize, ..RocksLogConfig::new(dir.path()) };
    let mut log = RocksLog::open(config).expect("a new log");
    for round in 0..6_u64 {
        for part in 0..40 {
            let first = round * 4000 + part * 100 + 1;
            let batch = (first..first + 100).map(|at| sized_entry(at, 1, round, 1000)).collect();
            now(log.write(WriteBatch::of_entries(batch))).expect("sound");
        }
        // The entries of this round are in the files.
        wait_for_size(dir.path(), |bytes| bytes > 3_900_000);
        let kept = 100;
        now(log.purge_upto(id((round + 1) * 4000 - kept, 1))).expect("sound");
        wait_for_size(dir.path(), |bytes| bytes <= 2 * MEMTABLE + 400_000);
    }
    now(log.purge_upto(log.bounds().last)).expect("sound");
    assert!(log.bounds().is_empty());
    assert_eq!(log.bounds().boundary, id(24_000, 1));
    let read = now(log.reader().read(index(24_000)..index(24_001), 1));
    assert_eq!(kind(read), LogErrorKind::Compacted { boundary: id(24_000, 1) });
}

/// What went wrong: RocksDB includes the end of a range of dropped tables, so the table that ended
/// with the first entry of the log was dropped with the purged ones.
#[test]
fn the_first_entry_survives_when_the_tables_before_it_are_dropped() {
    for last in 95..=105 {
        let dir = tempfile::tempdir().expect("a directory");
        let config = || RocksLogConfig::new(dir.path()).with_memtable(256 << 10);
        let append = |log: &mut RocksLog, at| {
            now(log.append(&[sized_entry(at, 1, 0, 5000)])).expect("sound");
        };
        let mut log = RocksLog::open(config()).expect("a new log");
        (1..=50).for_each(|at| append(&mut log, at));
        drop(log);
        // Opening writes everything into tables; data outside of tables would wait for the next
        // purge.
        let mut log = RocksLog::open(config()).expect("opens");
        (51..=last).for_each(|at| append(&mut log, at));
        now(log.purge_upto(id(50, 1))).expect("sound");
        wait_for_size(dir.path(), |bytes| bytes <= 450_000);
        now(log.purge_upto(id(last - 1, 1))).expect("sound");
        let first = now(log.reader().read(index(last)..index(last + 1), 0));
        assert_eq!(first.expect("it is not purged"), [sized_entry(last, 1, 0, 5000)]);
    }
}

#[test]
fn a_reset_reclaims_all_space() {
    let dir = tempfile::tempdir().expect("a directory");
    let mut log = open(dir.path()).expect("a new log");
    for part in 0..40 {
        let first = part * 100 + 1;
        let batch = (first..first + 100).map(|at| sized_entry(at, 1, 0, 1000)).collect();
        now(log.write(WriteBatch::of_entries(batch))).expect("sound");
    }
    now(log.reset(id(7, 1))).expect("a reset is always allowed");
    wait_for_size(dir.path(), |bytes| bytes <= 300_000);
    now(log.append(&entries(8..=9, 1))).expect("sound");
    assert_eq!(look(&mut log).expect("sound").entries, entries(8..=9, 1));
}

/// Small purges are collected until one deletion is worth its cost.
#[test]
fn small_purges_share_a_deletion_and_purged_entries_stay_hidden() {
    let dir = tempfile::tempdir().expect("a directory");
    let mut log = open(dir.path()).expect("a new log");
    now(log.append(&entries(1..=500, 1))).expect("sound");
    for at in 1..=490 {
        now(log.purge_upto(id(at, 1))).expect("sound");
    }
    drop(log);
    let stored = |dir: &Path| {
        let options = rocksdb::Options::default();
        let families = ["default", "log"];
        let database =
            rocksdb::DB::open_cf_for_read_only(&options, dir.join("db"), families, false);
        let database = database.expect("opens");
        let log = database.cf_handle("log").expect("is there");
        database.iterator_cf(log, rocksdb::IteratorMode::Start).count()
    };
    assert_eq!(stored(dir.path()), 500, "none is deleted yet");
    let mut log = open(dir.path()).expect("opens with entries below the boundary");
    assert_eq!(look(&mut log).expect("sound").entries, entries(491..=500, 1));
    let large: Vec<Entry> = (501..=560).map(|at| sized_entry(at, 1, 0, 1000)).collect();
    now(log.append(&large)).expect("sound");
    drop(log);
    // Opening writes them into a table, which makes the deletion worth its cost.
    let mut log = open(dir.path()).expect("opens");
    now(log.purge_upto(id(555, 1))).expect("sound");
    drop(log);
    assert_eq!(stored(dir.path()), 5);
}

#[test]
fn large_and_empty_values_are_read_back_unchanged() {
    let dir = tempfile::tempdir().expect("a directory");
    let mut log = open(dir.path()).expect("a new log");
    let sizes = [0, 1, 4000, 4096, 5000, 1 << 20, 17 << 20];
    let wanted: Vec<Entry> =
        (1..).zip(sizes).map(|(at, size)| sized_entry(at, 1, 0, size)).collect();
    now(log.append(&wanted)).expect("sound");
    drop(log);
    let mut log = open(dir.path()).expect("opens");
    assert_eq!(look(&mut log).expect("sound").entries, wanted);
    let one = now(log.reader().read(index(6)..index(8), 10)).expect("at least one");
    assert_eq!(one, wanted[5..6]);
}

#[test]
fn the_largest_index_can_be_a_boundary_but_not_an_entry() {
    let dir = tempfile::tempdir().expect("a directory");
    let mut log = open(dir.path()).expect("a new log");
    now(log.append(&entries(1..=3, 1))).expect("sound");
    now(log.reset(id(u64::MAX - 2, 9))).expect("a reset is always allowed");
    now(log.append(&[sized_entry(u64::MAX - 1, 9, 0, 3)])).expect("the last possible entry");
    let entry = sized_entry(u64::MAX, 9, 0, 3);
    let LogErrorKind::Refused(Refusal::TooLarge { .. }) = kind(now(log.append(&[entry]))) else {
        panic!("an index without a successor");
    };
    now(log.reset(id(u64::MAX, 9))).expect("a reset is always allowed");
    drop(log);
    let mut log = open(dir.path()).expect("opens");
    assert_eq!(log.bounds().last, id(u64::MAX, 9));
    now(log.reset(id(5, 10))).expect("back");
    now(log.append(&entries(6..=7, 10))).expect("sound");
    assert_eq!(look(&mut log).expect("sound").entries, entries(6..=7, 10));
}

#[test]
fn readers_see_one_moment_while_the_writer_truncates_and_purges() {
    let dir = tempfile::tempdir().expect("a directory");
    let mut log = open(dir.path()).expect("a new log");
    let sized = |range: std::ops::RangeInclusive<u64>, term| -> Vec<Entry> {
        range.map(|at| sized_entry(at, term, 0, 900)).collect()
    };
    now(log.append(&sized(1..=40, 1))).expect("sound");
    let mut reader = log.reader();
    let reading = std::thread::spawn(move || {
        loop {
            match now(reader.read(index(20)..index(41), u64::MAX)) {
                Ok(entries) => {
                    let term = entries[20].id.term.get();
                    let is_of = |entry: &Entry| {
                        entry == &sized_entry(entry.id.index.get(), term, 0, 900)
                            || entry.id.term < Term::new(term)
                    };
                    assert!(entries.iter().all(is_of), "each entry has its own id");
                }
                Err(error) => match error.kind {
                    LogErrorKind::Unavailable { .. } => {}
                    LogErrorKind::Compacted { .. } => return,
                    _ => panic!("{error}"),
                },
            }
        }
    });
    for term in 2..60 {
        let batch = WriteBatch {
            truncate_after: Some(index(25)),
            append: sized(26..=40, term),
            ..WriteBatch::default()
        };
        now(log.write(batch)).expect("sound");
    }
    now(log.purge_upto(id(30, 59))).expect("sound");
    reading.join().expect("never damage");
}

/// Tables of purged entries are dropped even while a reader uses them.
#[test]
fn a_reader_of_entries_that_are_being_purged_gets_a_refusal() {
    let dir = tempfile::tempdir().expect("a directory");
    let mut log = open(dir.path()).expect("a new log");
    now(log.append(&[sized_entry(1, 1, 0, 1000)])).expect("sound");
    let mut reader = log.reader();
    let reading = std::thread::spawn(move || {
        let mut at = index(1);
        while at < index(20_000) {
            match now(reader.read(at..at.next(), 1)) {
                Ok(_) => at = at.next(),
                Err(error) => match error.kind {
                    LogErrorKind::Unavailable { .. } => std::thread::yield_now(),
                    LogErrorKind::Compacted { boundary } => at = boundary.index.next(),
                    _ => panic!("{error}"),
                },
            }
        }
    });
    for first in (2..=20_000).step_by(50) {
        let batch = (first..first + 50).map(|at| sized_entry(at, 1, 0, 1000)).collect();
        let purge_upto = Some(id(first - 1, 1));
        now(log.write(WriteBatch { purge_upto, ..WriteBatch::of_entries(batch) })).expect("sound");
    }
    reading.join().expect("never damage");
}

/// The next files that RocksDB creates are links to a device that is always full: eventually the
/// write-ahead log is one of them, and a write fails.
#[test]
#[cfg(target_os = "linux")]
fn a_failed_write_poisons_the_handle_and_opening_again_helps() {
    let dir = tempfile::tempdir().expect("a directory");
    let mut log = open(dir.path()).expect("a new log");
    now(log.append(&entries(1..=3, 1))).expect("sound");
    let links: Vec<_> =
        (1..200).map(|number| dir.path().join(format!("db/{number:06}.log"))).collect();
    let links: Vec<_> = links.into_iter().filter(|link| !link.exists()).collect();
    for link in &links {
        std::os::unix::fs::symlink("/dev/full", link).expect("links");
    }
    let error = loop {
        let next = log.bounds().last.index.get() + 1;
        let written = now(log.append(&[sized_entry(next, 1, 0, 9000)]));
        match written {
            Ok(()) => assert!(next < 10_000, "the device is never full"),
            Err(error) => break error,
        }
    };
    assert_eq!((error.op, error.kind), (LogOp::Append, LogErrorKind::Io));
    let inspected = look(&mut log).expect("reads continue");
    let next = inspected.bounds.last.index.get() + 1;
    assert_eq!(kind(now(log.append(&entries(next..=next, 1)))), LogErrorKind::Poisoned);
    assert_eq!(kind(now(log.close())), LogErrorKind::Poisoned);
    let hard_state = HardState { term: Term::new(1), vote: None };
    assert_eq!(kind(now(log.save_hard_state(hard_state))), LogErrorKind::Poisoned);
    drop(log);
    // A full disk leaves an empty file. It is unknown which of them RocksDB used for its newest
    // log.
    for link in links.iter().filter(|link| link.is_symlink()) {
        std::fs::remove_file(link).expect("removes");
        std::fs::write(link, "").expect("there is space again");
    }
    let mut log = open(dir.path()).expect("opens again");
    assert_eq!(look(&mut log).expect("sound").entries, inspected.entries);
    now(log.append(&entries(next..=next, 1))).expect("the log is writable");
}

#[test]
fn the_store_declares_its_properties() {
    let dir = tempfile::tempdir().expect("a directory");
    let log = RocksLog::open(RocksLogConfig::new(dir.path())).expect("a new log");
    let info = log.info();
    assert_eq!((info.backend.as_ref(), info.detects), ("rocksdb", Detects::ProvenPrefix));
    assert!(info.atomic_batch && info.may_block);
}

#[test]
fn a_database_has_none_of_rocksdbs_own_log_files() {
    let dir = tempfile::tempdir().expect("a directory");
    for _ in 0..5 {
        let mut log = open(dir.path()).expect("opens");
        let next = log.bounds().last.index.get() + 1;
        now(log.append(&entries(next..=next, 1))).expect("sound");
    }
    let names = files(dir.path());
    assert!(!names.iter().any(|name| name.contains("LOG")), "{names:?}");
    assert!(size(dir.path()) < 60_000, "{} bytes: {names:?}", size(dir.path()));
}

#[test]
fn an_unparsable_membership_is_damage_when_it_is_read() {
    let dir = tempfile::tempdir().expect("a directory");
    let mut log = open(dir.path()).expect("a new log");
    let entry = Entry::new(id(1, 1), EntryKind::Membership, Bytes::from_static(b"\x01?"));
    now(log.append(&[entry])).expect("the store does not parse payloads");
    assert_eq!(kind(now(log.recover())), LogErrorKind::Corrupt { index: Some(index(1)) });
    drop(log);
    let mut log = open(dir.path()).expect("opens");
    assert_eq!(kind(now(log.recover())), LogErrorKind::Corrupt { index: Some(LogIndex::new(1)) });
}
