//! One entry of the log.

use bytes::Bytes;
use serde::{Deserialize, Serialize};

use super::EntryId;

/// The purpose of an entry. The number of a kind is part of the stored and the sent bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[non_exhaustive]
pub enum EntryKind {
    /// Opens a leader's term (section 8 of the paper); the payload is empty.
    Noop,
    /// A command of the application, opaque to the engine.
    Command,
    /// A command inside a client session.
    SessionCommand,
    /// Opens or closes a client session.
    SessionControl,
    /// A membership of the cluster, in the encoding of [`crate::storage::record`].
    Membership,
    /// Raises the feature level of the cluster, in the encoding of [`crate::storage::record`].
    FeatureLevel,
}

impl EntryKind {
    /// The number that stands for this kind in stored and sent bytes. Never reused.
    pub const fn number(self) -> u8 {
        match self {
            EntryKind::Noop => 0,
            EntryKind::Command => 1,
            EntryKind::SessionCommand => 2,
            EntryKind::SessionControl => 3,
            EntryKind::Membership => 4,
            EntryKind::FeatureLevel => 5,
        }
    }

    /// The kind with this number, or `None` for a number that this version does not know.
    pub const fn from_number(number: u8) -> Option<EntryKind> {
        match number {
            0 => Some(EntryKind::Noop),
            1 => Some(EntryKind::Command),
            2 => Some(EntryKind::SessionCommand),
            3 => Some(EntryKind::SessionControl),
            4 => Some(EntryKind::Membership),
            5 => Some(EntryKind::FeatureLevel),
            _ => None,
        }
    }
}

/// One entry of the log: its id, its kind and its payload.
///
/// Its serde form is for a store's own files. The encoding between members is specified separately.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Entry {
    /// Term and index.
    pub id: EntryId,
    /// What the payload is.
    pub kind: EntryKind,
    /// The bytes, opaque to the protocol unless `kind` is a membership.
    pub payload: Bytes,
}

impl Entry {
    /// An entry from its parts.
    pub const fn new(id: EntryId, kind: EntryKind, payload: Bytes) -> Entry {
        Entry { id, kind, payload }
    }

    /// The payload's length in bytes.
    pub fn size(&self) -> u64 {
        self.payload.len() as u64
    }
}

#[cfg(test)]
mod tests {
    use super::EntryKind;

    #[test]
    fn every_kind_keeps_its_number() {
        for number in 0..=5 {
            let kind = EntryKind::from_number(number).expect("a known kind");
            assert_eq!(kind.number(), number);
        }
        assert_eq!(EntryKind::from_number(6), None);
    }
}
