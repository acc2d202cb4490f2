//! Members that run an older program: their handshakes, and what they may be sent.

use raft_core::types::{EntryId, NodeId};

use super::World;
use crate::checks::memberships::decides;
use crate::checks::{Check, Violation, hold};
use crate::sim::marks::Mark;
use crate::sim::member::{NEW, OLD};

impl World {
    /// A message from one member arrives at another: they have a connection, so each knows what the
    /// other's program reads.
    pub(super) fn shake_hands(&mut self, one: usize, other: usize) {
        for (at, peer) in [(one, other), (other, one)] {
            let announcement = self.members[peer].announcement();
            let peer = self.members[peer].id;
            let member = &mut self.members[at];
            if member.is_up() && member.met.insert(peer) {
                member.mailbox.push(announcement);
            }
        }
    }

    /// Whether each program speaks the lowest version that the other member demands.
    pub(super) fn programs_may_connect(&self, one: usize, other: usize) -> bool {
        let (one, other) = (&self.members[one], &self.members[other]);
        one.version >= other.lowest_version() && other.version >= one.lowest_version()
    }

    /// A member could not connect. In calm, the older program is replaced.
    pub(super) fn refuse_older_program(
        &mut self,
        one: usize,
        other: usize,
    ) -> Result<(), Violation> {
        self.marks.hit(Mark::OlderProgramRefused);
        let is_old = |at: &usize| self.members[*at].version == OLD;
        match [one, other].into_iter().find(is_old).filter(|_| self.calm) {
            Some(at) => {
                self.members[at].version = NEW;
                self.crash(at, 0)
            }
            None => Ok(()),
        }
    }

    /// A member stops because its program does not support the feature level that an entry brings.
    /// It must run an older program, and must not have been a member when the level was raised: it
    /// has joined later, without having told the leader which program it runs.
    pub(super) fn check_newer_level(&mut self, at: usize, id: EntryId) -> Result<(), Violation> {
        let member = &self.members[at];
        let disks = self.members.iter().map(|other| self.laws.disk(other.id));
        let mut before = disks.filter(|disk| disk.holds(id)).filter_map(|disk| {
            disk.membership_before(id.index).map(|(_, membership)| membership.contains(member.id))
        });
        let was_member = before.any(|was_member| was_member);
        let is_lawful = member.version == OLD && !was_member;
        hold(self.lost_disks || is_lawful, Check::SoundMessages, || {
            format!("{} does not support the feature level of {id}", member.id)
        })
    }

    /// A member stops because it cannot read a membership. It must run an older program, and a
    /// majority of the voters must be able to read the membership, without which nothing could be
    /// written any more.
    pub(super) fn check_unreadable(&mut self, at: usize, id: EntryId) -> Result<(), Violation> {
        self.marks.hit(Mark::MembershipUnreadable);
        let member = &self.members[at];
        let disks = self.members.iter().map(|other| self.laws.disk(other.id));
        let holders = disks.filter(|disk| disk.holds(id));
        let memberships = holders.filter_map(|disk| disk.membership_before(id.index.next()));
        let reads = |node: NodeId| self.members[node.get() as usize - 1].version != OLD;
        let mut those = memberships.filter(|(index, _)| *index == id.index);
        let is_lawful = member.version == OLD && those.all(|(_, now)| decides(now, reads));
        hold(self.lost_disks || is_lawful, Check::SoundMessages, || {
            format!("{} cannot read the membership of {id}, and too many others neither", member.id)
        })
    }
}
