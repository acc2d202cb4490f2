//! Entries whose bytes follow from their ids, so that a reader can tell a true entry from another.

use std::ops::RangeInclusive;

use bytes::Bytes;
use raft_core::storage::record::encode_membership;
use raft_core::types::{ClusterId, Entry, EntryId, EntryKind, HardState, Identity, LogIndex};
use raft_core::types::{Membership, NodeId, StoreId, Term};

pub(crate) fn index(number: u64) -> LogIndex {
    LogIndex::new(number)
}

pub(crate) fn id(index: u64, term: u64) -> EntryId {
    EntryId::new(Term::new(term), LogIndex::new(index))
}

pub(crate) fn node(number: u64) -> NodeId {
    NodeId::new(number).expect("the suite names no node zero")
}

/// A term, and a vote unless it is 0.
pub(crate) fn hard_state(term: u64, vote: u64) -> HardState {
    HardState { term: Term::new(term), vote: NodeId::new(vote) }
}

pub(crate) fn identity(store: u64) -> Identity {
    Identity { cluster: ClusterId(71), node: node(3), store: StoreId(store) }
}

/// The command with this id, of up to a few hundred bytes.
pub(crate) fn entry(index: u64, term: u64) -> Entry {
    sized(index, term, 12 + ((index * 131 + term * 17) % 400) as usize)
}

/// A command of so many bytes.
pub(crate) fn sized(index: u64, term: u64, size: usize) -> Entry {
    let text = format!("{index}@{term}. ");
    let payload: Vec<u8> = text.bytes().cycle().take(size).collect();
    of_bytes(index, term, payload)
}

pub(crate) fn of_bytes(index: u64, term: u64, payload: Vec<u8>) -> Entry {
    Entry::new(id(index, term), EntryKind::Command, Bytes::from(payload))
}

pub(crate) fn entries(range: RangeInclusive<u64>, term: u64) -> Vec<Entry> {
    range.map(|index| entry(index, term)).collect()
}

/// An entry that says who belongs to the cluster: so many voters.
pub(crate) fn membership(index: u64, term: u64, voters: u64) -> Entry {
    let voters = (1..=voters).map(|number| (node(number), Bytes::from(vec![b'a'; 9])));
    let membership = Membership::of_voters(voters).expect("at least one voter");
    Entry::new(id(index, term), EntryKind::Membership, encode_membership(&membership))
}
