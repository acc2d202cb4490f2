//! The commit hint of a write covers only entries that are in the log once that write is durable.

use raft_core::consensus::Start;
use raft_core::types::LogIndex;

use super::{Rig, at, entry, id};
use crate::pump::Limits;

/// Two groups that no limit lets merge.
fn rig() -> Rig {
    Rig::new(5, Limits { batch_bytes: 4, ..Limits::default() })
}

/// The hint with which entry 8 of term 5 becomes durable, which was never committed.
///
/// What went wrong: it was 8, since a later leader's entry 8 was committed by then, and a restart
/// applied the wrong entry (laws L5, L10).
fn hint_of_the_older_group(rig: &mut Rig) -> LogIndex {
    // 1. The disk is busy with the new term. Entries 8 and 9 of the leader of term 5 wait.
    let effects = rig.append((1, 5), id(7, 4), vec![], 7);
    assert!(effects.write.is_some_and(|batch| batch.append.is_empty()));
    rig.append((1, 5), id(7, 4), vec![entry(8, 5)], 7);
    rig.append((1, 5), id(8, 5), vec![entry(9, 5)], 7);
    // 2. The leader of term 6, which has neither, replaces entry 8.
    rig.append((2, 6), id(7, 4), vec![entry(8, 6)], 7);
    // 3. It commits its entry, and sends its commit index.
    rig.append((2, 6), id(8, 6), vec![], 8);
    assert_eq!(rig.pump.raft().commit(), at(8));
    // 4. The disk is free for the older group.
    let batch = rig.written().write.expect("the older group");
    assert_eq!(batch.append.last().map(|entry| entry.id), Some(id(8, 5)));
    batch.commit_hint.expect("a hint")
}

#[test]
fn a_hint_covers_only_the_entries_of_its_own_write() {
    let mut rig = rig();
    assert_eq!(hint_of_the_older_group(&mut rig), at(7));
    // The store has this write and no other when the member is killed.
    let start = Start { last: at(8), commit: at(7), applied: at(7), ..Start::default() };
    let mut restarted = Rig::starting_from(start, Limits::default());
    assert!(restarted.ticks(2).apply.is_none(), "entry 8 of term 5 is not applied");
}

#[cfg(feature = "mutants")]
#[test]
fn the_scenario_sees_a_hint_beyond_its_write() {
    let mut rig = rig();
    rig.pump.plant(crate::pump::PumpBug::HintBeyondBatch);
    assert_eq!(hint_of_the_older_group(&mut rig), at(8));
}
