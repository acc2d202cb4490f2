//! What happens after a majority of the members have lost their disks.
//!
//! They restart with the state of their bootstrap, under their old ids, and may elect a leader that
//! lacks committed entries. A node that had joined restarts with a blank store. The laws are no
//! longer checked, since they assume that disks keep their data. Either a member that still has its
//! data is elected, and its log prevails; or each such member receives entries that contradict its
//! committed ones, and must stop. In the same way a member that has committed new entries stops
//! when it receives the old ones.

use super::World;
use crate::checks::{Check, Violation, hold};
use crate::rng::Rng;
use crate::sim::marks::Mark;
use crate::sim::{DiskFactory, TICK, Time};

impl World {
    /// All members stop, a majority of them lose their disks, and all start again.
    pub(crate) fn lose_disks(&mut self, disks: &DiskFactory<'_>) -> Result<(), Violation> {
        let mut rng = Rng::stream(self.plan.seed, "memory", 0);
        self.journal.note(0, "loses memory", format_args!("a majority lose their disks"));
        self.lost_disks = true;
        let count = self.members.len();
        let first = rng.below(count as u64) as usize;
        for at in 0..count {
            // The members restart one after another, so that sometimes the old log prevails and
            // sometimes the new one.
            self.crash(at, TICK * rng.between(1, 100) as Time)?;
        }
        for step in 0..count / 2 + 1 {
            let member = &mut self.members[(first + step) % count];
            let rng = Rng::stream(self.plan.seed, "second platter", member.id.get());
            let disk = disks(member.id.get(), rng);
            let bootstrapped = member.lose_disks(disk, self.plan.members);
            bootstrapped.map_err(|error| super::store_failed(member.id, &error))?;
        }
        Ok(())
    }

    /// Checks that no running member follows a leader whose log lacks an entry that the member
    /// knows to be committed, or has another entry at its index.
    pub(crate) fn check_histories(&mut self) -> Result<(), Violation> {
        let lost = self.members.iter().filter(|member| member.has_lost_data).count();
        self.marks.hit_if(lost > 0, Mark::DataLossReported);
        for raft in self.members.iter().filter_map(|member| Some(member.pump.as_ref()?.raft())) {
            let Some(leader) = raft.leader() else { continue };
            let leader = &self.members[leader.get() as usize - 1];
            for index in (1..=raft.commit().get()).map(raft_core::types::LogIndex::new) {
                let is_purged = index < raft.boundary().index || leader.has_purged(index);
                let same = is_purged || leader.term_at(index) == raft.term_at(index);
                let same = same || !leader.is_up();
                hold(same, Check::CommittedForEver, || {
                    format!("{} follows {}, which lacks its entry {index}", raft.id(), leader.id)
                })?;
            }
        }
        Ok(())
    }
}
