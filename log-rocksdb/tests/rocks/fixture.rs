//! Frozen directories of format version 1: every later version must open them with the same
//! content. One was closed, so that all data is in tables; the other was not, and has a write-ahead
//! log.
//!
//! `KONTIKI_FREEZE=1` writes the directories of the current version. Use it only for a new version,
//! with a new folder; the old folder stays.

use std::path::{Path, PathBuf};

use log_rocksdb::{RocksLog, RocksLogConfig};
use raft_core::storage::record::encode_membership;
use raft_core::storage::{LogStore, StableStore, Store, WriteBatch};
use raft_core::types::{
    ClusterId, Entry, EntryKind, HardState, Identity, Membership, NodeId, StoreId, Term,
};

use crate::samples::{copy, files, id, index, look, newest_wal, now, open, sized_entry};

const ENDS: [&str; 2] = ["closed", "killed"];

pub fn frozen_dir(end: &str) -> PathBuf {
    PathBuf::from("tests/fixtures/v1").join(end)
}

fn node(number: u64) -> NodeId {
    NodeId::new(number).expect("not zero")
}

fn identity() -> Identity {
    Identity { cluster: ClusterId(0xc1), node: node(2), store: StoreId(0x51) }
}

fn membership(index: u64) -> Entry {
    let voters = (1..=3).map(|number| (node(number), "127.0.0.1:1".into()));
    let membership = Membership::of_voters(voters).expect("sound");
    Entry::new(id(index, index / 4), EntryKind::Membership, encode_membership(&membership))
}

fn entries() -> Vec<Entry> {
    let mut entries = vec![sized_entry(3, 0, 0, 700), membership(4)];
    entries.extend((5..=7).map(|at| sized_entry(at, 1, 0, 1900)));
    entries.push(sized_entry(8, 3, 1, 33));
    entries
}

/// Two memberships, two terms, a truncation, a purge of the first membership, in tables and in the
/// write-ahead log.
fn write_sample(dir: &Path, end: &str) {
    let mut log = RocksLog::open(RocksLogConfig::new(dir)).expect("a new log");
    now(log.save_identity(&identity())).expect("the first");
    now(log.append(&[membership(1), sized_entry(2, 0, 0, 0)])).expect("sound");
    now(log.close()).expect("closes");
    drop(log);
    let mut log = RocksLog::open(RocksLogConfig::new(dir)).expect("opens");
    let vote = HardState { term: Term::new(1), vote: Some(node(2)) };
    let batch = WriteBatch {
        hard_state: Some(vote),
        ..WriteBatch::of_entries(vec![sized_entry(3, 0, 0, 700), membership(4)])
    };
    now(log.write(batch)).expect("sound");
    for at in 5..=8 {
        now(log.append(&[sized_entry(at, 1, 0, 1900)])).expect("sound");
    }
    let conflict = WriteBatch {
        hard_state: Some(HardState { term: Term::new(3), vote: None }),
        truncate_after: Some(index(7)),
        purge_upto: Some(id(2, 0)),
        commit_hint: Some(index(3)),
        ..WriteBatch::of_entries(vec![sized_entry(8, 3, 1, 33)])
    };
    now(log.write(conflict)).expect("sound");
    if end == "closed" {
        now(log.close()).expect("closes");
    }
}

#[test]
fn directories_of_version_1_open_with_their_content() {
    for end in ENDS {
        if std::env::var_os("KONTIKI_FREEZE").is_some() {
            freeze(end);
        }
        let dir = copy(&frozen_dir(end));
        let mut log = open(dir.path()).expect("opens");
        let inspected = look(&mut log).expect("sound");
        assert_eq!(
            (inspected.bounds.boundary, inspected.bounds.last),
            (id(2, 0), id(8, 3)),
            "{end}"
        );
        assert_eq!(inspected.hard_state, HardState { term: Term::new(3), vote: None });
        assert_eq!(inspected.identity, Some(identity()));
        assert_eq!(inspected.recovered.commit_hint, index(3));
        let found: Vec<_> = inspected.recovered.memberships.iter().map(|(at, _)| *at).collect();
        assert_eq!(found, [index(4)], "the other was purged");
        assert_eq!(inspected.entries, entries());
        now(log.append(&[sized_entry(9, 3, 0, 5)])).expect("the log is writable");
    }
}

/// RocksDB's files may differ between releases, but this project's records in them may not: the
/// same operations give the same records, except for the random number and values derived from it.
#[test]
fn version_1_is_still_written_identically() {
    let dir = tempfile::tempdir().expect("a directory");
    write_sample(dir.path(), "killed");
    let dirs = [frozen_dir("killed"), dir.path().to_path_buf()];
    let [old, new] = dirs.clone().map(|dir| newest_record(&dir));
    assert_eq!(old[..16], new[..16], "magic, version, batch");
    assert_eq!(old[24..160], new[24..160], "all that the log remembers");
    let [old, new] = dirs.map(|dir| {
        let durable_mark = std::fs::read(dir.join("proof")).expect("is there");
        (durable_mark.len(), durable_mark[..16].to_vec(), durable_mark[24..40].to_vec())
    });
    assert_eq!(old, new, "magic, version, no seal, batch, write-ahead log");
}

fn newest_record(dir: &Path) -> Vec<u8> {
    let wal = std::fs::read(dir.join(newest_wal(dir))).expect("is there");
    let at = wal.windows(8).rposition(|eight| eight == b"KTKR\x01\0\0\0").expect("a record");
    wal[at..at + 164].to_vec()
}

fn freeze(end: &str) {
    let dir = tempfile::tempdir().expect("a directory");
    write_sample(dir.path(), end);
    std::fs::create_dir_all(frozen_dir(end).join("db")).expect("creates");
    // RocksDB writes its options to files that need not be kept.
    for name in files(dir.path()).into_iter().filter(|name| !name.contains("OPTIONS")) {
        std::fs::copy(dir.path().join(&name), frozen_dir(end).join(&name)).expect("copies");
    }
}
