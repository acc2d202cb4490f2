//! Helpers of the tests of the SQLite log, in addition to the workbench of the suite.

use std::path::Path;

pub use harness::conformance::workbench::*;
use log_sqlite::{SqliteLog, SqliteLogConfig};
use raft_core::storage::LogError;
use tempfile::TempDir;

/// Opens a log that checkpoints often.
pub fn open(dir: &Path) -> Result<SqliteLog, LogError> {
    SqliteLog::open(SqliteLogConfig { checkpoint_bytes: 100 << 10, ..SqliteLogConfig::new(dir) })
}

/// Copies the present files of a log to another directory: what a kill would leave.
pub fn copy(dir: &Path) -> TempDir {
    let copied = tempfile::tempdir().expect("a directory");
    for file in std::fs::read_dir(dir).expect("lists") {
        let file = file.expect("a file");
        std::fs::copy(file.path(), copied.path().join(file.file_name())).expect("copies");
    }
    copied
}
