//! The records of the planted store's file: a length, a checksum, and a batch.

use bytes::Bytes;
use raft_core::storage::WriteBatch;
use raft_core::types::{Entry, EntryId, EntryKind, HardState, LogIndex, NodeId, Term};
use serde::{Deserialize, Serialize};

use crate::bug::Bug;

type Pair = (u64, u64);

/// The contents of one record.
#[derive(Default, Serialize, Deserialize)]
pub struct Record {
    pub identity: Option<Vec<u8>>,
    pub hard_state: Option<Pair>,
    pub reset: Option<Pair>,
    pub truncate_after: Option<u64>,
    pub append: Vec<(Pair, u8, Bytes)>,
    pub purge_upto: Option<Pair>,
}

impl Record {
    pub fn of(batch: &WriteBatch) -> Record {
        let entry = |entry: &Entry| (pair(entry.id), entry.kind.number(), entry.payload.clone());
        Record {
            identity: None,
            hard_state: batch.hard_state.map(|it| (it.term.get(), it.vote.map_or(0, NodeId::get))),
            reset: batch.reset.map(pair),
            truncate_after: batch.truncate_after.map(LogIndex::get),
            append: batch.append.iter().map(entry).collect(),
            purge_upto: batch.purge_upto.map(pair),
        }
    }

    pub fn batch(self) -> WriteBatch {
        let entry = |(at, kind, payload): (Pair, u8, Bytes)| {
            // A planted bug may accept a damaged number, which must not make the test panic.
            let kind = EntryKind::from_number(kind).unwrap_or(EntryKind::Command);
            Entry::new(id(at), kind, payload)
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

    pub fn payload_bytes(&self) -> usize {
        self.append.iter().map(|(_, _, payload)| payload.len()).sum()
    }

    pub fn bytes(&self) -> Vec<u8> {
        let body = postcard::to_extend(self, Vec::new()).expect("plain data can always be encoded");
        let mut bytes = (body.len() as u64).to_le_bytes().to_vec();
        bytes.extend(checksum(&body).to_le_bytes());
        bytes.extend(body);
        bytes
    }

    /// The record at the beginning of these bytes, and its length.
    pub fn parse(bytes: &[u8], bug: Option<Bug>) -> Option<(Record, usize)> {
        let number = |at: usize| Some(u64::from_le_bytes(bytes.get(at..at + 8)?.try_into().ok()?));
        let (length, sum) = (number(0)? as usize, number(8)?);
        let body = bytes.get(16..16_usize.checked_add(length)?)?;
        if length == 0 || (checksum(body) != sum && bug != Some(Bug::TornTailIsTaken)) {
            return None;
        }
        let record = postcard::from_bytes(body).ok()?;
        Some((record, 16 + length))
    }
}

/// A batch in two records, with the first `count` entries in the first.
pub fn in_parts(batch: &WriteBatch, count: usize) -> Vec<Record> {
    let (mut first, mut second) = (batch.clone(), WriteBatch::default());
    second.append = first.append.split_off(count);
    second.purge_upto = first.purge_upto.take();
    vec![Record::of(&first), Record::of(&second)]
}

fn pair(id: EntryId) -> Pair {
    (id.term.get(), id.index.get())
}

fn id((term, index): Pair) -> EntryId {
    EntryId::new(Term::new(term), LogIndex::new(index))
}

/// The hash of Fowler, Noll and Vo over words of eight bytes, which suffices to find torn records.
fn checksum(bytes: &[u8]) -> u64 {
    let words = bytes.chunks_exact(8);
    let rest = words.remainder().iter().map(|byte| u64::from(*byte));
    let words = words.map(|word| u64::from_le_bytes(word.try_into().expect("eight bytes")));
    words.chain(rest).fold(0xcbf2_9ce4_8422_2325, |hash, word| {
        (hash ^ word).wrapping_mul(0x0100_0000_01b3).rotate_left(29)
    })
}
