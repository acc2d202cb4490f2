//! Members that run an older program: their handshakes, and what they may be sent.

use raft_core::types::{EntryId, NodeId};

use super::World;
use crate::checks::memberships::decides;
use crate::checks::{Check, Violation, hold};
use crate::sim::marks::Mark;
use crate::sim::member::OLD;

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
