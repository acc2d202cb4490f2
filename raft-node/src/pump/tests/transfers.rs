//! Proposals while a leader hands over: own clients' wait, and go to the next leader.

use raft_core::consensus::Verdict;

use super::*;
use crate::{ProposeError, TransferError};

/// A leader of three whose followers have acknowledged everything.
fn leading() -> Rig {
    let mut rig = Rig::leading(3, Limits::default());
    rig.written();
    for from in [1, 2] {
        let verdict = Verdict::Accepted { matched: at(8) };
        rig.message(from, 5, Body::AppendResponse { verdict, round: Round(0) });
    }
    rig
}

fn asks_to_campaign(effects: &Effects<Names>) -> bool {
    effects.sends.iter().any(|(to, envelope)| match &envelope.content {
        Content::Raft { message, .. } => *to == node(1) && message.body == Body::TimeoutNow,
        _ => false,
    })
}

/// Member 1 asks for votes in term 6, because the leader told it to.
fn vote(rig: &mut Rig) -> Effects<Names> {
    rig.message(1, 6, Body::Vote { last: id(8, 5), in_transfer: true })
}

#[test]
fn own_commands_wait_for_the_next_leader() {
    let mut rig = leading();
    assert!(asks_to_campaign(&rig.turn(Event::Transfer { to: node(1) })));
    let waits = rig.propose(1, 2);
    assert!(waits.failed.is_empty() && rig.last() == 8, "neither refused nor appended");
    let waits = vote(&mut rig);
    assert!(waits.failed.is_empty() && !rig.pump.raft().is_leader());
    let waits = rig.propose(2, 1);
    assert!(waits.failed.is_empty(), "no leader is known, and one will be soon");
    rig.written();
    let effects = rig.append((1, 6), id(8, 5), vec![], 8);
    let counts: Vec<usize> = forwards(&effects).iter().map(|f| f.commands.len()).collect();
    assert_eq!(counts, [2, 1], "both groups go to member 1, in order");
}

/// What could go wrong: the request to hand over and the vote request arrive together.
#[test]
fn own_commands_wait_even_if_the_leader_is_deposed_in_the_same_turn() {
    let mut rig = leading();
    let body = Body::Vote { last: id(8, 5), in_transfer: true };
    let message = Message::new(Term::new(6), body);
    let content = Content::Raft { message, entries: Entries::default() };
    let envelope = Envelope { cluster: CLUSTER, content };
    let mut events = vec![
        Event::Propose { commands: commands(1), group: 1 },
        Event::Transfer { to: node(1) },
        Event::Deliver { from: node(1), envelope },
        Event::Propose { commands: commands(1), group: 2 },
    ];
    let mut effects = Effects::default();
    rig.pump.turn(rig.now, &mut events, &mut effects);
    assert!(effects.failed.is_empty() && !rig.pump.is_idle(), "both wait");
    rig.written();
    let effects = rig.append((1, 6), id(8, 5), vec![], 8);
    assert_eq!(forwards(&effects).len(), 2);
}

#[test]
fn own_commands_of_the_same_turn_are_held_and_proposed_after_an_abandoned_transfer() {
    let mut rig = leading();
    let mut events = vec![
        Event::Propose { commands: commands(2), group: 1 },
        Event::Transfer { to: node(1) },
        Event::Propose { commands: commands(1), group: 2 },
    ];
    let mut effects = Effects::default();
    rig.pump.turn(rig.now, &mut events, &mut effects);
    assert!(effects.failed.is_empty() && rig.last() == 8);
    let abandoned = rig.ticks(30);
    assert_eq!(abandoned.failed_transfers, [(node(1), TransferError::Abandoned)]);
    assert_eq!(rig.last(), 11, "all three are appended");
}

#[test]
fn forwarded_commands_are_refused_while_a_leader_hands_over() {
    let mut rig = leading();
    rig.turn(Event::Transfer { to: node(1) });
    let answers = rig.forward(1, 2);
    assert_eq!(answers.iter().map(|answer| answer.appended).collect::<Vec<_>>(), [None]);
}

/// The next leader is never heard: the commands fail as they would without a transfer.
#[test]
fn own_commands_do_not_wait_for_ever() {
    let mut rig = leading();
    rig.turn(Event::Transfer { to: node(1) });
    rig.propose(1, 1);
    vote(&mut rig);
    rig.written();
    let effects = rig.ticks(61);
    let errors: Vec<&ProposeError> = effects.failed.iter().map(|failed| &failed.error).collect();
    assert_eq!(errors, [&ProposeError::NotLeader { hint: None }]);
    assert_eq!(effects.failed_transfers, [(node(1), TransferError::Abandoned)]);
}

/// The target dies after it has asked for votes, and the old leader is elected again.
#[test]
fn a_transfer_has_failed_once_the_old_leader_leads_again() {
    let mut rig = leading();
    // The next leader is awaited for longer than this member's election timeout.
    rig.pump.election_ticks = 1000;
    rig.turn(Event::Transfer { to: node(1) });
    assert!(vote(&mut rig).failed_transfers.is_empty(), "the target may still be elected");
    rig.written();
    let asks = |effects: &Effects<Names>| effects.write.is_some();
    let campaign = (0..100).map(|_| rig.ticks(1)).find(asks).expect("it votes for itself");
    assert!(campaign.failed_transfers.is_empty());
    rig.written();
    let term = rig.pump.raft().term().get();
    let effects = rig.message(2, term, Body::VoteResponse { granted: true });
    assert!(rig.pump.raft().is_leader());
    assert_eq!(effects.failed_transfers, [(node(1), TransferError::Abandoned)]);
}

#[test]
fn a_transfer_that_succeeds_is_not_reported_as_failed() {
    let mut rig = leading();
    rig.turn(Event::Transfer { to: node(1) });
    vote(&mut rig);
    rig.written();
    assert!(rig.append((1, 6), id(8, 5), vec![], 8).failed_transfers.is_empty());
    assert!(rig.ticks(30).failed_transfers.is_empty());
}
