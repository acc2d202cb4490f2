//! No message of a peer makes a member panic (law L16): random messages, including numbers at the
//! edge of overflow, are stepped into members of every role.
//!
//! In debug builds each step also checks the laws of a single state, so a message that is accepted
//! and breaks one is found here, too. What false messages can do to the *cluster* is not tested:
//! Raft trusts its members.

use std::collections::BTreeSet;
use std::sync::Arc;

use proptest::prelude::*;

use raft_core::consensus::{
    Body, Config, Contradiction, Input, MAX_NUMBER, Message, NotSent, Output, Raft, ReadId,
    Rejection, Round, Start, TICK_MICROS, Time, Verdict,
};
use raft_core::types::{
    EntryId, HardState, LogIndex, LogSpan, Membership, MembershipParts, NodeId, Term, TermRun,
};

fn node(number: u64) -> NodeId {
    NodeId::new(number).expect("not zero")
}

fn membership() -> Arc<Membership> {
    let voters = (1..=3).map(node).collect();
    let parts = MembershipParts { voters, ..MembershipParts::default() };
    Arc::new(Membership::new(parts).expect("sound"))
}

/// Small numbers, for which logs overlap, and numbers at the edge of overflow.
fn number() -> impl Strategy<Value = u64> {
    prop_oneof![
        12 => 0u64..12,
        1 => MAX_NUMBER - 1..=MAX_NUMBER + 1,
        1 => u64::MAX - 1..=u64::MAX,
    ]
}

fn term() -> impl Strategy<Value = Term> {
    number().prop_map(Term::new)
}

fn index() -> impl Strategy<Value = LogIndex> {
    number().prop_map(LogIndex::new)
}

fn id() -> impl Strategy<Value = EntryId> {
    (term(), index()).prop_map(|(term, index)| EntryId::new(term, index))
}

/// Every span that passes its own checks, from runs that need not pass them.
fn span() -> impl Strategy<Value = LogSpan> {
    let run = (index(), term()).prop_map(|(first, term)| TermRun { first, term });
    let lengths = prop::collection::vec((1u64..4, 0u64..3), 0..4);
    let wild = (id(), prop::collection::vec(run, 0..3), index())
        .prop_map(|(prev, runs, last)| LogSpan::new(prev, runs, last));
    let sound = (id(), lengths).prop_map(|(prev, lengths)| {
        let mut span = LogSpan::empty(prev);
        for (length, rise) in lengths {
            let term = Term::new(span.last_id().term.get().saturating_add(rise));
            span.push_run(term, span.last().plus(length))?;
        }
        Ok(span)
    });
    prop_oneof![wild, sound].prop_filter_map("no span", Result::ok)
}

fn verdict() -> impl Strategy<Value = Verdict> {
    prop_oneof![
        index().prop_map(|matched| Verdict::Accepted { matched }),
        (index(), id()).prop_map(|(refused, hint)| Verdict::Conflict { refused, hint }),
    ]
}

fn body() -> impl Strategy<Value = Body> {
    let round = || number().prop_map(Round);
    let read = || (0u64..4).prop_map(ReadId);
    prop_oneof![
        1 => id().prop_map(|last| Body::PreVote { last }),
        1 => (term(), any::<bool>())
            .prop_map(|(asked, granted)| Body::PreVoteResponse { asked, granted }),
        1 => (id(), any::<bool>())
            .prop_map(|(last, in_transfer)| Body::Vote { last, in_transfer }),
        1 => Just(Body::TimeoutNow),
        2 => any::<bool>().prop_map(|granted| Body::VoteResponse { granted }),
        4 => (span(), index(), round())
            .prop_map(|(span, commit, round)| Body::Append { span, commit, round }),
        4 => (verdict(), round())
            .prop_map(|(verdict, round)| Body::AppendResponse { verdict, round }),
        1 => (read(), any::<bool>())
            .prop_map(|(read, by_lease)| Body::ReadIndex { read, by_lease }),
        1 => (round(), any::<u64>()).prop_map(|(round, micros)| Body::Promise { round, micros }),
        1 => (read(), index()).prop_map(|(read, index)| Body::ReadIndexResponse { read, index }),
    ]
}

/// What happens to the member: mostly messages, and sometimes completions by its own node.
#[derive(Clone, Debug)]
enum Event {
    Envelope { from: u64, term: Term, of_current_term: bool, body: Body },
    Ticks(u32),
    Campaign,
    Propose(u64),
    Read(u64),
    Transfer(u64),
    Change(BTreeSet<u64>),
    Durable,
    SendsDone(bool),
}

