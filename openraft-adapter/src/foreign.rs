//! The interface of the adapter to one version of openraft: the trait's verbs, in this project's
//! types.
//!
//! [`v09`](crate::v09) and [`v010`](crate::v010) implement it, with a few lines for each verb; the
//! rest of the crate does not depend on a version. Positions are this project's: openraft numbers
//! its first entry 0, this project numbers it 1.
//!
//! Absent: the state machine and its snapshots, and `save_committed`, which is an optional feature
//! of openraft's trait.

use std::error::Error;
use std::ops::Range;

use bytes::Bytes;
use raft_core::storage::LogBounds;
use raft_core::types::{Entry, EntryId, EntryKind, HardState, LogIndex, NodeId, Term};

/// The error that the store below reported.
pub type Failed = Box<dyn Error + Send + Sync>;

/// A log store behind one version of openraft's trait.
///
/// Each future ends when openraft would count the verb as done; the future of an append ends once
/// the store has called the callback.
pub trait Foreign: Send + 'static {
    /// The store's own log reader.
    type Reader: ForeignReader;

    /// `get_log_state`.
    fn bounds(&mut self) -> impl Future<Output = Result<LogBounds, Failed>> + Send;

    /// `read_vote`.
    fn vote(&mut self) -> impl Future<Output = Result<HardState, Failed>> + Send;

    /// `save_vote`.
    fn save_vote(&mut self, vote: HardState) -> impl Future<Output = Result<(), Failed>> + Send;

    /// `append`, up to the callback.
    fn append(&mut self, entries: Vec<Entry>) -> impl Future<Output = Result<(), Failed>> + Send;

    /// `truncate`: `last` is the last entry that stays, and `first` is the first that is removed.
    fn truncate(
        &mut self,
        last: EntryId,
        first: EntryId,
    ) -> impl Future<Output = Result<(), Failed>> + Send;

    /// `purge`.
    fn purge(&mut self, upto: EntryId) -> impl Future<Output = Result<(), Failed>> + Send;

    /// `get_log_reader`.
    fn reader(&mut self) -> impl Future<Output = Self::Reader> + Send;
}

/// A log reader behind one version of openraft's trait.
pub trait ForeignReader: Send + 'static {
    /// `try_get_log_entries`: the entries of the range that the store has.
    fn entries(
        &mut self,
        range: Range<LogIndex>,
    ) -> impl Future<Output = Result<Vec<Entry>, Failed>> + Send;
}

/// How the bytes of an entry are put into an application's data, and how they are taken out again.
#[derive(Debug)]
pub struct Data<D> {
    carry: fn(Vec<u8>) -> D,
    carried: fn(&D) -> Vec<u8>,
}

impl<D> Data<D> {
    /// `carry` puts any bytes into data, and `carried` returns the bytes in such data.
    pub const fn new(carry: fn(Vec<u8>) -> D, carried: fn(&D) -> Vec<u8>) -> Data<D> {
        Data { carry, carried }
    }

    /// The content of an entry in openraft's form: nothing, or the application's data.
    ///
    /// The kind of the entry is the first byte of the data, because openraft has fewer kinds: a
    /// membership of this project has addresses and learners that openraft's membership cannot
    /// hold.
    pub(crate) fn of(&self, entry: &Entry) -> Option<D> {
        if entry.kind == EntryKind::Noop && entry.payload.is_empty() {
            return None;
        }
        let mut bytes = vec![entry.kind.number()];
        bytes.extend_from_slice(&entry.payload);
        Some((self.carry)(bytes))
    }

    /// The entry from which [`Data::of`] made this data; an error if the data has another origin.
    pub(crate) fn entry(&self, id: EntryId, data: Option<&D>) -> Result<Entry, Failed> {
        let Some(data) = data else { return Ok(Entry::new(id, EntryKind::Noop, Bytes::new())) };
        let bytes = (self.carried)(data);
        let kind = bytes.first().and_then(|number| EntryKind::from_number(*number));
        let Some(kind) = kind else { return Err(format!("entry {id} has no kind").into()) };
        Ok(Entry::new(id, kind, Bytes::from(bytes).slice(1..)))
    }
}

impl<D> Clone for Data<D> {
    fn clone(&self) -> Data<D> {
        *self
    }
}

impl<D> Copy for Data<D> {}

/// Any bytes as text, for data that is text: each byte becomes the character with its number.
pub fn text_of(bytes: &[u8]) -> String {
    bytes.iter().copied().map(char::from).collect()
}

/// The bytes from which [`text_of`] made the text. A character beyond 255, which `text_of` never
/// makes, becomes a question mark, so that the suite finds that the entry was changed.
pub fn bytes_of(text: &str) -> Vec<u8> {
    text.chars().map(|one| u8::try_from(one).unwrap_or(b'?')).collect()
}

/// openraft's index of an entry.
pub(crate) fn to_openraft(index: LogIndex) -> u64 {
    index.prev().get()
}

/// The id of the entry with this term at one of openraft's indexes.
pub(crate) fn from_openraft(term: u64, index: u64) -> EntryId {
    EntryId::new(Term::new(term), LogIndex::new(index).next())
}

/// openraft's node 0 stands for no vote: this project has no node 0.
pub(crate) fn voted_for(vote: HardState) -> u64 {
    vote.vote.map_or(0, NodeId::get)
}

/// Bounds from the result of `get_log_state`; `None` stands for the place before the log.
pub(crate) fn bounds_of(purged: Option<EntryId>, last: Option<EntryId>) -> LogBounds {
    LogBounds { boundary: purged.unwrap_or_default(), last: last.unwrap_or_default() }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TEXT: Data<String> = Data::new(|bytes| text_of(&bytes), |text| bytes_of(text));

    fn entry(kind: EntryKind, payload: &[u8]) -> Entry {
        Entry::new(from_openraft(3, 6), kind, Bytes::copy_from_slice(payload))
    }

    #[test]
    fn any_bytes_and_kinds_come_back_from_text() {
        let every: Vec<u8> = (0..=255).collect();
        for entry in [
            entry(EntryKind::Noop, b""),
            entry(EntryKind::Noop, b"odd"),
            entry(EntryKind::Command, b""),
            entry(EntryKind::Command, &every),
            entry(EntryKind::Membership, &every),
        ] {
            let data = TEXT.of(&entry);
            assert_eq!(TEXT.entry(entry.id, data.as_ref()).expect("it was carried"), entry);
        }
        assert!(TEXT.entry(from_openraft(1, 1), Some(&String::new())).is_err());
    }

    #[test]
    fn the_first_entry_of_openraft_is_the_first_entry_here() {
        let first = from_openraft(1, 0);
        assert_eq!(first.index, LogIndex::new(1));
        assert_eq!(to_openraft(first.index), 0);
        assert!(bounds_of(None, None).is_blank());
    }
}
