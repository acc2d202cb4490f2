//! Which members belong to the cluster, and which of them vote.
//!
//! A membership is stored and sent as the payload of an entry, and is in force from the moment it
//! is in the log (section 6 of the Raft paper), committed or not. A *joint* membership has two sets
//! of voters, and each decision needs a majority of both.
//!
//! A member is identified by two numbers: its node id, which no other node of the cluster ever has,
//! and the id of its store. A node that comes with another store has lost its votes and entries, so
//! it must join again under a new node id.

use alloc::collections::{BTreeMap, BTreeSet};
use core::fmt;

use bytes::Bytes;
use thiserror::Error;

use super::{NodeId, StoreId};

/// The most members (voters and learners together) that a cluster may have.
pub const MAX_MEMBERS: usize = 64;

/// The most bytes of metadata (address and the like) that one member may carry.
pub const MAX_METADATA_BYTES: usize = 1024;

/// The members of a cluster at one point of the log.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Membership {
    parts: MembershipParts,
}

/// The parts of a membership, before they are checked.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct MembershipParts {
    /// The voters; in a joint membership, those of the configuration to come.
    pub voters: BTreeSet<NodeId>,
    /// The voters of the configuration that is being left; empty unless joint.
    pub outgoing: BTreeSet<NodeId>,
    /// Members that receive the log and do not vote. In a joint membership, a member of `outgoing`
    /// may be listed here, too: it votes until the membership is left, and is a learner afterwards.
    pub learners: BTreeSet<NodeId>,
    /// The application's data about each member (an address, for example), opaque to the engine.
    pub metadata: BTreeMap<NodeId, Bytes>,
    /// The store of each member whose store is known.
    pub stores: BTreeMap<NodeId, StoreId>,
    /// The greatest node id that the cluster has ever used. `None` stands for that of the members.
    pub highest: Option<NodeId>,
}

/// Why parts do not form a membership. Nothing was changed; correct the parts and try again.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Error)]
pub enum MembershipError {
    /// There is no voter.
    #[error("a membership needs at least one voter")]
    NoVoters,
    /// One node is a voter and a learner.
    #[error("node {0} cannot be a voter and a learner at once")]
    VoterAndLearner(NodeId),
    /// There are more than [`MAX_MEMBERS`].
    #[error("{0} members are more than the {MAX_MEMBERS} that a cluster may have")]
    TooMany(usize),
    /// A member's metadata is longer than [`MAX_METADATA_BYTES`].
    #[error("the metadata of node {0} is longer than {MAX_METADATA_BYTES} bytes")]
    MetadataTooLong(NodeId),
    /// Metadata names a node that is not a member.
    #[error("node {0} has metadata, but is not a member")]
    MetadataOfNonMember(NodeId),
    /// A store is named of a node that is not a member.
    #[error("node {0} has a store, but is not a member")]
    StoreOfNonMember(NodeId),
    /// A member's id is above the greatest id that was ever used.
    #[error("node {0} is a member, but its id was never used")]
    AboveHighest(NodeId),
}

impl MembershipParts {
    /// Makes a node a voter, with this metadata.
    pub fn set_voter(&mut self, node: NodeId, metadata: Bytes) {
        self.learners.remove(&node);
        self.voters.insert(node);
        self.metadata.insert(node, metadata);
    }

    /// Makes a node a learner, with this metadata.
    pub fn set_learner(&mut self, node: NodeId, metadata: Bytes) {
        self.voters.remove(&node);
        self.learners.insert(node);
        self.metadata.insert(node, metadata);
    }

    /// Removes a node, with everything that is known of it.
    pub fn remove(&mut self, node: NodeId) {
        self.voters.remove(&node);
        self.learners.remove(&node);
        self.metadata.remove(&node);
        self.stores.remove(&node);
    }
}

impl Membership {
    /// The simplest membership: these voters, each with its metadata.
    pub fn of_voters(
        voters: impl IntoIterator<Item = (NodeId, Bytes)>,
    ) -> Result<Membership, MembershipError> {
        let metadata: BTreeMap<NodeId, Bytes> = voters.into_iter().collect();
        let voters = metadata.keys().copied().collect();
        Membership::new(MembershipParts { voters, metadata, ..MembershipParts::default() })
    }

