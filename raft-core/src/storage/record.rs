//! The bytes of the small structures inside records, one encoding for all backends.
//!
//! Each is a version byte (1) and then the structure in postcard's wire format. They are specified
//! in `docs/formats/record.md`; the tests below freeze one sample of each. Payloads of commands are
//! never re-encoded.

use alloc::vec::Vec;
use core::fmt;

use bytes::Bytes;
use serde::Serialize;
use serde::de::DeserializeOwned;
use thiserror::Error;

use super::LogErrorKind;
use crate::types::{HardState, Identity, LogIndex, Membership, MembershipError, MembershipParts};

/// The version that this code writes.
const VERSION: u8 = 1;

/// Why bytes cannot be decoded.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum DecodeError {
    /// There are no bytes.
    #[error("no bytes where a record was expected")]
    Empty,
    /// The version byte is not one that this code reads.
    #[error("record version {0} is not known")]
    Version(u8),
    /// The structure's bytes do not parse, or more follow.
    #[error("the record's bytes do not parse")]
    Malformed,
    /// The bytes parse, but not to a sound membership.
    #[error("not a membership: {0}")]
    Membership(#[from] MembershipError),
}

/// Why a backend cannot read bytes that it stored.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unreadable {
    /// The checksum does not hold, or what it guards does not parse.
    Damaged,
    /// The checksum holds, but a version, type or reserved field has a value that is unknown to
    /// this version; the text names the field. A newer version wrote it. It is neither treated as a
    /// torn write nor skipped: its content may matter.
    Newer(&'static str),
}

impl Unreadable {
    /// The kind of error to report for such bytes; `index` is the entry that they concern, if it is
    /// known.
    pub fn kind(self, index: Option<LogIndex>) -> LogErrorKind {
        match self {
            Unreadable::Damaged => LogErrorKind::Corrupt { index },
            Unreadable::Newer(_) => LogErrorKind::Format,
        }
    }

    /// Returns an error if a reserved field is not zero; `what` names the field.
    pub fn check_reserved(bytes: &[u8], what: &'static str) -> Result<(), Unreadable> {
        let is_zero = bytes.iter().all(|byte| *byte == 0);
        if is_zero { Ok(()) } else { Err(Unreadable::Newer(what)) }
    }
}

impl From<DecodeError> for Unreadable {
    /// For a record that is guarded by a checksum that holds.
    fn from(error: DecodeError) -> Unreadable {
        match error {
            DecodeError::Version(_) => Unreadable::Newer("a record of another version"),
            DecodeError::Empty | DecodeError::Malformed | DecodeError::Membership(_) => {
                Unreadable::Damaged
            }
        }
    }
}

impl fmt::Display for Unreadable {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Unreadable::Damaged => f.write_str("damaged"),
            Unreadable::Newer(what) => write!(f, "{what}; use a newer version of Kontiki"),
        }
    }
}

fn encode<T: Serialize>(value: &T) -> Vec<u8> {
    let encoded = postcard::to_extend(value, alloc::vec![VERSION]);
    encoded.expect("plain data always encodes")
}

fn decode<T: DeserializeOwned>(bytes: &[u8]) -> Result<T, DecodeError> {
    match bytes.split_first() {
        None => Err(DecodeError::Empty),
        Some((&VERSION, body)) => match postcard::take_from_bytes(body) {
            Ok((value, [])) => Ok(value),
            _ => Err(DecodeError::Malformed),
        },
        Some((&version, _)) => Err(DecodeError::Version(version)),
    }
}

/// The payload of a membership entry.
pub fn encode_membership(membership: &Membership) -> Bytes {
    Bytes::from(encode(membership.parts()))
}

/// The membership in the payload of an entry, checked.
pub fn decode_membership(bytes: &[u8]) -> Result<Membership, DecodeError> {
    Ok(Membership::new(decode::<MembershipParts>(bytes)?)?)
}

/// The bytes of a hard state.
pub fn encode_hard_state(hard_state: HardState) -> Vec<u8> {
    encode(&hard_state)
}

/// The hard state in these bytes.
pub fn decode_hard_state(bytes: &[u8]) -> Result<HardState, DecodeError> {
    decode(bytes)
}

/// The bytes of an identity.
pub fn encode_identity(identity: &Identity) -> Vec<u8> {
    encode(identity)
}

/// The identity in these bytes.
pub fn decode_identity(bytes: &[u8]) -> Result<Identity, DecodeError> {
    decode(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::types::{ClusterId, NodeId, StoreId, Term};

    fn node(number: u64) -> NodeId {
        NodeId::new(number).expect("not zero")
    }

    #[test]
    fn the_bytes_of_version_1_are_frozen() {
        let hard_state = HardState { term: Term::new(300), vote: NodeId::new(2) };
        assert_eq!(encode_hard_state(hard_state), [1, 0xac, 2, 1, 2]);
        assert_eq!(decode_hard_state(&[1, 0xac, 2, 1, 2]), Ok(hard_state));

        let identity = Identity { cluster: ClusterId(7), node: node(3), store: StoreId(9) };
        assert_eq!(encode_identity(&identity), [1, 7, 3, 9]);
        assert_eq!(decode_identity(&[1, 7, 3, 9]), Ok(identity));

        let voters = [(node(1), Bytes::from_static(b"a")), (node(2), Bytes::new())];
        let membership = Membership::of_voters(voters).expect("sound");
        let bytes = [1, 2, 1, 2, 0, 0, 2, 1, 1, b'a', 2, 0];
        assert_eq!(encode_membership(&membership), &bytes[..]);
        assert_eq!(decode_membership(&bytes), Ok(membership));
    }

    #[test]
    fn other_bytes_are_refused() {
        assert_eq!(decode_hard_state(&[]), Err(DecodeError::Empty));
        assert_eq!(decode_hard_state(&[2, 1, 0]), Err(DecodeError::Version(2)));
        assert_eq!(decode_hard_state(&[1, 1]), Err(DecodeError::Malformed));
        assert_eq!(decode_hard_state(&[1, 1, 0, 0]), Err(DecodeError::Malformed));
        let no_voters = decode_membership(&[1, 0, 0, 0, 0]);
        assert_eq!(no_voters, Err(DecodeError::Membership(MembershipError::NoVoters)));
    }
}
