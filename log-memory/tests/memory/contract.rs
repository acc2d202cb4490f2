//! Checks that the conformance suite does not have: which refusal a store returns, and how a disk
//! in memory behaves when it fails or loses its power.

use crate::samples::{entries, entry, hard_state, id, index, kind, look, now};
use log_memory::{MemoryDisk, MemoryLog, SyncMode};
use raft_core::storage::WriteBatch;
use raft_core::storage::{LogError, LogErrorKind, LogStore, Refusal, StableStore, Store};
use raft_core::types::{ClusterId, EntryId, Identity, NodeId, StoreId, Term};

/// Entries 4 to 9 after the boundary 3@1; entries from 7 on are of term 2.
fn log() -> MemoryLog {
    let mut log = MemoryLog::new();
    let mut append = entries(4..=6, 1);
    append.extend(entries(7..=9, 2));
    let batch = WriteBatch {
        reset: Some(id(3, 1)),
        hard_state: Some(hard_state(2, 1)),
        ..WriteBatch::of_entries(append)
    };
    now(log.write(batch)).expect("a sound batch");
    log
}

fn refusal<T: std::fmt::Debug>(result: Result<T, LogError>) -> Refusal {
    match result.expect_err("must be refused").kind {
        LogErrorKind::Refused(refusal) => refusal,
        other => panic!("refused was expected, not {other:?}"),
    }
}

#[test]
fn a_request_against_the_contract_changes_nothing() {
    let mut log = log();
    let before = look(&mut log).expect("reads");
    let gap = Refusal::Gap { expected: index(10), found: index(11) };
    assert_eq!(refusal(now(log.append(&entries(11..=11, 2)))), gap);
    let below = Refusal::Gap { expected: index(10), found: index(9) };
    assert_eq!(refusal(now(log.append(&entries(9..=9, 2)))), below);
    let hole = [entry(10, 2, 0), entry(12, 2, 0)];
    let inner = Refusal::Gap { expected: index(11), found: index(12) };
    assert_eq!(refusal(now(log.append(&hole))), inner);
    let falling = Refusal::FallingTerm { id: id(10, 1) };
    assert_eq!(refusal(now(log.append(&entries(10..=10, 1)))), falling);
    let below = Refusal::TruncateBelowBoundary { boundary: id(3, 1) };
    assert_eq!(refusal(now(log.truncate_after(index(2)))), below);
    let beyond = Refusal::PurgeBeyondLast { last: id(9, 2) };
    assert_eq!(refusal(now(log.purge_upto(id(10, 2)))), beyond);
    let other = Refusal::OtherTerm { found: id(7, 2) };
    assert_eq!(refusal(now(log.purge_upto(id(7, 1)))), other);
    let back = Refusal::HardStateGoesBack;
    assert_eq!(refusal(now(log.save_hard_state(hard_state(1, 0)))), back);
    assert_eq!(refusal(now(log.save_hard_state(hard_state(2, 2)))), back);
    assert_eq!(look(&mut log).expect("reads"), before);
    now(log.append(&entries(10..=10, 2))).expect("a refusal does not poison");
}

#[test]
fn a_refused_verb_refuses_its_whole_batch() {
    let mut log = log();
    let before = look(&mut log).expect("reads");
    let batch = WriteBatch {
        hard_state: Some(hard_state(3, 1)),
        truncate_after: Some(index(7)),
        append: entries(8..=8, 3),
        purge_upto: Some(id(9, 2)),
        ..WriteBatch::default()
    };
    let beyond = Refusal::PurgeBeyondLast { last: id(8, 3) };
    assert_eq!(refusal(now(log.write(batch))), beyond);
    assert_eq!(look(&mut log).expect("reads"), before);
}

