//! The bytes of the small structures inside records, one encoding for all backends.
//!
//! Each is a version byte and then the structure in postcard's wire format. They are specified in
//! `docs/formats/record.md`; the tests below freeze one sample of each. Payloads of commands are
//! never re-encoded.
//!
//! A membership is written in the lowest version that can hold it, so that an older program reads
//! every membership that it can understand, and refuses the others by their version.

use alloc::borrow::Cow;
use alloc::collections::{BTreeMap, BTreeSet};
use alloc::vec::Vec;
use core::fmt;

use bytes::Bytes;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use thiserror::Error;

use super::LogErrorKind;
use crate::types::{
    HardState, Identity, LogIndex, Membership, MembershipError, MembershipParts, NodeId, StoreId,
};

/// The version of hard states, identities, and memberships without stores.
const VERSION: u8 = 1;

/// The version of memberships that version 1 cannot hold.
const VERSION_OF_STORES: u8 = 2;

/// The newest version of a membership that this program reads and writes.
pub const NEWEST_MEMBERSHIP_VERSION: u8 = VERSION_OF_STORES;

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

/// The fields of a membership in version 1, in order.
#[derive(Serialize, Deserialize)]
struct Version1<'a> {
    voters: Cow<'a, BTreeSet<NodeId>>,
    outgoing: Cow<'a, BTreeSet<NodeId>>,
    learners: Cow<'a, BTreeSet<NodeId>>,
    metadata: Cow<'a, BTreeMap<NodeId, Bytes>>,
}

/// The fields of a membership in version 2, in order: those of version 1 come first.
#[derive(Serialize, Deserialize)]
struct Version2<'a> {
    first: Version1<'a>,
    stores: Cow<'a, BTreeMap<NodeId, StoreId>>,
    highest: NodeId,
}

fn encode<T: Serialize>(version: u8, value: &T) -> Vec<u8> {
    let encoded = postcard::to_extend(value, alloc::vec![version]);
    encoded.expect("plain data always encodes")
}

fn decode<T: DeserializeOwned>(bytes: &[u8]) -> Result<T, DecodeError> {
    match bytes.split_first() {
        None => Err(DecodeError::Empty),
        Some((&VERSION, body)) => parse(body),
        Some((&version, _)) => Err(DecodeError::Version(version)),
    }
}

fn parse<T: DeserializeOwned>(body: &[u8]) -> Result<T, DecodeError> {
    match postcard::take_from_bytes(body) {
        Ok((value, [])) => Ok(value),
        _ => Err(DecodeError::Malformed),
    }
}

/// The payload of a membership entry.
pub fn encode_membership(membership: &Membership) -> Bytes {
    let parts = membership.parts();
    let first = Version1 {
        voters: Cow::Borrowed(&parts.voters),
        outgoing: Cow::Borrowed(&parts.outgoing),
        learners: Cow::Borrowed(&parts.learners),
        metadata: Cow::Borrowed(&parts.metadata),
    };
    Bytes::from(if fits_version_1(membership) {
        encode(VERSION, &first)
    } else {
        let stores = Cow::Borrowed(&parts.stores);
        encode(VERSION_OF_STORES, &Version2 { first, stores, highest: membership.highest() })
    })
}

/// Whether version 1 can hold this membership: no store is known, no member has left that had a
/// greater id than all others, and no voter is about to become a learner.
fn fits_version_1(membership: &Membership) -> bool {
    let parts = membership.parts();
    parts.stores.is_empty()
        && membership.members().last() == Some(membership.highest())
        && parts.outgoing.is_disjoint(&parts.learners)
}

/// The membership in the payload of an entry, checked.
pub fn decode_membership(bytes: &[u8]) -> Result<Membership, DecodeError> {
    if let Some((&VERSION_OF_STORES, body)) = bytes.split_first() {
        let Version2 { first, stores, highest } = parse(body)?;
        let parts = first.into_parts(stores.into_owned(), Some(highest));
        return Ok(Membership::new(parts)?);
    }
    let first: Version1<'_> = decode(bytes)?;
    let membership = Membership::new(first.into_parts(BTreeMap::new(), None))?;
    if fits_version_1(&membership) { Ok(membership) } else { Err(DecodeError::Malformed) }
}

impl Version1<'_> {
    fn into_parts(
        self,
        stores: BTreeMap<NodeId, StoreId>,
        highest: Option<NodeId>,
    ) -> MembershipParts {
        MembershipParts {
            voters: self.voters.into_owned(),
            outgoing: self.outgoing.into_owned(),
            learners: self.learners.into_owned(),
            metadata: self.metadata.into_owned(),
            stores,
            highest,
        }
    }
}

