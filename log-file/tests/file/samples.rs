//! Helpers for the tests of the flat-file log, in addition to the suite's workbench.

use std::sync::Arc;

pub use harness::conformance::workbench::*;
use log_file::{FileLog, FileLogConfig, Housekeeping, SimDisk};
use raft_core::storage::LogError;

/// The smallest segments, and all work done in order.
pub fn config() -> FileLogConfig {
    FileLogConfig {
        segment_bytes: 16 << 10,
        housekeeping: Housekeeping::Inline,
        ..FileLogConfig::new("not used")
    }
}

pub fn open(disk: &SimDisk) -> Result<FileLog, LogError> {
    FileLog::open_on(Arc::new(disk.clone()), &config())
}
