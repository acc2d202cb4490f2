//! Snapshots that are sent, and the purge of the log behind them.

use bytes::Bytes;
use raft_core::consensus::{Body, Round, Verdict};
use raft_core::types::Term;

use super::snapshot_transfer::{file, following, messages, request, taken};
use super::{Names, Rig, at, entry, id, node};
use crate::SnapshotMessage;
use crate::pump::{Effects, Event, Limits, TransferWork};

impl Rig {
    /// Member 1 acknowledges everything up to entry 14.
    fn answer(&mut self) -> Effects<Names> {
        let verdict = Verdict::Accepted { matched: at(14) };
        self.message(1, 5, Body::AppendResponse { verdict, round: Round(0) })
    }
}

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
    while rig.turn(Event::Applied { recorded: Vec::new() }).apply.is_some() {}
    assert!(rig.turn(Event::TakeSnapshot { client: 1 }).snapshot.is_some());
    let effects = rig.turn(Event::Snapshotted(Ok(taken(id(14, 5), 1))));
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
    let result = Ok(Some(bytes.clone()));
    let effects = rig.turn(Event::ChunkRead { to: node(2), id: snapshot, offset: 0, result });
    let chunk = SnapshotMessage::Chunk { id: snapshot, offset: 0, bytes };
    assert_eq!(messages(&effects), [(node(2), chunk)]);
    let result = Err("an error that may pass".to_owned());
    let effects = rig.turn(Event::ChunkRead { to: node(2), id: snapshot, offset: 5, result });
    assert!(messages(&effects).is_empty() && effects.transfers.is_empty(), "it asks again");
    let result = Ok(None);
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
            let result = Ok(Some(Bytes::from(vec![0; most as usize])));
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

/// What went wrong: while another peer received, the requests of a new voter were forgotten, and
/// the change of the membership failed: it said that the voter does not run.
#[test]
fn a_peer_that_waits_until_another_one_has_received_counts_as_receiving() {
    let mut rig = following(Limits { snapshot_streams: 1, ..Limits::default() });
    let snapshot = file(id(7, 4));
    rig.snapshot_message(1, request(snapshot, 0, 100));
    rig.snapshot_message(2, request(snapshot, 0, 100));
    let read = |peer| TransferWork::Read { to: node(peer), id: snapshot, offset: 0, most: 100 };
    assert_eq!(rig.ticks(2).transfers, [read(1)]);
    assert!([1, 2].iter().all(|peer| rig.pump.sending.is_receiving(node(*peer))));
    let result = Ok(Some(Bytes::from_static(b"bytes")));
    let event = Event::ChunkRead { to: node(1), id: snapshot, offset: 0, result };
    assert_eq!(rig.turn(event).transfers, [], "it asks again");
    rig.ticks(500);
    let effects = rig.snapshot_message(2, request(snapshot, 0, 100));
    assert_eq!(effects.transfers.last(), Some(&read(2)));
}

#[test]
fn a_leader_offers_its_snapshot_again_and_again_to_a_peer_that_lacks_purged_entries() {
    let (mut rig, effects) = leading(0);
    assert_eq!(rig.pump.raft().boundary(), id(14, 5));
    rig.written();
    let offer = SnapshotMessage::Offer { term: Term::new(5), id: file(id(14, 5)), bytes: 1 };
    assert_eq!(messages(&effects), [(node(2), offer.clone())], "at once");
    let mut again = Vec::new();
    for _ in 0..10 {
        again.extend(messages(&rig.ticks(10)));
        rig.answer();
    }
    assert_eq!(again, vec![(node(2), offer); 5], "every 200 ms");
}

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
        rig.turn(Event::Applied { recorded: Vec::new() });
    }
    rig.turn(Event::Snapshotted(Ok(taken(id(10, 5), 4))));
    rig.ticks(100);
    assert_eq!(rig.pump.raft().boundary(), id(7, 4), "the peer needs entry 8 next");
}
