//! The name and the addresses of each member, as they are stored in the cluster's membership.
//!
//! The engine carries these bytes without reading them. The first byte is a version; the rest is
//! postcard. `docs/formats/etcd-command.md` is the specification.

use bytes::Bytes;
use serde::{Deserialize, Serialize};
use thiserror::Error;

/// The version of the encoding, its first byte, of members that need no newer one.
const VERSION: u8 = 1;

/// The version of the encoding of a learner that is to vote.
const VOTES_SOON: u8 = 2;

/// The name and the addresses of a member.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct MemberAddresses {
    /// A name for display; not necessarily unique.
    pub name: String,
    /// The URL at which the other members reach it, as `http://host:port`.
    pub peer_url: String,
    /// The URL at which clients reach it, as `http://host:port`.
    pub client_url: String,
    /// Whether the leader makes this learner a voter as soon as it has received the log. Not a part
    /// of the encoding; its version says it.
    #[serde(skip)]
    pub votes_soon: bool,
}

/// Why a member's metadata cannot be read: another program or a newer version wrote the membership.
/// Nothing was changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum AddressesError {
    /// The metadata has another version, or none.
    #[error("a member's addresses have version {0:?}, and this program reads up to {VOTES_SOON}")]
    Version(Option<u8>),
    /// The bytes after the version are not addresses.
    #[error("a member's addresses are damaged")]
    Damaged,
}

impl MemberAddresses {
    /// The bytes for the membership.
    ///
    /// # Panics
    ///
    /// Never: encoding strings into memory cannot fail.
    pub fn encode(&self) -> Bytes {
        let version = if self.votes_soon { VOTES_SOON } else { VERSION };
        let bytes = postcard::to_extend(self, vec![version]).expect("strings can be encoded");
        Bytes::from(bytes)
    }

    /// Reads the bytes of a membership.
    pub fn decode(bytes: &[u8]) -> Result<MemberAddresses, AddressesError> {
        match bytes.split_first() {
            Some((&version @ (VERSION | VOTES_SOON), body)) => {
                let read: MemberAddresses =
                    postcard::from_bytes(body).map_err(|_| AddressesError::Damaged)?;
                Ok(MemberAddresses { votes_soon: version == VOTES_SOON, ..read })
            }
            other => Err(AddressesError::Version(other.map(|(version, _)| *version))),
        }
    }

    /// The peer URL without its scheme: the `host:port` that a transport connects to.
    pub fn peer_address(&self) -> &str {
        without_scheme(&self.peer_url)
    }

    /// The client URL without its scheme.
    pub fn client_address(&self) -> &str {
        without_scheme(&self.client_url)
    }
}

fn without_scheme(url: &str) -> &str {
    url.split_once("://").map_or(url, |(_, address)| address).trim_end_matches('/')
}

#[cfg(test)]
mod tests {
    use super::*;

    fn addresses() -> MemberAddresses {
        MemberAddresses {
            name: "n1".to_owned(),
            peer_url: "http://127.0.0.1:2380".to_owned(),
            client_url: "http://h:1/".to_owned(),
            votes_soon: false,
        }
    }

    #[test]
    fn the_bytes_are_those_of_the_specification() {
        let frozen = b"\x01\x02n1\x15http://127.0.0.1:2380\x0bhttp://h:1/";
        assert_eq!(addresses().encode(), &frozen[..]);
        assert_eq!(MemberAddresses::decode(frozen), Ok(addresses()));
        let soon = MemberAddresses { votes_soon: true, ..addresses() };
        let frozen = b"\x02\x02n1\x15http://127.0.0.1:2380\x0bhttp://h:1/";
        assert_eq!(soon.encode(), &frozen[..]);
        assert_eq!(MemberAddresses::decode(frozen), Ok(soon));
    }

    #[test]
    fn bytes_of_another_version_or_none_are_refused() {
        assert_eq!(MemberAddresses::decode(b""), Err(AddressesError::Version(None)));
        assert_eq!(MemberAddresses::decode(b"\x03"), Err(AddressesError::Version(Some(3))));
        assert_eq!(MemberAddresses::decode(b"\x01\x05a"), Err(AddressesError::Damaged));
    }

    #[test]
    fn an_address_has_no_scheme() {
        assert_eq!(addresses().peer_address(), "127.0.0.1:2380");
        assert_eq!(addresses().client_address(), "h:1");
    }
}