    /// Checks the parts. This is the only way to make a membership, so every membership is sound.
    pub fn new(parts: MembershipParts) -> Result<Membership, MembershipError> {
        if parts.voters.is_empty() {
            return Err(MembershipError::NoVoters);
        }
        if let Some(both) = parts.voters.intersection(&parts.learners).next() {
            return Err(MembershipError::VoterAndLearner(*both));
        }
        let mut membership = Membership { parts };
        let members: BTreeSet<NodeId> = membership.members().collect();
        if members.len() > MAX_MEMBERS {
            return Err(MembershipError::TooMany(members.len()));
        }
        membership.check_metadata()?;
        membership.check_stores()?;
        membership.settle_highest(members.last().copied())?;
        Ok(membership)
    }

    fn check_stores(&self) -> Result<(), MembershipError> {
        match self.parts.stores.keys().find(|node| !self.contains(**node)) {
            Some(node) => Err(MembershipError::StoreOfNonMember(*node)),
            None => Ok(()),
        }
    }

    /// Replaces a missing greatest id by that of the members.
    fn settle_highest(&mut self, of_members: Option<NodeId>) -> Result<(), MembershipError> {
        let highest = self.parts.highest.or(of_members);
        match of_members.filter(|node| Some(*node) > highest) {
            Some(node) => Err(MembershipError::AboveHighest(node)),
            None => {
                self.parts.highest = highest;
                Ok(())
            }
        }
    }

    fn check_metadata(&self) -> Result<(), MembershipError> {
        for (node, metadata) in &self.parts.metadata {
            if metadata.len() > MAX_METADATA_BYTES {
                return Err(MembershipError::MetadataTooLong(*node));
            }
            if !self.contains(*node) {
                return Err(MembershipError::MetadataOfNonMember(*node));
            }
        }
        Ok(())
    }

    /// The parts, to be stored or sent.
    pub fn parts(&self) -> &MembershipParts {
        &self.parts
    }

    /// The parts of this membership, to be edited into the target of a change. Those of a joint
    /// membership are the parts of the configuration to come.
    pub fn target(&self) -> MembershipParts {
        let mut parts = self.parts.clone();
        for node in core::mem::take(&mut parts.outgoing) {
            if !parts.voters.contains(&node) && !parts.learners.contains(&node) {
                parts.remove(node);
            }
        }
        parts.highest = None;
        parts
    }

    /// Whether two sets of voters must agree.
    pub fn is_joint(&self) -> bool {
        !self.parts.outgoing.is_empty()
    }

    /// Whether this node votes, in either half.
    pub fn is_voter(&self, node: NodeId) -> bool {
        self.parts.voters.contains(&node) || self.parts.outgoing.contains(&node)
    }

    /// Whether this node receives the log and votes in neither half.
    pub fn is_learner(&self, node: NodeId) -> bool {
        self.parts.learners.contains(&node) && !self.is_voter(node)
    }

    /// Whether this node receives the log.
    pub fn contains(&self, node: NodeId) -> bool {
        self.is_voter(node) || self.parts.learners.contains(&node)
    }

    /// All members, each once, in ascending order.
    pub fn members(&self) -> impl Iterator<Item = NodeId> {
        let mut members = self.parts.voters.clone();
        members.extend(&self.parts.outgoing);
        members.extend(&self.parts.learners);
        members.into_iter()
    }

    /// The halves that must each have a majority: one set, or two when joint.
    pub fn halves(&self) -> impl Iterator<Item = &BTreeSet<NodeId>> {
        core::iter::once(&self.parts.voters)
            .chain(core::iter::once(&self.parts.outgoing).filter(|half| !half.is_empty()))
    }

    /// The application's data about a member.
    pub fn metadata(&self, node: NodeId) -> Option<&Bytes> {
        self.parts.metadata.get(&node)
    }

    /// The store of a member, if it is known.
    pub fn store(&self, node: NodeId) -> Option<StoreId> {
        self.parts.stores.get(&node).copied()
    }

    /// The greatest node id that the cluster has ever used. A new member has a greater one.
    pub fn highest(&self) -> NodeId {
        self.parts.highest.expect("set for every membership that was checked")
    }
}