#[test]
fn a_read_returns_its_whole_range_or_a_refusal() {
    let mut log = log();
    let mut reader = log.reader();
    assert_eq!(now(reader.read(index(5)..index(5), 0)).expect("empty"), []);
    let inverted = Refusal::InvertedRange;
    let backwards = std::ops::Range { start: index(6), end: index(5) };
    assert_eq!(refusal(now(reader.read(backwards, 0))), inverted);
    let compacted = LogErrorKind::Compacted { boundary: id(3, 1) };
    assert_eq!(kind(now(reader.read(index(3)..index(5), 9))), compacted);
    let unavailable = LogErrorKind::Unavailable { last: index(9) };
    assert_eq!(kind(now(reader.read(index(8)..index(11), 9))), unavailable);
    assert_eq!(kind(now(reader.term(index(10)))), unavailable);

    let wanted = entries(4..=6, 1);
    let two = wanted[0].size() + wanted[1].size();
    let of = |bytes| {
        let mut reader = log.reader();
        now(reader.read(index(4)..index(7), bytes)).expect("inside").len()
    };
    assert_eq!([of(0), of(two - 1), of(two), of(u64::MAX)], [1, 1, 2, 3]);
    now(log.truncate_after(index(4))).expect("inside");
    let unavailable = LogErrorKind::Unavailable { last: index(4) };
    assert_eq!(kind(now(reader.read(index(4)..index(6), 9))), unavailable);
}

#[test]
fn an_identity_is_saved_once() {
    let mut log = MemoryLog::new();
    assert_eq!(now(log.load_identity()).expect("reads"), None);
    let node = NodeId::new(3).expect("not zero");
    let identity = Identity { cluster: ClusterId(1), node, store: StoreId(2) };
    now(log.save_identity(&identity)).expect("the first");
    now(log.save_identity(&identity)).expect("the same again");
    let other = Identity { store: StoreId(4), ..identity };
    assert_eq!(refusal(now(log.save_identity(&other))), Refusal::OtherIdentity);
    assert_eq!(now(log.load_identity()).expect("reads"), Some(identity));
}

#[test]
fn a_failed_write_poisons_until_the_next_opening() {
    let disk = MemoryDisk::new(SyncMode::EachWrite);
    let mut log = MemoryLog::open(&disk).expect("free");
    now(log.append(&entries(1..=2, 1))).expect("sound");
    disk.fail_write_after(1);
    now(log.append(&entries(3..=3, 1))).expect("one more succeeds");
    assert_eq!(kind(now(log.append(&entries(4..=4, 1)))), LogErrorKind::Io);
    assert_eq!(kind(now(log.append(&entries(5..=5, 1)))), LogErrorKind::Poisoned);
    assert_eq!(kind(now(log.save_hard_state(hard_state(5, 1)))), LogErrorKind::Poisoned);
    for keep in [1, 0] {
        let survivors = 3 + keep as u64;
        disk.crash(keep);
        let mut log = MemoryLog::open(&disk).expect("the failure is over");
        assert_eq!(log.bounds().last.index, index(survivors));
        now(log.truncate_after(index(3))).expect("works");
        disk.fail_write_after(0);
        assert_eq!(kind(now(log.append(&entries(4..=4, 1)))), LogErrorKind::Io);
    }
}

#[test]
fn a_crash_ends_the_store_and_its_readers() {
    let disk = MemoryDisk::new(SyncMode::OnRequest);
    let mut log = MemoryLog::open(&disk).expect("free");
    let mut reader = log.reader();
    now(log.append(&entries(1..=3, 1))).expect("sound");
    assert_eq!(now(reader.term(index(3))).expect("written is readable"), Term::new(1));
    disk.crash(0);
    assert_eq!(kind(now(log.append(&entries(1..=1, 1)))), LogErrorKind::Poisoned);
    assert_eq!(kind(now(reader.term(index(0)))), LogErrorKind::Poisoned);
    let mut log = MemoryLog::open(&disk).expect("the crash freed it");
    assert_eq!(look(&mut log).expect("reads").bounds.last, EntryId::ZERO);
}

#[test]
fn an_opening_makes_everything_it_shows_durable() {
    let disk = MemoryDisk::new(SyncMode::OnRequest);
    let mut log = MemoryLog::open(&disk).expect("free");
    now(log.append(&entries(1..=3, 1))).expect("sound");
    drop(log);
    let log = MemoryLog::open(&disk).expect("free");
    assert_eq!((log.bounds().last, disk.unsynced()), (id(3, 1), 0));
    disk.crash(0);
    assert_eq!(MemoryLog::open(&disk).expect("free").bounds().last, id(3, 1));
}
