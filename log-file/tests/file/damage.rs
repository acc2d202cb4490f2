//! Damage is never returned as data: every byte of a closed log is flipped, and the log either is
//! unchanged or reports the damage.

use log_file::SimDisk;
use proptest::prelude::*;
use raft_core::storage::{LogError, LogErrorKind, LogStore, Store, Tail, WriteBatch};
use raft_core::types::{ClusterId, HardState, Identity, NodeId, StoreId, Term};

use crate::samples::{Inspected, entries, id, index, is_deep, kind, look, now, open, sized_entry};

/// A disk with entries in three segments, a vote, an identity, a truncation and a purge; then `end`
/// is called.
pub fn disk_with_a_log(end: impl Fn(&mut log_file::FileLog)) -> (SimDisk, Inspected) {
    let disk = SimDisk::new(3);
    let mut log = open(&disk).expect("a new log");
    let node = NodeId::new(1).expect("not zero");
    let identity = Identity { cluster: ClusterId(1), node, store: StoreId(2) };
    now(raft_core::storage::StableStore::save_identity(&mut log, &identity)).expect("the first");
    let vote = HardState { term: Term::new(2), vote: Some(node) };
    let mut batch = WriteBatch::of_entries(entries(1..=5, 1));
    batch.hard_state = Some(vote);
    now(log.write(batch)).expect("sound");
    for at in 6..12 {
        let large = WriteBatch::of_entries(vec![sized_entry(at, 1, 1, 3000)]);
        now(log.write(large)).expect("sound");
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
    drop(log);
    (disk, inspected)
}

pub fn segments(disk: &SimDisk) -> Vec<String> {
    let mut names = log_file::Disk::list(disk).expect("lists");
    names.retain(|name| name.starts_with("seg-"));
    names.sort();
    names
}

pub fn open_and_look(disk: &SimDisk) -> Result<Inspected, LogError> {
    look(&mut open(disk)?)
}

/// The log that remains when one byte of a file has another value.
fn with_flip(disk: &SimDisk, name: &str, at: usize, mask: u8) -> Result<Inspected, LogError> {
    let flipped = disk.copy();
    let mut bytes = disk.bytes(name).expect("it is there");
    bytes[at] ^= mask;
    flipped.put(name, bytes);
    open_and_look(&flipped)
}

/// The number of bytes of a file before its final zeros.
pub fn used_bytes(bytes: &[u8]) -> usize {
    bytes.iter().rposition(|byte| *byte != 0).map_or(0, |last| last + 1)
}

/// Whether damage was noticed, as an error that names the file. Otherwise the log must be
/// unchanged, except for hints; anything else fails the test.
fn is_noticed(
    seen: Result<Inspected, LogError>,
    inspected: &Inspected,
    name: &str,
    what: &str,
) -> bool {
    match seen {
        Ok(mut seen) => {
            let mut inspected = inspected.clone();
            seen.recovered.commit_hint = index(0);
            inspected.recovered.commit_hint = index(0);
            assert_eq!(seen, inspected, "{what} of {name} passed for data");
            false
        }
        Err(error) => {
            let LogErrorKind::Corrupt { .. } = error.kind else {
                panic!("{what} of {name}: {error}");
            };
            assert!(error.place.contains(name), "{error} does not name {name}");
            true
        }
    }
}

/// Flips one byte after another; returns how many flips were noticed, and how many were harmless.
fn flip_all(disk: &SimDisk, inspected: &Inspected, step: usize) -> (usize, usize) {
    let (mut noticed, mut harmless) = (0, 0);
    for name in segments(disk).iter().map(String::as_str).chain(["proof"]) {
        let step = if name == "proof" { 1 } else { step };
        let used = used_bytes(&disk.bytes(name).expect("it is there"));
        for at in (0..used).step_by(step) {
            let seen = with_flip(disk, name, at, 1 << (at % 8));
            if is_noticed(seen, inspected, name, &format!("byte {at}")) {
                noticed += 1;
            } else {
                harmless += 1;
            }
        }
    }
    (noticed, harmless)
}

/// Truncates every file at every length, then zeroes it from there on; returns how often that was
/// noticed.
fn cut_all(disk: &SimDisk, inspected: &Inspected, step: usize) -> usize {
    let mut noticed = 0;
    for name in segments(disk).iter().map(String::as_str).chain(["proof"]) {
        let bytes = disk.bytes(name).expect("it is there");
        for at in (0..used_bytes(&bytes)).step_by(step) {
            let mut zeroed = bytes.clone();
            zeroed[at..].fill(0);
            for (what, rest) in [("a cut", bytes[..at].to_vec()), ("zeros", zeroed)] {
                let damaged = disk.copy();
                damaged.put(name, rest);
                let seen = open_and_look(&damaged);
                noticed +=
                    usize::from(is_noticed(seen, inspected, name, &format!("{what} at {at}")));
            }
        }
    }
    noticed
}

#[test]
fn a_flip_of_any_byte_of_a_closed_log_is_noticed_or_harmless() {
    let (disk, inspected) = disk_with_a_log(|log| now(log.close()).expect("closes"));
    assert!(segments(&disk).len() >= 3, "several segments are needed");
    assert_eq!(open_and_look(&disk.copy()).expect("unharmed"), inspected);
    let step = if is_deep() { 1 } else { 3 };
    let (noticed, harmless) = flip_all(&disk, &inspected, step);
    assert!(noticed > harmless / 4 && noticed > 1000 / step, "{noticed} of {harmless} noticed");
}

/// A reopening makes the tail proven, as a clean close does: what it showed is not dropped later.
#[test]
fn a_flip_after_a_reopening_is_noticed_or_harmless() {
    let (disk, inspected) = disk_with_a_log(|_| ());
    drop(open(&disk).expect("opens"));
    let (noticed, _) = flip_all(&disk, &inspected, if is_deep() { 1 } else { 5 });
    assert!(noticed > 200, "{noticed} noticed");
}

/// Only the last frame may count as a torn write, and only while nothing proves it.
#[test]
fn an_unproven_last_frame_is_dropped_and_no_other() {
    let (disk, inspected) = disk_with_a_log(|_| ());
    let names = segments(&disk);
    let name = names.iter().rfind(|name| {
        let bytes = disk.bytes(name).expect("it is there");
        bytes.get(8192..8196) == Some(b"KTKF".as_slice())
    });
    let name = name.expect("a segment with frames");
    let bytes = disk.bytes(name).expect("it is there");
    // The last byte that is not zero is in the purge record; the first of the last frame is found
    // by its magic.
    let last = bytes.windows(4).rposition(|four| four == b"KTKF").expect("frames");
    let mut kinds = std::collections::BTreeSet::new();
    for at in last..used_bytes(&bytes) {
        let mut log = {
            let flipped = disk.copy();
            let mut bytes = bytes.clone();
            bytes[at] ^= 0x40;
            flipped.put(name, bytes);
            open(&flipped).expect("a torn write is no damage")
        };
        let tail = now(log.recover()).expect("recovers").tail;
        let seen = look(&mut log).expect("sound");
        if seen.bounds == inspected.bounds {
            assert_eq!(seen, inspected, "a byte of padding")
        } else {
            assert_eq!(seen.bounds.last, id(11, 1), "one batch is gone, no more");
            kinds.insert(matches!(tail, Tail::TornDiscarded { .. }));
        }
    }
    assert!(kinds.contains(&true), "a torn write is reported");
    let before = with_flip(&disk, name, 8192 + 20, 1);
    assert!(matches!(kind(before), LogErrorKind::Corrupt { .. }), "a frame before it is proven");
}

/// The end of a log that was closed, or opened again, does not count as a torn write, however much
/// of the proof in the segments is lost.
#[test]
fn a_proven_end_is_never_silently_truncated() {
    let step = if is_deep() { 1 } else { 13 };
    let (closed, inspected) = disk_with_a_log(|log| now(log.close()).expect("closes"));
    assert!(cut_all(&closed, &inspected, step) > 1000 / step);
    let (opened, inspected) = disk_with_a_log(|_| ());
    drop(open(&opened).expect("opens"));
    assert!(cut_all(&opened, &inspected, step) > 1000 / step);
}

/// A durable mark is a lower bound: a write after it may be torn, and is dropped.
#[test]
fn a_torn_write_after_a_durable_mark_is_not_damage() {
    let (disk, _) = disk_with_a_log(|log| now(log.close()).expect("closes"));
    let mut log = open(&disk).expect("opens");
    now(log.write(WriteBatch::of_entries(entries(15..=16, 2)))).expect("sound");
    drop(log);
    let name = segments(&disk).into_iter().rfind(|name| {
        let bytes = disk.bytes(name).expect("it is there");
        bytes.get(8192..8196) == Some(b"KTKF".as_slice())
    });
    let name = name.expect("a segment with frames");
    let bytes = disk.bytes(&name).expect("it is there");
    for at in 8192..used_bytes(&bytes) {
        let cut = disk.copy();
        cut.put(&name, bytes[..at].to_vec());
        let seen = open_and_look(&cut).expect("a torn write is no damage");
        assert_eq!(seen.bounds.last, id(14, 2), "cut at {at}");
    }
}

#[test]
fn a_missing_segment_is_noticed() {
    let (disk, inspected) = disk_with_a_log(|log| now(log.close()).expect("closes"));
    let names = segments(&disk);
    let with_frames = |name: &&String| {
        disk.bytes(name).expect("it is there").get(8192..8196) == Some(b"KTKF".as_slice())
    };
    for name in &names {
        let without = disk.copy();
        log_file::Disk::unlink(&without, name).expect("it is there");
        match open_and_look(&without) {
            Ok(seen) => assert_eq!((seen, with_frames(&name)), (inspected.clone(), false)),
            Err(error) => {
                assert!(matches!(error.kind, LogErrorKind::Corrupt { index: Some(_) }), "{error}");
            }
        }
    }
    let last = names.iter().rfind(with_frames).expect("frames");
    for name in names.iter().filter(|name| *name >= last) {
        log_file::Disk::unlink(&disk, name).expect("it is there");
    }
    let error = open(&disk.copy()).err().expect("the end is missing").to_string();
    assert!(error.contains(last) && error.contains("missing"), "{error}");
    for name in names.iter().filter(|name| *name < last) {
        log_file::Disk::unlink(&disk, name).expect("it is there");
    }
    assert!(
        matches!(kind(open(&disk)), LogErrorKind::Corrupt { .. }),
        "nothing but a durable mark"
    );
}

#[test]
fn the_durable_mark_of_another_log_is_noticed() {
    let (disk, _) = disk_with_a_log(|log| now(log.close()).expect("closes"));
    let other = SimDisk::new(99);
    let mut log = open(&other).expect("a new log");
    now(log.write(WriteBatch::of_entries(entries(1..=1, 1)))).expect("sound");
    now(log.close()).expect("closes");
    disk.put("proof", other.bytes("proof").expect("it is there"));
    let error = open(&disk).err().expect("another log's");
    assert!(error.place.contains("proof") && error.to_string().contains("another log"), "{error}");
}

#[test]
fn a_segment_of_another_log_is_noticed() {
    let (disk, _) = disk_with_a_log(|_| ());
    let other = SimDisk::new(99);
    drop(open(&other).expect("a new log"));
    let names = segments(&disk);
    let name = &names[1];
    let first = segments(&other).remove(0);
    disk.put(name, other.bytes(&first).expect("it is there"));
    assert_eq!(kind(open(&disk)), LogErrorKind::Corrupt { index: None });
}

#[test]
fn a_newer_format_and_a_strange_directory_are_distinguished_from_damage() {
    let (disk, _) = disk_with_a_log(|_| ());
    let name = &segments(&disk)[0];
    let mut bytes = disk.bytes(name).expect("it is there");
    for copy in [0, 4096] {
        bytes[copy + 8] = 2;
        let front = crc32c::crc32c(&bytes[copy..copy + 12]);
        let checksum = crc32c::crc32c_append(front, &bytes[copy + 16..copy + 64]);
        bytes[copy + 12..copy + 16].copy_from_slice(&checksum.to_le_bytes());
    }
    disk.put(name, bytes);
    assert_eq!(kind(open(&disk)), LogErrorKind::Format);

    let strange = SimDisk::new(1);
    strange.put("letter.txt", b"dear reader".to_vec());
    let error = open(&strange).err().expect("not a log");
    assert_eq!(error.kind, LogErrorKind::Format);
    assert!(error.place.contains("letter.txt"), "{error}");
}

proptest! {
    #![proptest_config(ProptestConfig {
        cases: if is_deep() { 20_000 } else { 300 },
        failure_persistence: None,
        ..ProptestConfig::default()
    })]

    /// Garbage after the last frame, or in a whole file, causes no panic and no invented entry.
    #[test]
    fn garbage_is_never_returned_as_data(at in 0..40_000usize, length in 1..600usize,
                                     seed in any::<u64>(),
                                     closed in any::<bool>(), which in 0..4usize) {
        let close = |log: &mut log_file::FileLog| if closed { now(log.close()).expect("closes") };
        let (disk, inspected) = disk_with_a_log(close);
        let names = segments(&disk);
        let name = &names[which % names.len()];
        let mut bytes = disk.bytes(name).expect("it is there");
        let before = bytes.clone();
        let start = at % bytes.len();
        let end = (start + length).min(bytes.len());
        let mut state = seed;
        for byte in &mut bytes[start..end] {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            *byte = (state >> 56) as u8;
        }
        let after = bytes.clone();
        disk.put(name, bytes);
        if let Ok(seen) = open_and_look(&disk) {
            let known = |entry| inspected.entries.contains(entry) || seen.bounds.last <= id(11, 1);
            prop_assert!(seen.entries.iter().all(known));
            // The last frame is the clean close; while it is intact, nothing is dropped.
            let closing_frame = before.windows(4).rposition(|four| four == b"KTKF");
            let is_hit = closing_frame.is_some_and(|at| after[at..at + 80] != before[at..at + 80]);
            if closed && !is_hit {
                prop_assert_eq!(seen.bounds, inspected.bounds);
            }
        }
    }
}

/// What went wrong: a read of a range with one damaged entry returned nothing. The entries before
/// it are sound, and a repair needs them.
#[test]
fn a_read_gives_the_sound_entries_before_a_damaged_one() {
    let disk = SimDisk::new(1);
    let mut log = open(&disk).expect("a new log");
    for at in 1..=6 {
        now(log.append(&[sized_entry(at, 1, 0, 500)])).expect("sound");
    }
    let name = "seg-0000000000000001";
    let mut bytes = disk.bytes(name).expect("it is there");
    let payload = sized_entry(4, 1, 0, 500).payload;
    let at = bytes.windows(500).position(|part| part == payload).expect("its payload");
    bytes[at + 250] ^= 1;
    disk.put(name, bytes);
    let mut reader = log.reader();
    let found = now(reader.read(index(1)..index(7), u64::MAX)).expect("the sound ones");
    assert_eq!(found, (1..=3).map(|at| sized_entry(at, 1, 0, 500)).collect::<Vec<_>>());
    let error = now(reader.read(index(4)..index(7), u64::MAX)).expect_err("damaged");
    assert_eq!(error.kind, LogErrorKind::Corrupt { index: Some(index(4)) });
}
