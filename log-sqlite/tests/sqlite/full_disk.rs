//! A log on a disk without space: it opens, refuses writes that need space, and accepts them once
//! there is some.

#![cfg(target_os = "linux")]

use std::path::Path;

use crash_disk::crash::{Cut, Fate, Names};
use crash_disk::{Disk, Failure, Fault, Operation, mount_or_skip};
use raft_core::storage::{LogErrorKind, LogStore, StableStore, Store, WriteBatch};
use raft_core::types::{HardState, Term};

use crate::samples::{entries, look, now, open, sized_entry};

fn fill(disk: &Disk, on: Operation, nth: u64) {
    disk.inject(Fault { on, nth, failure: Failure::NoSpace, lasts: true });
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

fn begin(dir: &Path) {
    let mut log = open(dir).expect("a new log");
    now(log.write(WriteBatch::of_entries(entries(1..=3, 1)))).expect("there is space");
}

/// What went wrong: `open` wrote a new durable mark, for which there was no space.
#[test]
fn a_log_on_a_full_disk_opens_and_is_proven_later() {
    let Some(disk) = mount_or_skip() else { return };
    let dir = disk.dir().join("log");
    begin(&dir);
    let before = std::fs::read(dir.join("proof")).expect("there is one");
    fill(&disk, Operation::Create, 1);
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

/// What went wrong: the first write without space counted as failed, and the handle was poisoned.
#[test]
fn a_write_without_space_changes_nothing_and_may_be_retried() {
    let vote = HardState { term: Term::new(7), vote: None };
    // Enough writes that checkpoints run in between.
    let large = || (4..=40).map(|at| sized_entry(at, 7, 0, 4000)).collect();
    let batch = || WriteBatch { hard_state: Some(vote), ..WriteBatch::of_entries(large()) };
    let count = {
        let Some(disk) = mount_or_skip() else { return };
        let dir = disk.dir().join("log");
        begin(&dir);
        let mut log = open(&dir).expect("it opens");
        let before = disk.count(Operation::Write);
        now(log.write(batch())).expect("there is space");
        disk.count(Operation::Write) - before
    };
    assert!(count > 40, "the faults reach a checkpoint: {count}");
    let mut refused = 0;
    for nth in (1..=count).step_by(7) {
        let disk = mount_or_skip().expect("there was one");
        let dir = disk.dir().join("log");
        begin(&dir);
        let mut log = open(&dir).expect("it opens");
        fill(&disk, Operation::Write, nth);
        for _ in 0..2 {
            let Err(error) = now(log.write(batch())) else { break };
            assert_eq!(error.kind, LogErrorKind::NoSpace, "write {nth}: {error}");
            assert_eq!(look(&mut log).expect("sound").entries, entries(1..=3, 1));
            assert_eq!(now(log.load_hard_state()).expect("it can be read"), HardState::default());
            survives(&disk, 3, HardState::default());
            refused += 1;
        }
        disk.clear_faults();
        if log.bounds().last.index.get() == 3 {
            now(log.write(batch())).expect("there is space again");
        }
        now(log.write(WriteBatch::of_entries(entries(41..=42, 7)))).expect("it accepts writes");
        drop(log);
        survives(&disk, 42, vote);
    }
    assert!(refused > 4, "{refused} writes were refused");
}
