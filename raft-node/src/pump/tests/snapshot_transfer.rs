//! Snapshots that are received and installed.

use std::sync::Arc;

use bytes::Bytes;
use raft_core::types::{EntryId, LogIndex, Membership, NodeId, Term};

use super::{Names, Rig, at, entry, id, node};
use crate::pump::{Effects, Event, Limits, ReceivedSnapshot, TakenSnapshot, TransferWork};
use crate::{Content, EngineState, Envelope, ProposeError, SnapshotId, SnapshotMessage};

/// The file of the snapshot that ends at an entry.
pub(super) fn file(last: EntryId) -> SnapshotId {
    SnapshotId { last, salt: 9 }
}

pub(super) fn taken(last: EntryId, bytes: u64) -> TakenSnapshot {
    TakenSnapshot { last, salt: 9, bytes }
}

/// Member 3, which follows member 1, the leader of term 5, and has applied everything up to 7@4.
pub(super) fn following(limits: Limits) -> Rig {
    let mut rig = Rig::new(3, limits);
    rig.pump.enable_snapshots(None);
    rig.append((1, 5), id(7, 4), vec![], 7);
    rig.written();
    rig
}

/// The messages of transfers among what is sent.
pub(super) fn messages(effects: &Effects<Names>) -> Vec<(NodeId, SnapshotMessage)> {
    let of = |(to, envelope): &(NodeId, Envelope)| match &envelope.content {
        Content::Snapshot(message) => Some((*to, message.clone())),
        _ => None,
    };
    effects.sends.iter().filter_map(of).collect()
}

pub(super) fn request(id: SnapshotId, offset: u64, most: u32) -> SnapshotMessage {
    SnapshotMessage::Request { id, offset, most }
}

impl Rig {
    pub(super) fn snapshot_message(
        &mut self,
        from: u64,
        message: SnapshotMessage,
    ) -> Effects<Names> {
        self.deliver(from, Content::Snapshot(message))
    }

    fn offer(&mut self, from: u64, id: SnapshotId, bytes: u64) -> Effects<Names> {
        let term = self.pump.raft().term();
        self.snapshot_message(from, SnapshotMessage::Offer { term, id, bytes })
    }

    fn chunk(&mut self, id: SnapshotId, offset: u64, bytes: &'static [u8]) -> Effects<Names> {
        let bytes = Bytes::from_static(bytes);
        self.snapshot_message(1, SnapshotMessage::Chunk { id, offset, bytes })
    }

    fn spooled(&mut self) -> Effects<Names> {
        let number = self.pump.receiving.last_write();
        self.turn(Event::Spooled { number, result: Ok(()) })
    }

    fn kept(&mut self, last: EntryId) -> Effects<Names> {
        let voters = (1..=3).map(|number| (node(number), Bytes::new()));
        let membership = Arc::new(Membership::of_voters(voters).expect("sound"));
        let received =
            ReceivedSnapshot { taken: taken(last, 4), membership, engine: EngineState::default() };
        self.turn(Event::Kept(Ok(received)))
    }

    /// Receives a whole file of four bytes.
    fn receive(&mut self, from: u64, last: EntryId) -> Effects<Names> {
        self.offer(from, file(last), 4);
        self.chunk(file(last), 0, b"four");
        self.spooled();
        self.kept(last)
    }
}

#[test]
fn a_snapshot_is_asked_for_part_by_part_and_then_restored_and_installed() {
    let mut rig = following(Limits { snapshot_chunk_bytes: 3, ..Limits::default() });
    let snapshot = file(id(20, 5));
    assert_eq!(messages(&rig.offer(1, snapshot, 8)), [(node(1), request(snapshot, 0, 3))]);
    let effects = rig.chunk(snapshot, 0, b"abc");
    let spool = |number, offset, bytes: &'static [u8]| TransferWork::Spool {
        number,
        id: snapshot,
        offset,
        bytes: Bytes::from_static(bytes),
    };
    assert_eq!(effects.transfers, [spool(1, 0, b"abc")]);
    assert_eq!(messages(&effects), [(node(1), request(snapshot, 3, 3))], "while that is written");
    let effects = rig.chunk(snapshot, 3, b"def");
    assert!(effects.transfers.is_empty() && messages(&effects).is_empty(), "two are in memory");
    let effects = rig.spooled();
    assert_eq!(effects.transfers, [spool(2, 3, b"def")]);
    assert_eq!(messages(&effects), [(node(1), request(snapshot, 6, 3))]);
    rig.spooled();
    assert_eq!(rig.chunk(snapshot, 6, b"gh").transfers, [spool(3, 6, b"gh")]);
    assert_eq!(rig.spooled().transfers, [TransferWork::Keep(snapshot)]);
    let effects = rig.kept(id(20, 5));
    assert_eq!(effects.restore, Some(id(20, 5)));
    assert!(effects.write.is_none(), "the log stays until the state machine is restored");
    let effects = rig.turn(Event::Restored);
    assert_eq!(effects.write.and_then(|batch| batch.reset), Some(id(20, 5)));
    assert_eq!(rig.pump.applied(), at(20));
    assert_eq!(rig.pump.newest_snapshot(), Some(taken(id(20, 5), 4)));
    assert!(effects.installed.is_some_and(|installed| installed.is_ok()));
}

