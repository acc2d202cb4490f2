//! The law of grouping: applying `a.then(b)` has the same effect as applying a and then b.

use crate::samples::{
    Draft, Inspected, batch_for, draft, entries, entry, id, index, is_deep, look, now,
};
use log_memory::{MemoryDisk, MemoryLog, SyncMode};
use proptest::prelude::*;
use proptest::test_runner::TestRunner;
use raft_core::storage::{Store, WriteBatch};
use raft_core::types::{HardState, NodeId, Term};

fn seen(log: &mut MemoryLog) -> Inspected {
    look(log).expect("a memory log reads")
}

fn config() -> ProptestConfig {
    let cases = if is_deep() { 100_000 } else { 3000 };
    ProptestConfig { cases, failure_persistence: None, ..ProptestConfig::default() }
}

/// The batches that are written for two batches.
type Grouping = fn(WriteBatch, WriteBatch) -> Vec<WriteBatch>;

fn by_then(first: WriteBatch, second: WriteBatch) -> Vec<WriteBatch> {
    match first.clone().then(second.clone()) {
        Ok(group) => vec![group],
        Err(parts) => {
            assert_eq!(*parts, (first, second), "both are returned unchanged");
            vec![parts.0, parts.1]
        }
    }
}

fn follows_the_law(
    before: &[Draft],
    first: &Draft,
    second: &Draft,
    group: Grouping,
) -> Result<(), TestCaseError> {
    let (mut apart, mut together) = (MemoryLog::new(), MemoryLog::new());
    for (mark, draft) in before.iter().enumerate() {
        let batch = batch_for(&seen(&mut apart), draft, mark as u64);
        now(together.write(batch.clone())).expect("a sound batch");
        now(apart.write(batch)).expect("a sound batch");
    }
    let first = batch_for(&seen(&mut apart), first, 100);
    now(apart.write(first.clone())).expect("a sound batch");
    let second = batch_for(&seen(&mut apart), second, 101);
    now(apart.write(second.clone())).expect("a sound batch");
    for batch in group(first, second) {
        let written = now(together.write(batch));
        prop_assert!(written.is_ok(), "a group is refused: {written:?}");
    }
    prop_assert_eq!(seen(&mut together), seen(&mut apart));
    Ok(())
}

proptest! {
    #![proptest_config(config())]

    #[test]
    fn a_group_has_the_effect_of_its_parts(before in prop::collection::vec(draft(), 0..4),
                                      first in draft(), second in draft()) {
        follows_the_law(&before, &first, &second, by_then)?;
    }

    /// A crash of a disk keeps a prefix of the unsynced batches, and nothing else.
    #[test]
    fn a_crash_leaves_a_prefix_of_the_batches(drafts in prop::collection::vec(draft(), 1..8),
                                              synced in 0..8usize, keep in 0..8usize) {
        let disk = MemoryDisk::new(SyncMode::OnRequest);
        let mut log = MemoryLog::open(&disk).expect("free");
        let mut history = vec![seen(&mut log)];
        for (mark, draft) in drafts.iter().enumerate() {
            let batch = batch_for(&seen(&mut log), draft, mark as u64);
            now(log.write(batch)).expect("a sound batch");
            history.push(seen(&mut log));
            if mark + 1 == synced {
                disk.sync();
            }
        }
        let durable = if synced <= drafts.len() { synced } else { 0 };
        prop_assert_eq!(disk.unsynced(), drafts.len() - durable);
        disk.crash(keep);
        let mut log = MemoryLog::open(&disk).expect("the crash freed it");
        let survived = (durable + keep).min(drafts.len());
        prop_assert_eq!(seen(&mut log), history[survived].clone());
    }
}

/// Tests the test: the law finds groupings that merge batches that must not be merged.
#[test]
fn wrong_groupings_are_found() {
    let wrong: [(&str, Grouping); 3] = [
        ("a group merged across a reset", across_a_reset),
        ("a group that drops the second cut", without_the_second_cut),
        ("a group that keeps the first vote", with_the_first_vote),
    ];
    for (what, group) in wrong {
        let strategy = (prop::collection::vec(draft(), 0..4), draft(), draft());
        let found = TestRunner::new(config()).run(&strategy, |(before, first, second)| {
            follows_the_law(&before, &first, &second, group)
        });
        assert!(found.is_err(), "{what} is not found");
    }
}

