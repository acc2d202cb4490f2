//! Power cuts: at every operation of a workload, with every kind of loss that the simulated disk
//! simulates, and again while the log is being opened.
//!
//! Each time three things must hold: everything acknowledged is there, the batch that was under way
//! is there as a whole or not at all, and the contents that an opening showed stay, even if the
//! power fails again at once.

use log_file::{Fault, FileLog, SimDisk};
use log_memory::MemoryLog;
use proptest::prelude::*;
use raft_core::storage::{LogError, LogErrorKind, StableStore, Store, WriteBatch};
use raft_core::types::{ClusterId, Identity, NodeId, StoreId};

use crate::samples::{Draft, Inspected, batch_for, draft, id, is_deep, look, now, open};

#[derive(Clone, Debug)]
enum Step {
    Write(Draft),
    Reopen { clean: bool },
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        9 => draft().prop_map(Step::Write),
        1 => any::<bool>().prop_map(|clean| Step::Reopen { clean }),
    ]
}

fn identity() -> Identity {
    let node = NodeId::new(1).expect("not zero");
    Identity { cluster: ClusterId(1), node, store: StoreId(2) }
}

/// The legal states after a power cut: the acknowledged state, or the state with the batch that was
/// under way.
struct Legal {
    acknowledged: Inspected,
    under_way: Option<Inspected>,
}

impl Legal {
    fn allows(&self, seen: &Inspected) -> bool {
        *seen == self.acknowledged || self.under_way.as_ref() == Some(seen)
    }
}

/// The contents of a log without its hint, which may be forgotten.
fn see(log: &mut dyn Store) -> Result<Inspected, LogError> {
    let mut inspected = look(log)?;
    inspected.recovered.commit_hint = Default::default();
    Ok(inspected)
}

/// Runs the steps until they end or the power fails.
fn run(disk: &SimDisk, steps: &[Step]) -> Legal {
    let mut model = MemoryLog::new();
    let mut legal = Legal { acknowledged: see(&mut model).expect("blank"), under_way: None };
    let Ok(mut log) = open(disk) else { return legal };
    now(model.save_identity(&identity())).expect("the first");
    legal.under_way = Some(see(&mut model).expect("sound"));
    if now(log.save_identity(&identity())).is_err() {
        return legal;
    }
    for (mark, step) in steps.iter().enumerate() {
        legal = Legal { acknowledged: see(&mut model).expect("sound"), under_way: None };
        match step {
            Step::Write(draft) => {
                let known = look(&mut model).expect("sound");
                let batch = batch_for(&known, draft, mark as u64);
                now(model.write(batch.clone())).expect("a sound batch");
                legal.under_way = Some(see(&mut model).expect("sound"));
                if now(log.write(batch)).is_err() {
                    return legal;
                }
            }
            Step::Reopen { clean } => {
                if *clean && now(log.close()).is_err() {
                    return legal;
                }
                drop(log);
                log = match open(disk) {
                    Ok(log) => log,
                    Err(_) => return legal,
                };
            }
        }
    }
    Legal { acknowledged: see(&mut model).expect("sound"), under_way: None }
}

/// Opens the disk that a crash left; returns the log and its contents.
fn reopen(disk: &SimDisk) -> Result<(FileLog, Inspected), LogError> {
    let mut log = open(disk)?;
    let inspected = see(&mut log)?;
    Ok((log, inspected))
}

