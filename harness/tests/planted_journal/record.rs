//! The records of the journal: a length, a checksum and a body.

use bytes::Bytes;
use raft_core::storage::WriteBatch;
use raft_core::types::{Entry, EntryId, EntryKind, HardState, LogIndex, NodeId, Term};
use serde::{Deserialize, Serialize};

use crate::bug::Bug;

const HEADER: usize = 16;

pub type Pair = (u64, u64);

/// The contents of one record.
#[derive(Default, Serialize, Deserialize)]
pub struct Record {
    pub store: Option<u64>,
    pub identity: Option<Vec<u8>>,
    pub hard_state: Option<Pair>,
    pub reset: Option<Pair>,
    pub truncate_after: Option<u64>,
    pub append: Vec<(Pair, u8, Vec<u8>)>,
    pub purge_upto: Option<Pair>,
}

fn pair(id: EntryId) -> Pair {
    (id.term.get(), id.index.get())
}

fn id((term, index): Pair) -> EntryId {
    EntryId::new(Term::new(term), LogIndex::new(index))
}

/// The hash of Fowler, Noll and Vo, which suffices for a test.
pub fn checksum(seed: u64, bytes: &[u8]) -> u64 {
    bytes.iter().fold(0xcbf2_9ce4_8422_2325 ^ seed, |hash, byte| {
        (hash ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3)
    })
}

pub fn number(bytes: &[u8], at: usize) -> Option<u64> {
    Some(u64::from_le_bytes(bytes.get(at..at + 8)?.try_into().ok()?))
}

impl Record {
    pub fn of(batch: &WriteBatch) -> Record {
        let entry = |entry: &Entry| (pair(entry.id), entry.kind.number(), entry.payload.to_vec());
        Record {
            hard_state: batch.hard_state.map(|it| (it.term.get(), it.vote.map_or(0, NodeId::get))),
            reset: batch.reset.map(pair),
            truncate_after: batch.truncate_after.map(LogIndex::get),
            append: batch.append.iter().map(entry).collect(),
            purge_upto: batch.purge_upto.map(pair),
            ..Record::default()
        }
    }

    pub fn batch(self) -> WriteBatch {
        let entry = |(at, kind, payload): (Pair, u8, Vec<u8>)| {
            // A planted bug may accept a damaged number, which must not make the test panic.
            let kind = EntryKind::from_number(kind).unwrap_or(EntryKind::Command);
            Entry::new(id(at), kind, Bytes::from(payload))
        };
        let hard_state =
            |(term, vote)| HardState { term: Term::new(term), vote: NodeId::new(vote) };
        WriteBatch {
            hard_state: self.hard_state.map(hard_state),
            reset: self.reset.map(id),
            truncate_after: self.truncate_after.map(LogIndex::new),
            append: self.append.into_iter().map(entry).collect(),
            purge_upto: self.purge_upto.map(id),
            commit_hint: None,
        }
    }

    pub fn bytes(&self, seed: u64) -> Vec<u8> {
        let body = postcard::to_extend(self, Vec::new()).expect("plain data can always be encoded");
        let mut bytes = (body.len() as u64).to_le_bytes().to_vec();
        let head = checksum(seed, &bytes);
        bytes.extend(checksum(head, &body).to_le_bytes());
        bytes.extend(body);
        bytes
    }

    /// The record at the beginning of these bytes, and its length.
    pub fn parse(bytes: &[u8], seed: u64, bug: Option<Bug>) -> Option<(Record, usize)> {
        let (length, sum) = (number(bytes, 0)? as usize, number(bytes, 8)?);
        let body = bytes.get(HEADER..HEADER.checked_add(length)?)?;
        let is_whole = checksum(checksum(seed, &bytes[..8]), body) == sum;
        if length == 0 || (!is_whole && bug != Some(Bug::NoChecksum)) {
            return None;
        }
        Some((postcard::from_bytes(body).ok()?, HEADER + length))
    }
}
