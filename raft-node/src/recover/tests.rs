//! What a survivor shows, which one is the best, and what the new cluster is.

use bytes::Bytes;
use log_memory::{MemoryDisk, MemoryLog, SyncMode};
use raft_core::storage::record::decode_membership;
use raft_core::storage::{LogBounds, Recovered, Store};
use raft_core::types::StoreId;

use super::*;
use crate::test_support::node_id;

fn id(index: u64, term: u64) -> EntryId {
    EntryId::new(Term::new(term), LogIndex::new(index))
}

fn voters(members: &[u64]) -> Membership {
    let address = |node: u64| Bytes::from(format!("address {node}"));
    Membership::of_voters(members.iter().map(|node| (node_id(*node), address(*node)))).expect("ok")
}

/// The store of member 2 of three, with 20@4 at the end and its commit index at 15.
fn inspection() -> Inspection {
    let bounds = LogBounds { boundary: id(10, 3), last: id(20, 4) };
    let hard_state = HardState { term: Term::new(6), vote: Some(node_id(1)) };
    let first = |index, term| TermRun { first: LogIndex::new(index), term: Term::new(term) };
    let term_runs = vec![first(11, 3), first(16, 4)];
    let memberships = vec![(LogIndex::new(12), voters(&[1, 2, 3]))];
    let commit_hint = LogIndex::new(15);
    let found = Recovered::nothing_but(hard_state);
    let log = MemoryLog::open(&MemoryDisk::new(SyncMode::EachWrite)).expect("a new disk");
    Inspection {
        info: log.info(),
        identity: Some(Identity { cluster: ClusterId(7), node: node_id(2), store: StoreId(22) }),
        recovered: Recovered { bounds, memberships, commit_hint, term_runs, ..found },
        proven: String::new(),
        beyond: Vec::new(),
        damage: None,
    }
}

fn snapshot(last: EntryId) -> SnapshotHead {
    let writer = inspection().identity.expect("it has one");
    let (membership, sessions) = (voters(&[1, 2]), Default::default());
    SnapshotHead { writer, last, membership, feature_level: 1, sessions, salt: 5 }
}

/// What an inspected store holds, with a snapshot up to the log's beginning.
fn survivor(of: &Inspection) -> Survivor {
    let snapshot = snapshot(of.recovered.bounds.boundary);
    Survivor::of(of, Some(&snapshot)).expect("it can be used")
}

#[test]
fn a_survivor_is_what_its_log_and_its_snapshot_show() {
    let survivor = survivor(&inspection());
    assert_eq!((survivor.last, survivor.commit), (id(20, 4), id(15, 3)));
    assert_eq!(survivor.membership, voters(&[1, 2, 3]));
    assert_eq!(survivor.undecided(), 5);
    let with = Survivor::of(&inspection(), Some(&snapshot(id(18, 4)))).expect("it can be used");
    assert_eq!((with.commit, with.membership), (id(18, 4), voters(&[1, 2, 3])));
    let mut purged = inspection();
    purged.recovered.memberships.clear();
    let with = Survivor::of(&purged, Some(&snapshot(id(10, 3)))).expect("it can be used");
    assert_eq!((with.commit, with.membership), (id(15, 3), voters(&[1, 2])));
}

#[test]
fn a_store_without_a_cluster_or_in_the_middle_of_an_install_is_refused() {
    let blank = Inspection { identity: None, ..inspection() };
    assert_eq!(Survivor::of(&blank, None), Err(RecoverError::Blank));
    let mut empty = inspection();
    empty.recovered.memberships.clear();
    empty.recovered.bounds.boundary = EntryId::ZERO;
    assert_eq!(Survivor::of(&empty, None), Err(RecoverError::NoMembership));
    let ahead = Survivor::of(&inspection(), Some(&snapshot(id(21, 4))));
    let (snapshot, last) = (id(21, 4), id(20, 4));
    assert_eq!(ahead, Err(RecoverError::SnapshotAhead { snapshot, last }));
}

