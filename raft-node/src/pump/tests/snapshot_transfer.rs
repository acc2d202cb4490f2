//! Snapshots that are sent, received and installed, and the purge of the log behind them.

use std::sync::Arc;

use bytes::Bytes;
use raft_core::consensus::{Body, Round, Verdict};
use raft_core::types::{EntryId, LogIndex, Membership, NodeId};

use super::{Names, Rig, at, entry, id, node};
use crate::pump::{Effects, Event, Limits, ReceivedSnapshot, TakenSnapshot, TransferWork};
use crate::{Content, Envelope, ProposeError, SnapshotId, SnapshotMessage};

/// The file of the snapshot that ends at an entry.
fn file(last: EntryId) -> SnapshotId {
    SnapshotId { last, salt: 9 }
}

fn taken(last: EntryId, bytes: u64) -> TakenSnapshot {
    TakenSnapshot { last, salt: 9, bytes }
}

/// Member 3, which follows member 1, the leader of term 5, and has applied everything up to 7@4.
fn following(limits: Limits) -> Rig {
    let mut rig = Rig::new(3, limits);
    rig.pump.enable_snapshots(None);
    rig.append((1, 5), id(7, 4), vec![], 7);
    rig.written();
    rig
}

/// The messages of transfers among what is sent.
fn messages(effects: &Effects<Names>) -> Vec<(NodeId, SnapshotMessage)> {
    let of = |(to, envelope): &(NodeId, Envelope)| match &envelope.content {
        Content::Snapshot(message) => Some((*to, message.clone())),
        _ => None,
    };
    effects.sends.iter().filter_map(of).collect()
}

fn request(id: SnapshotId, offset: u64, most: u32) -> SnapshotMessage {
    SnapshotMessage::Request { id, offset, most }
}

impl Rig {
    fn snapshot_message(&mut self, from: u64, message: SnapshotMessage) -> Effects<Names> {
        self.deliver(from, Content::Snapshot(message))
    }

    fn offer(&mut self, from: u64, id: SnapshotId, bytes: u64) -> Effects<Names> {
        self.snapshot_message(from, SnapshotMessage::Offer { id, bytes })
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
        let received = ReceivedSnapshot { taken: taken(last, 4), membership };
        self.turn(Event::Kept(Ok(received)))
    }

