//! How a member learns that it was removed from the cluster, and stops.
//!
//! It learns this from its own log, if it has the entry that leaves it out and knows that the entry
//! is committed; or from a member that refuses its connection. Messages may be lost, and a member
//! that was removed gets none afterwards. So a member that knows no leader connects to the others
//! again and again: those that know of its removal say so ([`Event::Removed`](super::Event)).
//!
//! A member whose own log says so first has time to tell the others that its removal is committed,
//! and, if it led, to ask one of them to campaign.

use raft_core::types::NodeId;

use super::event::{Clients, Effects};
use super::planted::planted;
use super::{Pump, StopReason};

/// How long a member has been without a leader or without a membership.
#[derive(Debug, Default)]
pub(super) struct Removal {
    /// The tick at which this member learned from its log that it was removed.
    known_since: Option<u64>,
    /// The ticks since it last knew a leader.
    leaderless: u64,
}

impl<C: Clients> Pump<C> {
    /// One tick: a member without a leader connects to the others, and one that was removed stops.
    pub(super) fn tick_removal(&mut self, effects: &mut Effects<C>) {
        let removal = &mut self.removal;
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

    /// A member says that this one was removed.
    pub(super) fn on_removed(&mut self, by: NodeId, effects: &mut Effects<C>) {
        if !planted!(self, RemovedMemberStays) {
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
