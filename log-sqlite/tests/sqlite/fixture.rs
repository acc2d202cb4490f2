//! A directory of format version 1, stored in the repository: later versions must open it, to the
//! same content.
//!
//! `KONTIKI_FREEZE=1` writes the directory of the current version again. Do that only for a new
//! version, into a new folder; the old one stays.

use std::path::{Path, PathBuf};

use log_sqlite::{SqliteLog, SqliteLogConfig};
use raft_core::storage::record::encode_membership;
use raft_core::storage::{LogStore, StableStore, Store, WriteBatch};
use raft_core::types::{
    ClusterId, Entry, EntryKind, HardState, Identity, Membership, NodeId, StoreId, Term,
};

use crate::samples::{copy, id, index, look, now, open, sized_entry};

const FROZEN: [&str; 3] = ["log.db", "log.db-wal", "proof"];

pub fn frozen_dir() -> PathBuf {
    PathBuf::from("tests/fixtures/v1")
}

fn node(number: u64) -> NodeId {
    NodeId::new(number).expect("not zero")
}

fn identity() -> Identity {
    Identity { cluster: ClusterId(0xc1), node: node(2), store: StoreId(0x51) }
}

fn first() -> Entry {
    let voters = (1..=3).map(|number| (node(number), "127.0.0.1:1".into()));
    let membership = Membership::of_voters(voters).expect("sound");
    Entry::new(id(1, 0), EntryKind::Membership, encode_membership(&membership))
}

/// Entries in the database and in the write-ahead log, a truncation, a purge, and a clean close.
fn write_sample(dir: &Path) {
    let config = SqliteLogConfig { checkpoint_bytes: 60 << 10, ..SqliteLogConfig::new(dir) };
    let mut log = SqliteLog::open(config).expect("a new log");
    now(log.save_identity(&identity())).expect("the first");
    now(log.append(&[first()])).expect("sound");
    let vote = HardState { term: Term::new(1), vote: Some(node(2)) };
    let batch = WriteBatch {
        hard_state: Some(vote),
        ..WriteBatch::of_entries(vec![sized_entry(2, 1, 0, 0), sized_entry(3, 1, 0, 700)])
    };
    now(log.write(batch)).expect("sound");
    for at in 4..=8 {
        now(log.append(&[sized_entry(at, 1, 0, 1900)])).expect("sound");
    }
    let conflict = WriteBatch {
        hard_state: Some(HardState { term: Term::new(3), vote: None }),
        truncate_after: Some(index(7)),
        purge_upto: Some(id(2, 1)),
        commit_hint: Some(index(3)),
        ..WriteBatch::of_entries(vec![sized_entry(8, 3, 1, 33)])
    };
    now(log.write(conflict)).expect("sound");
    now(log.close()).expect("closes");
}

#[test]
fn a_directory_of_version_1_opens_to_what_was_written() {
    if std::env::var_os("KONTIKI_FREEZE").is_some() {
        freeze();
    }
    let dir = copy(&frozen_dir());
    let mut log = open(dir.path()).expect("opens");
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
    now(log.append(&[sized_entry(9, 3, 0, 5)])).expect("goes on");
}

/// SQLite's pages may differ from release to release, but our records in them may not: the same
/// work gives the same state record, except for the random number and the checksum.
#[test]
fn version_1_is_still_written_as_it_was() {
    let dir = tempfile::tempdir().expect("a directory");
    write_sample(dir.path());
    let [old, new] = [frozen_dir(), dir.path().to_path_buf()].map(|dir| newest_record(&dir));
    assert_eq!(old[..16], new[..16], "magic, version, batch");
    assert_eq!(old[24..156], new[24..156], "all that the log remembers");
    let [old, new] = [frozen_dir(), dir.path().to_path_buf()].map(|dir| {
        let durable_mark = std::fs::read(dir.join("proof")).expect("is there");
        (durable_mark.len(), durable_mark[..12].to_vec(), durable_mark[20..28].to_vec())
    });
    assert_eq!(old, new, "length, magic and version, batch of the durable mark");
}

fn newest_record(dir: &Path) -> Vec<u8> {
    let wal = std::fs::read(dir.join("log.db-wal")).expect("is there");
    let at = wal.windows(8).rposition(|eight| eight == b"KTKS\x01\0\0\0").expect("a record");
    wal[at..at + 160].to_vec()
}

fn freeze() {
    let dir = tempfile::tempdir().expect("a directory");
    write_sample(dir.path());
    std::fs::create_dir_all(frozen_dir()).expect("creates");
    for name in FROZEN {
        std::fs::copy(dir.path().join(name), frozen_dir().join(name)).expect("copies");
    }
}
