//! Which members belong to the cluster, and which of them vote.
//!
//! A membership is stored and sent as the payload of an entry, and is in force from the moment it
//! is in the log (section 6 of the Raft paper), committed or not. A *joint* membership has two sets
//! of voters, and each decision needs a majority of both. Bootstrap writes the only membership so
//! far; the joint form is included here so that stored and sent bytes need not change for it.

use alloc::collections::{BTreeMap, BTreeSet};

use bytes::Bytes;
use serde::{Deserialize, Serialize};
use thiserror::Error;

use super::NodeId;

/// The most members (voters and learners together) that a cluster may have.
pub const MAX_MEMBERS: usize = 64;

/// The most bytes of metadata (address and the like) that one member may carry.
pub const MAX_METADATA_BYTES: usize = 1024;

/// The members of a cluster at one point of the log.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Membership {
    parts: MembershipParts,
}

/// The parts of a membership, before they are checked; the form that is stored and sent.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct MembershipParts {
    /// The voters; in a joint membership, those of the configuration to come.
    pub voters: BTreeSet<NodeId>,
    /// The voters of the configuration that is being left; empty unless joint.
    pub outgoing: BTreeSet<NodeId>,
    /// Members that receive the log and do not vote.
    pub learners: BTreeSet<NodeId>,
    /// The application's data about each member (an address, for example), opaque to the engine.
    pub metadata: BTreeMap<NodeId, Bytes>,
}

/// Why parts do not form a membership. Nothing was changed; correct the parts and try again.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
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
        let voters = || parts.voters.iter().chain(&parts.outgoing);
        if let Some(both) = voters().find(|voter| parts.learners.contains(voter)) {
            return Err(MembershipError::VoterAndLearner(*both));
        }
        let membership = Membership { parts };
        let count = membership.members().count();
        if count > MAX_MEMBERS {
            return Err(MembershipError::TooMany(count));
        }
        membership.check_metadata()?;
        Ok(membership)
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

    /// Whether two sets of voters must agree.
    pub fn is_joint(&self) -> bool {
        !self.parts.outgoing.is_empty()
    }

    /// Whether this node votes, in either half.
    pub fn is_voter(&self, node: NodeId) -> bool {
        self.parts.voters.contains(&node) || self.parts.outgoing.contains(&node)
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
}

#[cfg(test)]
mod tests {
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
