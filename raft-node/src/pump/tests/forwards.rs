//! Forwards: the answers to a follower's clients, and the forwards that a leader accepts and
//! answers.

use raft_core::consensus::{Body, Message, Round};
use raft_core::types::{EntryId, LogSpan, Term};

use super::{Names, Rig, at, commands, entry, forward_answers, forwards, id, node};
use crate::pump::{Effects, Event, Limits};
use crate::{Content, Entries, Envelope, Forward, ForwardAnswer, ProposeError};

/// A member that follows member 1 in term 5, and a forward that it has sent there for group 1.
fn forwarding(limits: Limits) -> (Rig, Forward) {
    let mut rig = Rig::new(3, limits);
    rig.append((1, 5), id(7, 4), vec![], 7);
    rig.written();
    let forward = forwards(&rig.propose(1, 1)).pop().expect("it goes to the leader");
    (rig, forward)
}

fn answer(rig: &mut Rig, forward: &Forward, appended: Option<EntryId>) -> Effects<Names> {
    let Forward { start, sequence, .. } = *forward;
    rig.deliver(1, Content::ForwardAnswer(ForwardAnswer { start, sequence, appended }))
}

fn failed(effects: &Effects<Names>) -> Vec<(u64, ProposeError)> {
    effects.failed.iter().map(|failed| (failed.group, failed.error.clone())).collect()
}

fn deliver(from: u64, content: Content) -> Event<Names> {
    Event::Deliver { from: node(from), envelope: Envelope { cluster: super::CLUSTER, content } }
}

fn forward_of(term: u64, sequence: u64, count: usize) -> Content {
    let term = Term::new(term);
    Content::Forward(Forward { term, start: 1, sequence, commands: commands(count) })
}

/// One turn with several events.
fn turn(rig: &mut Rig, mut events: Vec<Event<Names>>) -> Effects<Names> {
    let mut effects = Effects::default();
    rig.pump.turn(rig.now, &mut events, &mut effects);
    effects
}

#[test]
fn a_forward_without_an_answer_is_given_up_at_its_deadline() {
    let (mut rig, _) = forwarding(Limits { proposal_ticks: 5, ..Limits::default() });
    assert_eq!(failed(&rig.ticks(4)), []);
    assert_eq!(failed(&rig.ticks(1)), [(1, ProposeError::Unknown)]);
}

#[test]
fn a_forward_to_an_earlier_leader_is_given_up_an_election_timeout_after_a_new_one_is_known() {
    let (mut rig, _) = forwarding(Limits::default());
    rig.message(2, 6, Body::Vote { last: id(7, 4), in_transfer: false });
    rig.append((2, 6), id(7, 4), vec![], 7);
    assert_eq!(failed(&rig.ticks(59)), []);
    assert_eq!(failed(&rig.ticks(1)), [(1, ProposeError::Unknown)]);
}

/// What went wrong: a leader handed over and refused a forward, and the next leader was known
/// before the refusal came. The client was answered that the outcome is unknown.
#[test]
fn an_earlier_leader_may_answer_after_a_new_one_is_known() {
    let later = |appended| {
        let (mut rig, forward) = forwarding(Limits::default());
        rig.append((2, 6), id(7, 4), vec![], 7);
        failed(&answer(&mut rig, &forward, appended))
    };
    assert_eq!(later(None), [(1, ProposeError::NotLeader { hint: Some(node(2)) })]);
    assert_eq!(later(Some(id(8, 5))), [], "it waits until that entry, or another, is applied");
}

#[test]
fn a_refused_forward_is_busy_only_if_its_leader_still_leads() {
    let (mut rig, forward) = forwarding(Limits::default());
    assert_eq!(failed(&answer(&mut rig, &forward, None)), [(1, ProposeError::Busy)]);
    let (mut rig, forward) = forwarding(Limits::default());
    rig.message(2, 6, Body::VoteResponse { granted: false });
    let error = ProposeError::NotLeader { hint: None };
    assert_eq!(failed(&answer(&mut rig, &forward, None)), [(1, error)]);
}

