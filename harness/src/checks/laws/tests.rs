//! Each law finds what contradicts it, and accepts what does not.

use raft_core::storage::record::encode_membership;
use raft_core::types::{Entry, EntryKind, MembershipParts};

use super::*;

fn node(number: u64) -> NodeId {
    NodeId::new(number).expect("not zero")
}

fn entry(index: u64, term: u64, payload: &'static str) -> Entry {
    let id = EntryId::new(Term::new(term), LogIndex::new(index));
    Entry::new(id, EntryKind::Command, payload.into())
}

fn vote(term: u64) -> WriteBatch {
    let hard_state = HardState { term: Term::new(term), vote: Some(node(1)) };
    WriteBatch { hard_state: Some(hard_state), ..WriteBatch::default() }
}

fn leads(term: u64) -> SoftState {
    SoftState { role: RoleName::Leader, term: Term::new(term), leader: None }
}

#[test]
fn two_leaders_of_one_term_are_found() {
    let mut laws = Laws::new(3, false);
    assert_eq!(laws.on_soft_state(node(1), leads(4)), Ok(()));
    assert_eq!(laws.on_soft_state(node(2), leads(5)), Ok(()));
    let found = laws.on_soft_state(node(3), leads(4)).expect_err("a second leader");
    assert_eq!(found.check, Check::ElectionSafety);
}

/// The tables of three voters.
fn of_three() -> Laws {
    let mut laws = Laws::new(3, true);
    let voters = (1..=3).map(|number| (node(number), Default::default()));
    let membership = Arc::new(Membership::of_voters(voters).expect("sound"));
    for member in &mut laws.members {
        member.now = Some((LogIndex::new(1), Arc::clone(&membership)));
    }
    laws
}

#[test]
fn a_leader_without_a_majority_is_found() {
    let mut laws = of_three();
    laws.on_durable(node(1), &vote(4)).expect("sound");
    let found = laws.on_soft_state(node(1), leads(4)).expect_err("one vote of three");
    assert_eq!(found.check, Check::ElectionSafety);
    laws.votes.insert((Term::new(4), 2), node(1));
    assert_eq!(laws.on_soft_state(node(1), leads(4)), Ok(()));
}

#[test]
fn a_second_vote_in_a_term_is_found() {
    let granted = Message::new(Term::new(4), Body::VoteResponse { granted: true });
    let mut laws = Laws::new(3, false);
    assert_eq!(laws.on_send(node(1), node(2), &granted), Ok(()));
    assert_eq!(laws.on_send(node(1), node(2), &granted), Ok(()));
    let found = laws.on_send(node(1), node(3), &granted).expect_err("a second vote");
    assert_eq!(found.check, Check::OneVote);
}

#[test]
fn logs_that_do_not_match_are_found() {
    let mut laws = Laws::new(3, true);
    let write = |entries| WriteBatch::of_entries(entries);
    laws.on_durable(node(1), &write(vec![entry(1, 1, "a"), entry(2, 2, "b")])).expect("first");
    laws.on_durable(node(2), &write(vec![entry(1, 1, "a")])).expect("the same");
    let other_contents = laws.on_durable(node(2), &write(vec![entry(2, 2, "c")]));
    assert_eq!(other_contents.expect_err("found").check, Check::LogMatching);
    let other_prefix = laws.on_durable(node(3), &write(vec![entry(1, 2, "a"), entry(2, 2, "b")]));
    assert_eq!(other_prefix.expect_err("found").check, Check::LogMatching);
}

#[test]
fn a_commit_without_a_durable_majority_is_found() {
    let mut laws = of_three();
    let first = entry(1, 1, "a");
    laws.on_durable(node(1), &WriteBatch::of_entries(vec![first.clone()])).expect("sound");
    let found = laws.commit(node(1), first.id, true).expect_err("one copy of three");
    assert_eq!(found.check, Check::DurableMajority);
}

/// The members that decide on a joint membership are those of both halves, also if the leader
/// leaves it with the same input.
#[test]
fn a_joint_membership_that_only_its_new_half_holds_is_found() {
    let mut laws = of_three();
    let voters = [node(3)].into();
    let mut parts = MembershipParts { voters, ..MembershipParts::default() };
    let target = Membership::new(parts.clone()).expect("sound");
    parts.outgoing = (1..=3).map(node).collect();
    let joint = Membership::new(parts).expect("sound");
    let first = entry(1, 1, "a");
    laws.on_durable(node(3), &WriteBatch::of_entries(vec![first.clone()])).expect("sound");
    let leader = &mut laws.members[2];
    leader.before = Some((LogIndex::new(1), Arc::new(joint)));
    leader.now = Some((LogIndex::new(2), Arc::new(target)));
    let found = laws.commit(node(3), first.id, true).expect_err("one of three old voters");
    assert_eq!(found.check, Check::DurableMajority);
}

