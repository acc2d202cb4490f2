//! Edits of a membership: from the one in force to the target of a change.
//!
//! An edit says what is to hold afterwards, so it may be applied again: what holds already is left
//! as it is. The services decide which of these cases are errors of their API.

use bytes::Bytes;
use kontiki::types::MembershipError;
use kontiki::{Membership, NodeId};
use thiserror::Error;

use crate::addresses::MemberAddresses;

/// One edit.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Edit {
    /// A node becomes a learner under the next id.
    Add(MemberAddresses),
    /// A member leaves.
    Remove(NodeId),
    /// A learner becomes a voter.
    Promote(NodeId),
    /// A voter becomes a learner.
    Demote(NodeId),
    /// A member has other addresses or another name; what is empty stays.
    SetAddresses(NodeId, MemberAddresses),
}

/// The target of a change.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Edited {
    pub(crate) target: Membership,
    /// The node that was added last.
    pub(crate) added: Option<NodeId>,
}

/// Why edits make no target. Nothing was changed.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub(crate) enum EditError {
    #[error("the cluster has no member {0}")]
    NotAMember(NodeId),
    #[error("{0:?} is not an address of the form http://host:port")]
    BadUrl(String),
    #[error("member {0} has this peer address already")]
    PeerUrlExists(NodeId),
    #[error(transparent)]
    Unsound(#[from] MembershipError),
    #[error("the ids of nodes are used up")]
    NoMoreIds,
}

/// Applies edits, in order, to the configuration to come of a membership.
pub(crate) fn apply(now: &Membership, edits: &[Edit]) -> Result<Edited, EditError> {
    let mut parts = now.target();
    let (mut highest, mut added) = (now.highest(), None);
    for edit in edits {
        let (Edit::Remove(node)
        | Edit::Promote(node)
        | Edit::Demote(node)
        | Edit::SetAddresses(node, _)) = edit
        else {
            let Edit::Add(addresses) = edit else { unreachable!("the only other edit") };
            check_url(&addresses.peer_url)?;
            let next = highest.get().checked_add(1).and_then(NodeId::new);
            highest = next.ok_or(EditError::NoMoreIds)?;
            parts.set_learner(highest, named(addresses.clone(), highest).encode());
            added = Some(highest);
            continue;
        };
        let is_member = parts.voters.contains(node) || parts.learners.contains(node);
        if !is_member {
            let was_removed = matches!(edit, Edit::Remove(_)) && *node <= now.highest();
            if was_removed {
                continue;
            }
            return Err(EditError::NotAMember(*node));
        }
        let metadata = parts.metadata.get(node).cloned().unwrap_or_default();
        match edit {
            Edit::Remove(_) => parts.remove(*node),
            Edit::Promote(_) => parts.set_voter(*node, settled(metadata)),
            Edit::Demote(_) => parts.set_learner(*node, settled(metadata)),
            Edit::SetAddresses(_, new) => {
                let old = MemberAddresses::decode(&metadata).unwrap_or_default();
                parts.metadata.insert(*node, named(updated(old, new)?, *node).encode());
            }
            Edit::Add(_) => {}
        }
    }
    Ok(Edited { target: Membership::new(parts)?, added })
}

/// The member of a membership that has this peer address.
pub(crate) fn at_peer_url(now: &Membership, url: &str) -> Option<NodeId> {
    let has_it = |node: &NodeId| {
        let addresses = now.metadata(*node).and_then(|data| MemberAddresses::decode(data).ok());
        addresses.is_some_and(|addresses| same_address(&addresses.peer_url, url))
    };
    now.members().find(has_it)
}

/// The node to which a joining process belongs: one that was added for this peer address and has
/// never been started.
pub(crate) fn awaited(
    now: &Membership,
    peer_url: &str,
    has_store: impl Fn(NodeId) -> bool,
) -> Option<NodeId> {
    at_peer_url(now, peer_url)
        .filter(|node| now.is_learner(*node) && now.store(*node).is_none() && !has_store(*node))
}

/// Refuses what is not of the form `http://host:port`.
pub(crate) fn check_url(url: &str) -> Result<(), EditError> {
    let address = url.strip_prefix("http://").map(|address| address.trim_end_matches('/'));
    let parts = address.and_then(|address| address.rsplit_once(':'));
    match parts.map(|(host, port)| (host.contains(['/', ' ']) || host.is_empty(), port.parse())) {
        Some((false, Ok(1_u16..))) => Ok(()),
        _ => Err(EditError::BadUrl(url.to_owned())),
    }
}

fn same_address(one: &str, other: &str) -> bool {
    one.trim_end_matches('/') == other.trim_end_matches('/')
}

/// Gives a member a name once it is known where clients reach it. Before, it is not started, and
/// has none, as in etcd.
fn named(addresses: MemberAddresses, node: NodeId) -> MemberAddresses {
    let is_nameless = addresses.name.is_empty() && !addresses.client_url.is_empty();
    let name = if is_nameless { format!("n{node}") } else { addresses.name };
    MemberAddresses { name, ..addresses }
}

/// The metadata of a member that does not become a voter by itself any more.
fn settled(metadata: Bytes) -> Bytes {
    match MemberAddresses::decode(&metadata) {
        Ok(addresses) if addresses.votes_soon => {
            MemberAddresses { votes_soon: false, ..addresses }.encode()
        }
        _ => metadata,
    }
}

