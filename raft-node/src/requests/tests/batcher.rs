//! The batcher: which turn takes which proposals.

use bytes::Bytes;

use super::super::batcher::{Batcher, CROWD, Gather, Next, ProposeResult};
use super::super::error::ProposeError;
use super::super::reply::Answer;

fn propose(batcher: &mut Batcher) -> Next {
    let (reply, next) = batcher.propose(Bytes::new(), None);
    drop(reply);
    next
}

/// How many proposals a turn takes during this write.
fn taken(batcher: &mut Batcher, write: Option<u64>) -> usize {
    batcher.take(write).map_or(0, |(commands, _)| commands.len())
}

#[test]
fn a_dropped_proposal_is_answered_that_the_outcome_is_unknown() {
    assert_eq!(ProposeResult::abandoned(), Err(ProposeError::Unknown));
}

/// What went wrong: a turn taken for a peer's acknowledgement took the first proposals of a group
/// that was about to form, and each disk synced twice.
#[test]
fn a_turn_for_another_reason_leaves_a_forming_group_alone() {
    let mut batcher = Batcher::default();
    let nexts = [propose(&mut batcher), propose(&mut batcher)];
    assert_eq!(nexts, [Next::WakeDriver, Next::Nothing]);
    assert!(taken(&mut batcher, None) == 0 && !batcher.is_due());
    propose(&mut batcher);
    batcher.note_gathered(false);
    assert!(batcher.is_due());
    assert_eq!(taken(&mut batcher, None), 3);
}

#[test]
fn proposals_gather_while_the_disk_works() {
    let mut batcher = Batcher::default();
    propose(&mut batcher);
    batcher.note_gathered(false);
    assert_eq!(taken(&mut batcher, Some(1)), 0);
    assert!(!batcher.is_due(), "a turn would find nothing to take");
    propose(&mut batcher);
    batcher.note_gathered(false);
    assert_eq!(taken(&mut batcher, None), 2);
}

/// What went wrong: the next write began in the turn that ended the one before, since a peer had
/// forwarded something, and a proposal of the leader's own client was held again and again.
#[test]
fn a_proposal_that_waited_for_one_write_waits_for_no_other() {
    let mut batcher = Batcher::default();
    propose(&mut batcher);
    for _ in 0..2 {
        batcher.note_gathered(false);
        assert_eq!(taken(&mut batcher, Some(7)), 0);
    }
    batcher.note_gathered(false);
    assert_eq!(taken(&mut batcher, Some(8)), 1);
    propose(&mut batcher);
    batcher.note_gathered(false);
    assert_eq!(taken(&mut batcher, Some(8)), 0, "the next group waits for its own");
}

#[test]
fn a_crowd_does_not_wait_for_the_disk() {
    let mut batcher = Batcher::default();
    let nexts: Vec<Next> = (0..CROWD).map(|_| propose(&mut batcher)).collect();
    assert_eq!(nexts.iter().filter(|next| **next == Next::TakeTurn).count(), 1);
    assert_eq!(nexts[CROWD - 1], Next::TakeTurn);
    assert_eq!(taken(&mut batcher, Some(1)), CROWD);
}

#[test]
fn the_caller_takes_the_turn_for_a_lone_proposal_until_a_crowd_comes() {
    let mut batcher = Batcher::default();
    propose(&mut batcher);
    batcher.note_gathered(true);
    assert_eq!(taken(&mut batcher, None), 1);
    assert_eq!(propose(&mut batcher), Next::TakeTurn);
    assert_eq!(propose(&mut batcher), Next::Nothing);
    assert_eq!(taken(&mut batcher, None), 2);
    assert_eq!(propose(&mut batcher), Next::WakeDriver, "two came together");
}

#[test]
fn after_the_end_each_caller_takes_the_turn_that_refuses_it() {
    let mut batcher = Batcher::default();
    batcher.end();
    assert_eq!([propose(&mut batcher), propose(&mut batcher)], [Next::TakeTurn; 2]);
    assert_eq!(taken(&mut batcher, Some(1)), 0, "but one that has ended has no write");
    propose(&mut batcher);
    assert_eq!(taken(&mut batcher, None), 3);
}

/// The numbers of requests that the driver sees, until it stops; and whether one came alone.
fn gathered(seen: &[usize]) -> (usize, bool) {
    let mut gather = Gather::default();
    let yields = seen.iter().take_while(|waiting| gather.continues(**waiting)).count();
    (yields, gather.was_alone())
}

#[test]
fn the_driver_waits_as_long_as_more_proposals_come() {
    assert_eq!(gathered(&[0, 5]), (0, false), "nothing waits");
    assert_eq!(gathered(&[1, 1]), (1, true));
    assert_eq!(gathered(&[1, 2, 2]), (2, false));
    let always_more: Vec<usize> = (1..99).collect();
    assert_eq!(gathered(&always_more), (8, false), "but not for ever");
}
