//! A change of the membership, the whole way.

use raft_core::consensus::{ChangeRefusal, Verdict};
use raft_core::types::MembershipParts;

use super::changes::voters;
use super::*;
use crate::pump::{ChangeError, ChangeStage};

type ChangeResult = Result<Arc<Membership>, ChangeError>;

/// A leader of three, member 3, that has committed everything.
fn settled(limits: Limits) -> Rig {
    let mut rig = Rig::leading(3, limits);
    rig.written();
    rig.acknowledge(8);
    [1, 2].into_iter().for_each(|number| rig.announce(number, 2));
    rig
}

fn parts(rig: &Rig) -> MembershipParts {
    rig.pump.raft().membership().expect("it has one").target()
}

/// Voters 1 to 4.
fn with_voter_4(rig: &Rig) -> Arc<Membership> {
    let mut parts = parts(rig);
    parts.set_voter(node(4), Bytes::from_static(b"four"));
    Arc::new(Membership::new(parts).expect("sound"))
}

impl Rig {
    fn want_change(&mut self, target: &Arc<Membership>, client: u64) -> Effects<Names> {
        self.turn(Event::ChangeMembership { from: None, target: Arc::clone(target), client })
    }

    /// One member acknowledges everything up to an index.
    fn acknowledge_from(&mut self, from: u64, matched: u64) -> Effects<Names> {
        let term = self.pump.raft().term().get();
        let verdict = Verdict::Accepted { matched: at(matched) };
        self.message(from, term, Body::AppendResponse { verdict, round: Round(0) })
    }

    /// So many ticks pass, in which members 1 and 2 answer. Returns the answers to clients.
    fn pass(&mut self, ticks: u64, matched: u64) -> Vec<(u64, ChangeResult)> {
        let mut answers = Vec::new();
        for _ in 0..ticks {
            answers.extend(self.ticks(1).change_answers);
            answers.extend(self.acknowledge(matched).change_answers);
        }
        answers
    }

    fn stage(&self) -> Option<ChangeStage> {
        self.pump.change_progress().map(|progress| progress.stage)
    }

    fn text(&self) -> String {
        self.pump.raft().membership().expect("it has one").to_string()
    }

    /// The leader has added member 4 as a learner, 9@5, which is committed.
    fn with_learner(limits: Limits) -> Rig {
        let mut rig = settled(limits);
        let target = with_voter_4(&rig);
        rig.want_change(&target, 1);
        rig.written();
        rig.announce(4, 2);
        rig.acknowledge(9);
        assert_eq!(rig.stage(), Some(ChangeStage::CatchingUp));
        rig
    }
}

#[test]
fn a_change_goes_the_whole_way() {
    let mut rig = settled(Limits::default());
    let target = with_voter_4(&rig);
    let effects = rig.want_change(&target, 1);
    assert_eq!(effects.change_stages, [ChangeStage::Waiting, ChangeStage::AddingLearners]);
    assert_eq!(rig.text(), "voters 1,2,3 learners 4");
    rig.written();
    rig.announce(4, 2);
    let effects = rig.acknowledge(9);
    assert_eq!(effects.change_stages, [ChangeStage::CatchingUp]);
    let effects = rig.acknowledge_from(4, 9);
    assert_eq!(effects.change_stages, [ChangeStage::Committing]);
    assert_eq!(rig.text(), "voters 1,2,3,4 joint with 1,2,3");
    rig.written();
    rig.acknowledge(10);
    assert_eq!((rig.text().as_str(), rig.last()), ("voters 1,2,3,4", 11));
    assert!(rig.written().change_answers.is_empty(), "it is not committed yet");
    let mut effects = rig.acknowledge(11);
    let (client, result) = effects.change_answers.pop().expect("the client is answered");
    let membership = result.expect("it has succeeded");
    assert_eq!((client, membership.to_string()), (1, "voters 1,2,3,4".to_owned()));
    assert_eq!(membership.store(node(4)), Some(StoreId(4)));
    assert_eq!(membership.metadata(node(4)), Some(&Bytes::from_static(b"four")));
    assert!(rig.pump.change_progress().is_none());
    // To ask for it again does nothing.
    let effects = rig.want_change(&target, 2);
    assert!(effects.change_answers.iter().all(|(client, result)| *client == 2 && result.is_ok()));
    assert_eq!((effects.change_answers.len(), rig.last()), (1, 11));
}

