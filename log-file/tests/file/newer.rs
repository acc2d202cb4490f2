//! Bytes of a newer version, with checksums that hold: the opening fails and names the unknown
//! value. The bytes are neither treated as a torn write nor skipped.
//!
//! `tests/fixtures/newer` holds one frozen segment for each case, in which the last frame is from a
//! newer version. `KONTIKI_FREEZE=1` rewrites them.

use std::path::PathBuf;
use std::sync::Arc;

use log_file::{FileLog, SimDisk};
use raft_core::storage::{LogErrorKind, LogStore, StableStore};
use raft_core::types::{HardState, NodeId, Term};
use xxhash_rust::xxh3::Xxh3;

use crate::samples::{entries, now, open};

const SEGMENT: &str = "seg-0000000000000001";
const FRAME_HEADER: usize = 80;
const RECORD_HEADER: usize = 40;

/// A field of the last frame that this version does not know: its name, and how it is changed.
struct Case {
    name: &'static str,
    /// What the error must contain.
    error_text: &'static str,
    change: fn(&mut Segment),
}

const CASES: [Case; 8] = [
    Case {
        name: "frame-flag",
        error_text: "a flag that is not known",
        change: |it| it.bytes[it.frame + 28] |= 2,
    },
    Case {
        name: "frame-reserved",
        error_text: "a frame header with bytes that were reserved",
        change: |it| it.bytes[it.frame + 79] = 1,
    },
    Case {
        name: "record-type",
        error_text: "a record of an unknown type",
        change: |it| it.bytes[it.frame + FRAME_HEADER + 4] = 8,
    },
    Case {
        name: "record-reserved",
        error_text: "a record header with bytes that were reserved",
        change: |it| it.bytes[it.frame + FRAME_HEADER + 7] = 1,
    },
    Case {
        name: "record-group",
        error_text: "a record of another group",
        change: |it| it.bytes[it.frame + FRAME_HEADER + 12] = 7,
    },
    Case {
        name: "entry-kind",
        error_text: "an entry of an unknown kind",
        change: |it| it.bytes[it.frame + FRAME_HEADER + 5] = 200,
    },
    Case {
        name: "checkpoint-reserved",
        error_text: "a checkpoint with bytes that were reserved",
        change: |it| {
            it.frame = 8192;
            it.bytes[8192 + FRAME_HEADER + RECORD_HEADER + 28] = 1;
        },
    },
    Case {
        name: "hard-state-version",
        error_text: "a record of another version",
        change: |it| {
            it.frame = it.hard_state;
            it.bytes[it.frame + FRAME_HEADER + RECORD_HEADER] = 2;
        },
    },
];

/// The bytes of a segment, and where its frames of interest begin.
struct Segment {
    bytes: Vec<u8>,
    frame: usize,
    hard_state: usize,
}

impl Segment {
    /// A log whose process ended without a close: a frame with the checkpoint, one with a hard
    /// state, one with an entry, which nothing proves.
    fn sample() -> Segment {
        let disk = SimDisk::new(7);
        let mut log = open(&disk).expect("a new log");
        now(log.append(&entries(1..=1, 1))).expect("sound");
        let vote = HardState { term: Term::new(1), vote: NodeId::new(2) };
        now(log.save_hard_state(vote)).expect("sound");
        now(log.append(&entries(2..=2, 1))).expect("sound");
        drop(log);
        let mut bytes = disk.bytes(SEGMENT).expect("the segment");
        let starts: Vec<usize> = (8192..bytes.len() - 4)
            .step_by(8)
            .filter(|at| &bytes[*at..at + 4] == b"KTKF")
            .collect();
        let [_, hard_state, frame] = starts[..] else { panic!("frames at {starts:?}") };
        bytes.truncate(frame + number(&bytes, frame + 16) as usize);
        Segment { bytes, frame, hard_state }
    }

