//! What happens when a majority of the members lose their disks.
//!
//! They come back as they were bootstrapped, under their old names, and may elect a leader that
//! lacks what was committed. The checks of the laws end here, since the laws rely on disks that do
//! not lose data. Either a member with its old disk is elected, and its log prevails; or each
//! member with its old disk meets another history, and must stop. A member whose new history was
//! committed also stops when it meets the old one.

use super::World;
use crate::checks::{Check, Violation, hold};
use crate::rng::Rng;
use crate::sim::marks::Mark;
use crate::sim::{DiskFactory, TICK, Time};

impl World {
    /// All members stop, a majority of them lose their disks, and all start again.
    pub(crate) fn lose_memory(&mut self, disks: &DiskFactory<'_>) -> Result<(), Violation> {
        let mut rng = Rng::stream(self.plan.seed, "memory", 0);
        self.journal.note(0, "loses memory", format_args!("a majority lose their disks"));
        self.lost_memory = true;
        let count = self.members.len();
        let first = rng.below(count as u64) as usize;
        for at in 0..count {
            // They start one after another, so that sometimes one history wins, sometimes the
            // other.
            self.crash(at, TICK * rng.between(1, 100) as Time)?;
        }
        for step in 0..count / 2 + 1 {
            let member = &mut self.members[(first + step) % count];
            let platter = Rng::stream(self.plan.seed, "second platter", member.id.get());
            let disk = disks(member.id.get(), platter);
            let bootstrapped = member.lose_memory(disk, count as u64);
            bootstrapped.map_err(|error| super::store_failed(member.id, &error))?;
        }
        Ok(())
    }

    /// No member that runs follows a leader whose log has another entry where one is committed
    /// here.
    pub(crate) fn check_histories(&mut self) -> Result<(), Violation> {
        let lost = self.members.iter().filter(|member| member.has_lost_data).count();
        self.marks.hit_if(lost > 0, Mark::DataLossReported);
        for raft in self.members.iter().filter_map(|member| Some(member.pump.as_ref()?.raft())) {
            let Some(leader) = raft.leader() else { continue };
            let leader = &self.members[leader.get() as usize - 1];
            for index in (1..=raft.commit().get()).map(raft_core::types::LogIndex::new) {
                let same = !leader.is_up() || leader.term_at(index) == raft.term_at(index);
                hold(same, Check::CommittedForEver, || {
                    format!("{} follows {}, which lacks its entry {index}", raft.id(), leader.id)
                })?;
            }
        }
        Ok(())
    }
}
