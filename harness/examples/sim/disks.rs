//! Backends on simulated disks. The example program and the test `simulation` share this module.

use std::sync::Arc;

use harness::sim::{Rng, SimulatedDisk};
use log_file::{Alignment, Fault, FileLog, FileLogConfig, Housekeeping, SimDisk};
use log_memory::{MemoryDisk, MemoryLog, SyncMode};
use raft_core::storage::{LogError, Store};

/// The names of the stores that the simulator can run on.
pub const STORES: [&str; 3] = ["memory", "file", "mixed"];

/// Creates the blank disk of one member, for the store with this name.
pub fn blank(store: &str, member: u64, rng: Rng) -> Option<Box<dyn SimulatedDisk>> {
    match store {
        "memory" => Some(MountedMemory::blank(rng)),
        "file" => Some(MountedFile::blank(rng)),
        // A cluster of both: a fault of one store shows as a difference from the other.
        "mixed" if member.is_multiple_of(2) => Some(MountedFile::blank(rng)),
        "mixed" => Some(MountedMemory::blank(rng)),
        _ => None,
    }
}

/// The memory log, on a disk that loses unsynced data.
pub struct MountedMemory {
    disk: MemoryDisk,
    rng: Rng,
}

impl MountedMemory {
    fn blank(rng: Rng) -> Box<dyn SimulatedDisk> {
        Box::new(MountedMemory { disk: MemoryDisk::new(SyncMode::OnRequest), rng })
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
        self.disk.crash(self.rng.between(0, unsynced) as usize);
    }
}

/// The flat-file log, on a directory that may lose any part of the unsynced data.
pub struct MountedFile {
    disk: SimDisk,
    rng: Rng,
    alignment: Alignment,
}

impl MountedFile {
    fn blank(mut rng: Rng) -> Box<dyn SimulatedDisk> {
        let alignment = rng.one_of(&[Alignment::Packed, Alignment::Sector, Alignment::Page]);
        Box::new(MountedFile { disk: SimDisk::new(rng.draw()), rng, alignment })
    }

    fn plan_fault(&mut self, within: u64, fault: Fault) {
        let operation = self.disk.operations() + self.rng.below(within);
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
        self.plan_fault(2, Fault::Error(std::io::ErrorKind::Other));
    }

    fn forget_failures(&mut self) {
        self.disk.plan_fault(u64::MAX, Fault::PowerOff);
    }

    fn cut_power_during_next_write(&mut self) {
        self.plan_fault(4, Fault::PowerOff);
    }

    fn cut_power(&mut self) {
        self.disk.crash(self.rng.draw());
    }
}