fn updated(old: MemberAddresses, new: &MemberAddresses) -> Result<MemberAddresses, EditError> {
    for url in [&new.peer_url, &new.client_url] {
        if !url.is_empty() {
            check_url(url)?;
        }
    }
    let or = |new: &String, old: String| if new.is_empty() { old } else { new.clone() };
    Ok(MemberAddresses {
        name: or(&new.name, old.name),
        peer_url: or(&new.peer_url, old.peer_url),
        client_url: or(&new.client_url, old.client_url),
        votes_soon: old.votes_soon,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn node(number: u64) -> NodeId {
        NodeId::new(number).expect("not zero")
    }

    fn at(peer: &str) -> MemberAddresses {
        let (name, client_url) = (String::new(), "http://c:1".to_owned());
        let peer_url = format!("http://{peer}");
        MemberAddresses { name, peer_url, client_url, votes_soon: false }
    }

    /// Voters 1 to 3 at `p1:1` to `p3:1`; the id 7 was used.
    fn three() -> Membership {
        let member = |number| (node(number), at(&format!("p{number}:1")).encode());
        let mut parts = Membership::of_voters([1, 2, 3].map(member)).expect("sound").target();
        parts.highest = Some(node(7));
        Membership::new(parts).expect("sound")
    }

    fn text(edits: &[Edit]) -> String {
        match apply(&three(), edits) {
            Ok(edited) => edited.target.to_string(),
            Err(error) => error.to_string(),
        }
    }

    #[test]
    fn a_node_gets_an_id_that_was_never_used() {
        let added = apply(&three(), &[Edit::Add(at("a:1"))]).expect("sound");
        assert_eq!(added.added, Some(node(8)));
        assert_eq!(added.target.to_string(), "voters 1,2,3 learners 8");
        let data = added.target.metadata(node(8)).expect("it has some");
        assert_eq!(MemberAddresses::decode(data).expect("sound").name, "n8");
        assert!(text(&[Edit::Add(at("a"))]).contains("is not an address"));
    }

    #[test]
    fn edits_may_be_applied_again() {
        let replace = [Edit::Remove(node(2)), Edit::Demote(node(3)), Edit::Promote(node(1))];
        assert_eq!(text(&replace), "voters 1 learners 3");
        let once = apply(&three(), &replace).expect("sound").target;
        assert_eq!(
            apply(&once, &replace).expect("sound").target.to_string(),
            "voters 1 learners 3"
        );
        assert_eq!(text(&[Edit::Remove(node(7))]), "voters 1,2,3", "it was removed before");
        assert_eq!(text(&[Edit::Remove(node(9))]), "the cluster has no member 9");
        let all = [1, 2, 3].map(|number| Edit::Remove(node(number)));
        assert_eq!(text(&all), "a membership needs at least one voter");
    }

    #[test]
    fn an_address_that_is_not_given_stays() {
        let moved = MemberAddresses { client_url: String::new(), ..at("new:1") };
        let edited = apply(&three(), &[Edit::SetAddresses(node(2), moved)]).expect("sound");
        let data = edited.target.metadata(node(2)).expect("it has some");
        let now = MemberAddresses::decode(data).expect("sound");
        assert_eq!((&*now.peer_url, &*now.client_url), ("http://new:1", "http://c:1"));
        assert_eq!(at_peer_url(&edited.target, "http://new:1/"), Some(node(2)));
    }

    /// What could go wrong: a process that joins at the address of a member is given its id, and
    /// two stores vote as one member.
    #[test]
    fn only_a_learner_that_never_started_is_awaited() {
        let with = apply(&three(), &[Edit::Add(at("a:1"))]).expect("sound").target;
        assert_eq!(awaited(&with, "http://a:1", |_| false), Some(node(8)));
        assert_eq!(awaited(&with, "http://a:1", |_| true), None);
        assert_eq!(awaited(&with, "http://p2:1", |_| false), None);
    }

    #[test]
    fn a_learner_that_is_to_vote_is_a_plain_member_once_it_votes() {
        let soon = MemberAddresses { votes_soon: true, ..at("a:1") };
        let with = apply(&three(), &[Edit::Add(soon)]).expect("sound").target;
        let addresses = |of: &Membership| {
            MemberAddresses::decode(of.metadata(node(8)).expect("it has some")).expect("sound")
        };
        assert!(addresses(&with).votes_soon);
        let moved = apply(&with, &[Edit::SetAddresses(node(8), at("b:1"))]).expect("sound").target;
        assert!(addresses(&moved).votes_soon);
        let votes = apply(&moved, &[Edit::Promote(node(8))]).expect("sound").target;
        assert!(!addresses(&votes).votes_soon);
    }

    #[test]
    fn urls_have_a_host_and_a_port() {
        for good in ["http://a:1", "http://127.0.0.1:2380/", "http://[::1]:2380"] {
            assert_eq!(check_url(good), Ok(()), "{good}");
        }
        for bad in ["a:1", "https://a:1", "http://a", "http://a:0", "http://:1", "http://a/b:1"] {
            assert!(check_url(bad).is_err(), "{bad}");
        }
    }
}
