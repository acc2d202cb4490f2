//! The conformance suite on the SQLite log, with a checkpoint every few batches.

use harness::conformance::in_dir;
use log_sqlite::{SqliteLog, SqliteLogConfig};

harness::conformance!(
    sqlite,
    in_dir(async |dir| {
        SqliteLog::open(SqliteLogConfig { checkpoint_bytes: 60 << 10, ..SqliteLogConfig::new(dir) })
    })
);