#[test]
fn a_change_before_the_last_one_is_committed_is_found() {
    let mut laws = Laws::new(3, true);
    let membership = |index: u64, term: u64, voters: &[u64]| {
        let voters = voters.iter().map(|number| (node(*number), Default::default()));
        let membership = Membership::of_voters(voters).expect("sound");
        let id = EntryId::new(Term::new(term), LogIndex::new(index));
        Entry::new(id, EntryKind::Membership, encode_membership(&membership))
    };
    let write = |entry| WriteBatch::of_entries(vec![entry]);
    laws.on_durable(node(1), &write(membership(1, 1, &[1, 2]))).expect("the first one");
    let found = laws.on_durable(node(1), &write(membership(2, 1, &[1, 2]))).expect_err("early");
    assert_eq!(found.check, Check::OneChange);
    laws.committed.push(Term::new(1));
    laws.on_durable(node(2), &write(membership(1, 1, &[1, 2]))).expect("the first one");
    assert_eq!(laws.on_durable(node(2), &write(membership(2, 1, &[1, 2]))), Ok(()));
    laws.on_durable(node(3), &write(membership(1, 1, &[1, 2]))).expect("the first one");
    let found = laws.on_durable(node(3), &write(membership(2, 2, &[1]))).expect_err("no joint");
    assert_eq!(found.check, Check::OneChange);
}

#[test]
fn a_hint_to_an_entry_that_is_not_committed_is_found() {
    let mut laws = Laws::new(3, true);
    let hint =
        |hint| WriteBatch { commit_hint: Some(LogIndex::new(hint)), ..WriteBatch::default() };
    laws.on_durable(node(1), &WriteBatch::of_entries(vec![entry(1, 5, "a")])).expect("sound");
    assert_eq!(laws.on_durable(node(1), &hint(0)), Ok(()));
    let found = laws.on_durable(node(1), &hint(1)).expect_err("nothing is committed");
    assert_eq!(found.check, Check::CommitHint);
    laws.committed.push(Term::new(6));
    let found = laws.on_durable(node(1), &hint(1)).expect_err("another entry is committed");
    assert_eq!(found.check, Check::CommitHint);
    laws.committed[0] = Term::new(5);
    assert_eq!(laws.on_durable(node(1), &hint(1)), Ok(()));
}

#[test]
fn state_machines_that_differ_are_found() {
    let mut laws = Laws::new(3, true);
    assert_eq!(laws.on_apply(node(1), [(LogIndex::new(3), 77)]), Ok(()));
    assert_eq!(laws.on_apply(node(2), [(LogIndex::new(3), 77)]), Ok(()));
    let found = laws.on_apply(node(3), [(LogIndex::new(3), 78)]).expect_err("another");
    assert_eq!(found.check, Check::SameMachine);
}

#[test]
fn a_store_that_recovers_state_that_was_never_written_is_found() {
    let mut laws = Laws::new(1, true);
    let write = WriteBatch::of_entries(vec![entry(1, 1, "a")]);
    let mut recovered = Recovered {
        bounds: Default::default(),
        hard_state: HardState::default(),
        term_runs: Vec::new(),
        memberships: Vec::new(),
        commit_hint: LogIndex::ZERO,
        tail: raft_core::storage::Tail::Clean,
    };
    assert_eq!(laws.on_recovered(node(1), std::slice::from_ref(&write), &recovered), Ok(0));
    recovered.bounds.last = write.append[0].id;
    recovered
        .term_runs
        .push(raft_core::types::TermRun { first: LogIndex::new(1), term: Term::new(1) });
    assert_eq!(laws.on_recovered(node(1), std::slice::from_ref(&write), &recovered), Ok(1));
    recovered.hard_state.term = Term::new(9);
    let found = laws.on_recovered(node(1), &[], &recovered).expect_err("no member wrote term 9");
    assert_eq!(found.check, Check::StoreContract);
}
