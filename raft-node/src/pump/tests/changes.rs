//! Changes of the membership: which programs the members must run.

use raft_core::consensus::{ChangeRefusal, Verdict};
use raft_core::storage::record::encode_membership;
use raft_core::types::MembershipParts;

use super::*;
use crate::pump::{ChangeError, StopReason};

pub(super) fn voters(numbers: &[u64]) -> Arc<Membership> {
    let voters = numbers.iter().copied().map(node).collect();
    let parts = MembershipParts { voters, ..MembershipParts::default() };
    Arc::new(Membership::new(parts).expect("sound"))
}

/// Voters 1 to 3, and 4 as a learner.
fn with_learner() -> MembershipParts {
    let parts = voters(&[1, 2, 3]).parts().clone();
    MembershipParts { learners: [node(4)].into(), highest: None, ..parts }
}

impl Rig {
    /// Members 1 and 2 acknowledge everything up to an index.
    pub(super) fn acknowledge(&mut self, matched: u64) -> Effects<Names> {
        let mut effects = Effects::default();
        for from in [1, 2] {
            let verdict = Verdict::Accepted { matched: at(matched) };
            let body = Body::AppendResponse { verdict, round: Round(0) };
            let message = Message::new(self.pump.raft().term(), body);
            let content = Content::Raft { message, entries: Entries::default() };
            let envelope = Envelope { cluster: CLUSTER, content };
            let event = Event::Deliver { from: node(from), envelope };
            self.pump.turn(self.now, &mut vec![event], &mut effects);
        }
        effects
    }

    /// A peer says in a handshake which versions it speaks. Its store has its own number.
    pub(super) fn announce(&mut self, number: u64, version: u16) {
        let store = StoreId(number);
        self.turn(Event::Announced { node: node(number), store, version });
    }

    /// A leader of so many that has committed everything.
    pub(super) fn settled(members: u64) -> Rig {
        let mut rig = Rig::leading(members, Limits::default());
        rig.written();
        rig.acknowledge(8);
        rig
    }

    /// Asks for a change, and returns why it is refused, if it is.
    pub(super) fn change(&mut self, target: &Arc<Membership>) -> Option<ChangeError> {
        let target = Arc::clone(target);
        self.turn(Event::StepMembership { target }).refused_changes.pop()
    }
}

/// What went wrong: a member whose program could not read the new membership dropped it, and every
/// later append, without a word, so that nothing could be written any more.
#[test]
fn a_change_waits_until_the_programs_of_all_members_read_it() {
    let mut rig = Rig::settled(3);
    let target = Arc::new(Membership::new(with_learner()).expect("sound"));
    assert_eq!(rig.change(&target), Some(ChangeError::NotConnected(node(1))));
    rig.announce(1, 2);
    rig.announce(2, 1);
    assert_eq!(rig.change(&target), Some(ChangeError::OlderProgram(node(2))));
    assert_eq!(rig.last(), 8, "nothing was appended");
    rig.announce(2, 2);
    assert_eq!(rig.change(&target), None);
    assert_eq!(rig.last(), 9);
}

/// Otherwise a dead member could not be replaced.
#[test]
fn a_member_that_leaves_may_run_any_program_if_a_majority_reads_the_change() {
    let mut rig = Rig::settled(5);
    [1, 2].into_iter().for_each(|number| rig.announce(number, 2));
    let without = |numbers: &[u64]| voters(numbers);
    assert_eq!(rig.change(&without(&[1, 2, 3, 4])), Some(ChangeError::NotConnected(node(4))));
    assert_eq!(rig.change(&without(&[1, 2, 3])), None);
    let mut rig = Rig::settled(5);
    rig.announce(1, 2);
    rig.announce(2, 1);
    assert_eq!(rig.change(&without(&[1, 3])), Some(ChangeError::OlderProgram(node(2))));
}

