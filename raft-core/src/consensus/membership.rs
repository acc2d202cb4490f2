//! Which configuration is in force, and how a leader changes it.
//!
//! Section 6 of the paper; thesis, chapter 4. The newest membership *in the log* is in force from
//! the moment it is appended, committed or not, and truncating it restores the previous one (law
//! L13); [`log_view`](super::log_view) holds them. A request is answered whether or not its sender
//! is a member, since the sender's configuration may be newer than this one (K18).
//!
//! A change goes through the log, one step at a time (law L17):
//!
//! ```text
//!            voters differ                committed                    committed
//!   target ---------------> joint entry ----------> entry of the target ---------> settled
//!      |                                                  ^                           |
//!      +--------------------------------------------------+                           v
//!            only learners, metadata or stores differ        a leader that is no voter resigns
//! ```
//!
//! The leader leaves a joint membership by itself; if it is deposed before, the next leader does. A
//! leader that is not a voter of the target leads on, without counting itself, until the target is
//! committed (K23). It accepts no proposals in that time: it would not learn whether they are
//! committed. The members that the target leaves out are told that it is committed before the
//! leader forgets them. [`reconfiguration`](super::reconfiguration) holds the steps as pure
//! functions.
//!
//! A joint membership decides nothing without a majority of the voters to come, and cannot be taken
//! back. So a change begins only if such a majority answers (K43).
//!
//! Absent: how far a learner must have caught up before it may vote. The node decides this.

use alloc::collections::BTreeSet;
use alloc::sync::Arc;
use alloc::vec::Vec;

use super::message::Body;
use super::output::{Output, Source};
use super::planted::planted;
use super::progress::Progress;
use super::quorum::majority;
use super::raft::Raft;
use super::reconfiguration::{first_step, last_step};
use super::refusal::ChangeRefusal;
use super::role::{Leader, Role};
use crate::types::{LogIndex, Membership, MembershipParts, NodeId};

impl Raft {
    /// The newest membership in the log, committed or not; none on a blank store.
    pub fn membership(&self) -> Option<&Arc<Membership>> {
        if planted!(self, MembershipInForceOnceCommitted) {
            return self.log.membership_at(self.commit);
        }
        self.log.membership()
    }

    /// The index of the newest membership; that of the boundary if its entry was purged. The
    /// membership is committed once the commit index is at least this.
    pub fn membership_index(&self) -> LogIndex {
        self.log.membership_index()
    }

    /// The membership in force at an index, from the boundary on.
    pub fn membership_at(&self, index: LogIndex) -> Option<&Arc<Membership>> {
        self.log.membership_at(index)
    }

    /// The memberships in force from the commit index on, the oldest first: each may turn out to be
    /// the cluster's.
    pub fn live_memberships(&self) -> impl Iterator<Item = &Arc<Membership>> + Clone {
        self.log.memberships_from(self.commit)
    }

    /// Whether this member votes in a membership that is in force at the commit index or after it.
    /// A member that was removed may be needed until its removal is committed: its log may be the
    /// only one that is as new as that of a majority (K23).
    pub(super) fn may_stand_for_election(&self) -> bool {
        self.live_memberships().any(|membership| membership.is_voter(self.id()))
    }

    /// Whether this member was removed: the membership that is committed, as far as it knows, lacks
    /// it, although its node id was used. A node that has not joined yet has a greater id than any
    /// that was used, and an id is never used again.
    pub fn is_removed(&self) -> bool {
        let is_gone = |now: &Membership| !now.contains(self.id()) && self.id() <= now.highest();
        self.membership().is_some_and(|newest| is_gone(newest))
            && self.membership_at(self.commit).is_some_and(|committed| is_gone(committed))
    }

    /// The voters besides this member.
    pub(super) fn other_voters(&self) -> Vec<NodeId> {
        let Some(membership) = self.membership() else { return Vec::new() };
        let others = membership.members().filter(|node| *node != self.id());
        others.filter(|node| membership.is_voter(*node)).collect()
    }

