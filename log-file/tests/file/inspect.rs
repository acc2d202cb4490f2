//! Inspecting a log without changing it, and the check of every checksum.

use std::path::Path;
use std::sync::Arc;

use log_file::{Disk, FileLog, FileLogConfig, SimDisk};
use raft_core::storage::{Inspect, LogError, LogErrorKind, Store, WriteBatch};

use crate::damage::{disk_with_a_log, open_and_look, segments, used_bytes};
use crate::fixture::frozen_dir;
use crate::samples::{Inspected, entries, id, is_deep, kind, now, open, sized_entry};

fn inspect(disk: &SimDisk) -> Result<Box<dyn Inspect>, LogError> {
    FileLog::inspect_on(Arc::new(disk.clone()))
}

/// Everything that an inspection shows, in the form that `look` returns for an open log.
fn seen_by(inspection: &dyn Inspect) -> Inspected {
    let inspected = inspection.result();
    let mut recovered = inspected.recovered.clone();
    recovered.tail = raft_core::storage::Tail::Clean;
    let bounds = recovered.bounds;
    let range = bounds.first()..bounds.last.index.next();
    let entries = now(inspection.reader().read(range, u64::MAX)).expect("reads");
    let (hard_state, identity) = (recovered.hard_state, inspected.identity);
    Inspected { bounds, hard_state, identity, recovered, entries }
}

fn verify(inspection: &mut dyn Inspect) -> Vec<String> {
    let mut progress = Vec::new();
    let found = inspection.verify(&mut |done, all| progress.push((done, all)));
    assert!(progress.is_sorted_by_key(|(done, _)| *done), "progress does not go back");
    assert!(progress.last().is_none_or(|(done, all)| done == all), "progress comes to its end");
    found.iter().map(LogError::to_string).collect()
}

#[test]
fn an_inspection_shows_what_an_opening_shows_and_changes_nothing() {
    for is_closed in [true, false] {
        let (disk, inspected) = disk_with_a_log(|log| {
            if is_closed {
                now(log.close()).expect("closes");
            }
        });
        disk.kill();
        let before = disk.operations();
        let mut inspection = inspect(&disk).expect("there is a log");
        assert_eq!(seen_by(inspection.as_ref()), inspected);
        assert_eq!(verify(inspection.as_mut()), [""; 0]);
        assert_eq!(disk.operations(), before, "nothing was changed");
        let seen = inspection.result();
        assert_eq!(seen.damage.as_ref().map(LogError::to_string), None);
        assert_eq!(seen.beyond.len(), usize::from(!is_closed), "{:?}", seen.beyond);
        assert!(seen.proven.contains("offset"), "{}", seen.proven);
        assert_eq!(kind(open(&disk)), LogErrorKind::InUse, "no other handle opens it meanwhile");
        drop(inspection);
        assert_eq!(open_and_look(&disk).expect("opens"), inspected);
    }
}

/// If the check finds nothing, the log opens with exactly its old contents; if the log does not
/// open, or an entry cannot be read, the check finds why and names the file.
#[test]
fn a_log_that_passes_the_check_is_whole() {
    let (disk, inspected) = disk_with_a_log(|log| now(log.close()).expect("closes"));
    let (mut found, mut harmless) = (0, 0);
    for name in segments(&disk).iter().map(String::as_str).chain(["proof"]) {
        let bytes = disk.bytes(name).expect("it is there");
        for at in (0..used_bytes(&bytes)).step_by(if is_deep() { 1 } else { 7 }) {
            let flipped = disk.copy();
            let mut bytes = bytes.clone();
            bytes[at] ^= 1 << (at % 8);
            flipped.put(name, bytes);
            let mut inspection = inspect(&flipped).expect("a damaged log can be inspected");
            let findings = verify(inspection.as_mut());
            let first = inspection.result().recovered.bounds;
            drop(inspection);
            if findings.is_empty() {
                assert_eq!(
                    open_and_look(&flipped).expect("opens"),
                    inspected,
                    "byte {at} of {name}"
                );
                harmless += 1;
                continue;
            }
            found += 1;
            assert!(findings.iter().all(|it| it.contains(name)), "{findings:?}: {name}");
            assert!(first.last <= inspected.bounds.last, "the entries before the damage are shown");
        }
    }
    // Bytes of the header blocks after what their checksums guard, and padding, are harmless.
    assert!(found > harmless / 2, "{found} found, {harmless} harmless");
}