#[test]
fn one_change_is_made_at_a_time() {
    let mut rig = settled(Limits::default());
    let target = with_voter_4(&rig);
    rig.want_change(&target, 1);
    let refused = rig.want_change(&voters(&[1, 3]), 2).change_answers;
    assert_eq!(refused, [(2, Err(ChangeRefusal::UnderWay.into()))]);
}

/// What is impossible is refused before any member is added.
#[test]
fn an_impossible_change_changes_nothing() {
    let mut rig = settled(Limits::default());
    let mut joint = voters(&[1, 2]).parts().clone();
    joint.outgoing = joint.voters.clone();
    let joint = Arc::new(Membership::new(joint).expect("sound"));
    let refused = rig.want_change(&joint, 1).change_answers;
    assert_eq!(refused, [(1, Err(ChangeRefusal::TargetIsJoint.into()))]);
    let mut follower = Rig::new(3, Limits::default());
    let refused = follower.want_change(&voters(&[1, 2]), 2).change_answers;
    assert_eq!(refused, [(2, Err(ChangeRefusal::NotLeader { hint: None }.into()))]);
    assert_eq!((rig.last(), follower.last()), (8, 7));
}

/// A leader that was just elected is asked.
#[test]
fn a_change_waits_for_the_first_commit_of_the_term() {
    let mut rig = Rig::leading(3, Limits::default());
    [1, 2].into_iter().for_each(|number| rig.announce(number, 2));
    let target = voters(&[1, 3]);
    rig.want_change(&target, 1);
    assert_eq!((rig.stage(), rig.last()), (Some(ChangeStage::Waiting), 8));
    rig.written();
    rig.acknowledge(8);
    assert_eq!((rig.stage(), rig.last()), (Some(ChangeStage::Committing), 9));
}

#[test]
fn a_change_waits_for_a_transfer() {
    let mut rig = settled(Limits::default());
    rig.turn(Event::Transfer { to: node(1) });
    rig.want_change(&voters(&[1, 3]), 1);
    assert_eq!(rig.stage(), Some(ChangeStage::Waiting));
    rig.pass(30, 8);
    assert_eq!((rig.stage(), rig.last()), (Some(ChangeStage::Committing), 9));
}

/// The rule of ten rounds: the log grows as fast as the new voter receives it.
#[test]
fn a_voter_that_is_slower_than_the_log_grows_is_named() {
    let mut rig = Rig::with_learner(Limits::default());
    let mut rounds = Vec::new();
    for _ in 0..10 {
        let progress = rig.pump.change_progress().expect("it is under way");
        let [behind] = progress.catching_up[..] else { panic!("{progress:?}") };
        rounds.push(behind.round);
        rig.propose(9, 1);
        rig.written();
        let last = rig.last();
        rig.pass(60, last);
        let effects = rig.acknowledge_from(4, behind.goal.get());
        if rounds.len() == 10 {
            assert_eq!(effects.change_answers, [(1, Err(ChangeError::TooSlow(node(4))))]);
        } else {
            assert!(effects.change_answers.is_empty());
        }
    }
    assert_eq!(rounds, (1..=10).collect::<Vec<u32>>());
    assert_eq!(rig.text(), "voters 1,2,3 learners 4", "it stays a learner");
}

#[test]
fn a_voter_has_caught_up_once_a_round_is_short() {
    let mut rig = Rig::with_learner(Limits::default());
    rig.propose(9, 1);
    rig.written();
    rig.pass(60, 10);
    rig.acknowledge_from(4, 9);
    assert_eq!(rig.stage(), Some(ChangeStage::CatchingUp), "the first round took too long");
    rig.pass(59, 10);
    rig.acknowledge_from(4, 10);
    assert_eq!(rig.stage(), Some(ChangeStage::Committing));
}

/// What went wrong: a learner that had stored everything and was dead became a voter, since what it
/// had stored stays known.
#[test]
fn a_learner_that_fell_silent_with_the_whole_log_becomes_no_voter() {
    let mut rig = Rig::with_learner(Limits { change_ticks: 200, ..Limits::default() });
    rig.turn(Event::CancelChange);
    rig.acknowledge_from(4, 9);
    rig.pass(60, 9);
    let target = with_voter_4(&rig);
    rig.want_change(&target, 2);
    assert!(rig.pass(199, 9).is_empty());
    assert_eq!(rig.stage(), Some(ChangeStage::CatchingUp), "it does not answer");
    assert_eq!(rig.pass(1, 9), [(2, Err(ChangeError::NoProgress(node(4))))]);
    rig.want_change(&target, 3);
    rig.acknowledge_from(4, 9);
    assert_eq!(rig.stage(), Some(ChangeStage::Committing), "it answers again");
}

