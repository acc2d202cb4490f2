//! The law of grouping: applying `a.then(b)` does exactly what applying a and then b does.

use crate::samples::{Sight, batch_for, draft, entry, index, is_deep, look, now};
use log_memory::{MemoryDisk, MemoryLog, SyncMode};
use proptest::prelude::*;
use raft_core::storage::{Store, WriteBatch};
use raft_core::types::{HardState, NodeId, Term};

fn seen(log: &mut MemoryLog) -> Sight {
    look(log).expect("a memory log reads")
}

fn config() -> ProptestConfig {
    let cases = if is_deep() { 100_000 } else { 3000 };
    ProptestConfig { cases, failure_persistence: None, ..ProptestConfig::default() }
}

proptest! {
    #![proptest_config(config())]

    #[test]
    fn a_group_does_what_its_parts_do(before in prop::collection::vec(draft(), 0..4),
                                      first in draft(), second in draft()) {
        let (apart, together) = (MemoryLog::new(), MemoryLog::new());
        let (mut apart, mut together) = (apart, together);
        for (mark, draft) in before.iter().enumerate() {
            let batch = batch_for(&seen(&mut apart), draft, mark as u64);
            now(together.write(batch.clone())).expect("a sound batch");
            now(apart.write(batch)).expect("a sound batch");
        }
        let first = batch_for(&seen(&mut apart), &first, 100);
        now(apart.write(first.clone())).expect("a sound batch");
        let second = batch_for(&seen(&mut apart), &second, 101);
        now(apart.write(second.clone())).expect("a sound batch");

        match first.clone().then(second.clone()) {
            Ok(group) => now(together.write(group)).expect("a sound group"),
            Err(parts) => {
                prop_assert_eq!(&*parts, &(first.clone(), second.clone()), "both come back");
                let (first, second) = *parts;
                now(together.write(first)).expect("sound apart");
                now(together.write(second)).expect("sound apart");
            }
        }
        prop_assert_eq!(seen(&mut together), seen(&mut apart));
    }

    /// The crash of a disk keeps an oldest part of what was not synced, and nothing else.
    #[test]
    fn a_crash_leaves_a_prefix_of_the_batches(drafts in prop::collection::vec(draft(), 1..8),
                                              synced in 0..8usize, keep in 0..8usize) {
        let disk = MemoryDisk::new(SyncMode::WhenTold);
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

/// Grouping is worth little if it is refused for no reason: what a leader and a follower queue up
/// in their daily work becomes one batch.
#[test]
fn the_batches_of_daily_work_merge() {
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
