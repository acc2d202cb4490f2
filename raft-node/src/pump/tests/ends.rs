//! What ends a member, and what its clients are told then.

use bytes::Bytes;
use raft_core::consensus::Contradiction;
use raft_core::types::{Entry, EntryKind};

use super::{Rig, entry, id, node};
use crate::pump::{Event, Limits, StopReason};
use crate::{ProposeError, ReadError};

fn rig() -> Rig {
    Rig::new(3, Limits::default())
}

/// What went wrong: the entry was passed over, and the state machines of an older and a newer
/// member differed from then on.
#[test]
fn an_entry_of_a_kind_that_only_a_newer_version_applies_stops_the_member() {
    for kind in [EntryKind::SessionCommand, EntryKind::SessionControl] {
        let mut rig = rig();
        let newer = Entry::new(id(9, 5), kind, Bytes::from_static(b"newer"));
        rig.append((1, 5), id(7, 4), vec![entry(8, 5), newer], 9);
        let effects = rig.written();
        assert!(effects.apply.is_none());
        let Some(StopReason::UnknownEntry { id: found, kind: of_kind }) = effects.stop else {
            panic!("{:?}", effects.stop);
        };
        assert_eq!((found, of_kind), (id(9, 5), kind));
        assert!(rig.pump.has_ended());
    }
}

/// What went wrong: the member rejected the append and went on, and answered reads with entries
/// that no other member had.
#[test]
fn a_leader_without_a_committed_entry_stops_the_member_and_its_reads() {
    let mut rig = rig();
    rig.append((1, 5), id(7, 4), vec![], 7);
    rig.written();
    rig.turn(Event::Read { group: 3 });
    let effects = rig.append((2, 6), id(6, 4), vec![entry(7, 6)], 7);
    let Some(StopReason::DataLost(contradiction)) = &effects.stop else {
        panic!("{:?}", effects.stop);
    };
    let expected = Contradiction { leader: node(2), own: id(7, 4), theirs: id(7, 6) };
    assert_eq!(*contradiction, expected);
    let text = effects.stop.as_ref().expect("a reason").to_string();
    assert!(text.starts_with("acknowledged data was lost: entry 7@4 is committed here"), "{text}");
    assert!(effects.write.is_none() && effects.served.is_empty());
    // The change of leader has refused the read before, or the end does.
    assert_eq!(effects.failed_reads.len(), 1);
    let effects = rig.turn(Event::Read { group: 4 });
    assert_eq!(effects.failed_reads[0].1, ReadError::Closed);
}

#[test]
fn every_client_that_waits_is_answered_when_the_member_ends() {
    let limits = Limits { unwritten_bytes: 8, ..Limits::default() };
    let mut rig = Rig::leading(3, limits);
    rig.propose(1, 2);
    rig.propose(2, 1);
    rig.turn(Event::Read { group: 3 });
    rig.turn(Event::Read { group: 4 });
    let effects = rig.turn(Event::Close);
    let mut told: Vec<_> = effects.failed.iter().map(|f| (f.group, f.error.clone())).collect();
    told.sort_by_key(|(group, _)| *group);
    assert_eq!(told, [(1, ProposeError::Unknown), (2, ProposeError::Closed)]);
    let reads: Vec<_> = effects.failed_reads.iter().map(|(group, _)| *group).collect();
    assert_eq!(reads.len(), 2, "{reads:?}");
}