    /// Seals the changed frame again, as the newer version would have.
    fn seal(&mut self) {
        let (salt, at) = (number(&self.bytes, 24), self.frame);
        let record = at + FRAME_HEADER;
        let length = u32::from_le_bytes(self.bytes[record + 8..record + 12].try_into().unwrap());
        let payload = &self.bytes[record + RECORD_HEADER..][..length as usize];
        let hash = xxhash_rust::xxh3::xxh3_64_with_seed(payload, salt);
        self.bytes[record + 32..record + 40].copy_from_slice(&hash.to_le_bytes());
        let sum = self.sealed(record, record + 4..record + RECORD_HEADER);
        self.bytes[record..record + 4].copy_from_slice(&sum);
        let mut digest = Xxh3::with_seed(salt);
        let (mut next, count) = (record, self.bytes[at + 24]);
        for _ in 0..count {
            digest.update(&self.bytes[next..next + RECORD_HEADER]);
            let length = self.bytes[next + 8..next + 12].try_into().unwrap();
            next += RECORD_HEADER + (u32::from_le_bytes(length) as usize).next_multiple_of(8);
        }
        self.bytes[at + 64..at + 72].copy_from_slice(&digest.digest().to_le_bytes());
        let sum = self.sealed(at, at + 8..at + FRAME_HEADER);
        self.bytes[at + 4..at + 8].copy_from_slice(&sum);
    }

    fn sealed(&self, offset: usize, range: std::ops::Range<usize>) -> [u8; 4] {
        let mut sealed = self.bytes[24..32].to_vec();
        sealed.extend_from_slice(&self.bytes[16..24]);
        sealed.extend_from_slice(&(offset as u64).to_le_bytes());
        sealed.extend_from_slice(&self.bytes[range]);
        crc32c::crc32c(&sealed).to_le_bytes()
    }
}

fn number(bytes: &[u8], at: usize) -> u64 {
    u64::from_le_bytes(bytes[at..at + 8].try_into().expect("8 bytes"))
}

fn frozen(name: &str) -> PathBuf {
    PathBuf::from("tests/fixtures/newer").join(name)
}

fn disk_of(bytes: &[u8]) -> SimDisk {
    let disk = SimDisk::new(8);
    disk.put(SEGMENT, bytes.to_vec());
    disk
}

/// The control: if an unchanged frame is sealed again, the log opens.
#[test]
fn a_frame_that_is_sealed_again_unchanged_is_the_same() {
    let mut segment = Segment::sample();
    let before = segment.bytes.clone();
    segment.seal();
    assert!(segment.bytes == before);
    let log = open(&disk_of(&segment.bytes)).expect("opens");
    assert_eq!(log.bounds().last.index.get(), 2);
}

/// What went wrong: the last frame of a log was dropped as a torn write because a newer version had
/// written it, and a record of another group was read as a record of this log.
#[test]
fn bytes_of_a_newer_version_stop_the_opening_by_name() {
    for Case { name, error_text, change } in &CASES {
        let mut segment = Segment::sample();
        change(&mut segment);
        segment.seal();
        let path = frozen(name);
        if std::env::var_os("KONTIKI_FREEZE").is_some() {
            std::fs::create_dir_all(path.parent().expect("a folder")).expect("creates");
            std::fs::write(&path, &segment.bytes).expect("writes");
        }
        let bytes = std::fs::read(&path).expect("frozen");
        assert!(bytes == segment.bytes, "{name}: the frozen bytes are made differently");
        let disk = disk_of(&bytes);
        let error = open(&disk).err().unwrap_or_else(|| panic!("{name}: it opens"));
        assert_eq!(error.kind, LogErrorKind::Format, "{name}: {error}");
        assert!(
            error.place.contains(error_text) && error.place.contains(SEGMENT),
            "{name}: {error}"
        );
        assert_eq!(disk.bytes(SEGMENT), Some(bytes), "{name}: nothing is changed");
        let found = FileLog::inspect_on(Arc::new(disk)).expect("looks");
        let damage = found.result().damage.as_ref().map(|damage| damage.kind.clone());
        assert_eq!(damage, Some(LogErrorKind::Format), "{name}");
    }
}
