//! A member that is removed: what its clients learn, and how it stops.

use raft_core::types::MembershipParts;

use super::changes::voters;
use super::*;
use crate::ProposeError;
use crate::pump::StopReason;

impl Rig {
    /// A leader that appended 10@5, which leaves it out.
    fn leaving() -> Rig {
        let mut rig = Rig::leading(3, Limits::default());
        rig.written();
        rig.acknowledge(8);
        [1, 2].into_iter().for_each(|number| rig.announce(number, 2));
        rig.turn(Event::StepMembership { target: voters(&[1, 2]) });
        rig.written();
        rig.acknowledge(9);
        rig.written();
        assert!(rig.pump.raft().is_leaving() && rig.last() == 10);
        rig
    }
}

fn errors(effects: &Effects<Names>) -> Vec<&ProposeError> {
    effects.failed.iter().map(|failed| &failed.error).collect()
}

/// What went wrong: commands that came after the entry that removed the leader were appended, and
/// their clients never learned what became of them.
#[test]
fn commands_that_come_while_the_leader_leaves_are_refused_when_it_has_left() {
    let mut rig = Rig::leaving();
    let waits = rig.propose(1, 2);
    assert!(waits.failed.is_empty() && rig.last() == 10, "neither refused nor appended");
    let answers = rig.forward(1, 2);
    assert_eq!(answers.iter().map(|answer| answer.appended).collect::<Vec<_>>(), [None]);
    let effects = rig.acknowledge(10);
    assert!(!rig.pump.raft().is_leader());
    assert_eq!(errors(&effects), [&ProposeError::NotLeader { hint: Some(node(2)) }]);
    let later = rig.propose(2, 1);
    assert_eq!(errors(&later), [&ProposeError::NotLeader { hint: Some(node(2)) }]);
}

/// It must not stop at once: its last messages are still on their way.
#[test]
fn a_removed_leader_stops_an_election_timeout_later() {
    let mut rig = Rig::leaving();
    let effects = rig.acknowledge(10);
    let to = |node| effects.sends.iter().filter(|(to, _)| *to == node).count();
    assert!(to(node(2)) > to(node(1)), "one of them is asked to campaign, too");
    assert!(effects.stop.is_none() && rig.ticks(60).stop.is_none());
    let stop = rig.ticks(1).stop;
    assert!(matches!(stop, Some(StopReason::Removed { by: None })), "{stop:?}");
}

/// What went wrong: a follower learned that its leader was removed, and closed their connection
/// while the answer to a forward was on its way. The client never learned its outcome.
#[test]
fn a_removed_member_stays_connected_for_an_election_timeout() {
    let connects = |rig: &Rig, number| {
        rig.pump.connected_memberships().any(|membership| membership.contains(node(number)))
    };
    let mut rig = Rig::leaving();
    rig.acknowledge(10);
    assert!(!rig.pump.raft().live_memberships().any(|now| now.contains(node(3))));
    assert!(connects(&rig, 1) && connects(&rig, 2) && connects(&rig, 3));
    rig.ticks(59);
    assert!(connects(&rig, 3));
    rig.ticks(1);
    assert!(connects(&rig, 1) && !connects(&rig, 3));
}

/// Others may know of its removal, but its clients still wait for answers.
#[test]
fn a_member_that_knows_of_its_removal_does_not_stop_earlier_when_it_is_told() {
    let mut rig = Rig::leaving();
    rig.acknowledge(10);
    assert!(rig.turn(Event::Removed { by: node(1) }).stop.is_none());
    assert!(rig.ticks(61).stop.is_some());
}

/// Member 3 has 8@5, which leaves it out.
fn removed() -> Rig {
    let mut rig = Rig::new(3, Limits::default());
    let parts = MembershipParts { highest: Some(node(3)), ..voters(&[1, 2]).parts().clone() };
    let membership = Membership::new(parts).expect("sound");
    let payload = raft_core::storage::record::encode_membership(&membership);
    let entry = Entry::new(id(8, 5), EntryKind::Membership, payload);
    rig.append((1, 5), id(7, 4), vec![entry], 7);
    rig.written();
    rig
}

#[test]
fn a_member_stops_only_once_its_removal_is_committed() {
    let mut rig = removed();
    assert!(rig.ticks(100).stop.is_none(), "it may be needed to elect a leader");
    let mut rig = removed();
    rig.append((1, 5), id(8, 5), vec![], 8);
    let stop = rig.ticks(61).stop;
    assert!(matches!(stop, Some(StopReason::Removed { by: None })), "{stop:?}");
}

#[test]
fn a_member_that_hears_no_leader_connects_to_the_others_until_one_says_that_it_was_removed() {
    let mut rig = Rig::new(3, Limits::default());
    assert_eq!(rig.ticks(60).connects, [1, 2].map(node));
    assert!(rig.ticks(59).connects.is_empty());
    assert_eq!(rig.ticks(1).connects, [1, 2].map(node));
    let term = rig.pump.raft().term().get() + 1;
    rig.append((1, term), id(7, 4), vec![], 7);
    assert!(rig.ticks(20).connects.is_empty(), "it has a leader");
    let stop = rig.turn(Event::Removed { by: node(2) }).stop;
    assert!(matches!(stop, Some(StopReason::Removed { by: Some(by) }) if by == node(2)));
}

/// The entries of a node that joins were written before it was a member.
#[test]
fn a_node_that_is_about_to_join_was_not_removed() {
    let start = Rig::start(2);
    let mut rig = Rig::starting_from(start, Limits::default());
    assert!(rig.ticks(100).stop.is_none());
}