/// What went wrong: only indexes were compared. A log that was to be replaced by the snapshot, and
/// was longer, counted as one that holds everything.
#[test]
fn a_snapshot_of_another_log_is_one_that_was_not_installed() {
    let (snapshot_id, last) = (id(18, 5), id(20, 4));
    let refused = Survivor::of(&inspection(), Some(&snapshot(snapshot_id)));
    assert_eq!(refused, Err(RecoverError::SnapshotAhead { snapshot: snapshot_id, last }));
}

/// What went wrong: such a directory was accepted, and the member that was built of it could not
/// start.
#[test]
fn a_log_that_begins_after_the_snapshot_is_refused() {
    let refused = Err(RecoverError::MissingPrefix { boundary: id(10, 3) });
    assert_eq!(Survivor::of(&inspection(), None), refused);
    assert_eq!(Survivor::of(&inspection(), Some(&snapshot(id(9, 3)))), refused);
}

#[test]
fn the_log_whose_last_term_is_later_is_newer() {
    let of = |last| {
        let mut other = inspection();
        other.recovered.bounds.last = last;
        survivor(&other)
    };
    let one = of(id(20, 4));
    assert!(of(id(19, 5)).is_newer_than(&one) && of(id(21, 4)).is_newer_than(&one));
    assert!(!of(id(30, 3)).is_newer_than(&one) && !of(id(20, 4)).is_newer_than(&one));
}

/// Entry 16@4 was committed by an entry of term 6 that only lost members hold. This survivor has
/// the entry and learned that; another one led term 5 without the entry, and its log is newer.
#[test]
fn a_newer_log_without_what_another_survivor_knows_to_be_committed_lacks_it() {
    let with = |runs: &[(u64, u64)], last, commit| {
        let mut other = inspection();
        let run = |(index, term)| TermRun { first: LogIndex::new(index), term: Term::new(term) };
        other.recovered.term_runs = runs.iter().copied().map(run).collect();
        (other.recovered.bounds.last, other.recovered.commit_hint) = (last, LogIndex::new(commit));
        survivor(&other)
    };
    let knows = with(&[(11, 3), (16, 4)], id(16, 4), 16);
    let newer = with(&[(11, 3), (16, 5)], id(16, 5), 15);
    assert!(newer.is_newer_than(&knows));
    assert!(newer.lacks_committed_of(&knows) && !knows.lacks_committed_of(&newer));
    let shorter = with(&[(11, 3)], id(15, 3), 15);
    assert!(shorter.lacks_committed_of(&knows) && !knows.lacks_committed_of(&shorter));
    let mut purged = inspection();
    purged.recovered.bounds = LogBounds { boundary: id(18, 4), last: id(18, 4) };
    purged.recovered.term_runs.clear();
    let purged = Survivor::of(&purged, Some(&snapshot(id(18, 4)))).expect("it can be used");
    assert!(!purged.lacks_committed_of(&knows), "it is in the snapshot");
    assert!(knows.lacks_committed_of(&purged));
}

#[test]
fn the_new_cluster_has_one_voter_another_id_and_a_later_term() {
    let survivor = survivor(&inspection());
    let recovery = Recovery::of(&survivor).expect("there are terms left");
    let (before, after) = (survivor.identity, recovery.identity);
    assert_eq!((before.node, before.store), (after.node, after.store));
    assert_ne!(before.cluster, after.cluster);
    assert_ne!(Recovery::of(&survivor).expect("as before").identity.cluster, after.cluster);
    assert_eq!(recovery.hard_state, HardState { term: Term::new(7), vote: None });
    assert_eq!(recovery.entry.id, id(21, 7));
    let membership = decode_membership(&recovery.entry.payload).expect("it was encoded");
    assert_eq!(membership.to_string(), "voters 2");
    assert_eq!(membership.metadata(node_id(2)), Some(&Bytes::from("address 2")));
    assert_eq!(membership.highest(), node_id(3), "the ids of lost members are used up");
}

#[test]
fn a_log_at_the_greatest_term_is_not_continued() {
    let mut at_end = inspection();
    at_end.recovered.hard_state.term = Term::new(MAX_NUMBER);
    let survivor = survivor(&at_end);
    assert_eq!(Recovery::of(&survivor), Err(RecoverError::Exhausted));
}
