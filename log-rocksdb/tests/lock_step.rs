//! Runs all backends of this project with the same operations and compares them.

use std::path::Path;
use std::sync::Arc;

use harness::conformance::{Factory, NamedStore, Place, in_dir, lock_step, opened_by};
use log_file::{FileLog, FileLogConfig};
use log_memory::{MemoryDisk, MemoryLog, SyncMode};
use log_rocksdb::{RocksLog, RocksLogConfig};
use log_sqlite::{SqliteLog, SqliteLogConfig};
use raft_core::storage::LogError;

#[test]
fn all_backends_behave_the_same() {
    let row = vec![
        NamedStore::new("memory", factory(on_a_memory_disk)),
        NamedStore::new("file", factory(|| in_dir(async |dir| file(dir)))),
        NamedStore::new("sqlite", factory(|| in_dir(async |dir| sqlite(dir)))),
        NamedStore::new("rocksdb", factory(|| in_dir(async |dir| rocksdb(dir)))),
    ];
    if let Err(failure) = lock_step(row) {
        panic!("{failure}");
    }
}

fn factory<P: Place + 'static>(place: impl Fn() -> P + Send + Sync + 'static) -> Factory {
    Arc::new(move || Box::new(place()))
}

fn on_a_memory_disk() -> impl Place {
    let disk = MemoryDisk::new(SyncMode::EachWrite);
    opened_by(async move || MemoryLog::open(&disk))
}

fn file(dir: &Path) -> Result<FileLog, LogError> {
    FileLog::open(FileLogConfig { segment_bytes: 16 << 10, ..FileLogConfig::new(dir) })
}

fn sqlite(dir: &Path) -> Result<SqliteLog, LogError> {
    SqliteLog::open(SqliteLogConfig { checkpoint_bytes: 60 << 10, ..SqliteLogConfig::new(dir) })
}

fn rocksdb(dir: &Path) -> Result<RocksLog, LogError> {
    RocksLog::open(RocksLogConfig::new(dir).with_memtable(100 << 10))
}
