//! Damage never passes for data: bytes of a log's files are flipped, and the log either is what it
//! was or says that it is not.

use std::path::Path;

use log_sqlite::{SqliteLog, SqliteLogConfig};
use raft_core::storage::{LogError, LogErrorKind, StableStore, Store, Tail, WriteBatch};
use raft_core::types::{ClusterId, HardState, Identity, NodeId, StoreId, Term};
use tempfile::TempDir;

use crate::samples::{Inspected, copy, entries, id, index, is_deep, kind, look, now, sized_entry};

const WAL: &str = "log.db-wal";
const FRAME: usize = 4120;

fn open_with(dir: &Path, checkpoint_bytes: u64) -> Result<SqliteLog, LogError> {
    SqliteLog::open(SqliteLogConfig { checkpoint_bytes, ..SqliteLogConfig::new(dir) })
}

pub fn open(dir: &Path) -> Result<SqliteLog, LogError> {
    open_with(dir, u64::MAX)
}

/// Writes a vote, an identity, large entries, a truncation and a purge; then does what `end` says.
/// The content of the directory before the store is dropped is what a kill leaves.
pub fn a_log(checkpoint_bytes: u64, end: impl Fn(&mut SqliteLog)) -> (TempDir, Inspected) {
    let dir = tempfile::tempdir().expect("a directory");
    let mut log = open_with(dir.path(), checkpoint_bytes).expect("a new log");
    let node = NodeId::new(1).expect("not zero");
    let identity = Identity { cluster: ClusterId(1), node, store: StoreId(2) };
    now(log.save_identity(&identity)).expect("the first");
    let mut batch = WriteBatch::of_entries(entries(1..=5, 1));
    batch.hard_state = Some(HardState { term: Term::new(2), vote: Some(node) });
    now(log.write(batch)).expect("sound");
    for at in 6..12 {
        now(log.write(WriteBatch::of_entries(vec![sized_entry(at, 1, 1, 3000)]))).expect("sound");
    }
    let cut = WriteBatch {
        truncate_after: Some(index(10)),
        purge_upto: Some(id(2, 1)),
        commit_hint: Some(index(2)),
        ..WriteBatch::of_entries(entries(11..=14, 2))
    };
    now(log.write(cut)).expect("sound");
    end(&mut log);
    let inspected = look(&mut log).expect("sound");
    let copied = copy(dir.path());
    (copied, inspected)
}

pub fn close(log: &mut SqliteLog) {
    now(log.close()).expect("closes");
}

pub fn bytes(dir: &Path, name: &str) -> Vec<u8> {
    std::fs::read(dir.join(name)).expect("it is there")
}

/// The log that remains when one byte of a file has another value.
fn with_flip(dir: &Path, name: &str, at: usize, mask: u8) -> Damaged {
    let mut flipped = bytes(dir, name);
    flipped[at] ^= mask;
    with_bytes(dir, name, &flipped)
}

fn with_bytes(dir: &Path, name: &str, bytes: &[u8]) -> Damaged {
    let copied = copy(dir);
    std::fs::write(copied.path().join(name), bytes).expect("writes");
    let log = open(copied.path());
    Damaged { log, _dir: copied }
}

/// A log that was opened on damaged files, or why it was not; and its directory.
struct Damaged {
    log: Result<SqliteLog, LogError>,
    _dir: TempDir,
}

