//! When the pump takes a snapshot, and what it answers to those that asked for one.

use raft_core::types::{EntryId, LogIndex};

use super::{Names, Rig, at, entry, id};
use crate::SnapshotError;
use crate::pump::{Effects, Event, Limits, TakenSnapshot};

/// Member 3, which follows a leader of term 5 and has applied everything up to 7@4. With a limit of
/// at most seven entries, it takes a snapshot already.
fn following(limits: Limits) -> Rig {
    let mut rig = Rig::new(3, limits);
    rig.pump.enable_snapshots(None);
    rig.append((1, 5), id(7, 4), vec![], 7);
    rig.written();
    rig
}

fn limits(snapshot_entries: u64, snapshot_bytes: u64) -> Limits {
    Limits { snapshot_entries, snapshot_bytes, ..Limits::default() }
}

impl Rig {
    /// The next entry, a command of four bytes, is committed and written: it goes to the state
    /// machine.
    fn commit(&mut self) -> Effects<Names> {
        let last = self.pump.raft().last();
        let next = last.index.get() + 1;
        self.append((1, 5), last, vec![entry(next, 5)], next);
        self.written()
    }

    fn applied(&mut self) -> Effects<Names> {
        self.turn(Event::Applied { recorded: Vec::new() })
    }

    fn want(&mut self, client: u64) -> Effects<Names> {
        self.turn(Event::TakeSnapshot { client })
    }

    fn taken(&mut self, bytes: u64) -> Effects<Names> {
        let last = self.pump.snapshots.under_way().expect("a snapshot was pinned");
        self.turn(Event::Snapshotted(Ok(TakenSnapshot { last, salt: 1, bytes })))
    }
}

fn pinned(effects: &Effects<Names>) -> Option<EntryId> {
    effects.snapshot.as_ref().map(|plan| plan.last)
}

#[test]
fn a_snapshot_is_due_after_so_many_entries() {
    let mut rig = following(limits(10, 1 << 20));
    let mut pins = Vec::new();
    for _ in 0..13 {
        rig.commit();
        let effects = rig.applied();
        if let Some(last) = pinned(&effects) {
            pins.push(last);
            assert_eq!(pinned(&rig.taken(100)), None);
        }
    }
    assert_eq!(pins, [id(10, 5), id(20, 5)], "entries 1 to 10, and then ten more");
    let taken = TakenSnapshot { last: id(20, 5), salt: 1, bytes: 100 };
    assert_eq!(rig.pump.newest_snapshot(), Some(taken));
    assert_eq!(rig.pump.counters().snapshots_taken, 2);
}

#[test]
fn a_snapshot_is_due_after_so_many_bytes_and_where_it_is_large_after_half_of_its_own() {
    let mut rig = following(limits(1000, 8));
    let mut pins = Vec::new();
    for _ in 0..10 {
        rig.commit();
        if let Some(last) = pinned(&rig.applied()) {
            pins.push(last.index.get());
            rig.taken(40);
        }
    }
    assert_eq!(pins, [9, 14], "after 8 bytes, and then after 20");
    let mut rig = following(limits(1, 8));
    rig.taken(1000);
    rig.commit();
    assert_eq!(pinned(&rig.applied()), None, "the count alone is no reason to write 1000 bytes");
}

/// The state machine has a batch: its state may be that of a half-applied command.
#[test]
fn nothing_is_pinned_while_the_state_machine_has_a_batch() {
    let mut rig = following(Limits::default());
    let effects = rig.commit();
    assert!(effects.apply.is_some() && pinned(&effects).is_none());
    let effects = rig.want(1);
    assert!(pinned(&effects).is_none() && effects.snapshot_answers.is_empty());
    rig.append((1, 5), id(8, 5), vec![entry(9, 5)], 9);
    rig.written();
    let effects = rig.applied();
    assert_eq!(pinned(&effects), Some(id(8, 5)));
    let batch = effects.apply.expect("the next batch follows in the same turn");
    assert_eq!(batch.upto, at(9), "and the snapshot comes before it");
}