#[test]
fn a_lost_message_is_asked_for_again_and_a_late_one_is_dropped() {
    let mut rig = following(Limits { snapshot_chunk_bytes: 2, ..Limits::default() });
    let snapshot = file(id(20, 5));
    rig.offer(1, snapshot, 4);
    assert!(messages(&rig.ticks(49)).is_empty());
    assert_eq!(messages(&rig.ticks(1)), [(node(1), request(snapshot, 0, 2))]);
    rig.chunk(snapshot, 0, b"ab");
    rig.spooled();
    assert!(rig.chunk(snapshot, 0, b"ab").transfers.is_empty(), "the answer to the repetition");
    assert!(rig.chunk(other_file(), 2, b"xy").transfers.is_empty(), "bytes of another file");
    assert!(rig.chunk(snapshot, 2, b"cde").transfers.is_empty(), "more than the file has");
    assert_eq!(rig.pump.counters().malformed, 1);
    assert_eq!(rig.chunk(snapshot, 2, b"cd").transfers.len(), 1);
}

/// Another file that ends at the same entry.
fn other_file() -> SnapshotId {
    SnapshotId { salt: 10, ..file(id(20, 5)) }
}

#[cfg(feature = "mutants")]
#[test]
fn the_scenarios_see_a_chunk_of_another_file() {
    let mut rig = following(Limits { snapshot_chunk_bytes: 2, ..Limits::default() });
    rig.pump.plant(crate::pump::PumpBug::ChunkOfAnotherFile);
    rig.offer(1, file(id(20, 5)), 4);
    assert_eq!(rig.chunk(other_file(), 0, b"xy").transfers.len(), 1);
}

#[test]
fn the_same_file_is_continued_from_another_sender_and_another_file_waits_for_a_standstill() {
    let mut rig = following(Limits { snapshot_chunk_bytes: 2, ..Limits::default() });
    let snapshot = file(id(20, 5));
    rig.offer(1, snapshot, 4);
    rig.chunk(snapshot, 0, b"ab");
    rig.spooled();
    rig.append((2, 6), id(7, 4), vec![], 7);
    assert!(messages(&rig.offer(1, snapshot, 4)).is_empty(), "member 1 leads no more");
    rig.offer(2, snapshot, 4);
    rig.written();
    rig.offer(2, snapshot, 4);
    let newer = file(id(30, 6));
    assert!(messages(&rig.offer(2, newer, 4)).is_empty(), "the first one still moves");
    let mut again = Vec::new();
    for _ in 0..601 {
        again.extend(messages(&rig.ticks(10)));
        rig.append((2, 6), id(7, 4), vec![], 7);
    }
    assert_eq!(again[..2], [(); 2].map(|()| (node(2), request(snapshot, 2, 2))));
    assert_eq!(messages(&rig.offer(2, newer, 4)), [(node(2), request(newer, 0, 2))]);
}

/// What went wrong in a review's scenario: the snapshot had entries of term 5 only, and after a
/// crash the member was in term 4 again and followed its leader, whose log lacked them.
#[test]
fn an_offer_is_accepted_only_in_its_own_term_and_once_that_is_durable() {
    let mut rig = Rig::new(3, Limits::default());
    rig.pump.enable_snapshots(None);
    rig.append((1, 5), id(7, 4), vec![], 7);
    let snapshot = file(id(20, 5));
    assert!(messages(&rig.offer(1, snapshot, 4)).is_empty(), "term 5 is not durable");
    rig.written();
    let later = SnapshotMessage::Offer { term: Term::new(6), id: snapshot, bytes: 4 };
    assert!(messages(&rig.snapshot_message(1, later)).is_empty());
    assert_eq!(messages(&rig.offer(1, snapshot, 4)).len(), 1);
}

