//! Damage is never returned as data: bytes of a log's files are flipped, and the log either is
//! unchanged or reports the damage.

use std::path::Path;

use log_rocksdb::RocksLog;
use raft_core::storage::{LogError, LogErrorKind, LogStore, StableStore, Store, Tail, WriteBatch};
use raft_core::types::{ClusterId, HardState, Identity, NodeId, StoreId, Term};
use rocksdb::{DB, Options};
use tempfile::TempDir;

use crate::samples::{
    Inspected, copy, entries, files, id, index, is_deep, kind, look, newest_wal, now, open,
    sized_entry,
};

const CORRUPT: LogErrorKind = LogErrorKind::Corrupt { index: None };

/// A log with a vote, an identity, a table, larger entries, a truncation and a purge; it is closed,
/// or dropped as a kill would leave it.
pub fn a_log(size: usize, is_closed: bool) -> (TempDir, Inspected) {
    let dir = tempfile::tempdir().expect("a directory");
    let mut log = open(dir.path()).expect("a new log");
    let node = NodeId::new(1).expect("not zero");
    let identity = Identity { cluster: ClusterId(1), node, store: StoreId(2) };
    now(log.save_identity(&identity)).expect("the first");
    let mut batch = WriteBatch::of_entries(entries(1..=5, 1));
    batch.hard_state = Some(HardState { term: Term::new(2), vote: Some(node) });
    now(log.write(batch)).expect("sound");
    drop(log);
    // Opening writes the content of the write-ahead log into a table.
    let mut log = open(dir.path()).expect("opens");
    for at in 6..12 {
        now(log.write(WriteBatch::of_entries(vec![sized_entry(at, 1, 1, size)]))).expect("sound");
    }
    let cut = WriteBatch {
        truncate_after: Some(index(10)),
        purge_upto: Some(id(2, 1)),
        commit_hint: Some(index(2)),
        ..WriteBatch::of_entries(entries(11..=14, 2))
    };
    now(log.write(cut)).expect("sound");
    if is_closed {
        now(log.close()).expect("closes");
    }
    let inspected = contents_before_damage(&mut log, is_closed, dir.path());
    drop(log);
    (dir, inspected)
}

fn contents_before_damage(log: &mut RocksLog, is_closed: bool, dir: &Path) -> Inspected {
    if is_closed {
        look(&mut open(copy(dir).path()).expect("opens")).expect("sound")
    } else {
        look(log).expect("sound")
    }
}

pub fn bytes(dir: &Path, name: &str) -> Vec<u8> {
    std::fs::read(dir.join(name)).expect("it is there")
}

/// The log after one byte of a file was changed.
fn with_flip(dir: &Path, name: &str, at: usize, mask: u8) -> Damaged {
    let mut flipped = bytes(dir, name);
    flipped[at] ^= mask;
    with_bytes(dir, name, &flipped)
}

fn with_bytes(dir: &Path, name: &str, bytes: &[u8]) -> Damaged {
    let copied = copy(dir);
    std::fs::write(copied.path().join(name), bytes).expect("writes");
    Damaged { log: open(copied.path()), _dir: copied }
}

/// A log that was opened on damaged files, or the error; and its directory.
struct Damaged {
    log: Result<RocksLog, LogError>,
    _dir: TempDir,
}

impl Damaged {
    /// The log's content, after a check that it can be written to.
    fn inspected(&mut self) -> Result<Inspected, Finding> {
        let log = self.log.as_mut().map_err(|error| Finding::of(error))?;
        let seen = look(log).map_err(|error| Finding::of(&error))?;
        let next = seen.bounds.last.index.get() + 1;
        let wanted = sized_entry(next, 3, 0, 6000);
        let written = now(log.write(WriteBatch::of_entries(vec![wanted.clone()])));
        written.map_err(|error| Finding::of(&error))?;
        let after = look(log).map_err(|error| Finding::of(&error))?;
        assert_eq!(after.entries[..after.entries.len() - 1], seen.entries);
        assert_eq!(after.entries.last(), Some(&wanted));
        Ok(seen)
    }

    fn refusal(self) -> Finding {
        match self.log {
            Ok(_) => panic!("it must not open"),
            Err(error) => Finding::of(&error),
        }
    }
}

/// An error's kind, and all of its text.
#[derive(Debug)]
struct Finding {
    kind: LogErrorKind,
    text: String,
}

impl Finding {
    fn of(error: &LogError) -> Finding {
        Finding { kind: error.kind.clone(), text: format!("{error} ({:?})", error.source) }
    }
}

