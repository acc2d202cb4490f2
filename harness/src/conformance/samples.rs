//! Entries whose bytes are derived from their ids, so that a check can distinguish a correct entry
//! from a wrong one.

use std::ops::RangeInclusive;

use bytes::Bytes;
use raft_core::storage::record::encode_membership;
use raft_core::types::{ClusterId, Entry, EntryId, EntryKind, HardState, Identity, LogIndex};
use raft_core::types::{Membership, NodeId, StoreId, Term};

/// An index.
pub fn index(number: u64) -> LogIndex {
    LogIndex::new(number)
}

/// The id of an entry: index, then term.
pub fn id(index: u64, term: u64) -> EntryId {
    EntryId::new(Term::new(term), LogIndex::new(index))
}

/// A node.
pub fn node(number: u64) -> NodeId {
    NodeId::new(number).expect("the suite uses no node with id zero")
}

/// A term, and a vote unless it is 0.
pub fn hard_state(term: u64, vote: u64) -> HardState {
    HardState { term: Term::new(term), vote: NodeId::new(vote) }
}

/// The identity of one node, with this store id.
pub fn identity(store: u64) -> Identity {
    Identity { cluster: ClusterId(71), node: node(3), store: StoreId(store) }
}

/// The command with this id, of up to a few hundred bytes.
pub fn entry(index: u64, term: u64) -> Entry {
    sized(
        index,
        term,
        12 + (index.wrapping_mul(131).wrapping_add(term.wrapping_mul(17)) % 400) as usize,
    )
}

/// A command of `size` bytes.
pub fn sized(index: u64, term: u64, size: usize) -> Entry {
    sized_entry(index, term, 0, size)
}

/// A command of `size` bytes that contains the number of its writer.
pub fn sized_entry(index: u64, term: u64, mark: u64, size: usize) -> Entry {
    let text = format!("{index}@{term} by {mark}. ");
    let payload: Vec<u8> = text.bytes().cycle().take(size).collect();
    of_bytes(index, term, payload)
}

/// A command with this payload.
pub fn of_bytes(index: u64, term: u64, payload: Vec<u8>) -> Entry {
    Entry::new(id(index, term), EntryKind::Command, Bytes::from(payload))
}

/// Commands of one term, of different sizes.
pub fn entries(range: RangeInclusive<u64>, term: u64) -> Vec<Entry> {
    range.map(|index| entry(index, term)).collect()
}

/// An entry of each kind, those without a payload first.
pub fn each_kind(first: u64, term: u64) -> Vec<Entry> {
    let of = |kind, entry: Entry| Entry { kind, ..entry };
    vec![
        of(EntryKind::Noop, of_bytes(first, term, Vec::new())),
        of(EntryKind::Command, of_bytes(first + 1, term, Vec::new())),
        of(EntryKind::SessionCommand, entry(first + 2, term)),
        of(EntryKind::SessionControl, entry(first + 3, term)),
        membership(first + 4, term, 3),
        of(EntryKind::FeatureLevel, entry(first + 5, term)),
        entry(first + 6, term),
    ]
}

/// A membership entry with `voters` voters.
pub fn membership(index: u64, term: u64, voters: u64) -> Entry {
    let voters = (1..=voters).map(|number| (node(number), Bytes::from(vec![b'a'; 9])));
    let membership = Membership::of_voters(voters).expect("at least one voter");
    Entry::new(id(index, term), EntryKind::Membership, encode_membership(&membership))
}