    /// Member 1 acknowledges everything up to entry 14.
    fn answer(&mut self) -> Effects<Names> {
        let verdict = Verdict::Accepted { matched: at(14) };
        self.message(1, 5, Body::AppendResponse { verdict, round: Round(0) })
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
    let newer = file(id(30, 6));
    assert!(messages(&rig.offer(2, newer, 4)).is_empty(), "the first one still moves");
    rig.written();
    let mut again = Vec::new();
    for _ in 0..51 {
        again.extend(messages(&rig.ticks(10)));
        rig.append((2, 6), id(7, 4), vec![], 7);
    }
    assert_eq!(again[..2], [(); 2].map(|()| (node(2), request(snapshot, 2, 2))));
    assert_eq!(messages(&rig.offer(2, newer, 4)), [(node(2), request(newer, 0, 2))]);
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
    assert_eq!(rig.turn(Event::Applied).restore, None, "and was ahead after it");
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
    rig.append((2, 6), id(7, 4), vec![], 7);
    rig.receive(2, id(20, 6));
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

// ---- sending ----

/// Member 3 leads term 5, has a snapshot of everything up to 14@5, and keeps so many bytes for
/// peers. Member 1 has acknowledged everything, member 2 nothing.
fn leading(held_back_bytes: u64) -> (Rig, Effects<Names>) {
    let limits = Limits { kept_entries: 0, held_back_bytes, ..Limits::default() };
    let mut rig = Rig::leading(3, limits);
    rig.pump.enable_snapshots(None);
    rig.written();
    for group in 1..=6 {
        rig.propose(group, 1);
        rig.written();
    }
    rig.answer();
    while rig.turn(Event::Applied).apply.is_some() {}
    assert!(rig.turn(Event::TakeSnapshot { client: 1 }).snapshot.is_some());
    let effects = rig.turn(Event::Snapshotted(Ok(taken(id(14, 5), 4))));
    (rig, effects)
}

#[test]
fn a_request_is_read_and_sent_whatever_the_role() {
    let mut rig = following(Limits::default());
    rig.ticks(1);
    let snapshot = file(id(7, 4));
    rig.snapshot_message(2, request(snapshot, 0, 100));
    let effects = rig.ticks(1);
    let read = TransferWork::Read { to: node(2), id: snapshot, offset: 0, most: 100 };
    assert_eq!(effects.transfers, [read]);
    let bytes = Bytes::from_static(b"bytes");
    let result = Ok(bytes.clone());
    let effects = rig.turn(Event::ChunkRead { to: node(2), id: snapshot, offset: 0, result });
    let chunk = SnapshotMessage::Chunk { id: snapshot, offset: 0, bytes };
    assert_eq!(messages(&effects), [(node(2), chunk)]);
    let result = Err("no such file".to_owned());
    let effects = rig.turn(Event::ChunkRead { to: node(2), id: snapshot, offset: 5, result });
    assert_eq!(messages(&effects), [(node(2), SnapshotMessage::Gone { id: snapshot })]);
    assert_eq!(effects.transfers, [TransferWork::Release(snapshot)]);
}

#[test]
fn so_many_peers_receive_at_once_and_share_the_bytes_of_a_second() {
    let limits =
        Limits { snapshot_streams: 2, snapshot_bytes_per_second: 1000, ..Limits::default() };
    let mut rig = following(Limits { snapshot_chunk_bytes: 100, ..limits });
    let snapshot = file(id(7, 4));
    for peer in [1, 2, 4] {
        rig.snapshot_message(peer, request(snapshot, 0, 1 << 20));
    }
    let mut served = Vec::new();
    for _ in 0..100 {
        for work in rig.ticks(1).transfers {
            let TransferWork::Read { to, id, offset, most } = work else { panic!("{work:?}") };
            served.push((to.get(), most));
            let result = Ok(Bytes::from(vec![0; most as usize]));
            rig.turn(Event::ChunkRead { to, id, offset, result });
            rig.snapshot_message(to.get(), request(snapshot, offset + 100, 100));
        }
    }
    let [one, two] = [1, 2].map(|peer| served.iter().filter(|(to, _)| *to == peer).count());
    assert!(one.abs_diff(two) <= 1 && one + two == served.len(), "in turn: {served:?}");
    assert!((9..=11).contains(&served.len()), "1000 bytes in a second: {served:?}");
    let release = TransferWork::Release(snapshot);
    assert!(!rig.ticks(400).transfers.contains(&release));
    assert_eq!(rig.ticks(200).transfers, [release], "no peer has asked for 5 s");
}

#[test]
fn a_leader_offers_its_snapshot_again_and_again_to_a_peer_that_lacks_purged_entries() {
    let (mut rig, effects) = leading(0);
    assert_eq!(rig.pump.raft().boundary(), id(14, 5));
    rig.written();
    let offer = SnapshotMessage::Offer { id: file(id(14, 5)), bytes: 4 };
    assert_eq!(messages(&effects), [(node(2), offer.clone())], "at once");
    let mut again = Vec::new();
    for _ in 0..10 {
        again.extend(messages(&rig.ticks(10)));
        rig.answer();
    }
    assert_eq!(again, vec![(node(2), offer); 5], "every 200 ms");
}

// ---- purging ----

#[test]
fn the_log_is_purged_behind_a_snapshot_but_for_the_kept_entries() {
    let limits = Limits { kept_entries: 2, snapshot_entries: 5, ..Limits::default() };
    let mut rig = following(limits);
    let effects = rig.turn(Event::Snapshotted(Ok(taken(id(7, 4), 4))));
    assert_eq!(effects.write.and_then(|batch| batch.purge_upto), Some(id(5, 4)));
    assert_eq!(rig.pump.raft().boundary(), id(5, 4));
    let never = Limits { kept_entries: u64::MAX, ..Limits::default() };
    let mut rig = following(Limits { snapshot_entries: 5, ..never });
    assert!(rig.turn(Event::Snapshotted(Ok(taken(id(7, 4), 4)))).write.is_none());
}

#[cfg(feature = "mutants")]
#[test]
fn the_scenarios_see_a_purge_beyond_the_snapshot() {
    let limits = Limits { kept_entries: 2, snapshot_entries: 5, ..Limits::default() };
    let mut rig = following(limits);
    rig.pump.plant(crate::pump::PumpBug::PurgedBeyondSnapshot);
    rig.turn(Event::Snapshotted(Ok(taken(id(6, 4), 4))));
    assert_eq!(rig.pump.raft().boundary(), id(5, 4), "of the snapshot, entry 4 would be the last");
}

/// The limit counts what this process appended: here, the commands after entry 8.
#[test]
fn a_leader_keeps_what_a_peer_needs_up_to_a_limit() {
    for (held_back_bytes, boundary) in [(100, 0), (12, 11), (0, 14)] {
        let (rig, _) = leading(held_back_bytes);
        assert_eq!(rig.pump.raft().boundary().index, at(boundary), "of {held_back_bytes} bytes");
    }
}

#[test]
fn a_leader_keeps_what_follows_a_snapshot_that_a_peer_receives() {
    let limits = Limits { kept_entries: 0, snapshot_entries: 3, ..Limits::default() };
    let mut rig = following(limits);
    rig.turn(Event::Snapshotted(Ok(taken(id(7, 4), 4))));
    assert_eq!(rig.pump.raft().boundary(), id(7, 4));
    rig.snapshot_message(2, request(file(id(7, 4)), 0, 100));
    for index in 8..=12 {
        let last = rig.pump.raft().last();
        rig.append((1, 5), last, vec![entry(index, 5)], index);
        rig.written();
        rig.turn(Event::Applied);
    }
    rig.turn(Event::Snapshotted(Ok(taken(id(10, 5), 4))));
    rig.ticks(100);
    assert_eq!(rig.pump.raft().boundary(), id(7, 4), "the peer needs entry 8 next");
}