    /// The other nodes to which a leader sends entries: the members of each membership in force
    /// from the commit index on. So a member that is removed gets entries until its removal is
    /// committed.
    pub(super) fn receivers(&self) -> BTreeSet<NodeId> {
        let members = self.live_memberships().flat_map(|live| live.members());
        let mut receivers: BTreeSet<NodeId> = members.collect();
        receivers.remove(&self.id());
        receivers
    }

    /// The membership with which two planted bugs count: the voters of both halves together, and
    /// this leader with them if it is no voter.
    pub(super) fn miscounted(&self, membership: &Membership) -> Membership {
        let mut parts = membership.parts().clone();
        if planted!(self, JointCountedTogether) {
            parts.voters.extend(core::mem::take(&mut parts.outgoing));
            parts.learners.retain(|node| !parts.voters.contains(node));
        }
        if planted!(self, RemovedLeaderCountsItself) {
            parts.voters.insert(self.id());
        }
        Membership::new(MembershipParts { highest: None, ..parts }).unwrap_or(membership.clone())
    }

    /// Whether this member leads, and the newest membership, which it has not committed yet, leaves
    /// it without a vote: then it accepts no proposals, and resigns once that membership is
    /// committed.
    pub fn is_leaving(&self) -> bool {
        self.is_leader() && self.membership().is_some_and(|now| !now.is_voter(self.id()))
    }

    // ---- changes ----

    /// Appends the first step of a change, or refuses it by name.
    pub(super) fn on_change(&mut self, target: &Membership, out: &mut Vec<Output>) {
        match self.check_change(target) {
            Ok(next) => self.append_membership(next, out),
            Err(why) => out.push(Output::ChangeRefused(why)),
        }
    }

    /// Whether a change may begin now, whatever its target.
    ///
    /// # Errors
    /// Why none may: this member does not lead, or a change, a transfer or the first commit of its
    /// term is still open.
    pub fn check_may_change(&self) -> Result<(), ChangeRefusal> {
        let (Role::Leader(leader), Some(now)) = (&self.role, self.membership()) else {
            return Err(ChangeRefusal::NotLeader { hint: self.leader() });
        };
        if let Some(to) = self.transfer_target() {
            return Err(ChangeRefusal::TransferUnderWay { to });
        }
        if self.commit < leader.first_of_term && !planted!(self, ChangeBeforeTermCommitted) {
            return Err(ChangeRefusal::TermNotCommitted);
        }
        let is_open = now.is_joint() || self.log.membership_index() > self.commit;
        if is_open && !planted!(self, TwoChangesAtOnce) {
            return Err(ChangeRefusal::UnderWay);
        }
        Ok(())
    }

    /// Whether a change to this target is possible at all, whatever the state of its members.
    ///
    /// # Errors
    /// Why it is not; [`ChangeRefusal::Unchanged`] if the newest membership is the target already.
    pub fn check_target(&self, target: &Membership) -> Result<(), ChangeRefusal> {
        match self.membership() {
            Some(now) => first_step(now, target).map(drop),
            None => Err(ChangeRefusal::NotLeader { hint: self.leader() }),
        }
    }

    /// The first step of a change, if this member may append it now.
    fn check_change(&self, target: &Membership) -> Result<Membership, ChangeRefusal> {
        self.check_may_change()?;
        let (Role::Leader(leader), Some(now)) = (&self.role, self.membership()) else {
            return Err(ChangeRefusal::NotLeader { hint: self.leader() });
        };
        let next = first_step(now, target)?;
        self.check_new_voters(leader, now, &next)?;
        if next.is_joint() {
            self.check_voters_answer(leader, &next)?;
        }
        Ok(next)
    }

    /// The voters to come that answered within the shortest election timeout must be a majority of
    /// them. Otherwise the joint membership, and all later entries, could not be committed, and the
    /// change could not be taken back.
    fn check_voters_answer(&self, leader: &Leader, next: &Membership) -> Result<(), ChangeRefusal> {
        let answers =
            |node: &NodeId| *node == self.id() || self.has_answered_recently(leader, *node);
        let voters = &next.parts().voters;
        let answering = voters.iter().filter(|node| answers(node)).count();
        let is_enough = answering >= majority(voters.len());
        match voters.iter().find(|node| !answers(node)) {
            Some(silent) if !is_enough && !planted!(self, ChangeToSilentVoters) => {
                Err(ChangeRefusal::VoterSilent(*silent))
            }
            _ => Ok(()),
        }
    }

