//! Helpers for the tests of the RocksDB log, in addition to those of the suite.

use std::path::Path;

pub use harness::conformance::workbench::*;
use log_rocksdb::{RocksLog, RocksLogConfig};
use raft_core::storage::LogError;
use tempfile::TempDir;

/// Opens a log that writes tables often.
pub fn open(dir: &Path) -> Result<RocksLog, LogError> {
    RocksLog::open(RocksLogConfig::new(dir).with_memtable(100 << 10))
}

/// A copy of a log's files in another directory: the state that a kill would leave.
pub fn copy(dir: &Path) -> TempDir {
    let copied = tempfile::tempdir().expect("a directory");
    std::fs::create_dir(copied.path().join("db")).expect("creates");
    for name in files(dir) {
        std::fs::copy(dir.join(&name), copied.path().join(&name)).expect("copies");
    }
    copied
}

/// The names of a log's files, with the prefix `db/` for those of the database.
pub fn files(dir: &Path) -> Vec<String> {
    let list = |dir: &Path| -> Vec<String> {
        let entries = std::fs::read_dir(dir).expect("lists").map(|entry| entry.expect("a file"));
        let files = entries.filter(|entry| entry.path().is_file());
        files.map(|entry| entry.file_name().to_string_lossy().into_owned()).collect()
    };
    let parts = list(&dir.join("db")).into_iter().map(|name| format!("db/{name}"));
    let mut names: Vec<String> = list(dir).into_iter().chain(parts).collect();
    names.sort_unstable();
    names
}

/// The newest write-ahead log of a log.
pub fn newest_wal(dir: &Path) -> String {
    find_wal(dir).expect("RocksDB always has one")
}

/// The same while RocksDB is working: a listing may then miss both the old and the new file.
pub fn find_wal(dir: &Path) -> Option<String> {
    files(dir).into_iter().rfind(|name| name.ends_with(".log"))
}
