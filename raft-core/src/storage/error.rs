//! The errors of a store.
//!
//! There are three families. *Refused*, *no space* and the two answers about a range
//! ([`LogErrorKind::Compacted`], [`LogErrorKind::Unavailable`]) change nothing, and the store
//! remains usable. *Damage* ([`LogErrorKind::Corrupt`]) changes nothing either; the engine stops
//! the member, since acknowledged entries or votes may be lost. *Failures* ([`LogErrorKind::Io`]
//! from a write or a sync, [`LogErrorKind::Poisoned`]) are final for the handle: a failed sync is
//! never tried again, since the kernel may have dropped the bytes and report success (P15).

use alloc::boxed::Box;
use alloc::string::String;
use core::error::Error;
use core::fmt;

use super::WriteBatch;
use crate::types::{EntryId, LogIndex};

/// An error of a store: what was being done, what went wrong, where, and why.
#[derive(Debug)]
pub struct LogError {
    /// What the store was doing.
    pub op: LogOp,
    /// What went wrong; says whether anything changed and whether to try again.
    pub kind: LogErrorKind,
    /// Where: a file and an offset, a table and a key. Empty when there is nothing to name.
    pub place: String,
    /// The underlying cause, such as an operating system error.
    pub source: Option<Box<dyn Error + Send + Sync>>,
    /// The batch for which there was no space ([`LogErrorKind::NoSpace`]), as it was given, so that
    /// the caller needs no copy to write it again. `None` for any other error.
    pub unwritten: Option<Box<WriteBatch>>,
}

/// What a store was doing when an error arose.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum LogOp {
    /// Opening the store and recovering its state.
    Open,
    /// Loading or saving the identity.
    Identity,
    /// Loading or saving the hard state.
    HardState,
    /// Appending entries.
    Append,
    /// Removing a suffix.
    Truncate,
    /// Removing a prefix.
    Purge,
    /// Replacing the whole log by a boundary.
    Reset,
    /// Writing a batch.
    Write,
    /// Making written bytes durable.
    Sync,
    /// Reading entries or a term.
    Read,
    /// Closing the store.
    Close,
}

/// The kinds of errors that a store must distinguish (P13).
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum LogErrorKind {
    /// The range begins at or below the boundary: purged. Nothing changed; a snapshot has it.
    Compacted {
        /// The boundary: the last purged entry.
        boundary: EntryId,
    },
    /// The range reaches beyond the last entry. Nothing changed.
    Unavailable {
        /// The last entry of the log.
        last: LogIndex,
    },
    /// Bytes that were acknowledged are damaged. Nothing changed; trying again does not help.
    Corrupt {
        /// The damaged entry, where the format records enough to name it.
        index: Option<LogIndex>,
    },
    /// The operating system or a library failed. From a read: nothing changed, and trying again may
    /// help. From a write or a sync: the handle is poisoned, and what reached the disk is unknown
    /// until the store is opened again.
    Io,
    /// An earlier write or sync failed, so this handle accepts no further changes. Open the store
    /// again.
    Poisoned,
    /// The request breaks the contract. Nothing changed, and the handle is not poisoned.
    Refused(Refusal),
    /// The disk has no space for what was to be written, and no sync has failed. Nothing changed,
    /// and the handle is not poisoned: the same request may be given again once there is space
    /// (P16). A batch that was to be written comes back in [`LogError::unwritten`]; without it the
    /// engine stops the member.
    NoSpace,
    /// Another process or handle has the store open (P17). Nothing changed.
    InUse,
    /// The bytes are not of a format that this version reads. Nothing changed.
    Format,
}

/// Which rule of the contract a request breaks (P16). A refused request changed nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Refusal {
    /// The entries do not start right after the last one.
    Gap {
        /// The index that had to come next.
        expected: LogIndex,
        /// The index that came.
        found: LogIndex,
    },
    /// An entry's term is below the term before it.
    FallingTerm {
        /// The entry.
        id: EntryId,
    },
    /// A truncation below the boundary would remove entries that a snapshot replaced.
    TruncateBelowBoundary {
        /// The boundary.
        boundary: EntryId,
    },
    /// A truncation would remove an entry that is known to be committed (L10).
    TruncateBelowCommit {
        /// The highest index that is known to be committed.
        committed: LogIndex,
    },
    /// A purge beyond the last entry; only a reset may move the boundary there.
    PurgeBeyondLast {
        /// The last entry.
        last: EntryId,
    },
    /// The entry to purge up to has another term in this log.
    OtherTerm {
        /// The log's entry at that index.
        found: EntryId,
    },
    /// A range whose end is before its start.
    InvertedRange,
    /// The hard state would go back (P8).
    HardStateGoesBack,
    /// Another identity is stored here already.
    OtherIdentity,
    /// A payload, or an entry's index, is larger than the store can hold.
    TooLarge {
        /// The entry.
        id: EntryId,
        /// The limit: of the payload in bytes, or of the index.
        limit: u64,
    },
}

