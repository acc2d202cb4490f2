//! The RocksDB log: the entries, and one record with everything else, in one database; one synced
//! write batch per batch.
//!
//! Votes and truncations are part of the same write, so a batch is one atomic unit with one sync.
//! The layout is specified in `docs/formats/log-rocksdb.md`. Where to start reading:
//!
//! - `log` is the store: opening, the contract's methods, closing. raft-core's gate refuses what
//!   the contract refuses, before anything is written;
//! - `writer` builds the write batches, `reader` reads beside it, `compactor` reclaims purged
//!   space; a `LogSummary` of the contract is the part of the log that is in memory;
//! - `database` holds RocksDB's settings, `keys`, `state` and `durable_mark` are the stored bytes,
//!   `load` builds a summary from them;
//! - `directory`, `framing`, `wal` and `recover` turn files back into a log. They check the files
//!   before RocksDB may change them: its tolerant modes skip damage silently, its strict mode
//!   reports a torn write as damage, and one kind of damage makes it loop;
//! - `inspect` inspects a log without changing a byte, and checks all of it.
//!
//! Deliberately absent: repair of damaged entries from peers, a second process on the same
//! database, and several groups in one database. RocksDB's own tools may read `db/` while no member
//! runs; they must not write.

mod compactor;
mod config;
mod database;
mod directory;
mod durable_mark;
mod framing;
mod inspect;
mod keys;
mod load;
mod log;
mod reader;
mod recover;
mod state;
mod wal;
mod writer;

#[cfg(feature = "mutants")]
pub use config::Mutant;
pub use config::{DEFAULT_MEMTABLE_BYTES, RocksLogConfig};
pub use log::RocksLog;
