//! What ends a member, and the answers that its clients then get.

use bytes::Bytes;
use raft_core::consensus::{Body, Contradiction};
use raft_core::types::{Entry, EntryKind, NodeId};

use super::{Rig, at, entry, id, node};
use crate::pump::{Effects, Event, Limits, StopReason};
use crate::{Consistency, Content, Envelope, ProposeError, ReadError};

fn rig() -> Rig {
    Rig::new(3, Limits::default())
}

/// What went wrong: the entry was skipped, and the state machines of an older and a newer member
/// differed from then on.
#[test]
fn an_entry_of_a_kind_that_only_a_newer_version_applies_stops_the_member() {
    for kind in [EntryKind::SessionCommand, EntryKind::SessionControl] {
        let mut rig = rig();
        let newer = Entry::new(id(9, 5), kind, Bytes::from_static(b"newer"));
        rig.pump.support_levels_up_to(1);
        let effects = rig.append((1, 5), id(7, 4), vec![entry(8, 5), newer], 9);
        assert!(effects.write.is_none() && effects.apply.is_none());
        let Some(StopReason::UnknownEntry { id: found, kind: of_kind }) = effects.stop else {
            panic!("{:?}", effects.stop);
        };
        assert_eq!((found, of_kind), (id(9, 5), kind));
        assert!(rig.pump.has_ended());
    }
}

/// What went wrong: the member rejected the append and continued, and answered reads with entries
/// that no other member had.
#[test]
fn a_leader_without_a_committed_entry_stops_the_member_and_its_reads() {
    let mut rig = rig();
    rig.append((1, 5), id(7, 4), vec![], 7);
    rig.written();
    rig.turn(Event::Read { consistency: Consistency::Linearizable, group: 3 });
    let effects = rig.append((2, 6), id(6, 4), vec![entry(7, 6)], 7);
    let Some(StopReason::DataLost(contradiction)) = &effects.stop else {
        panic!("{:?}", effects.stop);
    };
    let expected = Contradiction { leader: node(2), own: id(7, 4), theirs: Some(id(7, 6)) };
    assert_eq!(*contradiction, expected);
    let text = effects.stop.as_ref().expect("a reason").to_string();
    assert!(text.starts_with("acknowledged data was lost: entry 7@4 is committed here"), "{text}");
    assert!(effects.write.is_none() && effects.served.is_empty());
    // Either the change of leader refused the read already, or the end of the member does.
    assert_eq!(effects.failed_reads.len(), 1);
    let effects = rig.turn(Event::Read { consistency: Consistency::Linearizable, group: 4 });
    assert_eq!(effects.failed_reads[0].1, ReadError::Closed);
}

/// What went wrong: a majority had lost its disks and started again at the same term. No append of
/// its leader contradicted this member's log, and reads were served from it.
#[test]
fn a_leader_that_has_committed_less_than_this_member_stops_it_without_any_reader() {
    let mut rig = rig();
    let effects = rig.append((1, 4), id(3, 4), vec![], 3);
    let question = |(to, envelope): &(NodeId, Envelope)| match &envelope.content {
        Content::Raft { message, .. } => match message.body {
            Body::ReadIndex { read, .. } => Some((*to, read)),
            _ => None,
        },
        _ => None,
    };
    let asked = effects.sends.iter().find_map(question);
    let (leader, read) = asked.expect("it asks what its leader has committed");
    assert_eq!(leader, node(1));
    let effects = rig.message(1, 4, Body::ReadIndexResponse { read, index: at(3) });
    let Some(StopReason::DataLost(Contradiction { own, theirs: None, .. })) = effects.stop else {
        panic!("{:?}", effects.stop);
    };
    assert_eq!(own, id(4, 4));
}

#[test]
fn a_new_leader_is_asked_once_for_its_commit_index() {
    let mut rig = rig();
    let effects = rig.append((1, 5), id(7, 4), vec![entry(8, 5)], 6);
    assert!(effects.sends.is_empty(), "not before its own term is durable");
    let sends = rig.written().sends.len();
    assert_eq!(sends, 2, "an acknowledgement and a question");
    let effects = rig.append((1, 5), id(8, 5), vec![], 8);
    assert!(effects.stop.is_none() && !rig.pump.raft().doubts_leader());
}

#[test]
fn every_client_that_waits_is_answered_when_the_member_ends() {
    let limits = Limits { unwritten_bytes: 8, ..Limits::default() };
    let mut rig = Rig::leading(3, limits);
    rig.propose(1, 2);
    rig.propose(2, 1);
    rig.turn(Event::Read { consistency: Consistency::Linearizable, group: 3 });
    rig.turn(Event::Read { consistency: Consistency::Linearizable, group: 4 });
    let effects = rig.turn(Event::Close);
    let mut failed: Vec<_> = effects.failed.iter().map(|f| (f.group, f.error.clone())).collect();
    failed.sort_by_key(|(group, _)| *group);
    assert_eq!(failed, [(1, ProposeError::Unknown), (2, ProposeError::Closed)]);
    let reads: Vec<_> = effects.failed_reads.iter().map(|(group, _)| *group).collect();
    assert_eq!(reads.len(), 2, "{reads:?}");
}

#[test]
fn what_is_proposed_in_the_turn_that_ends_the_member_did_not_happen() {
    let mut rig = Rig::leading(3, Limits::default());
    let mut effects = Effects::default();
    let propose = Event::Propose { commands: super::commands(2), group: 1 };
    rig.pump.turn(rig.now, &mut vec![propose, Event::Close], &mut effects);
    let failed: Vec<_> = effects.failed.iter().map(|f| (f.group, f.count, &f.error)).collect();
    assert_eq!(failed, [(1, 2, &ProposeError::Closed)]);
}