/// A learner with a wrong address never connects. It must not keep the cluster from changing, not
/// even its address.
#[test]
fn a_learner_that_has_not_connected_delays_no_change() {
    let mut rig = Rig::settled(3);
    [1, 2].into_iter().for_each(|number| rig.announce(number, 2));
    let mut parts = with_learner();
    parts.metadata.insert(node(4), Bytes::from_static(b"wrong"));
    assert_eq!(rig.change(&Arc::new(Membership::new(parts.clone()).expect("sound"))), None);
    rig.written();
    rig.acknowledge(9);
    parts.metadata.insert(node(4), Bytes::from_static(b"right"));
    assert_eq!(rig.change(&Arc::new(Membership::new(parts).expect("sound"))), None);
    rig.written();
    rig.acknowledge(10);
    let promoted = rig.change(&voters(&[1, 2, 3, 4]));
    assert_eq!(promoted, Some(ChangeError::NotConnected(node(4))));
}

#[test]
fn the_membership_gets_the_stores_of_its_members() {
    let mut rig = Rig::settled(3);
    [1, 2].into_iter().for_each(|number| rig.announce(number, 2));
    assert_eq!(rig.change(&voters(&[1, 3])), None);
    let now = Arc::clone(rig.pump.raft().membership().expect("it has one"));
    let stores = [1, 2, 3].map(|number| now.store(node(number)));
    assert_eq!(stores, [Some(StoreId(1)), None, Some(StoreId(3))]);
}

/// A change that names another store than the member has announced, or none, keeps what is known.
#[test]
fn a_member_that_comes_with_another_store_does_not_change_the_membership() {
    let mut rig = Rig::settled(3);
    [1, 2].into_iter().for_each(|number| rig.announce(number, 2));
    let mut parts = with_learner();
    let target = Arc::new(Membership::new(parts.clone()).expect("sound"));
    assert_eq!(rig.change(&target), None);
    rig.written();
    rig.acknowledge(9);
    parts.stores.insert(node(1), StoreId(77));
    let target = Arc::new(Membership::new(parts).expect("sound"));
    let refused = ChangeError::Refused(ChangeRefusal::OtherStore(node(1)));
    assert_eq!(rig.change(&target), Some(refused));
}

fn of_version(index: u64, term: u64, version: u8) -> Entry {
    let mut parts = voters(&[1, 2, 3]).parts().clone();
    parts.stores.insert(node(1), StoreId(1));
    let payload = encode_membership(&Membership::new(parts).expect("sound"));
    let payload: Vec<u8> = [&[version], &payload[1..]].concat();
    Entry::new(id(index, term), EntryKind::Membership, payload.into())
}

/// What went wrong: the entry counted as malformed, and was sent and dropped again for ever.
#[test]
fn a_member_that_cannot_read_a_membership_stops_and_says_so() {
    let mut rig = Rig::new(3, Limits::default());
    let stop = rig.append((1, 5), id(7, 4), vec![of_version(8, 5, 3)], 7).stop;
    let Some(StopReason::NewerMembership { id: stopped_at, version: 3 }) = stop else {
        panic!("{stop:?}")
    };
    assert_eq!((stopped_at, rig.last()), (id(8, 5), 7), "nothing was stored");
    let mut older = Rig::new(3, Limits::default());
    older.pump.read_memberships_up_to(1);
    let stop = older.append((1, 5), id(7, 4), vec![of_version(8, 5, 2)], 7).stop;
    assert!(matches!(stop, Some(StopReason::NewerMembership { version: 2, .. })), "{stop:?}");
}

/// An append of an earlier term is refused before its entries matter.
#[test]
fn a_membership_of_a_newer_version_in_an_old_message_is_refused() {
    let mut rig = Rig::new(3, Limits::default());
    rig.append((1, 5), id(7, 4), vec![], 7);
    let effects = rig.append((2, 4), id(7, 4), vec![of_version(8, 4, 3)], 7);
    assert!(effects.stop.is_none());
}