    /// A new voter must be a learner that stores the membership in force. A member with a blank
    /// store does not vote, so a cluster whose majority were blank could never elect a leader
    /// again.
    fn check_new_voters(
        &self,
        leader: &Leader,
        now: &Membership,
        next: &Membership,
    ) -> Result<(), ChangeRefusal> {
        let needed = self.log.membership_index().max(LogIndex::new(1));
        let stores_it = |node| leader.peers.get(&node).is_some_and(|peer| peer.matched >= needed);
        let mut new = next.parts().voters.iter().copied().filter(|node| !now.is_voter(*node));
        match new.find(|node| !(now.contains(*node) && stores_it(*node))) {
            Some(node) => Err(ChangeRefusal::VoterNotReady(node)),
            None => Ok(()),
        }
    }

    fn append_membership(&mut self, next: Membership, out: &mut Vec<Output>) {
        let next = Arc::new(next);
        let index = self.log.last().next();
        self.append_own(1, Source::Membership(Arc::clone(&next)));
        self.log.note_membership(index, next);
        self.update_receivers();
        self.send_appended(out);
        // The membership in force may need fewer answers than the one before it.
        self.confirm_reads(out);
    }

    /// Adds the members that are new, and removes those that have left.
    fn update_receivers(&mut self) {
        let receivers = self.receivers();
        let next = self.log.last();
        let Role::Leader(leader) = &mut self.role else { return };
        leader.is_settled = false;
        leader.peers.retain(|node, _| receivers.contains(node));
        for node in receivers {
            leader.peers.entry(node).or_insert_with(|| Progress::new(next));
        }
    }

    /// An entry of this leader's term was committed, and so was everything before it.
    pub(super) fn continue_change(&mut self, out: &mut Vec<Output>) {
        match &self.role {
            Role::Leader(leader) if !leader.is_settled => {}
            _ => return,
        }
        let early = planted!(self, JointLeftBeforeCommitted);
        let Some(now) = self.log.membership().cloned() else { return };
        if self.log.membership_index() > self.commit && !(early && now.is_joint()) {
            return;
        }
        if now.is_joint() {
            return self.append_membership(last_step(&now), out);
        }
        if !planted!(self, RemovedMembersNotTold) {
            self.tell_those_that_left(out);
        }
        self.update_receivers();
        if let Role::Leader(leader) = &mut self.role {
            leader.is_settled = true;
        }
        if !now.is_voter(self.id()) && !planted!(self, RemovedLeaderLeadsOn) {
            self.resign(&now, out);
        }
    }

    /// Sends the commit index to the peers that are about to be forgotten, so that they learn that
    /// their removal is committed.
    fn tell_those_that_left(&mut self, out: &mut Vec<Output>) {
        let receivers = self.receivers();
        let Role::Leader(leader) = &self.role else { return };
        let left = leader.peers.keys().copied().filter(|node| !receivers.contains(node));
        for node in left.collect::<Vec<NodeId>>() {
            self.send_heartbeat(node, out);
        }
    }

    /// This leader does not vote in the membership that is committed now: it tells the others so,
    /// asks the voter with the longest log to campaign, and stops leading (K23).
    fn resign(&mut self, now: &Membership, out: &mut Vec<Output>) {
        self.broadcast_heartbeat(out);
        if let Some(voter) = self.best_voter(now) {
            self.send_now(voter, Body::TimeoutNow, out);
        }
        self.become_follower(self.term(), None, out);
    }

    /// The voter with the longest log. Of several, it is the target of an open transfer if that is
    /// one of them.
    fn best_voter(&self, now: &Membership) -> Option<NodeId> {
        let Role::Leader(leader) = &self.role else { return None };
        let target = self.transfer_target();
        let voters = leader.peers.iter().filter(|(node, _)| now.is_voter(**node));
        let best = voters.max_by_key(|(node, peer)| (peer.matched, target == Some(**node)));
        best.map(|(node, _)| *node)
    }
}