/// Opens an image, writes to it, and crashes it at once and in the middle of the opening.
fn check_image(image: SimDisk, legal: &Legal, seed: u64) -> Result<(), TestCaseError> {
    let untouched = image.copy();
    let before = image.operations();
    let (log, inspected) =
        reopen(&image).map_err(|error| TestCaseError::fail(error.to_string()))?;
    prop_assert!(
        legal.allows(&inspected),
        "seen {inspected:?}\nacknowledged {:?}",
        legal.acknowledged
    );
    let operations = image.operations() - before;

    // The power fails again before anything was written: the shown contents stay.
    let again = image.image(seed.wrapping_add(1));
    drop(log);
    let (mut log, seen) = reopen(&again).map_err(|error| TestCaseError::fail(error.to_string()))?;
    prop_assert_eq!(&seen, &inspected, "what an opening showed must stay");

    // The log continues to work.
    let last = seen.bounds.last;
    let next = id(last.index.get() + 1, last.term.get() + 1);
    let batch = WriteBatch::of_entries(crate::samples::entries(
        next.index.get()..=next.index.get(),
        next.term.get(),
    ));
    now(log.write(batch)).map_err(|error| TestCaseError::fail(error.to_string()))?;
    again.crash(seed.wrapping_add(2));
    let (_, seen) = reopen(&again).map_err(|error| TestCaseError::fail(error.to_string()))?;
    prop_assert_eq!(seen.bounds.last, next);

    // The power fails during the opening itself.
    if operations > 0 {
        let cut = untouched.operations() + seed % operations;
        untouched.plan_fault(cut, Fault::PowerOff);
        // If only housekeeping was hit, the opening succeeds, and what it showed must stay.
        let shown = reopen(&untouched).ok().map(|(_, inspected)| inspected);
        untouched.crash(seed.wrapping_add(3));
        let opened = reopen(&untouched).map_err(|error| TestCaseError::fail(error.to_string()));
        let (_, inspected) = opened?;
        prop_assert!(legal.allows(&inspected), "after a crash in recovery: {inspected:?}");
        prop_assert!(
            shown.is_none_or(|shown| shown == inspected),
            "what an opening showed must stay"
        );
    }
    Ok(())
}

proptest! {
    #![proptest_config(ProptestConfig {
        cases: if is_deep() { 400 } else { 12 },
        failure_persistence: None,
        max_shrink_iters: 200,
        ..ProptestConfig::default()
    })]

    #[test]
    fn a_power_cut_at_any_operation_loses_nothing_acknowledged(
        steps in prop::collection::vec(step(), 1..14),
        seed in any::<u64>(),
    ) {
        let disk = || SimDisk::new(seed).in_blocks_of([1, 512, 4096][(seed % 3) as usize]);
        let dry = disk();
        let legal = run(&dry, &steps);
        check_image(dry.image(seed), &legal, seed)?;
        for cut in 0..dry.operations() {
            let disk = disk();
            disk.plan_fault(cut, Fault::PowerOff);
            let legal = run(&disk, &steps);
            for draw in 0..4 {
                let seed = seed.wrapping_mul(31).wrapping_add(cut * 64 + draw);
                check_image(disk.image(seed), &legal, seed)?;
            }
        }
    }

    /// An error of the disk at any operation: the verb fails, the handle is poisoned, and reopening
    /// finds a legal log, whether or not the machine crashed in between.
    #[test]
    fn an_error_at_any_operation_poisons_and_loses_nothing(
        steps in prop::collection::vec(step(), 1..10),
        seed in any::<u64>(),
    ) {
        use std::io::ErrorKind::{Other, StorageFull};
        let disk = || SimDisk::new(seed).in_blocks_of([1, 512, 4096][(seed % 3) as usize]);
        let dry = disk();
        run(&dry, &steps);
        for cut in 0..dry.operations() {
            for fault in [Fault::Error(Other), Fault::Error(StorageFull), Fault::ShortWrite] {
                let disk = disk();
                disk.plan_fault(cut, fault);
                let legal = run(&disk, &steps);
                if fault == Fault::ShortWrite {
                    prop_assert_eq!(&legal.under_way, &None, "a short write is continued");
                }
                let image = disk.image(seed.wrapping_add(cut));
                check_image(image, &legal, seed.wrapping_add(cut))?;
                disk.kill();
                check_image(disk, &legal, seed.wrapping_add(cut))?;
            }
        }
    }

    /// A disk that is full from some operation on: the verb that needs space fails, an opening
    /// fails or shows what is there, and once there is space again the log is whole.
    #[test]
    fn a_full_disk_loses_nothing(steps in prop::collection::vec(step(), 1..10),
                                 seed in any::<u64>()) {
        let dry = SimDisk::new(seed);
        run(&dry, &steps);
        for cut in 0..dry.operations() {
            let disk = SimDisk::new(seed);
            disk.plan_fault(cut, Fault::Full);
            let legal = run(&disk, &steps);
            disk.kill();
            disk.plan_fault(disk.operations(), Fault::Full);
            if let Ok((_, inspected)) = reopen(&disk) {
                prop_assert!(legal.allows(&inspected), "on a full disk: {inspected:?}");
            }
            disk.kill();
            check_image(disk, &legal, seed.wrapping_add(cut))?;
        }
    }
}