/// Voters, the voters of the configuration that is being left, and learners, for a trace line and
/// for the log output.
impl fmt::Display for Membership {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let list = |f: &mut fmt::Formatter<'_>, name: &str, nodes: &BTreeSet<NodeId>| {
            let mut nodes = nodes.iter();
            let Some(first) = nodes.next() else { return Ok(()) };
            write!(f, "{name} {first}")?;
            nodes.try_for_each(|node| write!(f, ",{node}"))
        };
        list(f, "voters", &self.parts.voters)?;
        list(f, " joint with", &self.parts.outgoing)?;
        list(f, " learners", &self.parts.learners)
    }
}

#[cfg(test)]
mod tests {
    use alloc::string::ToString;

    use super::*;

    fn node(number: u64) -> NodeId {
        NodeId::new(number).expect("not zero")
    }

    fn voters(numbers: &[u64]) -> MembershipParts {
        let voters = numbers.iter().map(|number| node(*number)).collect();
        MembershipParts { voters, ..MembershipParts::default() }
    }

    #[test]
    fn a_membership_needs_a_voter() {
        assert_eq!(Membership::new(voters(&[])), Err(MembershipError::NoVoters));
    }

    #[test]
    fn a_learner_is_not_a_voter() {
        let mut parts = voters(&[1, 2]);
        parts.learners.insert(node(2));
        assert_eq!(Membership::new(parts), Err(MembershipError::VoterAndLearner(node(2))));
    }

    #[test]
    fn a_voter_that_is_leaving_may_become_a_learner() {
        let mut parts = voters(&[1, 2]);
        parts.outgoing = parts.voters.clone();
        parts.voters.remove(&node(2));
        parts.learners.insert(node(2));
        let joint = Membership::new(parts).expect("sound");
        assert_eq!(joint.to_string(), "voters 1 joint with 1,2 learners 2");
        assert!(joint.is_voter(node(2)) && !joint.is_learner(node(2)));
    }

    #[test]
    fn a_store_belongs_to_a_member_and_no_member_is_above_the_highest_id() {
        let mut parts = voters(&[1, 2]);
        parts.stores.insert(node(3), StoreId(9));
        assert_eq!(Membership::new(parts), Err(MembershipError::StoreOfNonMember(node(3))));
        let parts = MembershipParts { highest: Some(node(1)), ..voters(&[1, 2]) };
        assert_eq!(Membership::new(parts), Err(MembershipError::AboveHighest(node(2))));
        assert_eq!(Membership::new(voters(&[1, 2])).expect("sound").highest(), node(2));
        let parts = MembershipParts { highest: Some(node(7)), ..voters(&[1, 2]) };
        assert_eq!(Membership::new(parts).expect("sound").highest(), node(7));
    }

    #[test]
    fn a_target_is_edited_from_the_configuration_to_come() {
        let mut parts = voters(&[1, 2]);
        parts.outgoing = [node(2), node(3)].into();
        parts.metadata.insert(node(3), Bytes::from_static(b"c"));
        parts.stores.insert(node(3), StoreId(3));
        parts.highest = Some(node(5));
        let mut target = Membership::new(parts).expect("sound").target();
        target.set_learner(node(6), Bytes::from_static(b"f"));
        target.set_voter(node(7), Bytes::new());
        target.set_voter(node(6), Bytes::new());
        target.set_learner(node(1), Bytes::new());
        target.remove(node(2));
        let target = Membership::new(target).expect("sound");
        assert_eq!(target.to_string(), "voters 6,7 learners 1");
        assert_eq!((target.metadata(node(3)), target.store(node(3))), (None, None));
        assert_eq!(target.highest(), node(7));
    }

    #[test]
    fn limits_hold_at_their_edges() {
        let many: alloc::vec::Vec<u64> = (1..=MAX_MEMBERS as u64 + 1).collect();
        assert!(Membership::new(voters(&many[..MAX_MEMBERS])).is_ok());
        assert_eq!(Membership::new(voters(&many)), Err(MembershipError::TooMany(MAX_MEMBERS + 1)));
        let long = |extra| Bytes::from(alloc::vec![0; MAX_METADATA_BYTES + extra]);
        assert!(Membership::of_voters([(node(1), long(0))]).is_ok());
        let error = Membership::of_voters([(node(1), long(1))]);
        assert_eq!(error, Err(MembershipError::MetadataTooLong(node(1))));
    }
}
