//! The conformance suite on the file log with small segments, in each of its ways of writing, and
//! on a split of a file log and a memory log.

use std::path::Path;

use harness::conformance::in_dir;
use log_file::{FileLog, FileLogConfig, Io, WriteVerb};
use log_memory::{MemoryDisk, MemoryLog, SyncMode};
use raft_core::storage::{Durability, LogError, Split, Store, StoreInfo};

harness::conformance!(file, in_dir(async |dir| open(dir)));

harness::conformance!(file_synced, in_dir(async |dir| open_by(dir, WriteVerb::Fdatasync)));

harness::conformance!(file_on_a_ring, in_dir(async |dir| open_on_a_ring(dir)));

harness::conformance!(file_with_votes_in_memory, {
    let disk = MemoryDisk::new(SyncMode::EachWrite);
    in_dir(async move |dir| Ok(split(open(dir)?, MemoryLog::open(&disk)?)))
});

harness::conformance!(memory_with_votes_in_a_file, {
    let disk = MemoryDisk::new(SyncMode::EachWrite);
    in_dir(async move |dir| Ok(split(MemoryLog::open(&disk)?, open(dir)?)))
});

fn open(dir: &Path) -> Result<FileLog, LogError> {
    open_by(dir, WriteVerb::Auto)
}

fn open_by(dir: &Path, write_verb: WriteVerb) -> Result<FileLog, LogError> {
    FileLog::open(FileLogConfig { io: Io::Thread, write_verb, ..small(dir) })
}

/// Where the machine forbids rings, this runs the log on a thread once more.
fn open_on_a_ring(dir: &Path) -> Result<FileLog, LogError> {
    FileLog::open(FileLogConfig { io: Io::Ring, ..small(dir) })
}

fn small(dir: &Path) -> FileLogConfig {
    FileLogConfig { segment_bytes: 16 << 10, ..FileLogConfig::new(dir) }
}

fn split<L: Store, S: Store>(log: L, stable: S) -> Split<L, S> {
    // One half is in memory, so no power cut on a disk can leave an image of it.
    let stable_info = StoreInfo { durability: Durability::ProcessCrash, ..stable.info() };
    Split::new(log, stable, stable_info)
}
