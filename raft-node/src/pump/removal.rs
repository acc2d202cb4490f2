//! How a member learns that it was removed from the cluster, and stops.
//!
//! It learns this from its own log, if it has the entry that leaves it out and knows that the entry
//! is committed; or from a member that refuses its connection. Messages may be lost, and a member
//! that was removed gets none afterwards. So a member that knows no leader connects to the others
//! again and again: those that know of its removal say so ([`Event::Removed`](super::Event)).
//!
//! A member whose own log says so first has time to tell the others that its removal is committed,
//! and, if it led, to ask one of them to campaign.
//!
//! The other members stay connected with a removed one for an election timeout after its removal is
//! committed. Its last answers are still on their way then: a leader that was removed answers the
//! forwards of followers that know of the removal already.

use std::collections::VecDeque;
use std::sync::Arc;

use raft_core::types::{Membership, NodeId};

use super::effects::Effects;
use super::event::Clients;
use super::planted::planted;
use super::{Pump, StopReason};

/// The most former memberships that are remembered. A cluster that changes more often than this
/// within an election timeout forgets the oldest early.
const MAX_FORMER: usize = 16;

/// How long a member has been without a leader, and which memberships were in force lately.
#[derive(Debug, Default)]
pub(super) struct Removal {
    /// The tick at which this member learned from its log that it was removed.
    known_since: Option<u64>,
    /// The ticks since it last knew a leader.
    leaderless: u64,
    /// The oldest membership in force at the end of the last turn: the committed one.
    committed: Option<Arc<Membership>>,
    /// The committed memberships before it, the oldest first, and until which tick their members
    /// stay connected.
    former: VecDeque<(u64, Arc<Membership>)>,
}

impl<C: Clients> Pump<C> {
    /// The memberships whose members this one is connected with, the oldest first: those in force
    /// from the commit index on, and those that were committed within the last election timeout.
    pub fn connected_memberships(&self) -> impl Iterator<Item = &Arc<Membership>> + Clone {
        let former = self.removal.former.iter().map(|(_, membership)| membership);
        former.chain(self.raft.live_memberships())
    }

    /// Remembers the membership that was committed before this turn, if another one is now.
    pub(super) fn note_former_membership(&mut self) {
        let (now, removal) = (self.raft.live_memberships().next(), &mut self.removal);
        if now.map(Arc::as_ptr) == removal.committed.as_ref().map(Arc::as_ptr) {
            return;
        }
        let before = std::mem::replace(&mut removal.committed, now.cloned());
        let until = self.now + self.election_ticks;
        removal.former.extend(before.map(|before| (until, before)));
        if removal.former.len() > MAX_FORMER {
            removal.former.pop_front();
        }
    }

    /// One tick: a member without a leader connects to the others, and one that was removed stops.
    pub(super) fn tick_removal(&mut self, effects: &mut Effects<C>) {
        let removal = &mut self.removal;
        removal.former.retain(|(until, _)| *until > self.now);
        removal.leaderless = if self.raft.leader().is_some() { 0 } else { removal.leaderless + 1 };
        let is_due =
            removal.leaderless > 0 && removal.leaderless.is_multiple_of(self.election_ticks);
        if is_due && !planted!(self, OthersNotAsked) {
            let members = self.raft.membership().into_iter().flat_map(|now| now.members());
            effects.connects.extend(members.filter(|node| *node != self.identity.node));
        }
        if self.was_removed() {
            let since = *self.removal.known_since.get_or_insert(self.now);
            if self.now - since >= self.election_ticks {
                self.stop(StopReason::Removed { by: None }, effects);
            }
        }
    }

    /// A member says that this one was removed. A member that knows it already stops in time by
    /// itself.
    pub(super) fn on_removed(&mut self, by: NodeId, effects: &mut Effects<C>) {
        if !self.raft.is_removed() && !planted!(self, RemovedMemberStays) {
            self.stop(StopReason::Removed { by: Some(by) }, effects);
        }
    }

    fn was_removed(&self) -> bool {
        if planted!(self, StopsBeforeRemovalCommitted) {
            let own = self.identity.node;
            let newest = self.raft.membership();
            return newest.is_some_and(|now| !now.contains(own) && own <= now.highest());
        }
        self.raft.is_removed() && !planted!(self, RemovedMemberStays)
    }
}