impl LogError {
    /// An error with neither place nor source.
    pub fn new(op: LogOp, kind: LogErrorKind) -> LogError {
        LogError { op, kind, place: String::new(), source: None, unwritten: None }
    }

    /// A refusal: nothing changed.
    pub fn refused(op: LogOp, refusal: Refusal) -> LogError {
        LogError::new(op, LogErrorKind::Refused(refusal))
    }

    /// An error of the operating system or a library.
    pub fn io(op: LogOp, source: impl Into<Box<dyn Error + Send + Sync>>) -> LogError {
        LogError { source: Some(source.into()), ..LogError::new(op, LogErrorKind::Io) }
    }

    /// The same error, with the place named.
    pub fn at(self, place: impl Into<String>) -> LogError {
        LogError { place: place.into(), ..self }
    }

    /// The same error, with its cause.
    pub fn because(self, source: impl Into<Box<dyn Error + Send + Sync>>) -> LogError {
        LogError { source: Some(source.into()), ..self }
    }

    /// The same error, which returns `batch` to the caller if there was no space for it.
    pub fn giving_back(self, batch: WriteBatch) -> LogError {
        let is_unwritten = self.kind == LogErrorKind::NoSpace;
        LogError { unwritten: is_unwritten.then(|| Box::new(batch)), ..self }
    }

    /// Whether the request changed nothing and the store remains usable.
    pub fn is_harmless(&self) -> bool {
        use LogErrorKind::{Compacted, NoSpace, Refused, Unavailable};
        matches!(self.kind, Compacted { .. } | Unavailable { .. } | Refused(_) | NoSpace)
    }
}

impl fmt::Display for LogError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "log store: {}: {}", self.op, self.kind)?;
        if self.place.is_empty() { Ok(()) } else { write!(f, " at {}", self.place) }
    }
}

impl Error for LogError {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        self.source.as_deref().map(|source| source as &(dyn Error + 'static))
    }
}

impl fmt::Display for LogOp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            LogOp::Open => "open",
            LogOp::Identity => "identity",
            LogOp::HardState => "hard state",
            LogOp::Append => "append",
            LogOp::Truncate => "truncate",
            LogOp::Purge => "purge",
            LogOp::Reset => "reset",
            LogOp::Write => "write",
            LogOp::Sync => "sync",
            LogOp::Read => "read",
            LogOp::Close => "close",
        })
    }
}

impl fmt::Display for LogErrorKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            LogErrorKind::Compacted { boundary } => {
                write!(f, "entries up to {boundary} were purged")
            }
            LogErrorKind::Unavailable { last } => {
                write!(f, "the log ends at index {last}")
            }
            LogErrorKind::Corrupt { index: Some(index) } => {
                write!(f, "entry {index} is damaged")
            }
            LogErrorKind::Corrupt { index: None } => f.write_str("the log is damaged"),
            LogErrorKind::Io => f.write_str("input/output error"),
            LogErrorKind::Poisoned => f.write_str("an earlier write failed, open the store again"),
            LogErrorKind::Refused(refusal) => write!(f, "refused, {refusal}"),
            LogErrorKind::NoSpace => f.write_str("the disk is full"),
            LogErrorKind::InUse => f.write_str("the store is in use by another process"),
            LogErrorKind::Format => f.write_str("not a format that this version reads"),
        }
    }
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Refusal::Gap { expected, found } => {
                write!(f, "entry {found} came where {expected} had to follow")
            }
            Refusal::FallingTerm { id } => write!(f, "entry {id} has a term below the one before"),
            Refusal::TruncateBelowBoundary { boundary } => {
                write!(f, "a truncation may not go below the boundary {boundary}")
            }
            Refusal::TruncateBelowCommit { committed } => {
                write!(f, "a truncation may not remove entry {committed}, which is committed")
            }
            Refusal::PurgeBeyondLast { last } => {
                write!(f, "a purge may not go beyond the last entry {last}")
            }
            Refusal::OtherTerm { found } => write!(f, "the log has {found} there"),
            Refusal::InvertedRange => f.write_str("the range ends before it starts"),
            Refusal::HardStateGoesBack => f.write_str("the hard state would go back"),
            Refusal::OtherIdentity => f.write_str("the store belongs to another node or cluster"),
            Refusal::TooLarge { id, limit } => {
                write!(f, "entry {id} is larger than {limit} bytes")
            }
        }
    }
}