impl Damaged {
    /// What it shows, and whether it accepts writes as if nothing had happened.
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

/// The bytes to flip: all of the headers, and one in `step` of the rest.
fn places(name: &str, length: usize, step: usize) -> Vec<usize> {
    let is_header = |at: usize| match name {
        WAL => at < 32 || (at - 32) % FRAME < 24,
        _ => at < 100,
    };
    (0..length).filter(|at| at % step == 0 || (is_header(*at) && at % 3 == 0)).collect()
}

/// Flips one byte after another; returns how many flips were noticed, and how many did no harm.
fn flip_all(dir: &Path, inspected: &Inspected, step: usize) -> (usize, usize) {
    let (mut noticed, mut harmless) = (0, 0);
    for name in [WAL, "log.db", "proof"] {
        for at in places(name, bytes(dir, name).len(), step) {
            match with_flip(dir, name, at, 1 << (at % 8)).inspected() {
                Ok(seen) => {
                    assert_eq!(&seen, inspected, "byte {at} of {name} passed for data");
                    harmless += 1;
                }
                Err(Finding { kind, text }) => {
                    let is_read_only = text.contains("readonly database");
                    let is_reported = matches!(kind, LogErrorKind::Corrupt { .. })
                        || kind == LogErrorKind::Format
                        || is_read_only;
                    assert!(is_reported, "byte {at} of {name}: {text}");
                    assert!(text.contains("log.db") || text.contains("proof"), "{text}");
                    noticed += 1;
                }
            }
        }
    }
    (noticed, harmless)
}

#[test]
fn a_flip_in_a_closed_log_is_noticed_or_harmless() {
    let (dir, inspected) = a_log(u64::MAX, close);
    let (noticed, harmless) = flip_all(dir.path(), &inspected, if is_deep() { 1 } else { 211 });
    // Most pages of the database have a newer image in the write-ahead log.
    assert!(noticed > harmless, "{noticed} noticed, {harmless} harmless");
}

#[test]
fn a_flip_in_a_checkpointed_log_is_noticed_or_harmless() {
    let (dir, inspected) = a_log(1, close);
    let (noticed, harmless) = flip_all(dir.path(), &inspected, if is_deep() { 1 } else { 101 });
    assert!(noticed > 150, "{noticed} noticed, {harmless} harmless");
}

/// Reopening proves the tail as a clean close does: what it showed is not dropped later.
#[test]
fn a_flip_after_reopening_is_noticed() {
    let (dir, _) = a_log(u64::MAX, |_| ());
    drop(open(dir.path()).expect("opens"));
    let last = bytes(dir.path(), WAL).len() - 100;
    let found = with_flip(dir.path(), WAL, last, 4).refusal();
    assert_eq!(found.kind, LogErrorKind::Corrupt { index: None }, "{}", found.text);
}

/// Only the last transaction may pass for a torn write, and only while nothing proves it.
#[test]
fn an_unproven_last_transaction_is_dropped_and_no_other() {
    let (dir, inspected) = a_log(u64::MAX, |_| ());
    let wal = bytes(dir.path(), WAL);
    let frames = (wal.len() - 32) / FRAME;
    let commits: Vec<usize> =
        (0..frames).filter(|frame| wal[32 + frame * FRAME + 4..][..4] != [0; 4]).collect();
    let last_starts = 32 + (commits[commits.len() - 2] + 1) * FRAME;
    for frame in 0..frames {
        for within in [5, 9, 17, 30, 2000, FRAME - 1] {
            let at = 32 + frame * FRAME + within;
            let mut damaged = with_flip(dir.path(), WAL, at, 0x10);
            if at < last_starts {
                let found = damaged.refusal();
                let place = format!("{WAL}, offset {}", 32 + frame * FRAME);
                assert_eq!(found.kind, LogErrorKind::Corrupt { index: None }, "{}", found.text);
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
}

#[test]
fn a_changed_header_of_the_write_ahead_log_is_damage() {
    let (dir, _) = a_log(u64::MAX, |_| ());
    for at in 0..32 {
        let found = with_flip(dir.path(), WAL, at, 1).refusal();
        assert_eq!(found.kind, LogErrorKind::Corrupt { index: None }, "{}", found.text);
    }
}

/// A write-ahead log that ends early may be one that was never longer, down to the last durable
/// mark.
#[test]
fn a_shorter_write_ahead_log_is_a_prefix_of_batches_and_never_below_the_durable_mark() {
    let (open_dir, inspected) = a_log(u64::MAX, |_| ());
    let (closed_dir, _) = a_log(u64::MAX, close);
    let length = bytes(open_dir.path(), WAL).len();
    let mut lasts = Vec::new();
    for cut in (0..length).step_by(FRAME / 2) {
        let wal = bytes(open_dir.path(), WAL);
        let seen = with_bytes(open_dir.path(), WAL, &wal[..cut]).inspected();
        let last = seen.unwrap_or_else(|found| panic!("{}", found.text)).bounds.last;
        assert!(last <= inspected.bounds.last || last == id(11, 1), "{last}");
        lasts.push(last.index.get());
        let wal = bytes(closed_dir.path(), WAL);
        let found = with_bytes(closed_dir.path(), WAL, &wal[..cut]).refusal();
        assert_eq!(found.kind, LogErrorKind::Corrupt { index: None });
    }
    lasts.dedup();
    assert_eq!(lasts, [0, 5, 6, 7, 8, 9, 10, 11], "whole batches, one after the other");
}

#[test]
fn a_missing_file_is_damage() {
    for name in [WAL, "log.db", "proof"] {
        let (dir, _) = a_log(u64::MAX, close);
        std::fs::remove_file(dir.path().join(name)).expect("it is there");
        assert_eq!(kind(open(dir.path())), LogErrorKind::Corrupt { index: None }, "{name}");
    }
}

#[test]
fn files_of_another_log_are_damage() {
    for name in [WAL, "log.db", "proof"] {
        let (one, _) = a_log(u64::MAX, close);
        let (other, _) = a_log(u64::MAX, close);
        let found = with_bytes(one.path(), name, &bytes(other.path(), name)).refusal();
        assert_eq!(found.kind, LogErrorKind::Corrupt { index: None }, "{name}: {}", found.text);
    }
}

#[test]
fn a_newer_format_is_distinguished_from_damage() {
    let (dir, _) = a_log(u64::MAX, close);
    let mut header = bytes(dir.path(), "log.db");
    header[63] = 2;
    let found = with_bytes(dir.path(), "log.db", &header).refusal();
    assert_eq!(found.kind, LogErrorKind::Format, "{}", found.text);
    assert!(found.text.contains("version 2"), "{}", found.text);
}

/// Rows are changed directly in SQLite: their numbers are checked at open, and payloads when they
/// are read.
#[test]
fn a_changed_row_is_damage_and_named() {
    for (change, is_seen_at_open) in [
        ("UPDATE log SET term = 2 WHERE idx = 4", true),
        ("UPDATE log SET kind = 0 WHERE idx = 4", true),
        ("UPDATE log SET hash = hash + 1 WHERE idx = 4", true),
        ("UPDATE log SET head = head + 1 WHERE idx = 4", true),
        ("UPDATE log SET payload = x'00' WHERE idx = 4", true),
        ("DELETE FROM log WHERE idx = 4", true),
        ("UPDATE log SET payload = zeroblob(length(payload)) WHERE idx = 4", false),
    ] {
        let (dir, _) = a_log(u64::MAX, close);
        let database = rusqlite::Connection::open(dir.path().join("log.db")).expect("opens");
        assert_eq!(database.execute(change, []).expect("changes"), 1);
        drop(database);
        let damage = LogErrorKind::Corrupt { index: Some(index(4)) };
        match open(dir.path()) {
            Err(error) => assert!(is_seen_at_open && error.kind == damage, "{change}: {error}"),
            Ok(log) => {
                assert!(!is_seen_at_open, "{change} was not detected");
                let mut reader = raft_core::storage::LogStore::reader(&log);
                let sound = now(reader.read(index(3)..index(6), u64::MAX)).expect("entry 3");
                assert_eq!(sound.len(), 1, "the entry before the damage is readable");
                assert_eq!(kind(now(reader.read(index(4)..index(6), u64::MAX))), damage);
                assert_eq!(now(reader.term(index(4))).expect("readable"), Term::new(1));
                now(reader.read(index(5)..index(6), u64::MAX)).expect("the next is sound");
            }
        }
    }
}

/// What went unnoticed when it was planted: the frames of a later transaction prove that a damaged
/// one was synced, even where its own state record is damaged too.
#[test]
fn a_damaged_transaction_is_damage_though_the_state_behind_it_is_damaged_too() {
    let dir = tempfile::tempdir().expect("a directory");
    let mut log = open(dir.path()).expect("a new log");
    for at in 1..=3 {
        now(log.write(WriteBatch::of_entries(vec![sized_entry(at, 1, 1, 9000)]))).expect("sound");
    }
    let killed = copy(dir.path());
    let mut wal = bytes(killed.path(), WAL);
    let word = |wal: &[u8], at: usize| u32::from_be_bytes(wal[at..at + 4].try_into().expect("4"));
    let frames: Vec<usize> = (32..wal.len()).step_by(FRAME).collect();
    let is_commit = |at: &usize| word(&wal, at + 4) != 0;
    let commits: Vec<usize> = frames.iter().copied().filter(is_commit).collect();
    let [.., first, second, third] = commits[..] else { panic!("three transactions") };
    let is_state = |at: &usize| *at > second && *at <= third && word(&wal, *at) == 2;
    let state = frames.iter().copied().find(is_state).expect("each transaction writes the state");
    wal[state + 24..state + FRAME].fill(0);
    // The first frame of the second transaction.
    wal[first + FRAME + 1000] ^= 1;
    let finding = with_bytes(killed.path(), WAL, &wal).refusal();
    assert_eq!(finding.kind, LogErrorKind::Corrupt { index: None });
    assert!(finding.text.contains("a later transaction"), "{}", finding.text);
}

/// What went unnoticed when it was planted: the state record of an unfinished transaction proves
/// the transactions before it. They are missing here, since the database is an older one, as on a
/// disk that lost a checkpoint.
#[test]
fn an_unfinished_transaction_proves_those_before_it() {
    let dir = tempfile::tempdir().expect("a directory");
    // Each transaction begins at the front of the write-ahead log.
    let mut log = open_with(dir.path(), 1).expect("a new log");
    let older = bytes(dir.path(), "log.db");
    for at in 1..=3 {
        now(log.write(WriteBatch::of_entries(vec![sized_entry(at, 1, 1, 9000)]))).expect("sound");
    }
    let killed = copy(dir.path());
    let wal = bytes(killed.path(), WAL);
    let word = |at: usize| u32::from_be_bytes(wal[at..at + 4].try_into().expect("4"));
    let mut frames = (32..wal.len()).step_by(FRAME);
    let state = frames.find(|at| word(*at) == 2).expect("each transaction writes the state");
    let is_commit = |at: usize| word(at + 4) != 0;
    assert!((32..=state).step_by(FRAME).all(|at| !is_commit(at)), "its last frame is a later one");
    std::fs::write(killed.path().join(WAL), &wal[..state + FRAME]).expect("writes");
    let finding = with_bytes(killed.path(), "log.db", &older).refusal();
    assert_eq!(finding.kind, LogErrorKind::Corrupt { index: None });
    assert!(finding.text.contains("since batch 3 follows"), "{}", finding.text);
}
