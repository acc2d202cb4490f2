//! The pump alone: one member that is given events step by step.
//!
//! The simulator tests failures that involve several members. These tests repeat scenarios that
//! failed once, each in the order in which it happened.

mod backlog;
mod changes;
mod consistency;
mod ends;
mod forwards;
mod hints;
mod leaving;
mod levels;
mod malformed;
mod reading;
mod sessions;
mod snapshot_sending;
mod snapshot_transfer;
mod snapshots;
mod transfers;
mod whole_changes;

use std::sync::Arc;

use bytes::Bytes;
use raft_core::consensus::{Body, Config, Message, Round, Start, TICK_MICROS, Time};
use raft_core::types::{
    ClusterId, Entry, EntryId, EntryKind, HardState, Identity, LogIndex, LogSpan, Membership,
    NodeId, StoreId, Term, TermRun,
};

use super::{Clients, Effects, Event, Limits, Pump};
use crate::{Content, Entries, Envelope, Forward, ForwardAnswer};

/// Clients are identified by numbers.
#[derive(Debug)]
struct Names;

impl Clients for Names {
    type Proposals = u64;
    type Reads = u64;
    type Snapshots = u64;
    type Changes = u64;
    type Sessions = u64;
}

const CLUSTER: ClusterId = ClusterId(7);

fn node(number: u64) -> NodeId {
    NodeId::new(number).expect("not zero")
}

fn at(index: u64) -> LogIndex {
    LogIndex::new(index)
}

fn id(index: u64, term: u64) -> EntryId {
    EntryId::new(Term::new(term), at(index))
}

/// A command of four bytes.
fn entry(index: u64, term: u64) -> Entry {
    Entry::new(id(index, term), EntryKind::Command, Bytes::from_static(b"four"))
}

fn commands(count: usize) -> Vec<Bytes> {
    vec![Bytes::from_static(b"four"); count]
}

fn forward_answers(effects: &Effects<Names>) -> Vec<ForwardAnswer> {
    let answer = |(_, envelope): &(NodeId, Envelope)| match &envelope.content {
        Content::ForwardAnswer(answer) => Some(*answer),
        _ => None,
    };
    effects.sends.iter().filter_map(answer).collect()
}

fn forwards(effects: &Effects<Names>) -> Vec<Forward> {
    let forward = |(_, envelope): &(NodeId, Envelope)| match &envelope.content {
        Content::Forward(forward) => Some(forward.clone()),
        _ => None,
    };
    effects.sends.iter().filter_map(forward).collect()
}

/// One member.
struct Rig {
    pump: Pump<Names>,
    now: Time,
}

impl Rig {
    /// Member 3 of so many, whose log holds the membership and entries up to 7 of term 4, all of
    /// them committed and applied.
    fn new(members: u64, limits: Limits) -> Rig {
        Rig::starting_from(Rig::start(members), limits)
    }

    fn start(members: u64) -> Start {
        let voters = (1..=members).map(|number| (node(number), Bytes::new()));
        let membership = Membership::of_voters(voters).expect("sound");
        Start {
            hard_state: HardState { term: Term::new(4), vote: None },
            last: at(7),
            term_runs: vec![
                TermRun { first: at(1), term: Term::ZERO },
                TermRun { first: at(2), term: Term::new(4) },
            ],
            memberships: vec![(at(1), Arc::new(membership))],
            commit: at(7),
            applied: at(7),
            ..Start::default()
        }
    }

    fn starting_from(start: Start, limits: Limits) -> Rig {
        let identity = Identity { cluster: CLUSTER, node: node(3), store: StoreId(3) };
        let config = Config { pre_vote: false, ..Config::new(node(3), 1) };
        Rig { pump: Pump::new(identity, config, limits, start, 1), now: Time::ZERO }
    }

    /// One turn with one event.
    fn turn(&mut self, event: Event<Names>) -> Effects<Names> {
        let effects = self.turn_of(&mut vec![event]);
        self.pump.raft().check_laws();
        effects
    }

    /// One turn with several events.
    fn turn_of(&mut self, events: &mut Vec<Event<Names>>) -> Effects<Names> {
        let mut effects = Effects::default();
        self.pump.turn(self.now, events, &mut effects);
        effects
    }

    fn ticks(&mut self, count: u64) -> Effects<Names> {
        let mut effects = Effects::default();
        for _ in 0..count {
            self.now = self.now.plus(TICK_MICROS);
            self.pump.turn(self.now, &mut vec![Event::Tick], &mut effects);
        }
        effects
    }

    /// Like [`Rig::new`], for a member that leads term 5. Its disk works on the entry that opens
    /// the term, 8@5.
    fn leading(members: u64, limits: Limits) -> Rig {
        let mut rig = Rig::new(members, limits);
        let asks = |effects: &Effects<Names>| effects.write.is_some();
        let campaign = (0..100).map(|_| rig.ticks(1)).find(asks);
        assert!(campaign.is_some(), "it votes for itself");
        rig.written();
        for voter in [1, 2, 4, 5].into_iter().take(members as usize / 2) {
            rig.message(voter, 5, Body::VoteResponse { granted: true });
        }
        assert!(rig.pump.raft().is_leader());
        rig
    }

    fn last(&self) -> u64 {
        self.pump.raft().last().index.get()
    }

    /// The member's own clients propose commands of four bytes.
    fn propose(&mut self, group: u64, count: usize) -> Effects<Names> {
        self.turn(Event::Propose { commands: commands(count), group })
    }

    /// Another member forwards commands of four bytes; returns the answers to it.
    fn forward(&mut self, sequence: u64, count: usize) -> Vec<ForwardAnswer> {
        let term = self.pump.raft().term();
        let forward = Forward { term, start: 1, sequence, commands: commands(count) };
        forward_answers(&self.deliver(1, Content::Forward(forward)))
    }

    fn written(&mut self) -> Effects<Names> {
        self.turn(Event::Written(Ok(())))
    }

    fn deliver(&mut self, from: u64, content: Content) -> Effects<Names> {
        self.turn(Event::Deliver {
            from: node(from),
            envelope: Envelope { cluster: CLUSTER, content },
        })
    }

    fn message(&mut self, from: u64, term: u64, body: Body) -> Effects<Names> {
        let message = Message::new(Term::new(term), body);
        self.deliver(from, Content::Raft { message, entries: Entries::default() })
    }

    /// The leader of a term appends entries after `prev`, or none: a heartbeat.
    fn append(
        &mut self,
        (from, term): (u64, u64),
        prev: EntryId,
        entries: Vec<Entry>,
        commit: u64,
    ) -> Effects<Names> {
        let mut span = LogSpan::empty(prev);
        for entry in &entries {
            span.push_run(entry.id.term, entry.id.index).expect("terms do not fall");
        }
        let body = Body::Append { span, commit: at(commit), round: Round(0) };
        let message = Message::new(Term::new(term), body);
        self.deliver(from, Content::Raft { message, entries: entries.into() })
    }
}