fn event() -> impl Strategy<Value = Event> {
    let envelope =
        (1u64..6, term(), any::<bool>(), body()).prop_map(|(from, term, of_current_term, body)| {
            Event::Envelope { from, term, of_current_term, body }
        });
    prop_oneof![
        16 => envelope,
        1 => (1u32..40).prop_map(Event::Ticks),
        2 => Just(Event::Campaign),
        1 => (1u64..4).prop_map(Event::Propose),
        1 => (0u64..4).prop_map(Event::Read),
        1 => (1u64..6).prop_map(Event::Transfer),
        2 => prop::collection::btree_set(1u64..6, 1..5).prop_map(Event::Change),
        3 => Just(Event::Durable),
        2 => any::<bool>().prop_map(Event::SendsDone),
    ]
}

/// A member and its outputs; writes and sends are carried out only on an event.
struct Stage {
    raft: Raft,
    outputs: Vec<Output>,
    now: Time,
}

impl Stage {
    /// Member 1 with five entries of terms 1 1 1 2 2, of which some are purged.
    fn new(purged: u64, voters_ask_first: bool) -> Stage {
        let mut config = Config::new(node(1), 7);
        config.pre_vote = voters_ask_first;
        config.lease_drift = (purged % 2 == 1).then_some(100);
        let term_at = |index: u64| Term::new(if index < 4 { index.min(1) } else { 2 });
        let boundary = EntryId::new(term_at(purged), LogIndex::new(purged));
        let mut term_runs: Vec<TermRun> = Vec::new();
        for index in purged + 1..=5 {
            let term = term_at(index);
            if term_runs.last().is_none_or(|run| run.term != term) {
                term_runs.push(TermRun { first: LogIndex::new(index), term });
            }
        }
        let start = Start {
            hard_state: HardState { term: Term::new(2), vote: None },
            boundary,
            last: LogIndex::new(5),
            term_runs,
            base: Some(membership()),
            memberships: Vec::new(),
            commit: LogIndex::new(purged.max(3)),
            applied: boundary.index,
            now: Time::ZERO,
        };
        Stage { raft: Raft::new(config, start), outputs: Vec::new(), now: Time::ZERO }
    }

    fn step(&mut self, input: Input) {
        self.raft.step(input, &mut self.outputs);
        self.raft.check_laws();
    }

    fn tick(&mut self) {
        self.now = self.now.plus(TICK_MICROS);
        self.step(Input::Tick { now: self.now });
    }

    fn handle(&mut self, event: Event) {
        match event {
            Event::Envelope { from, term, of_current_term, body } => {
                let term = if of_current_term { self.raft.term() } else { term };
                let message = Message::new(term, body);
                let _ = message.to_string();
                self.step(Input::Message { from: node(from), message, memberships: Vec::new() });
            }
            Event::Ticks(count) => (0..count).for_each(|_| self.tick()),
            Event::Campaign => {
                self.step(Input::ElectionTimeout { after: 1 });
                self.tick();
            }
            Event::Propose(count) => self.step(Input::Propose { count, origins: vec![node(2)] }),
            Event::Read(read) => {
                self.step(Input::ReadIndex {
                    read: ReadId(read),
                    by_lease: read.is_multiple_of(2),
                });
            }
            Event::Transfer(to) => self.step(Input::Transfer { to: node(to) }),
            Event::Change(voters) => self.change(voters),
            Event::Durable => self.complete_writes(),
            Event::SendsDone(sent) => self.complete_sends(sent),
        }
    }

    /// The first of these nodes and those that vote already are voters, the others learners.
    fn change(&mut self, members: BTreeSet<u64>) {
        let now = self.raft.membership().expect("it has one");
        let mut parts = MembershipParts::default();
        for member in members.into_iter().map(node) {
            let votes = now.is_voter(member) || parts.voters.is_empty();
            let role = if votes { &mut parts.voters } else { &mut parts.learners };
            role.insert(member);
        }
        let target = Arc::new(Membership::new(parts).expect("it has a voter"));
        self.step(Input::ChangeMembership { target });
    }

    fn complete_writes(&mut self) {
        let writes = self.outputs.iter().filter_map(|output| match output {
            Output::Write(write) => Some(write.seq),
            _ => None,
        });
        if let Some(seq) = writes.max() {
            self.step(Input::Durable { seq });
        }
    }

    fn complete_sends(&mut self, sent: bool) {
        let sends = std::mem::take(&mut self.outputs);
        let newest = sends.iter().rev().find(|output| matches!(output, Output::Write(_))).cloned();
        self.outputs.extend(newest);
        for output in sends {
            let Output::SendEntries { to, message, send } = output else { continue };
            let upto = message.span().expect("an append").last();
            self.step(if sent {
                Input::Sent { to, send, upto, bytes: 10 }
            } else {
                Input::NotSent { to, send, why: NotSent::Rewritten }
            });
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig {
        cases: 800,
        failure_persistence: None,
        ..ProptestConfig::default()
    })]

