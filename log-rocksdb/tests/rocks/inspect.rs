//! Tests of inspection, and of the check of all checksums.

use std::path::Path;
use std::time::SystemTime;

use log_rocksdb::RocksLog;
use raft_core::storage::{Inspect, LogError, LogErrorKind, Store, Tail, WriteBatch};

use crate::damage::{a_log, bytes};
use crate::fixture::frozen_dir;
use crate::samples::{
    Inspected, copy, entries, files, index, is_deep, kind, look, newest_wal, now, open,
};

/// The result of an inspection, in the form that is used for an open log.
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

/// The findings of the check, each with its cause.
fn verify(inspection: &mut dyn Inspect) -> Vec<String> {
    let found = inspection.verify(&mut |done, all| assert!(done <= all));
    let text = |error: &LogError| match &error.source {
        Some(source) => format!("{error}: {source}"),
        None => error.to_string(),
    };
    found.iter().map(text).collect()
}

/// The names, contents and modification times of all files.
fn state_of(dir: &Path) -> Vec<(String, Vec<u8>, SystemTime)> {
    let state = |name: String| {
        let changed = dir.join(&name).metadata().and_then(|it| it.modified()).expect("a time");
        (name.clone(), bytes(dir, &name), changed)
    };
    files(dir).into_iter().map(state).collect()
}