fn across_a_reset(first: WriteBatch, mut second: WriteBatch) -> Vec<WriteBatch> {
    let Some(reset) = second.reset.take() else { return by_then(first, second) };
    match first.then(second) {
        Ok(merged) => vec![WriteBatch { reset: Some(reset), ..merged }],
        Err(parts) => vec![parts.0, WriteBatch { reset: Some(reset), ..parts.1 }],
    }
}

fn without_the_second_cut(first: WriteBatch, second: WriteBatch) -> Vec<WriteBatch> {
    by_then(first, WriteBatch { truncate_after: None, ..second })
}

fn with_the_first_vote(first: WriteBatch, second: WriteBatch) -> Vec<WriteBatch> {
    let hard_state = first.hard_state.or(second.hard_state);
    by_then(first, WriteBatch { hard_state, ..second })
}

/// Grouping is useful only if common batches can be merged: those that a leader and a follower
/// usually queue become one batch.
#[test]
fn common_batches_are_merged() {
    let append = |first: u64, last: u64, term| WriteBatch {
        append: (first..=last).map(|index| entry(index, term, 0)).collect(),
        ..WriteBatch::default()
    };
    let conflict = WriteBatch { truncate_after: Some(index(5)), ..append(6, 7, 3) };
    let vote = HardState { term: Term::new(4), vote: NodeId::new(1) };
    let vote = WriteBatch { hard_state: Some(vote), ..WriteBatch::default() };
    let group = append(4, 8, 2)
        .then(conflict)
        .and_then(|group| group.then(vote))
        .and_then(|group| group.then(append(8, 9, 4)))
        .expect("all merge");
    let ids: Vec<String> = group.append.iter().map(|entry| entry.id.to_string()).collect();
    assert_eq!(ids, ["4@2", "5@2", "6@3", "7@3", "8@4", "9@4"]);
    assert_eq!(group.truncate_after, None);
}

/// The batches that a log of entries 1 to 5 with the boundary 0@0 may be given, those that it
/// refuses included: no-ops, cuts and purges at each edge, hints beyond the end.
fn edge_batches() -> Vec<WriteBatch> {
    let mut batches = Vec::new();
    for cut in [None, Some(1), Some(3), Some(5), Some(7)] {
        for append in [None, Some(4), Some(6)] {
            for purge in [None, Some(id(2, 1)), Some(id(2, 9)), Some(id(4, 1))] {
                for hint in [None, Some(2), Some(5), Some(9)] {
                    batches.push(WriteBatch {
                        truncate_after: cut.map(index),
                        append: append.map(|at| entry(at, 2, 0)).into_iter().collect(),
                        purge_upto: purge,
                        commit_hint: hint.map(index),
                        ..WriteBatch::default()
                    });
                }
            }
        }
    }
    batches
}

/// What went unnoticed when it was planted: a group that truncated where the second of two
/// truncations did, though the first lay lower; one that took the later of two purges at one index;
/// one that removed what its own first part calls committed.
#[test]
fn a_group_does_what_its_parts_do_at_every_edge() {
    let log_with = |batch: &WriteBatch| {
        let mut log = MemoryLog::new();
        now(log.write(WriteBatch::of_entries(entries(1..=5, 1)))).expect("sound");
        now(log.write(batch.clone())).is_ok().then_some(log)
    };
    let batches = edge_batches();
    let (mut merged, mut refused) = (0, 0);
    for first in batches.iter().filter(|first| log_with(first).is_some()) {
        for second in &batches {
            let Ok(group) = first.clone().then(second.clone()) else { continue };
            let mut apart = log_with(first).expect("it was not refused");
            let is_sound = now(apart.write(second.clone())).is_ok();
            let together = log_with(&group);
            let words = || format!("{first:?}, then {second:?}, as {group:?}");
            assert_eq!(together.is_some(), is_sound, "{}", words());
            let Some(mut together) = together else {
                refused += 1;
                continue;
            };
            assert_eq!(seen(&mut together), seen(&mut apart), "{}", words());
            merged += 1;
        }
    }
    assert!(merged > 1000 && refused > 100, "{merged} merged, {refused} refused");
}
