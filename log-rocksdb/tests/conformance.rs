//! Runs the conformance suite on the RocksDB log, with a table every few hundred kilobytes.

use harness::conformance::in_dir;
use log_rocksdb::{RocksLog, RocksLogConfig};

harness::conformance!(
    rocksdb,
    in_dir(async |dir| RocksLog::open(RocksLogConfig::new(dir).with_memtable(256 << 10)))
);
