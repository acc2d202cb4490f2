//! Backends, mounted on simulated disks. Shared by the program and the test.

use std::sync::Arc;

use harness::sim::{Chance, SimulatedDisk};
use log_file::{Alignment, Fault, FileLog, FileLogConfig, Housekeeping, SimDisk};
use log_memory::{MemoryDisk, MemoryLog, SyncMode};
use raft_core::storage::{LogError, Store};

/// The stores that can be mounted.
pub const STORES: [&str; 3] = ["memory", "file", "mixed"];

/// The blank disk of one member, for the store of this name.
pub fn blank(store: &str, member: u64, chance: Chance) -> Option<Box<dyn SimulatedDisk>> {
    match store {
        "memory" => Some(MountedMemory::blank(chance)),
        "file" => Some(MountedFile::blank(chance)),
        // A cluster of both: what one of them does wrong, the other shows.
        "mixed" if member.is_multiple_of(2) => Some(MountedFile::blank(chance)),
        "mixed" => Some(MountedMemory::blank(chance)),
        _ => None,
    }
}

/// The memory log, on a disk that loses what was not synced.
pub struct MountedMemory {
    disk: MemoryDisk,
    chance: Chance,
}

impl MountedMemory {
    fn blank(chance: Chance) -> Box<dyn SimulatedDisk> {
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

    fn forget_failures(&mut self) {
        self.disk.fail_write_after(u64::MAX);
    }

    fn cut_power(&mut self) {
        let unsynced = self.disk.unsynced() as u64;
        self.disk.crash(self.chance.between(0, unsynced) as usize);
    }
}

/// The flat-file log, on a directory that may lose any part of what was not synced.
pub struct MountedFile {
    disk: SimDisk,
    chance: Chance,
    alignment: Alignment,
}

impl MountedFile {
    fn blank(mut chance: Chance) -> Box<dyn SimulatedDisk> {
        let alignment = chance.one_of(&[Alignment::Packed, Alignment::Sector, Alignment::Page]);
        Box::new(MountedFile { disk: SimDisk::new(chance.draw()), chance, alignment })
    }

    fn plan(&mut self, farthest: u64, fault: Fault) {
        let operation = self.disk.operations() + self.chance.below(farthest);
        self.disk.plan_fault(operation, fault);
    }
}

impl SimulatedDisk for MountedFile {
    fn open(&mut self) -> Result<Box<dyn Store>, LogError> {
        let config = FileLogConfig {
            segment_bytes: 32 << 10,
            alignment: self.alignment,
            housekeeping: Housekeeping::Inline,
            ..FileLogConfig::new("simulated")
        };
        Ok(Box::new(FileLog::open_on(Arc::new(self.disk.clone()), &config)?))
    }

    fn syncs_apart(&self) -> bool {
        false
    }

    fn fail_next_write(&mut self) {
        self.plan(2, Fault::Error(std::io::ErrorKind::Other));
    }

    fn forget_failures(&mut self) {
        self.disk.plan_fault(u64::MAX, Fault::PowerOff);
    }

    fn cut_power_during_next_write(&mut self) {
        self.plan(4, Fault::PowerOff);
    }

    fn cut_power(&mut self) {
        self.disk.crash(self.chance.draw());
    }
}