#[test]
fn an_answer_to_a_forward_of_an_earlier_start_changes_nothing() {
    let (mut rig, forward) = forwarding(Limits::default());
    let earlier = Forward { start: forward.start.wrapping_add(1), ..forward.clone() };
    assert_eq!(failed(&answer(&mut rig, &earlier, None)), []);
    assert_eq!(failed(&answer(&mut rig, &forward, None)), [(1, ProposeError::Busy)]);
}

/// The state machine has the entry and has not reported it as applied. No waiting client was found
/// for it, so its answer is discarded. A client that began to wait now would get the answer that
/// its command was lost.
#[test]
fn an_answer_while_its_entry_is_being_applied_leaves_the_outcome_unknown() {
    let (mut rig, forward) = forwarding(Limits::default());
    rig.append((1, 5), id(7, 4), vec![entry(8, 5)], 8);
    let batch = rig.written().apply.expect("entry 8 is applied");
    assert_eq!(batch.upto, at(8));
    let effects = answer(&mut rig, &forward, Some(id(8, 5)));
    assert_eq!(failed(&effects), [(1, ProposeError::Unknown)]);
}

#[test]
fn a_forward_of_another_term_or_with_too_large_a_command_is_refused() {
    let mut rig = Rig::leading(3, Limits { command_bytes: 4, ..Limits::default() });
    for content in [forward_of(4, 1, 1), forward_of(5, 2, 0)] {
        let answers = forward_answers(&rig.deliver(1, content));
        assert_eq!(answers.iter().map(|answer| answer.appended).collect::<Vec<_>>(), [None]);
    }
    let mut rig = Rig::leading(3, Limits { command_bytes: 3, ..Limits::default() });
    assert_eq!(rig.forward(1, 1).pop().map(|answer| answer.appended), Some(None));
    assert_eq!(rig.last(), 8);
}

#[test]
fn a_copy_of_an_accepted_forward_gets_no_answer_after_the_leadership() {
    let mut rig = Rig::leading(3, Limits::default());
    assert_eq!(rig.forward(1, 1).len(), 1);
    rig.append((2, 6), id(7, 4), vec![], 7);
    let answers = forward_answers(&rig.deliver(1, forward_of(5, 1, 1)));
    assert!(answers.is_empty(), "a refusal would say that nothing happened: {answers:?}");
}

#[test]
fn each_forward_of_a_turn_is_answered_with_its_own_first_entry() {
    let mut rig = Rig::leading(3, Limits::default());
    let own = Event::Propose { commands: commands(3), group: 1 };
    let events = vec![deliver(1, forward_of(5, 1, 2)), own, deliver(2, forward_of(5, 1, 1))];
    let answers = forward_answers(&turn(&mut rig, events));
    let firsts: Vec<_> = answers.iter().map(|answer| answer.appended).collect();
    assert_eq!(firsts, [Some(id(9, 5)), Some(id(14, 5))]);
}

#[test]
fn what_a_turn_proposed_is_refused_to_all_where_the_leadership_ended_in_it() {
    let mut rig = Rig::leading(3, Limits::default());
    let own = Event::Propose { commands: commands(3), group: 1 };
    let events = vec![own, deliver(2, forward_of(5, 1, 1)), later_leader()];
    let effects = turn(&mut rig, events);
    assert!(!rig.pump.raft().is_leader());
    let error = ProposeError::NotLeader { hint: Some(node(2)) };
    assert_eq!(failed(&effects), [(1, error)]);
    let answers = forward_answers(&effects);
    assert_eq!(answers.iter().map(|answer| answer.appended).collect::<Vec<_>>(), [None]);
}

/// The leader of term 6 is heard.
fn later_leader() -> Event<Names> {
    let body = Body::Append { span: LogSpan::empty(id(7, 4)), commit: at(7), round: Round(0) };
    let message = Message::new(Term::new(6), body);
    deliver(2, Content::Raft { message, entries: Entries::default() })
}