/// The payload of an entry that raises the feature level.
pub fn encode_level(level: u32) -> Bytes {
    Bytes::from(encode(VERSION, &level))
}

/// The feature level in the payload of an entry.
pub fn decode_level(bytes: &[u8]) -> Result<u32, DecodeError> {
    decode(bytes)
}

/// The bytes of a hard state.
pub fn encode_hard_state(hard_state: HardState) -> Vec<u8> {
    encode(VERSION, &hard_state)
}

/// The hard state in these bytes.
pub fn decode_hard_state(bytes: &[u8]) -> Result<HardState, DecodeError> {
    decode(bytes)
}

/// The bytes of an identity.
pub fn encode_identity(identity: &Identity) -> Vec<u8> {
    encode(VERSION, identity)
}

/// The identity in these bytes.
pub fn decode_identity(bytes: &[u8]) -> Result<Identity, DecodeError> {
    decode(bytes)
}

#[cfg(test)]
mod tests {
    use alloc::string::ToString;

    use super::*;
    use crate::types::{ClusterId, Term};

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

        assert_eq!(encode_level(300), &[1, 0xac, 2][..]);
        assert_eq!(decode_level(&[1, 0xac, 2]), Ok(300));

        let voters = [(node(1), Bytes::from_static(b"a")), (node(2), Bytes::new())];
        let membership = Membership::of_voters(voters).expect("sound");
        let bytes = [1, 2, 1, 2, 0, 0, 2, 1, 1, b'a', 2, 0];
        assert_eq!(encode_membership(&membership), &bytes[..]);
        assert_eq!(decode_membership(&bytes), Ok(membership));
    }

    /// Voters 1 and 2, of which 2 is about to become a learner; the store of 1 is 300, and the
    /// greatest id that was ever used is 5.
    #[test]
    fn the_bytes_of_a_membership_of_version_2_are_frozen() {
        let parts = MembershipParts {
            voters: BTreeSet::from([node(1)]),
            outgoing: BTreeSet::from([node(1), node(2)]),
            learners: BTreeSet::from([node(2)]),
            metadata: BTreeMap::from([(node(1), Bytes::from_static(b"a"))]),
            stores: BTreeMap::from([(node(1), StoreId(300))]),
            highest: NodeId::new(5),
        };
        let membership = Membership::new(parts).expect("sound");
        let bytes = [2, 1, 1, 2, 1, 2, 1, 2, 1, 1, 1, b'a', 1, 1, 0xac, 2, 5];
        assert_eq!(encode_membership(&membership), &bytes[..]);
        assert_eq!(decode_membership(&bytes), Ok(membership));
    }

    /// An older program reads what it can understand, so version 2 is used only where it is needed.
    #[test]
    fn a_membership_has_the_lowest_version_that_holds_it() {
        let version = |change: fn(&mut MembershipParts)| {
            let voters = BTreeSet::from([node(1), node(2)]);
            let mut parts = MembershipParts { voters, ..MembershipParts::default() };
            change(&mut parts);
            let membership = Membership::new(parts).expect("sound");
            let bytes = encode_membership(&membership);
            assert_eq!(decode_membership(&bytes), Ok(membership));
            bytes[0]
        };
        assert_eq!(version(|_| {}), 1);
        assert_eq!(version(|parts| parts.outgoing = BTreeSet::from([node(3)])), 1);
        assert_eq!(version(|parts| parts.learners = BTreeSet::from([node(3)])), 1);
        assert_eq!(version(|parts| parts.highest = Some(node(2))), 1);
        assert_eq!(version(|parts| parts.highest = Some(node(3))), 2);
        assert_eq!(version(|parts| parts.stores.extend([(node(1), StoreId(0))])), 2);
        let leaving = |parts: &mut MembershipParts| {
            parts.outgoing = BTreeSet::from([node(3)]);
            parts.learners = BTreeSet::from([node(3)]);
        };
        assert_eq!(version(leaving), 2);
    }

    #[test]
    fn a_membership_of_a_newer_version_is_refused_by_its_version() {
        let newer = decode_membership(&[3, 1, 1, 0, 0, 0, 0, 1]);
        assert_eq!(newer, Err(DecodeError::Version(3)));
        let text = "record version 3 is not known";
        assert_eq!(newer.expect_err("newer").to_string(), text);
    }

    #[test]
    fn version_1_never_has_a_voter_that_becomes_a_learner() {
        let overlap = decode_membership(&[1, 1, 1, 1, 2, 1, 2, 0]);
        assert_eq!(overlap, Err(DecodeError::Malformed));
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