/// What went wrong in a review's model: a chunk took longer than the pause before it was asked for
/// again, and the copies delayed the next chunks more and more.
#[test]
fn a_slow_answer_makes_the_next_request_more_patient() {
    let mut rig = following(Limits { snapshot_chunk_bytes: 2, ..Limits::default() });
    let snapshot = file(id(20, 5));
    rig.offer(1, snapshot, 8);
    let ticks = |rig: &mut Rig, count: u64| {
        let mut asked = 0;
        for _ in 0..count {
            asked += messages(&rig.ticks(1)).len();
            rig.append((1, 5), id(7, 4), vec![], 7);
        }
        asked
    };
    assert_eq!(ticks(&mut rig, 100), 1, "after 50 ticks, and next after 100 more");
    rig.chunk(snapshot, 0, b"ab");
    assert_eq!(ticks(&mut rig, 299), 0, "three times as long as the first chunk took");
    assert_eq!(ticks(&mut rig, 1), 1);
}

#[test]
fn what_is_damaged_is_reported_to_its_sender_which_takes_another_snapshot() {
    let mut rig = following(Limits::default());
    let snapshot = file(id(20, 5));
    rig.offer(1, snapshot, 4);
    rig.chunk(snapshot, 0, b"four");
    rig.spooled();
    let effects = rig.turn(Event::Kept(Err("damaged".to_owned())));
    assert_eq!(messages(&effects), [(node(1), SnapshotMessage::Damaged { id: snapshot })]);
    let mut sender = following(Limits::default());
    sender.turn(Event::TakeSnapshot { client: 1 });
    sender.turn(Event::Snapshotted(Ok(taken(id(7, 4), 4))));
    let damaged = SnapshotMessage::Damaged { id: file(id(7, 4)) };
    let effects = sender.snapshot_message(2, damaged);
    assert_eq!(effects.snapshot.map(|plan| plan.last), Some(id(7, 4)));
}

/// The leader keeps the entries that follow as long as it hears that.
#[test]
fn a_member_that_restores_its_state_machine_says_so() {
    let mut rig = following(Limits::default());
    rig.receive(1, id(20, 5));
    let mut said = Vec::new();
    for _ in 0..20 {
        said.extend(messages(&rig.ticks(10)));
        rig.append((1, 5), id(7, 4), vec![], 7);
    }
    let restoring = (node(1), SnapshotMessage::Restoring { id: file(id(20, 5)) });
    assert_eq!(said, [restoring.clone(), restoring]);
}

#[test]
fn a_file_that_is_gone_makes_room_for_the_next_offer() {
    let mut rig = following(Limits::default());
    let (snapshot, newer) = (file(id(20, 5)), file(id(30, 5)));
    rig.offer(1, snapshot, 4);
    let effects = rig.snapshot_message(1, SnapshotMessage::Gone { id: snapshot });
    assert_eq!(effects.transfers, [TransferWork::Discard]);
    assert_eq!(messages(&rig.offer(1, newer, 4)).len(), 1);
}

/// What went wrong: the outcome of a write of an earlier transfer of the same file counted for the
/// next one, and its chunks were written without waiting for each other.
#[test]
fn a_write_of_an_earlier_transfer_says_nothing_about_the_next_one() {
    let mut rig = following(Limits { snapshot_chunk_bytes: 2, ..Limits::default() });
    let snapshot = file(id(20, 5));
    rig.offer(1, snapshot, 8);
    rig.chunk(snapshot, 0, b"ab");
    rig.snapshot_message(1, SnapshotMessage::Gone { id: snapshot });
    rig.offer(1, snapshot, 8);
    rig.chunk(snapshot, 0, b"ab");
    rig.turn(Event::Spooled { number: 1, result: Ok(()) });
    assert!(rig.chunk(snapshot, 2, b"cd").transfers.is_empty(), "the first one is not written");
    assert_eq!(rig.turn(Event::Spooled { number: 2, result: Ok(()) }).transfers.len(), 1);
}

#[test]
fn what_cannot_be_received_is_tried_again_after_a_pause() {
    let mut rig = following(Limits::default());
    let snapshot = file(id(20, 5));
    rig.offer(1, snapshot, 4);
    rig.chunk(snapshot, 0, b"four");
    let result = Err("full".to_owned());
    let effects = rig.turn(Event::Spooled { number: 1, result });
    assert_eq!(effects.installed, Some(Err("full".to_owned())));
    assert_eq!(effects.transfers, [TransferWork::Discard]);
    assert!(effects.stop.is_none());
    assert!(messages(&rig.offer(1, snapshot, 4)).is_empty());
    for _ in 0..10 {
        rig.append((1, 5), id(7, 4), vec![], 7);
        rig.ticks(10);
    }
    assert_eq!(messages(&rig.offer(1, snapshot, 4)).len(), 1);
}

