//! A log on a disk without space: it opens, refuses writes that need space, and accepts them once
//! there is some.

#![cfg(target_os = "linux")]

use std::path::Path;

use crash_disk::crash::{Cut, Fate, Names};
use crash_disk::{Disk, Failure, Fault, Operation, mount_or_skip};
use raft_core::storage::{LogError, LogErrorKind, LogStore, StableStore, Store, WriteBatch};
use raft_core::types::{HardState, Term};

use crate::samples::{entries, look, now, open, sized_entry};

/// The ways in which a disk has no space: it is full, or the user's share of it is used up.
const FULL: [Failure; 2] = [Failure::NoSpace, Failure::Quota];

fn fill(disk: &Disk, on: Operation, nth: u64, failure: Failure) {
    disk.inject(Fault { on, nth, failure, lasts: true });
}

/// Checks that the log after a power cut at this moment shows these entries and this vote.
fn survives(disk: &Disk, last: u64, vote: HardState) {
    let at = disk.changes();
    let names = Names::CarriedBefore(at);
    let left = disk.history().cut(&Cut { at, fate: Fate::Lost, names, seed: 0 });
    let cut = tempfile::tempdir().expect("a directory");
    left.tree.write_into(cut.path()).expect("an image can be written");
    let mut log = open(&cut.path().join("log")).expect("it opens after a power cut");
    assert_eq!(log.bounds().last.index.get(), last);
    assert_eq!(now(log.load_hard_state()).expect("readable"), vote);
    look(&mut log).expect("each entry reads");
}

fn first() -> WriteBatch {
    WriteBatch::of_entries(entries(1..=3, 1))
}

fn begin(dir: &Path) {
    let mut log = open(dir).expect("a new log");
    now(log.write(first())).expect("there is space");
}

/// What went wrong: `open` wrote a new durable mark, for which there was no space.
#[test]
fn a_log_on_a_full_disk_opens_and_is_proven_later() {
    for failure in FULL {
        let Some(disk) = mount_or_skip() else { return };
        let dir = disk.dir().join("log");
        begin(&dir);
        let before = std::fs::read(dir.join("proof")).expect("there is one");
        fill(&disk, Operation::Create, 1, failure);
        let mut log = open(&dir).expect("it needs no new file");
        assert_eq!(look(&mut log).expect("sound").entries, entries(1..=3, 1));
        assert_eq!(std::fs::read(dir.join("proof")).expect("there is one"), before);
        assert_eq!(now(log.close()).map_err(|error| error.kind), Err(LogErrorKind::NoSpace));
        disk.clear_faults();
        now(log.close()).expect("there is space");
        assert_ne!(std::fs::read(dir.join("proof")).expect("there is one"), before);
        drop(log);
        survives(&disk, 3, HardState::default());
    }
}

const VOTE: HardState = HardState { term: Term::new(7), vote: None };

/// A batch that makes a checkpoint due.
fn large() -> WriteBatch {
    let append = (4..=40).map(|at| sized_entry(at, 7, 0, 4000)).collect();
    WriteBatch { hard_state: Some(VOTE), ..WriteBatch::of_entries(append) }
}

/// Waits for the checkpoint that the large batch made due.
fn small() -> WriteBatch {
    WriteBatch::of_entries(entries(41..=42, 7))
}

/// How many writes to the disk the two batches and the checkpoint between them take.
fn count_writes() -> Option<u64> {
    let disk = mount_or_skip()?;
    let dir = disk.dir().join("log");
    begin(&dir);
    let mut log = open(&dir).expect("it opens");
    let database = || std::fs::read(dir.join("log.db")).expect("there is one");
    let (before, unchanged) = (disk.count(Operation::Write), database());
    now(log.write(large())).expect("there is space");
    now(log.write(small())).expect("there is space");
    assert_ne!(database(), unchanged, "the faults reach a checkpoint");
    Some(disk.count(Operation::Write) - before)
}

/// Fills the disk at the `nth` write, and frees it after two attempts to write the large batch.
/// Returns how many of these were refused.
fn write_without_space(nth: u64, failure: Failure) -> u32 {
    let disk = mount_or_skip().expect("there was one");
    let dir = disk.dir().join("log");
    begin(&dir);
    let mut log = open(&dir).expect("it opens");
    fill(&disk, Operation::Write, nth, failure);
    let mut refused = 0;
    for _ in 0..2 {
        let Err(error) = now(log.write(large())) else { break };
        assert_eq!(error.kind, LogErrorKind::NoSpace, "write {nth}, {failure:?}: {error}");
        assert_eq!(look(&mut log).expect("sound").entries, entries(1..=3, 1));
        assert_eq!(now(log.load_hard_state()).expect("it can be read"), HardState::default());
        survives(&disk, 3, HardState::default());
        refused += 1;
    }
    disk.clear_faults();
    if log.bounds().last.index.get() == 3 {
        now(log.write(large())).expect("there is space again");
    }
    now(log.write(small())).expect("it accepts writes");
    drop(log);
    survives(&disk, 42, VOTE);
    refused
}

/// What went wrong: the first write without space counted as failed, and the handle was poisoned;
/// later the same happened where a user's quota was used up, which SQLite reports as any failed
/// write.
#[test]
fn a_write_without_space_changes_nothing_and_may_be_retried() {
    let Some(count) = count_writes() else { return };
    for failure in FULL {
        let refused: u32 =
            (1..=count).step_by(7).map(|nth| write_without_space(nth, failure)).sum();
        assert!(refused > 4, "{refused} writes were refused");
    }
}

/// A sync that fails for lack of space leaves the outcome unknown (P15).
#[test]
fn a_sync_without_space_poisons() {
    for failure in FULL {
        let Some(disk) = mount_or_skip() else { return };
        let mut log = open(&disk.dir().join("log")).expect("a new log");
        fill(&disk, Operation::Sync, 1, failure);
        let failed = |result: Result<(), LogError>| result.map_err(|error| error.kind);
        assert_eq!(failed(now(log.write(first()))), Err(LogErrorKind::Io), "{failure:?}");
        disk.clear_faults();
        assert_eq!(failed(now(log.write(first()))), Err(LogErrorKind::Poisoned));
    }
}
