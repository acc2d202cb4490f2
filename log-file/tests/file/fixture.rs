//! A frozen directory of format version 1, which every later version must open with the same
//! content.
//!
//! The directory is as the first builds of the version wrote it, without a durable mark. The
//! durable mark that belongs to it is in a folder of its own: the log opens with it and without it.
//!
//! `KONTIKI_FREEZE=1` rewrites the directory of the current version. Do that only for a new format
//! version, into a new folder; the old folder stays.

use std::path::PathBuf;

use log_file::{Disk, FileLog, FileLogConfig, SimDisk};
use raft_core::storage::record::encode_membership;
use raft_core::storage::{StableStore, Store, WriteBatch};
use raft_core::types::{
    ClusterId, Entry, EntryKind, HardState, Identity, Membership, NodeId, StoreId, Term,
};

use crate::samples::{id, index, look, now, open, sized_entry};

pub fn frozen_dir() -> PathBuf {
    PathBuf::from("tests/fixtures/v1")
}

fn frozen_durable_mark_dir() -> PathBuf {
    frozen_dir().with_file_name("v1-proof")
}

fn node(number: u64) -> NodeId {
    NodeId::new(number).expect("not zero")
}

fn identity() -> Identity {
    Identity { cluster: ClusterId(0xc1), node: node(2), store: StoreId(0x51) }
}

fn membership() -> Membership {
    let voters = (1..=3).map(|number| (node(number), "127.0.0.1:1".into()));
    Membership::of_voters(voters).expect("sound")
}

/// Every kind of record, over three segments and two openings.
fn write_sample() -> SimDisk {
    let disk = SimDisk::new(2026);
    let mut log = open(&disk).expect("a new log");
    now(log.save_identity(&identity())).expect("the first");
    let first = Entry::new(id(1, 0), EntryKind::Membership, encode_membership(&membership()));
    now(log.write(WriteBatch::of_entries(vec![first]))).expect("sound");
    let vote = HardState { term: Term::new(1), vote: Some(node(2)) };
    let mut batch =
        WriteBatch::of_entries(vec![sized_entry(2, 1, 0, 0), sized_entry(3, 1, 0, 700)]);
    batch.hard_state = Some(vote);
    now(log.write(batch)).expect("sound");
    drop(log);
    let mut log = open(&disk).expect("opens");
    for at in 4..=8 {
        now(log.write(WriteBatch::of_entries(vec![sized_entry(at, 1, 0, 1900)]))).expect("sound");
    }
    let term = HardState { term: Term::new(3), vote: None };
    let conflict = WriteBatch {
        hard_state: Some(term),
        truncate_after: Some(index(7)),
        purge_upto: Some(id(2, 1)),
        commit_hint: Some(index(3)),
        ..WriteBatch::of_entries(vec![sized_entry(8, 3, 1, 33)])
    };
    now(log.write(conflict)).expect("sound");
    now(log.close()).expect("closes");
    disk
}

#[test]
fn a_directory_of_version_1_opens_to_what_was_written() {
    if std::env::var_os("KONTIKI_FREEZE").is_some() {
        freeze();
    }
    check_opens(&[frozen_dir()]);
    check_opens(&[frozen_dir(), frozen_durable_mark_dir()]);
}

fn check_opens(frozen: &[PathBuf]) {
    let dir = tempfile::tempdir().expect("a directory");
    for file in frozen.iter().flat_map(|dir| std::fs::read_dir(dir).expect("frozen")) {
        let file = file.expect("a file");
        std::fs::copy(file.path(), dir.path().join(file.file_name())).expect("copies");
    }
    let mut log = FileLog::open(FileLogConfig::new(dir.path())).expect("opens");
    let inspected = look(&mut log).expect("sound");
    assert_eq!((inspected.bounds.boundary, inspected.bounds.last), (id(2, 1), id(8, 3)));
    assert_eq!(inspected.hard_state, HardState { term: Term::new(3), vote: None });
    assert_eq!(inspected.identity, Some(identity()));
    assert_eq!(inspected.recovered.commit_hint, index(3));
    assert_eq!(inspected.recovered.memberships, [], "the membership was purged");
    let mut wanted = vec![sized_entry(3, 1, 0, 700)];
    wanted.extend((4..=7).map(|at| sized_entry(at, 1, 0, 1900)));
    wanted.push(sized_entry(8, 3, 1, 33));
    assert_eq!(inspected.entries, wanted);
    now(log.write(WriteBatch::of_entries(vec![sized_entry(9, 3, 0, 5)]))).expect("goes on");
}

/// The frozen bytes guard the writer, too: with the same random numbers it writes them again.
#[test]
fn version_1_is_still_written_as_it_was() {
    let disk = write_sample();
    let mut files = 0;
    for dir in [frozen_dir(), frozen_durable_mark_dir()] {
        for file in std::fs::read_dir(dir).expect("the frozen directory") {
            let file = file.expect("a file");
            let name = file.file_name().to_string_lossy().into_owned();
            let frozen = std::fs::read(file.path()).expect("reads");
            assert!(disk.bytes(&name) == Some(frozen), "{name} is written differently");
            files += 1;
        }
    }
    assert!(files >= 5, "{files} files");
}

fn freeze() {
    let disk = write_sample();
    for name in disk.list().expect("lists") {
        let dir = match name.as_str() {
            "proof" => frozen_durable_mark_dir(),
            segment if segment.starts_with("seg-") => frozen_dir(),
            _ => continue,
        };
        std::fs::create_dir_all(&dir).expect("creates");
        let bytes = disk.bytes(&name).expect("it is there");
        std::fs::write(dir.join(name), bytes).expect("writes");
    }
}