#[test]
fn a_client_gets_a_snapshot_that_includes_everything_applied() {
    let mut rig = following(Limits::default());
    assert_eq!(pinned(&rig.want(1)), Some(id(7, 4)));
    assert!(rig.want(2).snapshot_answers.is_empty(), "the same snapshot is for both");
    rig.commit();
    rig.applied();
    let effects = rig.want(3);
    assert!(pinned(&effects).is_none() && effects.snapshot_answers.is_empty(), "one at a time");
    let effects = rig.taken(9);
    assert_eq!(effects.snapshot_answers, [(1, Ok(id(7, 4))), (2, Ok(id(7, 4)))]);
    assert_eq!(pinned(&effects), Some(id(8, 5)), "the next one begins at once");
    assert_eq!(rig.taken(9).snapshot_answers, [(3, Ok(id(8, 5)))]);
    let effects = rig.want(4);
    assert!(pinned(&effects).is_none(), "nothing was applied since the newest one");
    assert_eq!(effects.snapshot_answers, [(4, Ok(id(8, 5)))]);
}

#[test]
fn a_snapshot_that_fails_is_tried_again_after_a_pause_that_doubles() {
    let mut rig = following(limits(1, 1 << 20));
    let full = || Event::Snapshotted(Err(SnapshotError::Failed("full".to_owned())));
    for pause in [100, 200, 400] {
        let effects = rig.turn(full());
        assert_eq!(effects.snapshot_outcome, Some(Err(SnapshotError::Failed("full".to_owned()))));
        assert!(effects.stop.is_none() && pinned(&effects).is_none());
        assert_eq!(pinned(&rig.ticks(pause - 1)), None);
        assert_eq!(pinned(&rig.ticks(1)), Some(id(7, 4)), "after {pause} ticks");
    }
    rig.turn(full());
    assert_eq!(pinned(&rig.want(1)), Some(id(7, 4)), "a client does not wait for the pause");
    let effects = rig.turn(full());
    assert_eq!(effects.snapshot_answers, [(1, Err(SnapshotError::Failed("full".to_owned())))]);
    assert_eq!(rig.pump.counters().snapshots_failed, 5);
}

#[test]
fn a_state_machine_without_snapshots_is_asked_once() {
    let mut rig = following(limits(1, 1 << 20));
    let effects = rig.turn(Event::Snapshotted(Err(SnapshotError::Unsupported)));
    assert!(effects.snapshot_outcome.is_none() && effects.stop.is_none());
    rig.commit();
    assert_eq!(pinned(&rig.applied()), None);
    assert_eq!(rig.want(1).snapshot_answers, [(1, Err(SnapshotError::Unsupported))]);
    let mut off = Rig::new(3, Limits::default());
    assert_eq!(off.want(2).snapshot_answers, [(2, Err(SnapshotError::Unsupported))]);
}

#[test]
fn clients_that_wait_for_a_snapshot_are_answered_when_the_member_ends() {
    let mut rig = following(Limits::default());
    rig.want(1);
    rig.commit();
    rig.applied();
    rig.want(2);
    let effects = rig.turn(Event::Close);
    let mut answers = effects.snapshot_answers;
    answers.sort_by_key(|(client, _)| *client);
    assert_eq!(answers, [(1, Err(SnapshotError::Closed)), (2, Err(SnapshotError::Closed))]);
    assert_eq!(rig.want(3).snapshot_answers, [(3, Err(SnapshotError::Closed))]);
}

#[test]
fn so_many_clients_may_wait_for_a_snapshot() {
    let mut current = following(Limits::default());
    let refused = (1..140).map(|client| current.want(client).snapshot_answers.len());
    assert_eq!(refused.sum::<usize>(), 11, "64 wait for the one that is written, 64 for the next");
    let mut rig = following(Limits::default());
    rig.want(1);
    rig.commit();
    rig.applied();
    let refused = (2..70).map(|client| rig.want(client).snapshot_answers.len());
    assert_eq!(refused.sum::<usize>(), 4, "64 wait");
    let mut blank = Rig::starting_from(
        raft_core::consensus::Start {
            applied: LogIndex::ZERO,
            commit: LogIndex::ZERO,
            ..Rig::start(3)
        },
        Limits::default(),
    );
    blank.pump.enable_snapshots(None);
    assert_eq!(blank.want(1).snapshot_answers, [(1, Err(SnapshotError::NothingApplied))]);
}