#[test]
fn a_failed_sync_is_never_tried_again() {
    let disk = SimDisk::new(1);
    let mut log = open(&disk).expect("a new log");
    now(log.write(WriteBatch::of_entries(crate::samples::entries(1..=2, 1)))).expect("sound");
    // The write is one operation, its sync the next.
    disk.plan_fault(disk.operations() + 1, Fault::Error(std::io::ErrorKind::Other));
    let third = WriteBatch::of_entries(crate::samples::entries(3..=3, 1));
    let failed = now(log.write(third.clone())).map_err(|error| error.kind);
    assert_eq!(failed, Err(LogErrorKind::Io));
    let operations = disk.operations();
    let after = now(log.write(third)).map_err(|error| error.kind);
    assert_eq!((after, disk.operations()), (Err(LogErrorKind::Poisoned), operations));
    assert_eq!(log_last(&mut log), 2, "a reader never saw it");
    drop(log);

    // The bytes are only in the page cache, and a sync alone would not write them. What the next
    // opening shows must survive.
    let mut log = open(&disk).expect("the cause is gone");
    assert_eq!(log_last(&mut log), 3);
    disk.crash(5);
    assert_eq!(log_last(&mut open(&disk).expect("opens")), 3);
}

/// Opens a disk with a power cut at each operation in turn, and with many kinds of loss: what the
/// log held stays.
fn check_opening(disk: &SimDisk, draws: u64) {
    let whole = disk.copy();
    let before = whole.operations();
    let (_, inspected) = reopen(&whole).expect("opens");
    let operations = whole.operations() - before;
    for cut in 0..operations {
        let disk = disk.copy();
        disk.plan_fault(before + cut, Fault::PowerOff);
        drop(reopen(&disk));
        for seed in 0..if is_deep() { draws * 20 } else { draws } {
            let image = disk.image(seed * 1000 + cut);
            let seen = reopen(&image).map(|(_, inspected)| inspected);
            let seen = seen.unwrap_or_else(|error| panic!("operation {cut}, seed {seed}: {error}"));
            assert_eq!(seen, inspected, "operation {cut}, seed {seed}");
        }
    }
}

/// An empty segment gets a new header at each opening: never under a name that a crash may bring
/// back, since half a header there would be damage.
#[test]
fn an_opening_may_be_interrupted_anywhere() {
    let disk = SimDisk::new(7);
    let mut log = open(&disk).expect("a new log");
    now(log.write(WriteBatch::of_entries(crate::samples::entries(1..=3, 1)))).expect("sound");
    drop(log);
    check_opening(&disk, 20);
    drop(open(&disk).expect("opens"));
    // Both copies of a header must be torn, and a name lost: that takes many draws.
    check_opening(&disk, 2500);
    disk.crash(1);
    check_opening(&disk, 20);
}

/// A log is closed, opened, and written to, with a power cut at each operation. The durable mark of
/// the close is older than what follows; it must never make a torn end count as damage.
#[test]
fn a_durable_mark_never_makes_a_torn_end_damage() {
    let batch = |at| WriteBatch::of_entries(crate::samples::entries(at..=at, 1));
    let life = |disk: &SimDisk, closed: &mut u64| -> Result<(), LogError> {
        for round in 0..3 {
            let mut log = open(disk)?;
            for at in 1..=3 {
                now(log.write(batch(round * 3 + at)))?;
            }
            now(log.close())?;
            *closed = (round + 1) * 3;
        }
        now(open(disk)?.write(batch(10)))
    };
    let dry = SimDisk::new(3);
    life(&dry, &mut 0).expect("nothing fails");
    for cut in 0..dry.operations() {
        let disk = SimDisk::new(3);
        disk.plan_fault(cut, Fault::PowerOff);
        let mut closed = 0;
        // The power may fail in the housekeeping after the last write, which then succeeds.
        let _ = life(&disk, &mut closed);
        for seed in 0..if is_deep() { 400 } else { 25 } {
            let image = disk.image(seed * 1000 + cut);
            let opened = reopen(&image);
            let (_, inspected) = opened.unwrap_or_else(|e| panic!("operation {cut}, {seed}: {e}"));
            assert!(inspected.bounds.last.index.get() >= closed, "operation {cut}, seed {seed}");
        }
    }
}

