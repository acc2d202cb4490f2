//! The law of grouping: applying `a.then(b)` does exactly what applying a and then b does.

use crate::samples::{entry, id, index, now, snapshot};
use log_memory::{MemoryDisk, MemoryLog, SyncMode};
use proptest::prelude::*;
use raft_core::storage::{LogBounds, Store, WriteBatch};
use raft_core::types::{EntryId, HardState, NodeId, Term};

/// Raw choices, which become a batch that suits a given log.
#[derive(Clone, Debug)]
struct Draft {
    hard_state: Option<(u64, u64)>,
    reset: Option<u64>,
    truncate: Option<u64>,
    appended: u64,
    term_step: u64,
    purge: Option<u64>,
    hint: Option<u64>,
}

fn draft() -> impl Strategy<Value = Draft> {
    let maybe = |limit: u64| prop::option::weighted(0.4, 0..limit);
    let vote = prop::option::weighted(0.3, (0..3u64, 0..3u64));
    let reset = prop::option::weighted(0.1, 0..12u64);
    (vote, reset, maybe(12), 0..5u64, 0..2u64, maybe(12), maybe(30)).prop_map(
        |(hard_state, reset, truncate, appended, term_step, purge, hint)| Draft {
            hard_state,
            reset,
            truncate,
            appended,
            term_step,
            purge,
            hint,
        },
    )
}

/// The batch that a draft means for this log; `mark` goes into the payloads.
fn batch_for(log: &mut MemoryLog, draft: &Draft, mark: u64) -> WriteBatch {
    let (recovered, entries) = snapshot(log);
    let mut bounds = recovered.bounds;
    let mut ids: Vec<EntryId> = entries.iter().map(|entry| entry.id).collect();
    let mut batch = WriteBatch {
        hard_state: draft.hard_state.map(|(step, vote)| {
            let term = Term::new(recovered.hard_state.term.get() + 1 + step);
            HardState { term, vote: NodeId::new(vote) }
        }),
        commit_hint: draft.hint.map(index),
        ..WriteBatch::default()
    };
    if let Some(step) = draft.reset {
        let boundary = id(bounds.last.index.get() + step, bounds.last.term.get());
        batch.reset = Some(boundary);
        bounds = LogBounds { boundary, last: boundary };
        ids.clear();
    }
    if let Some(step) = draft.truncate {
        // Reaches beyond the end at times, where a truncation does nothing.
        let cut = bounds.boundary.index.plus(step);
        batch.truncate_after = Some(cut);
        ids.retain(|id| id.index <= cut);
        bounds.last = ids.last().copied().unwrap_or(bounds.boundary);
    }
    let term = bounds.last.term.get() + draft.term_step;
    for next in 1..=draft.appended {
        let new = entry(bounds.last.index.get() + next, term, mark);
        ids.push(new.id);
        batch.append.push(new);
    }
    batch.purge_upto = draft.purge.and_then(|step| match step {
        // At or below the boundary a purge does nothing, whatever term it names.
        0 => Some(EntryId::new(Term::new(99), bounds.boundary.index)),
        _ => ids.get(step as usize - 1).copied(),
    });
    batch
}

fn config() -> ProptestConfig {
    let deep = std::env::var_os("KONTIKI_DEEP").is_some();
    let cases = if deep { 100_000 } else { 3000 };
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
            let batch = batch_for(&mut apart, draft, mark as u64);
            now(together.write(batch.clone())).expect("a sound batch");
            now(apart.write(batch)).expect("a sound batch");
        }
        let first = batch_for(&mut apart, &first, 100);
        now(apart.write(first.clone())).expect("a sound batch");
        let second = batch_for(&mut apart, &second, 101);
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
        prop_assert_eq!(snapshot(&mut together), snapshot(&mut apart));
    }

    /// The crash of a disk keeps an oldest part of what was not synced, and nothing else.
    #[test]
    fn a_crash_leaves_a_prefix_of_the_batches(drafts in prop::collection::vec(draft(), 1..8),
                                              synced in 0..8usize, keep in 0..8usize) {
        let disk = MemoryDisk::new(SyncMode::WhenTold);
        let mut log = MemoryLog::open(&disk).expect("free");
        let mut history = vec![snapshot(&mut log)];
        for (mark, draft) in drafts.iter().enumerate() {
            let batch = batch_for(&mut log, draft, mark as u64);
            now(log.write(batch)).expect("a sound batch");
            history.push(snapshot(&mut log));
            if mark + 1 == synced {
                disk.sync();
            }
        }
        let durable = if synced <= drafts.len() { synced } else { 0 };
        prop_assert_eq!(disk.unsynced(), drafts.len() - durable);
        disk.crash(keep);
        let mut log = MemoryLog::open(&disk).expect("the crash freed it");
        let survived = (durable + keep).min(drafts.len());
        prop_assert_eq!(snapshot(&mut log), history[survived].clone());
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
