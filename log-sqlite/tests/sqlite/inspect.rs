//! Inspecting a log without changing it, and verifying all of its checksums.

use std::path::Path;

use log_sqlite::SqliteLog;
use raft_core::storage::{Inspect, LogError, LogErrorKind, Store, Tail, WriteBatch};

use crate::damage::{a_log, bytes, close, open};
use crate::fixture::frozen_dir;
use crate::samples::{Inspected, copy, entries, is_deep, kind, look, now};

/// Everything that an inspection shows, in the form in which an open log is examined.
fn seen_by(inspection: &dyn Inspect) -> Inspected {
    let inspected = inspection.result();
    let mut recovered = inspected.recovered.clone();
    recovered.tail = Tail::Clean;
    let bounds = recovered.bounds;
    let range = bounds.first()..bounds.last.index.next();
    let entries = now(inspection.reader().read(range, u64::MAX)).expect("reads");
    let (hard_state, identity) = (recovered.hard_state, inspected.identity);
    Inspected { bounds, hard_state, identity, recovered, entries }
}

fn verify(inspection: &mut dyn Inspect) -> Vec<String> {
    let found = inspection.verify(&mut |done, all| assert!(done <= all));
    found.iter().map(LogError::to_string).collect()
}

/// The names, bytes and times of change of all files.
fn state_of(dir: &Path) -> Vec<(String, Vec<u8>, std::time::SystemTime)> {
    let files = std::fs::read_dir(dir).expect("lists").map(|file| {
        let file = file.expect("a file");
        let changed = file.metadata().expect("its times").modified().expect("a time");
        let name = file.file_name().to_string_lossy().into_owned();
        (name, std::fs::read(file.path()).expect("reads"), changed)
    });
    let mut files: Vec<_> = files.collect();
    files.sort();
    files
}

#[test]
fn an_inspection_shows_what_open_shows_and_changes_nothing() {
    for (checkpoint_bytes, is_closed) in [(u64::MAX, true), (u64::MAX, false), (1, true)] {
        let (dir, inspected) = a_log(checkpoint_bytes, |log| {
            if is_closed {
                close(log);
            }
        });
        let before = state_of(dir.path());
        let mut inspection = SqliteLog::inspect(dir.path()).expect("there is a log");
        assert_eq!(seen_by(inspection.as_ref()), inspected);
        assert_eq!(verify(inspection.as_mut()), [""; 0]);
        let seen = inspection.result();
        assert_eq!(seen.damage.as_ref().map(LogError::to_string), None);
        assert_eq!(seen.beyond.is_empty(), is_closed, "{:?}", seen.beyond);
        drop(inspection);
        assert_eq!(state_of(dir.path()), before, "nothing was changed");
        assert_eq!(look(&mut open(dir.path()).expect("opens")).expect("sound"), inspected);
    }
}

/// If the write-ahead log is missing or empty, none is created.
#[test]
fn no_write_ahead_log_is_created() {
    let dir = copy(&frozen_dir());
    let fresh = tempfile::tempdir().expect("a directory");
    drop(open(fresh.path()).expect("a new log"));
    let _ = std::fs::remove_file(fresh.path().join("log.db-wal"));
    for dir in [dir.path(), fresh.path()] {
        let before = state_of(dir);
        let mut inspection = SqliteLog::inspect(dir).expect("there is a log");
        assert_eq!(verify(inspection.as_mut()), [""; 0]);
        drop(inspection);
        assert_eq!(state_of(dir), before);
    }
}

/// If verification finds nothing, the log opens to exactly what it was; if it finds damage, it
/// names the file.
#[test]
fn a_log_that_is_verified_is_whole() {
    let mut found = 0;
    for checkpoint_bytes in [u64::MAX, 1] {
        let (dir, inspected) = a_log(checkpoint_bytes, close);
        for name in ["log.db", "log.db-wal", "proof"] {
            let step = if is_deep() || name == "proof" { 1 } else { 151 };
            let sound = bytes(dir.path(), name);
            for at in (0..sound.len()).step_by(step) {
                let mut flipped = sound.clone();
                flipped[at] ^= 1 << (at % 8);
                std::fs::write(dir.path().join(name), &flipped).expect("writes");
                let looked = SqliteLog::inspect(dir.path());
                let findings = match looked {
                    Ok(mut inspection) => verify(inspection.as_mut()),
                    Err(error) => vec![error.to_string()],
                };
                if findings.is_empty() {
                    let copied = copy(dir.path());
                    let opened = open(copied.path()).and_then(|mut log| look(&mut log));
                    let seen = opened.unwrap_or_else(|e| panic!("byte {at} of {name}: {e}"));
                    assert_eq!(seen, inspected, "byte {at} of {name}");
                } else {
                    found += 1
                }
            }
            std::fs::write(dir.path().join(name), sound).expect("writes");
        }
    }
    assert!(found > 200, "{found} found");
}

#[test]
fn a_damaged_payload_and_a_lost_end_are_named() {
    let (dir, inspected) = a_log(1, close);
    let mut rotten = bytes(dir.path(), "log.db");
    let at = rotten.windows(9).position(|nine| nine == b"7@1 by 1.").expect("the payload");
    rotten[at + 5] ^= 1;
    std::fs::write(dir.path().join("log.db"), rotten).expect("writes");
    let mut inspection = SqliteLog::inspect(dir.path()).expect("there is a log");
    assert_eq!(inspection.result().recovered.bounds, inspected.bounds, "the ids are sound");
    let findings = verify(inspection.as_mut());
    assert!(findings.len() == 1 && findings[0].contains("idx 7"), "{findings:?}");

    let (dir, _) = a_log(u64::MAX, close);
    let wal = bytes(dir.path(), "log.db-wal");
    std::fs::write(dir.path().join("log.db-wal"), &wal[..wal.len() / 2]).expect("writes");
    let mut inspection = SqliteLog::inspect(dir.path()).expect("there is a log");
    assert!(verify(inspection.as_mut())[0].contains("log.db-wal"));
    assert!(inspection.result().identity.is_some(), "the contents before the damage are shown");
    let bounds = inspection.result().recovered.bounds;
    let range = bounds.first()..bounds.last.index.next();
    assert!(!now(inspection.reader().read(range, u64::MAX)).expect("sound").is_empty());
}

#[test]
fn a_directory_without_a_log_or_in_use_is_refused() {
    let dir = tempfile::tempdir().expect("a directory");
    let missing = SqliteLog::inspect(dir.path().join("gone")).err().expect("nothing there");
    assert!(missing.to_string().contains("gone"), "{missing}");
    assert_eq!(kind(SqliteLog::inspect(dir.path()).map(|_| ())), LogErrorKind::Format);
    assert_eq!(state_of(dir.path()), []);
    let mut log = open(dir.path()).expect("a new log");
    now(log.write(WriteBatch::of_entries(entries(1..=2, 1)))).expect("sound");
    let error = SqliteLog::inspect(dir.path()).err().expect("it is in use");
    assert_eq!(error.kind, LogErrorKind::InUse);
    drop(log);
    let one = SqliteLog::inspect(dir.path()).expect("there is a log");
    let other = SqliteLog::inspect(dir.path()).expect("two inspections at once are allowed");
    assert_eq!(seen_by(one.as_ref()), seen_by(other.as_ref()));
    assert_eq!(kind(open(dir.path()).map(|_| ())), LogErrorKind::InUse);
}