    #[test]
    fn no_message_makes_a_member_panic(
        purged in 0u64..=5,
        voters_ask_first in any::<bool>(),
        events in prop::collection::vec(event(), 1..60),
    ) {
        let mut stage = Stage::new(purged, voters_ask_first);
        events.into_iter().for_each(|event| stage.handle(event));
        let _ = stage.raft.status();
    }
}

/// An append of entries in runs (last index, term) after `prev`, from member 2 in term 3.
fn append(prev: (u64, u64), runs: &[(u64, u64)]) -> Event {
    let mut span = LogSpan::empty(EntryId::new(Term::new(prev.1), LogIndex::new(prev.0)));
    for (last, term) in runs {
        span.push_run(Term::new(*term), LogIndex::new(*last)).expect("sound");
    }
    let body = Body::Append { span, commit: LogIndex::ZERO, round: Round(0) };
    Event::Envelope { from: 2, term: Term::new(3), of_current_term: false, body }
}

fn rejections(stage: &Stage) -> Vec<Rejection> {
    let rejection = |output: &Output| match output {
        Output::Rejected { why, .. } => Some(*why),
        _ => None,
    };
    stage.outputs.iter().filter_map(rejection).collect()
}

/// What went wrong: the entry at the purge point was not compared, so entries of another history
/// were appended to a log that was purged to its end.
#[test]
fn an_append_that_contradicts_the_purge_point_stops_the_member() {
    let mut stage = Stage::new(5, true);
    stage.handle(append((1, 1), &[(5, 1), (7, 3)]));
    let stop = |output: &Output| match output {
        Output::Stop(Contradiction { own, theirs, .. }) => Some((*own, *theirs)),
        _ => None,
    };
    let id = |term| EntryId::new(Term::new(term), LogIndex::new(5));
    let stops: Vec<_> = stage.outputs.iter().filter_map(stop).collect();
    assert_eq!(stops, [(id(2), Some(id(1)))]);
    assert_eq!(stage.raft.last().index, LogIndex::new(5));
}

/// What went wrong: the log was truncated below what was verified with the same leader, and the
/// verified index stayed beyond the log's end (law L3).
#[test]
fn a_leader_that_contradicts_itself_is_refused() {
    let mut stage = Stage::new(0, true);
    stage.handle(append((5, 2), &[(9, 3)]));
    stage.handle(append((3, 1), &[(4, 3)]));
    assert_eq!(rejections(&stage), [Rejection::ContradictsItself]);
    assert_eq!(stage.raft.last().index, LogIndex::new(9));
}

/// A term has one leader: entries of a second one are refused (law L1).
#[test]
fn a_second_leader_of_a_term_is_refused() {
    let mut stage = Stage::new(0, true);
    stage.handle(append((5, 2), &[(6, 3)]));
    let Event::Envelope { term, of_current_term, body, .. } = append((6, 3), &[(7, 3)]) else {
        unreachable!("an append is an envelope")
    };
    stage.handle(Event::Envelope { from: 3, term, of_current_term, body });
    assert_eq!(rejections(&stage), [Rejection::SecondLeader]);
    assert_eq!(stage.raft.last().index, LogIndex::new(6));
}

#[test]
fn a_message_from_the_member_itself_is_refused() {
    let mut stage = Stage::new(0, true);
    let body =
        Body::Vote { last: EntryId::new(Term::new(9), LogIndex::new(9)), in_transfer: false };
    let term = Term::new(9);
    stage.handle(Event::Envelope { from: 1, term, of_current_term: false, body });
    assert_eq!(rejections(&stage), [Rejection::FromSelf]);
    assert_eq!(stage.raft.term(), Term::new(2));
}

/// What went wrong: the greatest term was adopted, and the next election overflowed.
#[test]
fn numbers_that_no_cluster_reaches_are_refused() {
    let mut stage = Stage::new(0, false);
    for term in [MAX_NUMBER + 1, u64::MAX] {
        let term = Term::new(term);
        let body = Body::VoteResponse { granted: false };
        stage.handle(Event::Envelope { from: 2, term, of_current_term: false, body });
    }
    stage.handle(append((5, 2), &[(u64::MAX, 3)]));
    assert_eq!(rejections(&stage), [Rejection::OutOfRange; 3]);
    stage.handle(Event::Campaign);
    assert_eq!(stage.raft.term(), Term::new(3));
}
