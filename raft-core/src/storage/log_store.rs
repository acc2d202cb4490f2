//! The log: append, truncate the suffix, purge the prefix, reset, bounds, read.

use alloc::boxed::Box;
use alloc::vec::Vec;
use core::ops::Range;

use async_trait::async_trait;

use super::{LogError, LogErrorKind, LogOp, Refusal};
use crate::types::{Entry, EntryId, LogIndex, Term};

/// Where a log begins and ends.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct LogBounds {
    /// The last entry that was purged or replaced by a snapshot; zero if none was. Its id outlives
    /// its entry (P6).
    pub boundary: EntryId,
    /// The last entry, or the boundary when there is none.
    pub last: EntryId,
}

impl LogBounds {
    /// The index of the first entry, or of the next one if there is none.
    pub fn first(&self) -> LogIndex {
        self.boundary.index.next()
    }

    /// Whether there is no entry.
    pub fn is_empty(&self) -> bool {
        self.last.index == self.boundary.index
    }

    /// Checks a range that is to be read. A range that ends before it starts is refused; one that
    /// starts at or below the boundary is `Compacted`, and one that reaches beyond the end is
    /// `Unavailable`. An empty range is valid anywhere.
    pub fn check_read(&self, range: &Range<LogIndex>) -> Result<(), LogError> {
        match range_to_read(range)? {
            Some((first, last)) => self.check_inside(first, last),
            None => Ok(()),
        }
    }

    /// Whether the entries from `first` to `last` are all in the log; `Compacted` or `Unavailable`
    /// if not.
    pub fn check_inside(&self, first: LogIndex, last: LogIndex) -> Result<(), LogError> {
        let kind = if first <= self.boundary.index {
            LogErrorKind::Compacted { boundary: self.boundary }
        } else if last > self.last.index {
            LogErrorKind::Unavailable { last: self.last.index }
        } else {
            return Ok(());
        };
        Err(LogError::new(LogOp::Read, kind))
    }

    /// Whether there is neither an entry nor a boundary: a store that was never bootstrapped.
    pub fn is_blank(&self) -> bool {
        self.last.index == LogIndex::ZERO
    }
}

/// The first and the last index of a range that is to be read; `None` if the range is empty.
/// Refused if it ends before it starts.
pub fn range_to_read(range: &Range<LogIndex>) -> Result<Option<(LogIndex, LogIndex)>, LogError> {
    if range.end < range.start {
        return Err(LogError::refused(LogOp::Read, Refusal::InvertedRange));
    }
    Ok((range.start < range.end).then(|| (range.start, range.end.prev())))
}

/// A log of entries without holes. Each mutating verb is durable when it returns `Ok` (P1).
///
/// On a [`Refused`](super::LogErrorKind::Refused) error nothing changed. Any other error of a
/// mutating verb poisons the handle for good (P15). No verb and no read panics (P20), and each
/// comes to an end (P21).
#[async_trait]
pub trait LogStore: Send {
    /// Where the log begins and ends, without I/O.
    fn bounds(&self) -> LogBounds;

    /// Appends entries, which must follow the last one (P5: no holes, no falling terms). Appending
    /// no entries succeeds.
    async fn append(&mut self, entries: &[Entry]) -> Result<(), LogError>;

    /// Removes every entry after `index`. They never come back (P7). An index at or beyond the end
    /// changes nothing. An index below the boundary is refused.
    async fn truncate_after(&mut self, index: LogIndex) -> Result<(), LogError>;

    /// Removes every entry up to and with `upto`, which becomes the boundary. They never come back,
    /// and their space is given back or used again (P19). An id at or below the boundary changes
    /// nothing. An id beyond the last entry, or whose term differs from the log's, is refused.
    async fn purge_upto(&mut self, upto: EntryId) -> Result<(), LogError>;

    /// Removes all entries and makes `boundary` the boundary, whatever the log held before.
    async fn reset(&mut self, boundary: EntryId) -> Result<(), LogError>;

    /// A reader that is independent of the store and may be used on any thread beside the
    /// writer; it sees what was written, later writes included (P11). Any number may exist at once.
    fn reader(&self) -> Box<dyn LogReader>;
}

/// Reads a log concurrently with its writer.
///
/// A read that races with a truncation, a purge or a reset returns entries that were each in the
/// log under their id, or `Compacted` or `Unavailable`; never `Corrupt` (P12).
#[async_trait]
pub trait LogReader: Send {
    /// The entries of a range, as many as fit in `max_bytes` of payload, but at least one unless
    /// the range is empty (P10). The bytes are exact and stay as they are, whatever is written
    /// later.
    async fn read(
        &mut self,
        range: Range<LogIndex>,
        max_bytes: u64,
    ) -> Result<Vec<Entry>, LogError>;

    /// The term of an entry; valid at the boundary too (P6). Index 0 has term 0 while nothing was
    /// purged.
    async fn term(&mut self, index: LogIndex) -> Result<Term, LogError>;

    /// Whether a read may block its thread, whatever the store's writes do. Such a reader is given
    /// a thread of its own.
    fn may_block(&self) -> bool {
        true
    }
}
