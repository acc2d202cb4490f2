//! The messages that carry a snapshot from a leader to a member whose log it cannot bring up to
//! date.
//!
//! ```text
//!   leader                             receiver
//!     |---- offer: term, id, size ------->|   repeated while the receiver needs a snapshot
//!     |<--- request: id, offset ----------|   repeated until it is answered
//!     |---- chunk: id, offset, bytes ---->|
//!     |<--- request: id, next offset -----|
//!     |              ...                  |
//!     |<--- restoring: id ----------------|   repeated until the snapshot is installed
//! ```
//!
//! The receiver asks for each chunk, so it sets the pace, and after a lost message or connection it
//! goes on where it stopped. The sender keeps no state that a receiver depends on.

use std::fmt;

use bytes::Bytes;
use raft_core::types::{EntryId, Term};

/// The name of one snapshot file. Two files that end at the same entry may differ in their bytes,
/// so the salt, which the writer draws for each file, is part of the name.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SnapshotId {
    /// The last entry that the snapshot includes.
    pub last: EntryId,
    /// The random number in the head of the file.
    pub salt: u64,
}

/// One step of the transfer of a snapshot.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum SnapshotMessage {
    /// The leader offers a snapshot: no entries can bring the receiver up to date.
    Offer {
        /// The term in which the sender leads.
        term: Term,
        /// The file.
        id: SnapshotId,
        /// The bytes of the file.
        bytes: u64,
    },
    /// The receiver asks for the bytes from an offset on.
    Request {
        /// The file.
        id: SnapshotId,
        /// The first byte wanted; below the size of the file.
        offset: u64,
        /// The most bytes wanted; at least 1.
        most: u32,
    },
    /// Bytes of the file, in answer to a request.
    Chunk {
        /// The file.
        id: SnapshotId,
        /// The first of these bytes.
        offset: u64,
        /// The bytes, at least one.
        bytes: Bytes,
    },
    /// The sender does not have the file any more: the receiver waits for the next offer.
    Gone {
        /// The file.
        id: SnapshotId,
    },
    /// The receiver has the whole file and is restoring its state machine: it will need the entries
    /// that follow.
    Restoring {
        /// The file.
        id: SnapshotId,
    },
    /// What the receiver got is not sound: the sender's file may be damaged.
    Damaged {
        /// The file.
        id: SnapshotId,
    },
}

impl SnapshotMessage {
    /// The payload bytes.
    pub(super) fn bytes(&self) -> u64 {
        match self {
            SnapshotMessage::Chunk { bytes, .. } => bytes.len() as u64,
            SnapshotMessage::Offer { .. }
            | SnapshotMessage::Request { .. }
            | SnapshotMessage::Gone { .. }
            | SnapshotMessage::Restoring { .. }
            | SnapshotMessage::Damaged { .. } => 0,
        }
    }
}

impl fmt::Display for SnapshotId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{:x}", self.last, self.salt)
    }
}

/// The message as one line of a trace.
impl fmt::Display for SnapshotMessage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            SnapshotMessage::Offer { term, id, bytes } => {
                write!(f, "term {term} snapshot {id} offered, {bytes} bytes")
            }
            SnapshotMessage::Request { id, offset, most } => {
                write!(f, "snapshot {id}? {most} bytes from {offset}")
            }
            SnapshotMessage::Chunk { id, offset, bytes } => {
                write!(f, "snapshot {id}, {} bytes from {offset}", bytes.len())
            }
            SnapshotMessage::Gone { id } => write!(f, "snapshot {id} is gone"),
            SnapshotMessage::Restoring { id } => write!(f, "snapshot {id} is being restored"),
            SnapshotMessage::Damaged { id } => write!(f, "snapshot {id} is damaged"),
        }
    }
}
