//! Backends, mounted on simulated disks.

use harness::sim::{Chance, SimulatedDisk};
use log_memory::{MemoryDisk, MemoryLog, SyncMode};
use raft_core::storage::{LogError, Store};

/// The memory log, on a disk that loses what was not synced.
pub struct MountedMemory {
    disk: MemoryDisk,
    chance: Chance,
}

impl MountedMemory {
    /// A blank disk.
    pub fn blank(_member: u64, chance: Chance) -> Box<dyn SimulatedDisk> {
        Box::new(MountedMemory { disk: MemoryDisk::new(SyncMode::WhenTold), chance })
    }
}

impl SimulatedDisk for MountedMemory {
    fn open(&mut self) -> Result<Box<dyn Store>, LogError> {
        Ok(Box::new(MemoryLog::open(&self.disk)?))
    }

    fn syncs_apart(&self) -> bool {
        true
    }

    fn sync(&mut self) {
        self.disk.sync_first(1);
    }

    fn fail_next_write(&mut self) {
        self.disk.fail_write_after(0);
    }

    fn cut_power(&mut self) {
        let unsynced = self.disk.unsynced() as u64;
        self.disk.crash(self.chance.between(0, unsynced) as usize);
    }
}