/// A member whose address is wrong must not keep a change open for ever.
#[test]
fn a_voter_that_makes_no_progress_is_named() {
    let mut rig = Rig::with_learner(Limits { change_ticks: 200, ..Limits::default() });
    assert!(rig.pass(150, 9).is_empty());
    rig.acknowledge_from(4, 3);
    assert!(rig.pass(199, 9).is_empty(), "it has stored something");
    assert_eq!(rig.pass(1, 9), [(1, Err(ChangeError::NoProgress(node(4))))]);
    assert_eq!(rig.text(), "voters 1,2,3 learners 4");
}

/// What could go wrong: the client of a change that a wrong address delays has no way out.
#[test]
fn a_change_is_cancelled_until_the_voters_change() {
    let mut rig = Rig::with_learner(Limits::default());
    let effects = rig.turn(Event::CancelChange);
    assert_eq!(effects.change_answers, [(1, Err(ChangeError::Cancelled))]);
    let target = with_voter_4(&rig);
    rig.acknowledge_from(4, 9);
    rig.want_change(&target, 2);
    assert_eq!(rig.stage(), Some(ChangeStage::Committing));
    assert!(rig.turn(Event::CancelChange).change_answers.is_empty(), "it is too late");
    assert!(rig.pump.change_progress().is_some());
}

#[test]
fn the_client_of_a_deposed_leader_is_answered() {
    let mut rig = Rig::with_learner(Limits::default());
    let effects = rig.append((1, 6), id(8, 5), vec![], 8);
    let changed = ChangeError::LeaderChanged { hint: Some(node(1)) };
    assert_eq!(effects.change_answers, [(1, Err(changed))]);
}

/// The next leader is not deposed again: the client of a change learns its outcome there.
#[test]
fn a_leader_that_removes_itself_answers_its_client() {
    let mut rig = settled(Limits::default());
    rig.want_change(&voters(&[1, 2]), 1);
    rig.written();
    rig.acknowledge(9);
    rig.written();
    let effects = rig.acknowledge(10);
    assert!(!rig.pump.raft().is_leader());
    let [(1, Ok(membership))] = &effects.change_answers[..] else { panic!("{effects:?}") };
    assert_eq!(membership.to_string(), "voters 1,2");
}

/// The voters to come die after the joint membership was appended.
#[test]
fn a_change_that_is_in_the_log_and_cannot_be_committed_is_reported() {
    let mut rig = settled(Limits { change_ticks: 100, ..Limits::default() });
    rig.want_change(&voters(&[1, 3]), 1);
    rig.written();
    let mut answers = Vec::new();
    for _ in 0..100 {
        rig.acknowledge_from(2, 9);
        rig.acknowledge_from(1, 8);
        answers.extend(rig.ticks(1).change_answers);
    }
    assert_eq!(answers, [(1, Err(ChangeError::Unfinished))]);
    assert_eq!(rig.text(), "voters 1,3 joint with 1,2,3", "leaders go on with it");
}

#[test]
fn the_client_of_a_member_that_ends_is_answered() {
    let mut rig = Rig::with_learner(Limits::default());
    assert_eq!(rig.turn(Event::Close).change_answers, [(1, Err(ChangeError::Closed))]);
    let target = with_voter_4(&rig);
    assert_eq!(rig.want_change(&target, 2).change_answers, [(2, Err(ChangeError::Closed))]);
}

/// What could go wrong: of two operators that edit the same membership, the later one undoes the
/// change of the earlier one.
#[test]
fn a_target_made_from_an_earlier_membership_is_refused() {
    let mut rig = settled(Limits::default());
    let from = rig.pump.raft().membership().cloned();
    rig.want_change(&voters(&[1, 3]), 1);
    rig.written();
    rig.acknowledge(9);
    rig.written();
    rig.acknowledge(10);
    assert_eq!(rig.text(), "voters 1,3");
    let target = with_voter_4(&rig);
    let event = |from| Event::ChangeMembership { from, target: Arc::clone(&target), client: 2 };
    let effects = rig.turn(event(from));
    assert_eq!(effects.change_answers, [(2, Err(ChangeError::OtherMembership))]);
    let now = rig.pump.raft().membership().cloned();
    assert!(rig.turn(event(now)).change_answers.is_empty(), "it begins");
}