/// The removal of a segment fails half-way; its file may be reused only once the removal is
/// durable.
#[test]
fn a_removed_segment_is_not_used_before_its_removal_is_durable() {
    let entry = |at| WriteBatch::of_entries(vec![crate::samples::sized_entry(at, 1, 0, 3000)]);
    let fill = |disk: &SimDisk| {
        let mut log = open(disk).expect("a new log");
        (1..=9).for_each(|at| now(log.write(entry(at))).expect("sound"));
        log
    };
    let purge = WriteBatch { purge_upto: Some(id(8, 1)), ..WriteBatch::default() };
    let dry = SimDisk::new(7);
    let mut log = fill(&dry);
    let before = dry.operations();
    now(log.write(purge.clone())).expect("sound");
    assert!(dry.operations() - before >= 4, "segments are removed");
    for cut in before + 2..dry.operations() {
        let disk = SimDisk::new(7);
        let mut log = fill(&disk);
        disk.plan_fault(cut, Fault::Error(std::io::ErrorKind::Other));
        now(log.write(purge.clone())).expect("housekeeping does not fail a write");
        drop(log);
        disk.kill();
        check_opening(&disk, 40);
    }
}

fn log_last(log: &mut FileLog) -> u64 {
    look(log).expect("sound").bounds.last.index.get()
}

/// What went wrong: a full disk was filled by zeros that were not needed, and the next append to a
/// log that had had space before failed.
#[test]
fn the_remains_of_a_segment_that_could_not_be_made_are_removed() {
    let begun = || {
        let disk = SimDisk::new(1);
        let mut log = open(&disk).expect("a new log");
        let first = vec![crate::samples::sized_entry(1, 1, 0, 100)];
        now(log.write(WriteBatch::of_entries(first))).expect("sound");
        (disk, log)
    };
    // Long enough that the next segment is made ahead of time.
    let second = || WriteBatch::of_entries(vec![crate::samples::sized_entry(2, 1, 0, 5000)]);
    let (disk, mut log) = begun();
    let before = disk.operations();
    now(log.write(second())).expect("sound");
    let count = disk.operations() - before;
    assert!(count > 8, "a segment was made");
    // The first two are the frame's own write and sync.
    for nth in 2..count {
        let (disk, mut log) = begun();
        disk.plan_fault(disk.operations() + nth, Fault::Error(std::io::ErrorKind::StorageFull));
        now(log.write(second())).expect("a segment that is made ahead fails no write");
        let is_there = |number| disk.bytes(&format!("spare-{number:016x}")).is_some();
        assert!(!(1..9).any(is_there), "operation {nth} of {count}");
    }
}

/// What went unnoticed when it was planted: a close did not sync the name of its durable mark, and
/// a power cut brought back the older one.
#[test]
fn the_durable_mark_of_a_close_survives_a_power_cut() {
    let disk = SimDisk::new(3);
    let mut log = open(&disk).expect("a new log");
    now(log.write(WriteBatch::of_entries(crate::samples::entries(1..=3, 1)))).expect("sound");
    let before = disk.bytes("proof");
    now(log.close()).expect("closes");
    let durable_mark = disk.bytes("proof");
    assert!(durable_mark.is_some() && durable_mark != before, "the close proves its end");
    for seed in 0..100 {
        assert_eq!(disk.image(seed).bytes("proof"), durable_mark, "seed {seed}");
    }
}
