//! Envelopes that no member of this cluster sends are dropped and counted, and change nothing.

use raft_core::consensus::{Body, Message, Round};
use raft_core::types::{ClusterId, Entry, LogSpan, Term};

use super::{CLUSTER, Rig, at, entry, id, node};
use crate::pump::{Event, Limits};
use crate::{Content, Envelope};

/// Delivers a message of a later term with these entries. It must have no effect.
fn check_dropped(cluster: ClusterId, body: Body, entries: Vec<Entry>, what: &str) {
    let mut rig = Rig::new(3, Limits::default());
    let message = Message::new(Term::new(5), body);
    let content = Content::Raft { message, entries: entries.into() };
    let envelope = Envelope { cluster, content };
    let effects = rig.turn(Event::Deliver { from: node(1), envelope });
    assert_eq!(rig.pump.counters().malformed, 1, "{what}");
    assert_eq!(rig.pump.raft().term(), Term::new(4), "{what}");
    assert!(effects.sends.is_empty() && effects.write.is_none(), "{what}");
}

#[test]
fn an_envelope_of_another_cluster_is_dropped() {
    let body = Body::VoteResponse { granted: true };
    check_dropped(ClusterId(CLUSTER.0 + 1), body, vec![], "another cluster");
}

#[test]
fn an_append_whose_entries_are_not_those_that_it_names_is_dropped() {
    let mut span = LogSpan::empty(id(7, 4));
    span.push_run(Term::new(5), at(9)).expect("sound");
    let append = || Body::Append { span: span.clone(), commit: at(7), round: Round(0) };
    check_dropped(CLUSTER, append(), vec![entry(8, 5)], "one is missing");
    check_dropped(CLUSTER, append(), vec![entry(8, 5), entry(9, 4)], "another term");
    check_dropped(CLUSTER, append(), vec![entry(8, 5), entry(10, 5)], "another index");
}

#[test]
fn a_message_that_names_no_entries_and_brings_some_is_dropped() {
    check_dropped(CLUSTER, Body::VoteResponse { granted: true }, vec![entry(8, 5)], "a vote");
}
