//! The use of a log: reopening, purging, large values, reads in parallel with the writer, refusals.

use bytes::Bytes;
use log_sqlite::{SqliteLog, SqliteLogConfig};
use raft_core::storage::{Detects, LogErrorKind, LogStore, Refusal, StableStore, Store, Tail};
use raft_core::storage::{LogOp, WriteBatch};
use raft_core::types::{Entry, EntryKind, HardState, LogIndex, NodeId, Term};

use crate::samples::{entries, id, index, kind, look, now, open, sized_entry};

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

#[test]
fn what_was_written_is_there_after_a_close_and_after_a_drop() {
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
fn an_unknown_file_is_named_and_nothing_is_changed() {
    let dir = tempfile::tempdir().expect("a directory");
    std::fs::write(dir.path().join("letter.txt"), "dear reader").expect("writes");
    let error = open(dir.path()).err().expect("not a log");
    assert_eq!(error.kind, LogErrorKind::Format);
    assert!(error.place.contains("letter.txt"), "{error}");
    assert!(!dir.path().join("log.db").exists());
}

#[test]
fn a_database_of_another_program_is_no_log() {
    let dir = tempfile::tempdir().expect("a directory");
    std::fs::write(dir.path().join("log.db"), vec![7; 8192]).expect("writes");
    assert_eq!(kind(open(dir.path())), LogErrorKind::Format);
}

#[test]
fn the_leftovers_of_an_interrupted_creation_are_removed() {
    let dir = tempfile::tempdir().expect("a directory");
    for name in ["new.db", "new.db-wal", "new.proof"] {
        std::fs::write(dir.path().join(name), "half").expect("writes");
    }
    drop(open(dir.path()).expect("a new log"));
    assert!(!dir.path().join("new.db").exists());
}

#[test]
fn purged_space_is_used_again() {
    let dir = tempfile::tempdir().expect("a directory");
    let mut log = open(dir.path()).expect("a new log");
    let mut sizes = Vec::new();
    for round in 0..8_u64 {
        for part in 0..20 {
            let first = round * 1000 + part * 50 + 1;
            let batch = (first..first + 50).map(|at| sized_entry(at, 1, round, 1000)).collect();
            now(log.write(WriteBatch::of_entries(batch))).expect("sound");
        }
        let last = log.bounds().last;
        now(log.purge_upto(last)).expect("sound");
        sizes.push(std::fs::metadata(dir.path().join("log.db")).expect("is there").len());
    }
    assert!(sizes[7] <= sizes[1] * 3 / 2, "a megabyte each round must not add up: {sizes:?}");
    assert!(sizes[7] > 500_000, "the rounds were in the database: {sizes:?}");
    assert!(log.bounds().is_empty());
    assert_eq!(log.bounds().boundary, id(8000, 1));
    let read = now(log.reader().read(index(8000)..index(8001), 1));
    assert_eq!(kind(read), LogErrorKind::Compacted { boundary: id(8000, 1) });
}

#[test]
fn a_purge_larger_than_one_transaction_deletes_is_finished_by_later_writes() {
    let dir = tempfile::tempdir().expect("a directory");
    let mut log = open(dir.path()).expect("a new log");
    now(log.append(&entries(1..=5000, 1))).expect("sound");
    now(log.purge_upto(id(4990, 1))).expect("sound");
    let rows = |dir: &std::path::Path| {
        let database = rusqlite::Connection::open(dir.join("log.db")).expect("opens");
        let count = |row: &rusqlite::Row<'_>| row.get::<_, i64>(0);
        database.query_row("SELECT count(*) FROM log", [], count).expect("counts")
    };
    assert_eq!(rows(crate::samples::copy(dir.path()).path()), 5000 - 2048);
    drop(log);
    let mut log = open(dir.path()).expect("opens with rows below the boundary");
    assert_eq!(look(&mut log).expect("sound").entries, entries(4991..=5000, 1));
    now(log.append(&entries(5001..=5001, 1))).expect("sound");
    now(log.append(&entries(5002..=5002, 1))).expect("sound");
    assert_eq!(rows(crate::samples::copy(dir.path()).path()), 12);
}

#[test]
fn large_and_empty_values_come_back_whole() {
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
fn a_boundary_that_no_row_can_have_is_kept_and_an_entry_after_it_refused() {
    let dir = tempfile::tempdir().expect("a directory");
    let mut log = open(dir.path()).expect("a new log");
    now(log.append(&entries(1..=3, 1))).expect("sound");
    let far = id(u64::MAX - 5, 9);
    now(log.reset(far)).expect("a reset goes anywhere");
    let entry = sized_entry(u64::MAX - 4, 9, 0, 3);
    let LogErrorKind::Refused(Refusal::TooLarge { .. }) = kind(now(log.append(&[entry]))) else {
        panic!("no row can have this key");
    };
    drop(log);
    let mut log = open(dir.path()).expect("opens");
    assert_eq!((log.bounds().boundary, log.bounds().last), (far, far));
    now(log.reset(id(5, 10))).expect("back to where rows are");
    now(log.append(&entries(6..=7, 10))).expect("sound");
    assert_eq!(look(&mut log).expect("sound").entries, entries(6..=7, 10));
}

#[test]
fn readers_see_one_moment_while_the_writer_truncates_and_purges() {
    let dir = tempfile::tempdir().expect("a directory");
    let mut log = open(dir.path()).expect("a new log");
    now(log.append(&entries(1..=40, 1))).expect("sound");
    let mut reader = log.reader();
    let reading = std::thread::spawn(move || {
        let mut seen = 0;
        loop {
            match now(reader.read(index(20)..index(41), u64::MAX)) {
                Ok(entries) => {
                    seen += 1;
                    let term = entries[20].id.term.get();
                    let is_of = |entry: &Entry| {
                        entry == &sized_entry(entry.id.index.get(), term, 0, 20)
                            || entry.id.term < Term::new(term)
                    };
                    assert!(entries.iter().all(is_of), "entries are those of their ids");
                }
                Err(error) => match error.kind {
                    LogErrorKind::Unavailable { .. } => {}
                    LogErrorKind::Compacted { .. } => return seen,
                    _ => panic!("{error}"),
                },
            }
        }
    });
    for term in 2..60 {
        let batch = WriteBatch {
            truncate_after: Some(index(25)),
            append: entries(26..=40, term),
            ..WriteBatch::default()
        };
        now(log.write(batch)).expect("sound");
    }
    now(log.purge_upto(id(30, 59))).expect("sound");
    reading.join().expect("never damage");
}

#[test]
fn a_reader_of_a_dropped_store_gets_an_error() {
    let dir = tempfile::tempdir().expect("a directory");
    let mut log = open(dir.path()).expect("a new log");
    now(log.append(&entries(1..=2, 1))).expect("sound");
    let mut reader = log.reader();
    now(reader.read(index(1)..index(3), 1)).expect("reads");
    drop(log);
    assert_eq!(kind(now(reader.read(index(1)..index(3), 1))), LogErrorKind::Io);
}

/// Another connection that holds the write lock is the simplest failure of a commit.
#[test]
fn a_failed_write_poisons_the_handle_and_opening_again_helps() {
    let dir = tempfile::tempdir().expect("a directory");
    let mut log = open(dir.path()).expect("a new log");
    now(log.append(&entries(1..=3, 1))).expect("sound");
    let intruder = rusqlite::Connection::open(dir.path().join("log.db")).expect("opens");
    intruder.execute_batch("BEGIN IMMEDIATE").expect("locks");
    let error = now(log.append(&entries(4..=4, 1))).expect_err("the lock is held");
    assert_eq!((error.op, error.kind), (LogOp::Append, LogErrorKind::Io));
    intruder.execute_batch("ROLLBACK").expect("unlocks");
    assert_eq!(kind(now(log.append(&entries(4..=4, 1)))), LogErrorKind::Poisoned);
    assert_eq!(kind(now(log.close())), LogErrorKind::Poisoned);
    let hard_state = HardState { term: Term::new(1), vote: None };
    assert_eq!(kind(now(log.save_hard_state(hard_state))), LogErrorKind::Poisoned);
    drop((log, intruder));
    let mut log = open(dir.path()).expect("opens again");
    assert_eq!(log.bounds().last.index, LogIndex::new(3));
    now(log.append(&entries(4..=4, 1))).expect("accepts writes");
}

/// What went unnoticed when it was planted: a handle accepted writes after it could not write its
/// durable mark (P15).
#[test]
fn a_close_that_cannot_prove_its_end_poisons() {
    let dir = tempfile::tempdir().expect("a directory");
    let mut log = open(dir.path()).expect("a new log");
    now(log.append(&entries(1..=3, 1))).expect("sound");
    // The durable mark is first written under this name.
    let obstacle = dir.path().join("new.proof");
    std::fs::create_dir(&obstacle).expect("made");
    assert_eq!(kind(now(log.close())), LogErrorKind::Io);
    std::fs::remove_dir(&obstacle).expect("removed");
    assert_eq!(kind(now(log.append(&entries(4..=4, 1)))), LogErrorKind::Poisoned);
    assert_eq!(kind(now(log.close())), LogErrorKind::Poisoned);
    drop(log);
    let mut log = open(dir.path()).expect("opens again");
    assert_eq!(look(&mut log).expect("sound").entries, entries(1..=3, 1));
}

#[test]
fn the_store_declares_what_it_is() {
    let dir = tempfile::tempdir().expect("a directory");
    let log = SqliteLog::open(SqliteLogConfig::new(dir.path())).expect("a new log");
    let info = log.info();
    assert_eq!((info.backend.as_ref(), info.detects), ("sqlite", Detects::ProvenPrefix));
    assert!(info.atomic_batch && info.may_block);
    if cfg!(target_os = "linux") {
        assert_eq!(info.sync_verb, "fdatasync", "the workspace's cargo configuration was not used");
    }
}

#[test]
fn a_membership_that_does_not_parse_is_damage_when_it_is_asked_for() {
    let dir = tempfile::tempdir().expect("a directory");
    let mut log = open(dir.path()).expect("a new log");
    let entry = Entry::new(id(1, 1), EntryKind::Membership, Bytes::from_static(b"\x01?"));
    now(log.append(&[entry])).expect("the store does not look into payloads");
    assert_eq!(kind(now(log.recover())), LogErrorKind::Corrupt { index: Some(index(1)) });
    // An unknown version is a newer one.
    let entry = Entry::new(id(1, 1), EntryKind::Membership, Bytes::from_static(b"\x7f?"));
    now(log.write(WriteBatch {
        truncate_after: Some(index(0)),
        ..WriteBatch::of_entries(vec![entry])
    }))
    .expect("the store does not look into payloads");
    assert_eq!(kind(now(log.recover())), LogErrorKind::Format);
}

/// What went wrong: a batch that resets, appends and purges left the rows of what it purged, where
/// the state said that there were none.
#[test]
fn a_reset_with_a_purge_leaves_no_rows_of_what_is_purged() {
    let dir = tempfile::tempdir().expect("a directory");
    let mut log = open(dir.path()).expect("a new log");
    now(log.append(&entries(1..=5, 1))).expect("sound");
    let (reset, purge_upto) = (Some(id(10, 1)), Some(id(300, 1)));
    let append = entries(11..=400, 1);
    now(log.write(WriteBatch { reset, append, purge_upto, ..WriteBatch::default() }))
        .expect("sound");
    now(log.close()).expect("closes");
    let database = rusqlite::Connection::open(dir.path().join("log.db")).expect("a database");
    let count = "SELECT count(*), min(idx) FROM log";
    let rows: (i64, i64) =
        database.query_row(count, [], |row| Ok((row.get(0)?, row.get(1)?))).expect("readable");
    assert_eq!(rows, (100, 301));
}

/// The root of a mounted file system holds `lost+found`.
#[test]
fn a_log_may_lie_in_the_root_of_a_file_system() {
    let dir = tempfile::tempdir().expect("a directory");
    std::fs::create_dir(dir.path().join("lost+found")).expect("made");
    drop(open(dir.path()).expect("a new log"));
    drop(open(dir.path()).expect("opens"));
    assert!(dir.path().join("lost+found").is_dir());
}
