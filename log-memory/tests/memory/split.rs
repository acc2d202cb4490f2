//! Two memory logs as the halves of one store: which half is written first, what is declared, and
//! which halves are refused. The conformance suite checks the rest.

use crate::samples::{entries, id, now};
use log_memory::{MemoryDisk, MemoryLog, SyncMode};
use raft_core::storage::{Detects, Durability, LogError, LogErrorKind, LogStore, Refusal, Split};
use raft_core::storage::{StableStore, Store, StoreInfo, WriteBatch};
use raft_core::types::{ClusterId, EntryId, HardState, Identity, NodeId, StoreId, Term};

fn disk() -> MemoryDisk {
    MemoryDisk::new(SyncMode::EachWrite)
}

fn split(log: &MemoryDisk, stable: &MemoryDisk) -> Split<MemoryLog, MemoryLog> {
    let (log, stable) = (MemoryLog::open(log), MemoryLog::open(stable));
    let stable = stable.expect("free");
    let info = stable.info();
    Split::new(log.expect("free"), stable, info)
}

fn hard_state(term: u64) -> HardState {
    HardState { term: Term::new(term), vote: NodeId::new(1) }
}

fn identity(store: u64) -> Identity {
    let node = NodeId::new(1).expect("not zero");
    Identity { cluster: ClusterId(1), node, store: StoreId(store) }
}

fn vote_and_entries() -> WriteBatch {
    WriteBatch { hard_state: Some(hard_state(3)), ..WriteBatch::of_entries(entries(1..=2, 3)) }
}

fn refusal<T: std::fmt::Debug>(result: Result<T, LogError>) -> Refusal {
    match result.expect_err("must be refused").kind {
        LogErrorKind::Refused(refusal) => refusal,
        other => panic!("refused was expected, not {other:?}"),
    }
}

#[test]
fn a_failure_between_the_halves_leaves_the_hard_state_ahead() {
    let (log, stable) = (disk(), disk());
    let mut store = split(&log, &stable);
    log.fail_write_after(0);
    assert_eq!(now(store.write(vote_and_entries())).expect_err("fails").kind, LogErrorKind::Io);
    drop(store);
    log.crash(0);
    let recovered = now(split(&log, &stable).recover()).expect("sound");
    assert_eq!((recovered.hard_state, recovered.bounds.last), (hard_state(3), EntryId::ZERO));
}

#[test]
fn a_failure_to_write_the_votes_leaves_the_log_unchanged() {
    let (log, stable) = (disk(), disk());
    let mut store = split(&log, &stable);
    stable.fail_write_after(0);
    assert_eq!(now(store.write(vote_and_entries())).expect_err("fails").kind, LogErrorKind::Io);
    assert_eq!(store.bounds().last, EntryId::ZERO);
    let again = now(store.write(vote_and_entries())).expect_err("poisoned");
    assert_eq!(again.kind, LogErrorKind::Poisoned);
}

/// What went unnoticed when it was planted: each half poisoned itself, and the other one accepted
/// further changes.
#[test]
fn a_failure_of_the_log_poisons_the_votes_too() {
    let (log, stable) = (disk(), disk());
    let mut store = split(&log, &stable);
    log.fail_write_after(0);
    let failed = now(store.write(WriteBatch::of_entries(entries(1..=2, 3)))).expect_err("fails");
    assert_eq!(failed.kind, LogErrorKind::Io);
    let said = [
        now(store.save_hard_state(hard_state(3))),
        now(store.save_identity(&identity(1))),
        now(store.write(WriteBatch::of_hard_state(hard_state(3)))),
        now(store.close()),
    ];
    for said in said {
        assert_eq!(said.expect_err("for good").kind, LogErrorKind::Poisoned);
    }
}

#[test]
fn the_weaker_half_is_declared() {
    let proven = StoreInfo { detects: Detects::ProvenPrefix, ..MemoryLog::new().info() };
    let info = StoreInfo { may_block: true, sync_verb: "fsync".into(), ..proven };
    let info = StoreInfo { backend: "slow".into(), durability: Durability::PowerLoss, ..info };
    let declared = Split::new(MemoryLog::new(), MemoryLog::new(), info).info();
    let expected = StoreInfo {
        backend: "memory+slow".into(),
        durability: Durability::Volatile,
        atomic_batch: false,
        may_block: true,
        detects: Detects::Nothing,
        sync_verb: "none, fsync".into(),
        format_version: 1,
    };
    assert_eq!(declared, expected);
}

#[test]
fn halves_of_different_stores_are_refused() {
    let (log, stable, other) = (disk(), disk(), disk());
    now(split(&log, &stable).save_identity(&identity(1))).expect("blank");
    for identity_of_stable in [None, Some(identity(2))] {
        if let Some(identity) = identity_of_stable {
            now(MemoryLog::open(&other).expect("free").save_identity(&identity)).expect("blank");
        }
        let mut store = split(&log, &other);
        assert_eq!(refusal(now(store.load_identity())), Refusal::OtherIdentity);
        assert_eq!(refusal(now(store.recover())), Refusal::OtherIdentity);
        assert_eq!(refusal(now(store.save_identity(&identity(2)))), Refusal::OtherIdentity);
    }
    let kept = now(split(&log, &stable).load_identity()).expect("both halves are of one store");
    assert_eq!(kept, Some(identity(1)));
}

#[test]
fn a_log_half_with_a_vote_of_its_own_is_refused() {
    let (log, stable) = (disk(), disk());
    now(MemoryLog::open(&log).expect("free").write(vote_and_entries())).expect("sound");
    let back = refusal(now(split(&log, &stable).recover()));
    assert_eq!(back, Refusal::HardStateGoesBack);
    now(split(&log, &stable).save_hard_state(hard_state(3))).expect("blank");
    let recovered = now(split(&log, &stable).recover()).expect("the vote is there");
    assert_eq!((recovered.hard_state, recovered.bounds.last), (hard_state(3), id(2, 3)));
}