/// Flips one byte after another; returns how many flips were detected, and how many were harmless
/// in files that a reader uses.
fn flip_all(dir: &Path, inspected: &Inspected, step: usize) -> (usize, usize) {
    let (mut noticed, mut harmless) = (0, 0);
    for name in files(dir) {
        // RocksDB reads these files' names but never their content.
        let is_unread = name.contains("OPTIONS");
        let step = if is_unread { 40 * step } else { step };
        for at in (0..bytes(dir, &name).len()).step_by(step) {
            match with_flip(dir, &name, at, 1 << (at % 8)).inspected() {
                Ok(seen) => {
                    assert_eq!(&seen, inspected, "byte {at} of {name} was not detected");
                    harmless += usize::from(!is_unread);
                }
                Err(Finding { kind, text }) => {
                    let is_reported = matches!(kind, LogErrorKind::Corrupt { .. })
                        || kind == LogErrorKind::Format;
                    assert!(is_reported, "byte {at} of {name}: {text}");
                    assert!(text.contains("/db") || text.contains("/proof"), "{text}");
                    noticed += 1;
                }
            }
        }
    }
    (noticed, harmless)
}

#[test]
fn a_flip_in_a_closed_log_is_detected_or_harmless() {
    let (dir, inspected) = a_log(300, true);
    let (noticed, harmless) = flip_all(dir.path(), &inspected, if is_deep() { 1 } else { 23 });
    assert!(noticed > harmless, "{noticed} noticed, {harmless} harmless");
}

#[test]
fn a_flip_in_the_tables_of_a_killed_log_is_detected_or_harmless() {
    let (dir, _) = a_log(300, false);
    // An opening writes everything into tables, and seals no file.
    let inspected = look(&mut open(dir.path()).expect("opens")).expect("sound");
    let (noticed, harmless) = flip_all(dir.path(), &inspected, if is_deep() { 1 } else { 31 });
    assert!(noticed > harmless, "{noticed} noticed, {harmless} harmless");
}

/// The offsets of the records in the first block of a manifest or write-ahead log.
fn records(block: &[u8]) -> Vec<usize> {
    let (mut at, mut found) = (0, Vec::new());
    while let Some(&[_, _, _, _, low, high, kind]) = block.get(at..at + 7)
        && kind != 0
    {
        found.push(at);
        at += 7 + usize::from(u16::from_le_bytes([low, high]));
    }
    found
}

/// What went wrong: RocksDB reads a record of a recycled log for ever where there should be none,
/// and one flipped bit of a manifest made an opening hang.
#[test]
fn a_record_of_a_recycled_log_is_reported_and_not_read_for_ever() {
    let (dir, inspected) = a_log(300, false);
    let is_manifest = |name: &String| name.contains("MANIFEST");
    let manifest = files(dir.path()).into_iter().find(is_manifest).expect("there is one");
    let wal = newest_wal(dir.path());
    for name in [&manifest, &wal] {
        let records = records(&bytes(dir.path(), name));
        assert!(records.len() > 3, "{name}: {records:?}");
        for at in &records[1..] {
            let (copied, place) = (copy(dir.path()), format!("{name}, offset {at}"));
            let mut flipped = bytes(dir.path(), name);
            flipped[at + 6] ^= 4;
            std::fs::write(copied.path().join(name), flipped).expect("writes");
            let mut inspection = RocksLog::inspect(copied.path()).expect("there is a log");
            let findings = inspection.verify(&mut |_, _| ());
            drop(inspection);
            assert!(!findings.is_empty(), "{place}");
            match open(copied.path()) {
                Err(error) => {
                    assert_eq!(error.kind, CORRUPT, "{place}: {error}");
                    assert!(error.place.contains(&place), "{place}: {error}");
                }
                // No later data proves the last batch.
                Ok(mut log) => {
                    assert!(name == &wal && Some(at) == records.last(), "{place} was accepted");
                    assert_ne!(look(&mut log).expect("sound"), inspected);
                }
            }
        }
    }
}

/// The end of each batch in the write-ahead log, found by truncating it.
fn ends(dir: &Path, wal: &str) -> Vec<usize> {
    let whole = bytes(dir, wal);
    let state = |cut: usize| {
        let seen = with_bytes(dir, wal, &whole[..cut]).inspected();
        let seen = seen.unwrap_or_else(|found| panic!("{}", found.text));
        (seen.bounds, seen.hard_state)
    };
    let (mut ends, mut low) = (Vec::new(), 0);
    while low < whole.len() {
        let now = state(low);
        // The shortest prefix that shows more.
        let (mut less, mut more) = (low, whole.len());
        if state(more) == now {
            break;
        }
        while less + 1 < more {
            let middle = (less + more) / 2;
            if state(middle) == now { less = middle } else { more = middle }
        }
        ends.push(more);
        low = more;
    }
    ends
}

