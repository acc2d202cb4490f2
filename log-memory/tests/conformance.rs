//! The conformance suite on the memory log, on a disk of its own and volatile.

use harness::conformance::opened_by;
use log_memory::{MemoryDisk, MemoryLog, SyncMode};

harness::conformance!(on_a_disk, {
    let disk = MemoryDisk::new(SyncMode::EachWrite);
    opened_by(async move || MemoryLog::open(&disk))
});

harness::conformance!(volatile, opened_by(async || Ok(MemoryLog::new())));