#[test]
fn the_sound_part_before_the_damage_is_shown() {
    let (disk, inspected) = disk_with_a_log(|log| now(log.close()).expect("closes"));
    let name = &segments(&disk)[1];
    let mut bytes = disk.bytes(name).expect("it is there");
    bytes[8192 + 20] ^= 1;
    disk.put(name, bytes);
    let inspection = inspect(&disk).expect("there is a log");
    let seen = inspection.result();
    let damage = seen.damage.as_ref().expect("damaged").to_string();
    assert!(damage.contains(name), "{damage}");
    assert_eq!(seen.identity, inspected.identity);
    let bounds = seen.recovered.bounds;
    assert!(bounds.last.index.get() >= 6 && bounds.last < inspected.bounds.last, "{bounds:?}");
    let read = bounds.first()..bounds.last.index.next();
    assert!(!now(inspection.reader().read(read, u64::MAX)).expect("sound").is_empty());
}

#[test]
fn a_torn_write_is_reported_and_is_not_damage() {
    let (disk, _) = disk_with_a_log(|_| ());
    let name = segments(&disk).into_iter().rfind(|name| {
        let bytes = disk.bytes(name).expect("it is there");
        bytes.get(8192..8196) == Some(b"KTKF".as_slice())
    });
    let name = name.expect("a segment with frames");
    let bytes = disk.bytes(&name).expect("it is there");
    disk.put(&name, bytes[..used_bytes(&bytes) - 30].to_vec());
    disk.kill();
    let mut inspection = inspect(&disk).expect("there is a log");
    assert_eq!(verify(inspection.as_mut()), [""; 0]);
    let seen = inspection.result();
    assert!(seen.beyond.iter().any(|it| it.contains("torn")), "{:?}", seen.beyond);
    assert_eq!(seen.recovered.bounds.last, id(11, 1));
}

#[test]
fn damage_in_purged_entries_is_found_and_reported_as_such() {
    let disk = SimDisk::new(1);
    let mut log = open(&disk).expect("a new log");
    now(log.write(WriteBatch::of_entries(vec![sized_entry(1, 1, 0, 300)]))).expect("sound");
    let purge =
        WriteBatch { purge_upto: Some(id(1, 1)), ..WriteBatch::of_entries(entries(2..=2, 1)) };
    now(log.write(purge)).expect("sound");
    now(log.close()).expect("closes");
    drop(log);
    let name = &segments(&disk)[0];
    let mut bytes = disk.bytes(name).expect("it is there");
    let at = bytes.windows(9).position(|nine| nine == b"1@1 by 0.").expect("the payload");
    bytes[at + 5] ^= 1;
    disk.put(name, bytes);
    let mut inspection = inspect(&disk).expect("there is a log");
    let findings = verify(inspection.as_mut());
    assert!(findings.len() == 1 && findings[0].contains("purged or truncated"), "{findings:?}");
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
fn a_directory_is_left_as_it_was() {
    let dir = tempfile::tempdir().expect("a directory");
    let missing = FileLog::inspect(dir.path().join("gone")).err().expect("nothing there");
    assert!(missing.to_string().contains("gone"), "{missing}");
    assert!(!dir.path().join("gone").exists(), "nothing is created");
    assert_eq!(kind(FileLog::inspect(dir.path()).map(|_| ())), LogErrorKind::Format);

    for file in std::fs::read_dir(frozen_dir()).expect("frozen") {
        let file = file.expect("a file");
        std::fs::copy(file.path(), dir.path().join(file.file_name())).expect("copies");
    }
    let before = state_of(dir.path());
    let mut inspection = FileLog::inspect(dir.path()).expect("there is a log");
    assert_eq!(verify(inspection.as_mut()), [""; 0]);
    let beside = FileLog::inspect(dir.path()).expect("two inspections may run at once");
    assert_eq!(seen_by(beside.as_ref()), seen_by(inspection.as_ref()));
    assert_eq!(state_of(dir.path()), before);
    drop((inspection, beside));

    let log = FileLog::open(FileLogConfig::new(dir.path())).expect("opens");
    let error = FileLog::inspect(dir.path()).err().expect("it is in use");
    assert_eq!(error.kind, LogErrorKind::InUse);
    assert!(error.place.contains("lock"), "{error}");
    drop(log);
    assert!(Disk::create(&log_file::RealDisk::read_only(dir.path()), "x").is_err());
}
