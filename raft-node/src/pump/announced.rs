//! What the peers' programs can read, and which stores they have.
//!
//! A program that does not know the version of a membership's record cannot accept the entry, nor
//! any entry after it. So a leader changes the membership only once the programs of the voters are
//! known to read what it writes: of all voters that stay, or are to vote, and of a majority of
//! those that vote now. A voter that leaves may run any program, or be dead. A learner delays no
//! other member if it cannot read the entry.
//!
//! Each peer says in the handshake of a connection which versions it speaks. The membership also
//! gets the store of each member from these handshakes.

use std::collections::BTreeMap;
use std::sync::Arc;

use raft_core::consensus::{ChangeRefusal, Input, has_majority};
use raft_core::types::{Membership, MembershipParts, NodeId, StoreId};

use super::Pump;
use super::change::ChangeError;
use super::effects::Effects;
use super::event::Clients;
use super::planted::planted;
use crate::features::level_of_version;

/// The version of the wire format whose programs read memberships with stores.
const READS_STORES: u16 = 2;

/// The most peers that are remembered; more than a membership has.
const MAX_PEERS: usize = 256;

/// What the peers have announced since this member started.
#[derive(Debug, Default)]
pub(super) struct Announced {
    peers: BTreeMap<NodeId, Announcement>,
}

/// What one peer has announced.
#[derive(Clone, Copy, Debug)]
pub(super) struct Announcement {
    pub(super) store: StoreId,
    pub(super) version: u16,
}

impl Announced {
    pub(super) fn add(
        &mut self,
        node: NodeId,
        announcement: Announcement,
        members: Option<&Membership>,
    ) {
        if self.peers.len() >= MAX_PEERS {
            self.peers.retain(|node, _| members.is_some_and(|members| members.contains(*node)));
        }
        self.peers.insert(node, announcement);
    }

    /// The highest version of the wire format that a peer has announced.
    pub(super) fn version(&self, node: NodeId) -> Option<u16> {
        self.peers.get(&node).map(|peer| peer.version)
    }

    fn check(&self, node: NodeId) -> Result<(), ChangeError> {
        match self.peers.get(&node) {
            Some(peer) if peer.version >= READS_STORES => Ok(()),
            Some(_) => Err(ChangeError::OlderProgram(node)),
            None => Err(ChangeError::NotConnected(node)),
        }
    }
}

impl<C: Clients> Pump<C> {
    /// This member is asked for one step toward a membership.
    pub(super) fn on_step(&mut self, target: &Membership, effects: &mut Effects<C>) {
        let checked = self.check_programs(target);
        if let Err(error) = checked.and_then(|()| self.step_membership(target, effects)) {
            effects.refused_changes.push(error);
        }
    }

    /// Steps the core, which appends a membership or refuses it by an output.
    pub(super) fn step_membership(
        &mut self,
        target: &Membership,
        effects: &mut Effects<C>,
    ) -> Result<(), ChangeError> {
        self.check_level(target)?;
        let target = Arc::new(self.with_stores(target)?);
        self.step(Input::ChangeMembership { target }, effects);
        Ok(())
    }

    /// Whether the programs of new members, as far as they are known, support the feature level in
    /// the log. Members of a level refuse to connect with a node that does not support it, so such
    /// a node never gets the log, and never becomes a voter.
    fn check_level(&self, target: &Membership) -> Result<(), ChangeError> {
        let Some(now) = self.raft.membership().filter(|_| self.raft.is_leader()) else {
            return Ok(());
        };
        if !self.knows_level() {
            return Err(ChangeRefusal::TermNotCommitted.into());
        }
        let level = self.level_in_log();
        let is_older = |node: &NodeId| {
            let version = self.announced.version(*node);
            version.is_some_and(|version| level_of_version(version) < level)
        };
        match target.members().filter(|node| !now.contains(*node)).find(is_older) {
            Some(node) if !planted!(self, OldProgramsAdmitted) => {
                Err(ChangeError::OlderProgram(node))
            }
            _ => Ok(()),
        }
    }

    /// Whether the members' programs read the memberships that a change writes. Only a leader knows
    /// this; the core refuses any other member's change.
    pub(super) fn check_programs(&self, target: &Membership) -> Result<(), ChangeError> {
        let own = self.identity.node;
        let Some(now) = self.raft.membership().filter(|_| self.raft.is_leader()) else {
            return Ok(());
        };
        if planted!(self, OldProgramsIgnored) {
            return Ok(());
        }
        let check = |node: NodeId| if node == own { Ok(()) } else { self.announced.check(node) };
        let votes = |node: &NodeId| now.is_voter(*node) || target.is_voter(*node);
        let stays = now.members().filter(|node| target.contains(*node));
        stays.filter(votes).try_for_each(check)?;
        if has_majority(now, |node| check(node).is_ok()) {
            return Ok(());
        }
        now.members().filter(|node| now.is_voter(*node)).try_for_each(check)
    }

    /// Whether no voter is known to run an older program. Before the voters change, members join as
    /// learners of a membership in which those that are about to leave still vote.
    pub(super) fn check_voters_now(&self) -> Result<(), ChangeError> {
        let now = self.raft.membership();
        let voters = now.into_iter().flat_map(|now| now.parts().voters.iter().copied());
        let check = |node| match self.announced.check(node) {
            Err(ChangeError::OlderProgram(_)) if !planted!(self, OldProgramsIgnored) => {
                Err(ChangeError::OlderProgram(node))
            }
            _ => Ok(()),
        };
        voters.filter(|node| *node != self.identity.node).try_for_each(check)
    }

    /// The target with the stores of its members, as far as they are known.
    fn with_stores(&self, target: &Membership) -> Result<Membership, ChangeError> {
        let mut parts: MembershipParts = target.parts().clone();
        let now = self.raft.membership();
        for node in target.members() {
            let own = (node == self.identity.node).then_some(self.identity.store);
            let announced = self.announced.peers.get(&node).map(|peer| peer.store);
            let is_new = now.is_none_or(|now| now.store(node).is_none());
            if let Some(store) = own.or(announced).filter(|_| is_new) {
                parts.stores.entry(node).or_insert(store);
            }
        }
        let sound = Membership::new(parts);
        sound.map_err(|why| ChangeError::Refused(ChangeRefusal::Unsound(why)))
    }
}