/// Only the last batch may be treated as a torn write, and only while nothing proves it.
#[test]
fn an_unproven_last_batch_is_dropped_and_no_other() {
    let (dir, inspected) = a_log(12_000, false);
    let wal = newest_wal(dir.path());
    let ends = ends(dir.path(), &wal);
    assert_eq!(ends.len(), 7, "{ends:?}");
    let length = bytes(dir.path(), &wal).len();
    for at in (0..length).step_by(if is_deep() { 11 } else { 401 }) {
        let mut damaged = with_flip(dir.path(), &wal, at, 0x10);
        let batch = ends.iter().position(|end| at < *end).expect("inside");
        if batch < ends.len() - 1 {
            let found = damaged.refusal();
            let start = if batch == 0 { 0 } else { ends[batch - 1] };
            assert_eq!(found.kind, CORRUPT, "byte {at}: {}", found.text);
            let place = format!("{wal}, offset {start}");
            assert!(found.text.contains(&place), "{} does not say {place}", found.text);
            continue;
        }
        let log = damaged.log.as_mut().expect("a torn write is no damage");
        let tail = now(log.recover()).expect("recovers").tail;
        assert!(matches!(tail, Tail::TornDiscarded { .. }), "{tail:?}");
        let seen = damaged.inspected().expect("sound");
        assert_eq!(seen.bounds.last, id(11, 1), "one batch is gone, no more");
        assert_eq!(seen.hard_state, inspected.hard_state);
    }
}

/// A reopening proves the end of the log as a clean close does: its batches are not dropped later.
#[test]
fn batches_that_a_reopening_showed_must_not_be_missing_later() {
    let (dir, _) = a_log(300, false);
    let before = copy(dir.path());
    drop(open(dir.path()).expect("opens"));
    // The tables and the manifest from before the opening, and the durable mark from after it.
    let durable_mark = bytes(dir.path(), "proof");
    let wal = newest_wal(before.path());
    std::fs::remove_file(before.path().join(&wal)).expect("it is there");
    let found = with_bytes(before.path(), "proof", &durable_mark).refusal();
    assert_eq!(found.kind, CORRUPT, "{}", found.text);
}

/// A write-ahead log that ends early may never have been longer, as far as the last durable mark
/// allows.
#[test]
fn a_shorter_write_ahead_log_is_a_prefix_of_batches() {
    let (dir, _) = a_log(3000, false);
    let wal = newest_wal(dir.path());
    let whole = bytes(dir.path(), &wal);
    let mut lasts = Vec::new();
    for cut in (0..=whole.len()).step_by(500).chain([whole.len()]) {
        let seen = with_bytes(dir.path(), &wal, &whole[..cut]).inspected();
        let last = seen.unwrap_or_else(|found| panic!("{}", found.text)).bounds.last;
        lasts.push(last.index.get());
    }
    lasts.dedup();
    assert_eq!(lasts, [5, 6, 7, 8, 9, 10, 11, 14], "complete batches, one after the other");
}

#[test]
fn after_a_clean_close_a_missing_a_longer_and_a_shorter_file_are_damage() {
    let (dir, _) = a_log(300, true);
    for name in files(dir.path()) {
        if ["IDENTITY", "LOCK", "OPTIONS", "lock"].iter().any(|it| name.contains(it)) {
            continue;
        }
        let whole = bytes(dir.path(), &name);
        let longer = [&whole[..], b"x"].concat();
        let shorter = &whole[..whole.len().saturating_sub(1)];
        for changed in [&longer[..], shorter].into_iter().filter(|it| *it != whole) {
            let found = with_bytes(dir.path(), &name, changed).refusal();
            assert_eq!(found.kind, CORRUPT, "{name}: {}", found.text);
        }
        let copied = copy(dir.path());
        std::fs::remove_file(copied.path().join(&name)).expect("it is there");
        let error = open(copied.path()).err().unwrap_or_else(|| panic!("{name} is missing"));
        assert_eq!(error.kind, CORRUPT, "{name}: {error}");
    }
}

#[test]
fn while_a_store_is_not_closed_a_missing_file_is_damage() {
    let (dir, _) = a_log(300, false);
    for name in files(dir.path()) {
        if ["IDENTITY", "LOCK", "OPTIONS", "lock"].iter().any(|it| name.contains(it)) {
            continue;
        }
        let copied = copy(dir.path());
        std::fs::remove_file(copied.path().join(&name)).expect("it is there");
        let error = open(copied.path()).err().unwrap_or_else(|| panic!("{name} is missing"));
        assert_eq!(error.kind, CORRUPT, "{name}: {error}");
        assert!(error.place.contains("/db") || error.place.contains("/proof"), "{error}");
    }
}

