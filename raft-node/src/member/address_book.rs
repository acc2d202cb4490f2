//! The members to which a member may send, and their addresses.
//!
//! These are the members of each membership in force from the commit index on, and those of the
//! memberships that were committed shortly before: a member that is being removed gets entries
//! until its removal is committed, then the commit index, and its own last messages still arrive.
//! The newest membership that has a member gives its address.

use std::collections::BTreeSet;
use std::sync::Arc;

use raft_core::types::{Membership, NodeId};

/// The memberships whose members are connected, the oldest first.
#[derive(Debug, Default)]
pub(crate) struct AddressBook {
    live: Vec<Arc<Membership>>,
}

impl AddressBook {
    pub(crate) fn of<'a>(live: impl Iterator<Item = &'a Arc<Membership>>) -> AddressBook {
        AddressBook { live: live.cloned().collect() }
    }

    /// Whether it holds exactly these memberships.
    pub(crate) fn is_of<'a>(&self, mut live: impl Iterator<Item = &'a Arc<Membership>>) -> bool {
        let mut known = self.live.iter();
        known.all(|known| live.next().is_some_and(|live| Arc::ptr_eq(known, live)))
            && live.next().is_none()
    }

    /// The address of a member.
    pub(crate) fn address(&self, node: NodeId) -> Option<&[u8]> {
        let newest = self.live.iter().rev().find_map(|membership| membership.metadata(node));
        newest.map(|address| &address[..])
    }

    /// All members.
    pub(crate) fn members(&self) -> BTreeSet<NodeId> {
        self.live.iter().flat_map(|membership| membership.members()).collect()
    }

    /// The memberships, the oldest first.
    pub(crate) fn memberships(&self) -> &[Arc<Membership>] {
        &self.live
    }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;

    use super::*;
    use crate::test_support::node_id;

    fn membership(members: &[(u64, &'static str)]) -> Arc<Membership> {
        let members =
            members.iter().map(|(n, at)| (node_id(*n), Bytes::from_static(at.as_bytes())));
        Arc::new(Membership::of_voters(members).expect("sound"))
    }

    #[test]
    fn the_newest_membership_that_has_a_member_gives_its_address() {
        let live = [membership(&[(1, "a"), (2, "b")]), membership(&[(2, "c"), (3, "d")])];
        let book = AddressBook::of(live.iter());
        let address = |node| book.address(node_id(node));
        assert_eq!(
            (address(1), address(2), address(3)),
            (Some(&b"a"[..]), Some(&b"c"[..]), Some(&b"d"[..]))
        );
        assert_eq!(address(4), None);
        assert_eq!(book.members(), [1, 2, 3].map(node_id).into());
    }

    #[test]
    fn it_is_of_the_same_memberships_in_the_same_order() {
        let live = [membership(&[(1, "a")]), membership(&[(2, "b")])];
        let book = AddressBook::of(live.iter());
        assert!(book.is_of(live.iter()));
        assert!(!book.is_of(live.iter().rev()));
        assert!(!book.is_of(live[..1].iter()) && !book.is_of([].iter()));
        assert!(!AddressBook::default().is_of(live.iter()));
    }
}