#[test]
fn a_member_that_caught_up_by_entries_drops_what_it_received() {
    let mut rig = following(Limits::default());
    rig.offer(1, file(id(9, 5)), 4);
    rig.append((1, 5), id(7, 4), vec![entry(8, 5), entry(9, 5)], 9);
    rig.written();
    assert_eq!(rig.ticks(1).transfers, [TransferWork::Discard]);
    let mut rig = following(Limits::default());
    rig.offer(1, file(id(8, 5)), 4);
    rig.chunk(file(id(8, 5)), 0, b"four");
    rig.append((1, 5), id(7, 4), vec![entry(8, 5), entry(9, 5)], 9);
    assert!(rig.written().apply.is_some());
    rig.spooled();
    assert_eq!(rig.kept(id(8, 5)).restore, None, "the state machine has a batch");
    assert_eq!(
        rig.turn(Event::Applied { recorded: Vec::new() }).restore,
        None,
        "and was ahead after it"
    );
    assert_eq!(rig.pump.newest_snapshot().map(|newest| newest.last), Some(id(8, 5)));
}

/// The state machine is elsewhere: it must not be given anything.
#[test]
fn nothing_is_applied_or_read_while_the_state_machine_is_restored() {
    let mut rig = following(Limits::default());
    assert_eq!(rig.receive(1, id(9, 5)).restore, Some(id(9, 5)));
    rig.append((1, 5), id(7, 4), vec![entry(8, 5), entry(9, 5), entry(10, 5)], 10);
    let effects = rig.written();
    assert!(effects.apply.is_none());
    let effects = rig.turn(Event::TakeSnapshot { client: 1 });
    assert!(effects.snapshot.is_none() && effects.snapshot_answers.is_empty());
    let effects = rig.turn(Event::Restored);
    assert_eq!(effects.apply.map(|batch| batch.upto), Some(at(10)), "it goes on after entry 9");
    assert!(effects.write.is_none_or(|batch| batch.reset.is_none()), "its log has entry 9");
}

/// What went wrong in a plan: a group of the log that the snapshot replaced waited for the disk,
/// and its hint was the commit index, which was about the snapshot.
#[test]
fn an_entry_that_a_snapshot_replaces_is_never_declared_committed() {
    let mut rig = following(Limits { batch_bytes: 4, ..Limits::default() });
    assert_eq!(hints_before_the_reset(&mut rig), [Some(at(0))]);
}

/// The hints of the groups that reach the disk before the log is reset, while a snapshot that
/// replaces their entries is installed.
fn hints_before_the_reset(rig: &mut Rig) -> Vec<Option<LogIndex>> {
    rig.append((1, 5), id(7, 4), vec![entry(8, 5)], 7);
    rig.append((1, 5), id(8, 5), vec![entry(9, 5)], 7);
    rig.receive(1, id(20, 5));
    rig.turn(Event::Restored);
    let writes = std::iter::from_fn(|| rig.written().write);
    writes.take_while(|batch| batch.reset.is_none()).map(|batch| batch.commit_hint).collect()
}

#[cfg(feature = "mutants")]
#[test]
fn the_scenario_sees_hints_that_a_reset_leaves() {
    let mut rig = following(Limits { batch_bytes: 4, ..Limits::default() });
    rig.pump.plant(crate::pump::PumpBug::ResetKeepsHints);
    assert_eq!(hints_before_the_reset(&mut rig), [Some(at(9))]);
}

#[test]
fn clients_whose_commands_a_snapshot_may_include_learn_that_the_outcome_is_unknown() {
    let unknown = skipped_commands(&mut Rig::leading(3, Limits::default()));
    assert_eq!(unknown, [(7, 0, 1, ProposeError::Unknown)], "10 may yet be decided here");
}

#[cfg(feature = "mutants")]
#[test]
fn the_scenario_sees_a_skipped_command_that_counts_as_lost() {
    let mut rig = Rig::leading(3, Limits::default());
    rig.pump.plant(crate::pump::PumpBug::SkippedAnsweredAsLost);
    assert_eq!(skipped_commands(&mut rig), [(7, 0, 1, ProposeError::Lost)]);
}

/// Clients wait for entries 9 and 10, and a snapshot up to 9 is installed; returns the failures as
/// (group, offset, count, error).
fn skipped_commands(rig: &mut Rig) -> Vec<(u64, usize, usize, ProposeError)> {
    rig.pump.enable_snapshots(None);
    rig.written();
    rig.propose(7, 2);
    rig.written();
    rig.append((1, 6), id(7, 4), vec![entry(8, 6)], 7);
    rig.written();
    rig.receive(1, id(9, 6));
    let effects = rig.turn(Event::Restored);
    let failed = effects.failed.into_iter();
    failed.map(|f| (f.group, f.offset, f.count, f.error)).collect()
}