#[test]
fn an_inspection_shows_what_an_opening_shows_and_changes_nothing() {
    for is_closed in [true, false] {
        let (dir, inspected) = a_log(300, is_closed);
        let before = state_of(dir.path());
        let mut inspection = RocksLog::inspect(dir.path()).expect("there is a log");
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

#[test]
fn frozen_directories_are_sound_under_inspection() {
    for end in ["closed", "killed"] {
        let dir = copy(&frozen_dir(end));
        let before = state_of(dir.path());
        let mut inspection = RocksLog::inspect(dir.path()).expect("there is a log");
        assert_eq!(verify(inspection.as_mut()), [""; 0], "{end}");
        drop(inspection);
        assert_eq!(state_of(dir.path()), before, "{end}");
    }
}

/// If the check finds nothing, the log opens with its unchanged content; otherwise the check names
/// the file.
#[test]
fn a_verified_log_is_complete() {
    let mut found = 0;
    for is_closed in [true, false] {
        let (dir, _) = a_log(300, is_closed);
        // An opening writes everything into tables, and seals no file.
        let inspected = if is_closed {
            look(&mut open(copy(dir.path()).path()).expect("opens")).expect("sound")
        } else {
            look(&mut open(dir.path()).expect("opens")).expect("sound")
        };
        for name in files(dir.path()) {
            let step = if is_deep() { 1 } else { 47 };
            let step = if name.contains("OPTIONS") { 40 * step } else { step };
            let sound = bytes(dir.path(), &name);
            for at in (0..sound.len()).step_by(step) {
                let mut flipped = sound.clone();
                flipped[at] ^= 1 << (at % 8);
                std::fs::write(dir.path().join(&name), &flipped).expect("writes");
                let findings = match RocksLog::inspect(dir.path()) {
                    Ok(mut inspection) => verify(inspection.as_mut()),
                    Err(error) => vec![error.to_string()],
                };
                if findings.is_empty() {
                    let copied = copy(dir.path());
                    let opened = open(copied.path()).and_then(|mut log| look(&mut log));
                    let seen = opened.unwrap_or_else(|e| panic!("byte {at} of {name}: {e}"));
                    assert_eq!(seen, inspected, "byte {at} of {name}");
                } else {
                    let file = name.rsplit('/').next().expect("a name");
                    let is_named = |it: &String| it.contains(file) || it.contains("/db");
                    assert!(findings.iter().all(is_named), "{at} of {name}: {findings:?}");
                    found += 1;
                }
            }
            std::fs::write(dir.path().join(&name), sound).expect("writes");
        }
    }
    assert!(found > 100, "{found} found");
}

/// The first table that holds these bytes, and their offset.
fn table_with(dir: &Path, wanted: &[u8]) -> (String, usize) {
    let tables = files(dir).into_iter().filter(|name| name.ends_with(".sst"));
    let find = |name: String| {
        let at = bytes(dir, &name).windows(wanted.len()).position(|it| it == wanted)?;
        Some((name, at))
    };
    tables.into_iter().find_map(find).expect("it is stored")
}

#[test]
fn a_damaged_payload_is_named_with_its_file_and_the_rest_is_shown() {
    let (dir, inspected) = a_log(300, true);
    let (name, at) = table_with(dir.path(), b"7@1 by 1.");
    let mut rotten = bytes(dir.path(), &name);
    rotten[at + 5] ^= 1;
    std::fs::write(dir.path().join(&name), rotten).expect("writes");
    let mut inspection = RocksLog::inspect(dir.path()).expect("there is a log");
    assert_eq!(inspection.result().recovered.bounds, inspected.bounds, "the marks are sound");
    let findings = inspection.verify(&mut |_, _| ());
    assert_eq!(findings.len(), 1, "one block, one finding: {findings:?}");
    let place = &findings[0].place;
    assert!(place.contains(&format!("{name}, offset ")), "{place}");
    let LogErrorKind::Corrupt { index: Some(first) } = findings[0].kind else {
        panic!("{:?}", findings[0]);
    };
    assert!(first <= index(7), "the first entry of the block: {first}");
}

/// If a batch in the middle of a write-ahead log is bad, the content before it is shown, from the
/// tables and from the write-ahead log.
#[test]
fn the_content_before_damage_is_shown() {
    let (dir, _) = a_log(12_000, false);
    let wal = newest_wal(dir.path());
    let mut damaged = bytes(dir.path(), &wal);
    let nine = damaged.windows(9).position(|it| it == b"9@1 by 1.").expect("it is there");
    damaged[nine] ^= 1;
    std::fs::write(dir.path().join(&wal), damaged).expect("writes");
    let before = state_of(dir.path());
    let mut inspection = RocksLog::inspect(dir.path()).expect("there is a log");
    let findings = verify(inspection.as_mut());
    assert!(findings.len() == 1 && findings[0].contains(".log, offset"), "{findings:?}");
    let seen = seen_by(inspection.as_ref());
    assert!(seen.identity.is_some());
    assert_eq!(seen.bounds.last.index, index(8), "the last before the bad batch");
    drop(inspection);
    assert_eq!(state_of(dir.path()), before);
    assert_eq!(kind(open(dir.path())), LogErrorKind::Corrupt { index: None });
}

/// An unfinished last batch is not damage, and an inspection does not change it.
#[test]
fn a_torn_write_is_reported_and_not_changed() {
    let (dir, _) = a_log(12_000, false);
    let wal = newest_wal(dir.path());
    let mut torn = bytes(dir.path(), &wal);
    let last = torn.windows(10).rposition(|it| it == b"14@2 by 0.").expect("it is there");
    torn.truncate(last);
    std::fs::write(dir.path().join(&wal), torn).expect("writes");
    let before = state_of(dir.path());
    let mut inspection = RocksLog::inspect(dir.path()).expect("there is a log");
    assert_eq!(verify(inspection.as_mut()), [""; 0]);
    let tail = inspection.result().recovered.tail.clone();
    assert!(matches!(tail, Tail::TornDiscarded { .. }), "{tail:?}");
    let beyond = &inspection.result().beyond;
    assert!(beyond.iter().any(|it| it.contains("which an opening drops")), "{beyond:?}");
    let seen = seen_by(inspection.as_ref());
    drop(inspection);
    assert_eq!(state_of(dir.path()), before);
    assert_eq!(look(&mut open(dir.path()).expect("opens")).expect("sound"), seen);
}

#[test]
fn a_missing_log_or_one_in_use_is_refused() {
    let dir = tempfile::tempdir().expect("a directory");
    let missing = RocksLog::inspect(dir.path().join("gone")).err().expect("nothing there");
    assert!(missing.to_string().contains("gone"), "{missing}");
    assert_eq!(kind(RocksLog::inspect(dir.path()).map(|_| ())), LogErrorKind::Format);
    assert_eq!(std::fs::read_dir(dir.path()).expect("lists").count(), 0, "nothing was created");
    let mut log = open(dir.path()).expect("a new log");
    now(log.write(WriteBatch::of_entries(entries(1..=2, 1)))).expect("sound");
    let error = RocksLog::inspect(dir.path()).err().expect("it is in use");
    assert_eq!(error.kind, LogErrorKind::InUse);
    drop(log);
    let one = RocksLog::inspect(dir.path()).expect("there is a log");
    let other = RocksLog::inspect(dir.path()).expect("two readers may inspect at once");
    assert_eq!(seen_by(one.as_ref()), seen_by(other.as_ref()));
    assert_eq!(kind(open(dir.path()).map(|_| ())), LogErrorKind::InUse);
}
