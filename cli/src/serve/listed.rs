//! Which addresses of the members a running member uses: those of the membership, or those that
//! its settings list.
//!
//! The membership decides, since every member has it and it can be changed while all run
//! (`kontiki member set-address`). The settings are used for a member of which the membership has
//! no address that can be read; and for all that they list if the operator says that the
//! membership's are old, because the whole cluster was moved while it was stopped.

use std::collections::BTreeMap;

use kontiki::NodeId;
use kontiki_etcd::MemberAddresses;
use kontiki_etcd::addresses::AddressesError;

/// The members that the settings list.
#[derive(Clone, Debug, Default)]
pub struct Listed {
    members: BTreeMap<NodeId, MemberAddresses>,
    /// Whether the membership's addresses are old.
    are_newer: bool,
}

impl Listed {
    /// These members. `are_newer`: the membership's addresses are old.
    pub fn new(members: BTreeMap<NodeId, MemberAddresses>, are_newer: bool) -> Listed {
        Listed { members, are_newer }
    }

    /// The members, by id.
    pub fn members(&self) -> &BTreeMap<NodeId, MemberAddresses> {
        &self.members
    }

    /// The addresses to use of a member that has this metadata in the membership.
    ///
    /// # Errors
    ///
    /// If neither the metadata nor the settings have them.
    pub fn addresses(
        &self,
        node: NodeId,
        metadata: &[u8],
    ) -> Result<MemberAddresses, AddressesError> {
        let listed = self.members.get(&node);
        match (MemberAddresses::decode(metadata), listed) {
            (_, Some(listed)) if self.are_newer => Ok(listed.clone()),
            (Err(_), Some(listed)) => Ok(listed.clone()),
            (known, _) => known,
        }
    }

    /// The peer address that the settings list of a member, if another one is used.
    pub fn unused(&self, node: NodeId, used: &MemberAddresses) -> Option<&str> {
        let listed = self.members.get(&node).map(MemberAddresses::peer_address);
        listed.filter(|listed| *listed != used.peer_address())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(peer: &str) -> MemberAddresses {
        let (name, client_url) = ("n".to_owned(), "http://c:1".to_owned());
        let peer_url = format!("http://{peer}");
        MemberAddresses { name, peer_url, client_url, votes_soon: false }
    }

    /// What went wrong: an address was changed in the membership, and each member went on with the
    /// old one of its own settings.
    #[test]
    fn the_membership_decides_unless_the_operator_says_that_it_is_old() {
        let node = NodeId::new(1).expect("not zero");
        let members = BTreeMap::from([(node, at("listed:1"))]);
        let listed = Listed::new(members.clone(), false);
        let metadata = at("changed:1").encode();
        assert_eq!(listed.addresses(node, &metadata), Ok(at("changed:1")));
        assert_eq!(listed.unused(node, &at("changed:1")), Some("listed:1"));
        assert_eq!(listed.addresses(node, b"unreadable"), Ok(at("listed:1")));
        let moved = Listed::new(members, true);
        assert_eq!(moved.addresses(node, &metadata), Ok(at("listed:1")));
        assert!(Listed::default().addresses(node, b"unreadable").is_err());
    }
}
