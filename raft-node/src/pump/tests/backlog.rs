//! The bytes that a leader has not written are bounded, and a command counts against the quota
//! until its outcome is known.

use raft_core::consensus::{Body, Round, Verdict};

use super::{Rig, at, forwards, id};
use crate::pump::Limits;
use crate::{Content, ForwardAnswer, ProposeError};

/// A leader that may have eight bytes unwritten.
fn rig() -> Rig {
    Rig::leading(3, Limits { unwritten_bytes: 8, proposal_ticks: 10, ..Limits::default() })
}

/// What went wrong: forwarded commands were taken without a bound. They are committed by the other
/// members' disks alone, so the leader's memory grew by the entries that its disk had not written.
#[test]
fn a_leader_whose_disk_is_behind_accepts_no_more() {
    let mut rig = rig();
    assert!(rig.forward(1, 2)[0].appended.is_some());
    assert_eq!((rig.last(), rig.pump.unwritten_bytes()), (10, 8));
    assert_eq!(rig.forward(2, 1)[0].appended, None, "nothing happened to it");
    let effects = rig.propose(7, 1);
    assert!(effects.failed.is_empty(), "an own client's command is held");
    assert_eq!(rig.last(), 10);
    rig.written();
    assert_eq!(rig.last(), 10, "the eight bytes are at the disk");
    rig.written();
    assert_eq!(rig.last(), 11, "what was held is proposed");
}

/// A command that would fit does not overtake one that is held.
#[test]
fn what_comes_after_a_held_command_is_held_too() {
    let mut rig = rig();
    rig.propose(1, 1);
    rig.propose(2, 2);
    rig.propose(3, 1);
    assert_eq!((rig.last(), rig.pump.unwritten_bytes()), (9, 4));
    rig.written();
    rig.written();
    assert_eq!(rig.last(), 11, "first the two of group 2");
}

/// What went wrong: a copy of a forward that had been refused was appended, after its origin had
/// told the client that nothing happened.
#[test]
fn a_copy_of_a_refused_forward_is_not_accepted() {
    let mut rig = rig();
    rig.forward(1, 2);
    assert_eq!(rig.forward(2, 1)[0].appended, None);
    rig.written();
    rig.written();
    assert_eq!(rig.forward(2, 1), []);
    assert_eq!(rig.last(), 10);
}

#[test]
fn an_idle_disk_accepts_commands_larger_than_the_limit() {
    let mut rig = rig();
    rig.written();
    assert!(rig.forward(1, 5)[0].appended.is_some());
}

#[test]
fn held_commands_go_to_the_next_leader_or_are_refused() {
    let mut rig = rig();
    rig.forward(1, 2);
    rig.propose(7, 1);
    let effects = rig.append((2, 6), id(7, 4), vec![], 7);
    assert_eq!(forwards(&effects).len(), 1);
    let mut deposed = self::rig();
    deposed.forward(1, 2);
    deposed.propose(7, 1);
    let effects = deposed.message(2, 9, Body::Vote { last: id(20, 8), in_transfer: false });
    let effects = if effects.failed.is_empty() { deposed.ticks(40) } else { effects };
    assert!(effects.failed.iter().any(|failed| failed.group == 7));
}

#[test]
fn a_command_that_is_held_too_long_is_reported_as_not_written() {
    let mut rig = rig();
    rig.forward(1, 2);
    rig.propose(7, 1);
    let effects = rig.ticks(10);
    assert_eq!(effects.failed.len(), 1);
    assert_eq!((effects.failed[0].group, &effects.failed[0].error), (7, &ProposeError::Busy));
    rig.written();
    rig.written();
    assert_eq!(rig.last(), 10);
}

/// What went wrong: a slow disk let another quota of clients in after each deadline.
#[test]
fn a_command_in_the_log_keeps_its_quota_after_its_deadline() {
    let mut rig = rig();
    rig.propose(7, 2);
    let effects = rig.ticks(10);
    assert_eq!(effects.overdue.len(), 1);
    assert_eq!(effects.overdue[0].error, ProposeError::Unknown);
    assert!(effects.failed.is_empty() && effects.settled.is_empty());
    rig.written();
    rig.written();
    let verdict = Verdict::Accepted { matched: at(10) };
    let effects = rig.message(1, 5, Body::AppendResponse { verdict, round: Round(0) });
    let claims = effects.apply.expect("they are applied").claims;
    assert!(claims.is_empty(), "the clients were answered");
    assert_eq!((effects.settled.len(), effects.settled[0].count), (1, 2));
}

#[test]
fn a_command_that_a_new_leader_replaced_gives_its_quota_back_at_the_deadline() {
    let mut rig = rig();
    rig.propose(7, 2);
    // The new leader's log ends before them, and nothing is ever applied in their place.
    rig.append((2, 6), id(7, 4), vec![super::entry(8, 6)], 8);
    let effects = rig.ticks(10);
    assert_eq!((effects.failed.len(), effects.failed[0].group), (1, 7));
}

#[test]
fn a_group_is_forwarded_in_parts() {
    let limits = Limits { forward_commands: 4, append_bytes: 12, ..Limits::default() };
    let mut rig = Rig::new(3, limits);
    rig.append((1, 5), id(7, 4), vec![], 7);
    rig.written();
    let parts = forwards(&rig.propose(7, 7));
    assert_eq!(parts.iter().map(|part| part.commands.len()).collect::<Vec<_>>(), [3, 3, 1]);
    let answer = |at: usize, appended| ForwardAnswer {
        start: parts[at].start,
        sequence: parts[at].sequence,
        appended,
    };
    let busy = rig.deliver(1, Content::ForwardAnswer(answer(1, None)));
    let failed = &busy.failed[0];
    assert_eq!((failed.offset, failed.count, &failed.error), (3, 3, &ProposeError::Busy));
    rig.deliver(1, Content::ForwardAnswer(answer(2, Some(id(8, 5)))));
    rig.append((1, 5), id(7, 4), vec![super::entry(8, 5)], 8);
    let claims = rig.written().apply.expect("entry 8").claims;
    assert_eq!(claims.iter().map(|c| (c.offset, c.count)).collect::<Vec<_>>(), [(6, 1)]);
}

#[cfg(feature = "mutants")]
#[test]
fn the_scenarios_see_a_leader_without_limits() {
    let mut rig = rig();
    rig.pump.plant(crate::pump::PumpBug::ForwardsWithoutLimit);
    rig.forward(1, 2);
    assert!(rig.forward(2, 1)[0].appended.is_some());
    assert_eq!(rig.pump.unwritten_bytes(), 12);
}
