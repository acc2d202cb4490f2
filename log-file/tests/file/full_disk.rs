//! A log on a full disk opens, reads, refuses writes that need space, and accepts them again once
//! there is space.

use log_file::{Fault, FileLog, SimDisk};
use raft_core::storage::{LogErrorKind, LogStore, StableStore, Store, WriteBatch};
use raft_core::types::{Entry, HardState, Term};

use crate::samples::{index, look, now, open, sized_entry};

fn entries(range: std::ops::RangeInclusive<u64>) -> WriteBatch {
    WriteBatch::of_entries(range.map(|at| sized_entry(at, 1, 0, 300)).collect())
}

fn fill(disk: &SimDisk) {
    disk.plan_fault(disk.operations(), Fault::Full);
}

fn read(log: &FileLog, first: u64, last: u64) -> Vec<Entry> {
    let mut reader = log.reader();
    now(reader.read(index(first)..index(last + 1), u64::MAX)).expect("it reads")
}

/// A log with three entries, whose process has ended.
fn begun() -> SimDisk {
    let disk = SimDisk::new(1);
    let mut log = open(&disk).expect("a new log");
    now(log.write(entries(1..=3))).expect("there is space");
    drop(log);
    disk.kill();
    disk
}

#[test]
fn a_log_on_a_full_disk_opens_reads_and_writes_once_there_is_space() {
    let disk = begun();
    fill(&disk);
    let mut log = open(&disk).expect("it needs no space to open");
    assert_eq!(read(&log, 1, 3), entries(1..=3).append);
    let vote = HardState { term: Term::new(7), vote: None };
    for _ in 0..2 {
        let said = now(log.write(WriteBatch::of_hard_state(vote))).map_err(|error| error.kind);
        assert_eq!(said, Err(LogErrorKind::NoSpace), "a vote that is not durable is not given");
    }
    assert_eq!(now(log.load_hard_state()).expect("it can be read"), HardState::default());
    assert_eq!(now(log.close()).map_err(|error| error.kind), Err(LogErrorKind::NoSpace));
    disk.free_space();
    now(log.write(WriteBatch::of_hard_state(vote))).expect("there is space");
    now(log.write(entries(4..=5))).expect("there is space");
    let inspected = look(&mut log).expect("sound");
    drop(log);
    disk.crash(3);
    let mut log = open(&disk).expect("it opens");
    assert_eq!(look(&mut log).expect("sound"), inspected);
    assert_eq!(now(log.load_hard_state()).expect("it can be read"), vote);
}

#[test]
fn what_an_opening_on_a_full_disk_shows_survives_a_power_cut_and_another_opening() {
    let disk = begun();
    let inspected = look(&mut open(&disk.copy()).expect("it opens")).expect("sound");
    fill(&disk);
    for seed in 0..20 {
        drop(open(&disk).expect("it needs no space to open"));
        let image = disk.image(seed);
        assert_eq!(look(&mut open(&image).expect("it opens")).expect("sound"), inspected);
    }
}

/// The disk becomes full at each operation of a write in turn, is freed, and the write is repeated:
/// no entry is lost, and none is in the log twice.
#[test]
fn a_write_without_space_changes_nothing_and_may_be_repeated() {
    // The second fills the segment, so that the third needs a new one.
    let batches = || [entries(1..=3), entries(4..=40), entries(41..=44)];
    let life = |disk: &SimDisk, full_at: u64| -> (FileLog, u32) {
        let mut log = open(disk).expect("a new log");
        disk.plan_fault(full_at, Fault::Full);
        let mut refusals = 0;
        for batch in batches() {
            let before = look(&mut log).expect("sound");
            if let Err(error) = now(log.write(batch.clone())) {
                assert_eq!(error.kind, LogErrorKind::NoSpace, "at operation {full_at}: {error}");
                assert_eq!(look(&mut log).expect("sound"), before);
                disk.free_space();
                refusals += 1;
                now(log.write(batch)).expect("there is space again");
            }
        }
        (log, refusals)
    };
    let dry = SimDisk::new(1);
    let (mut log, _) = life(&dry, u64::MAX);
    let inspected = look(&mut log).expect("sound");
    let begin = {
        let disk = SimDisk::new(1);
        drop(open(&disk).expect("a new log"));
        disk.operations()
    };
    let mut refused = 0;
    for full_at in begin..dry.operations() {
        let disk = SimDisk::new(1);
        let (mut log, refusals) = life(&disk, full_at);
        refused += refusals;
        assert_eq!(look(&mut log).expect("sound"), inspected, "operation {full_at}");
        drop(log);
        for seed in 0..10 {
            let mut log = open(&disk.image(seed)).expect("it opens");
            assert_eq!(
                look(&mut log).expect("sound"),
                inspected,
                "operation {full_at}, seed {seed}"
            );
        }
    }
    assert!(refused >= 2, "{refused} writes found no space");
}

/// The power fails while a write waits for space, after a part of it was written.
#[test]
fn a_power_cut_while_a_write_has_no_space_leaves_what_was_acknowledged() {
    for full_at in 0..6 {
        let disk = SimDisk::new(1);
        let mut log = open(&disk).expect("a new log");
        now(log.write(entries(1..=3))).expect("there is space");
        let inspected = look(&mut log).expect("sound");
        disk.plan_fault(disk.operations() + full_at, Fault::Full);
        let Err(_) = now(log.write(entries(4..=40))) else { continue };
        for seed in 0..20 {
            let mut seen = open(&disk.image(seed)).expect("it opens");
            assert_eq!(
                look(&mut seen).expect("sound"),
                inspected,
                "operation {full_at}, seed {seed}"
            );
        }
    }
}