#[test]
fn files_of_another_log_are_damage() {
    let (one, _) = a_log(300, false);
    let (other, _) = a_log(300, false);
    let wal = newest_wal(one.path());
    assert_eq!(wal, newest_wal(other.path()), "the same history");
    for name in ["proof", &wal] {
        let found = with_bytes(one.path(), name, &bytes(other.path(), name)).refusal();
        assert_eq!(found.kind, CORRUPT, "{name}: {}", found.text);
    }
}

#[test]
fn a_missing_database_is_not_a_new_log() {
    let (dir, _) = a_log(300, true);
    std::fs::remove_dir_all(dir.path().join("db")).expect("it is there");
    assert_eq!(kind(open(dir.path())), CORRUPT);
}

/// Changes a database without the store, as a later version or a bug would.
fn change(dir: &Path, act: impl FnOnce(&DB)) -> TempDir {
    let copied = copy(dir);
    let mut options = Options::default();
    options.set_atomic_flush(true);
    let families = ["default", "log"];
    let database = DB::open_cf(&options, copied.path().join("db"), families).expect("opens");
    act(&database);
    for family in families {
        database.flush_cf(database.cf_handle(family).expect("is there")).expect("flushes");
    }
    drop(database);
    copied
}

#[test]
fn a_newer_format_is_distinguished_from_damage() {
    let (dir, _) = a_log(300, false);
    let newer = change(dir.path(), |database| {
        let mut state = database.get("state").expect("reads").expect("is there");
        state[4] = 2;
        database.put("state", state).expect("writes");
    });
    let error = open(newer.path()).err().expect("too new");
    assert_eq!(error.kind, LogErrorKind::Format, "{error}");
    assert!(error.place.contains("version 2"), "{error}");
    let found = with_flip(dir.path(), "proof", 8, 3).refusal();
    assert_eq!(found.kind, LogErrorKind::Format, "{}", found.text);
    assert!(found.text.contains("version 2"), "{}", found.text);
}

#[test]
fn a_database_of_another_program_is_not_a_log() {
    let dir = tempfile::tempdir().expect("a directory");
    drop(DB::open_default(dir.path().join("db")).expect("a new database"));
    let error = open(dir.path()).err().expect("not a log");
    assert_eq!(error.kind, LogErrorKind::Format, "{error}");
}

/// Marks are checked at open, entries when they are read; each error names the record.
#[test]
fn a_changed_record_is_damage_and_is_named() {
    let (dir, _) = a_log(300, false);
    let key = |family: u8, at: u64| [&[family][..], &at.to_be_bytes()].concat();
    for (name, record) in [("run", key(b'r', 11)), ("first run", key(b'r', 1))] {
        let changed = change(dir.path(), |database| {
            let mut value = database.get(&record).expect("reads").expect("is there");
            value[0] ^= 1;
            database.put(&record, value).expect("writes");
        });
        assert_eq!(kind(open(changed.path())), CORRUPT, "{name}");
        let removed = change(dir.path(), |database| database.delete(&record).expect("writes"));
        assert_eq!(kind(open(removed.path())), CORRUPT, "{name}");
    }
    let damage = LogErrorKind::Corrupt { index: Some(index(4)) };
    let entry = 4_u64.to_be_bytes();
    for at in [None, Some(0), Some(9), Some(17), Some(20), Some(22), Some(30)] {
        let changed = change(dir.path(), |database| {
            let log = database.cf_handle("log").expect("is there");
            let Some(at) = at else {
                return database.delete_cf(log, entry).expect("writes");
            };
            let mut value = database.get_cf(log, entry).expect("reads").expect("is there");
            value[at] ^= 1;
            database.put_cf(log, entry, value).expect("writes");
        });
        let log = open(changed.path()).expect("payloads are read later");
        let mut reader = log.reader();
        let sound = now(reader.read(index(3)..index(6), u64::MAX)).expect("entry 3");
        assert_eq!(sound.len(), 1, "{at:?}: the entry before it");
        assert_eq!(kind(now(reader.read(index(4)..index(6), u64::MAX))), damage, "{at:?}");
        assert_eq!(now(reader.term(index(4))).expect("readable"), Term::new(1));
        now(reader.read(index(5)..index(6), u64::MAX)).expect("the next is sound");
    }
}
