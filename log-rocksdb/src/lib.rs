//! The RocksDB log: entries and a record of everything else in one database, one synced write batch
//! per batch.
//!
//! Votes and truncations are part of the same write, so a batch is one atomic unit with one sync.
//! The layout is specified in `docs/formats/log-rocksdb.md`. Where to begin reading:
//!
//! - `log` is the store: opening, the verbs of the contract, closing. What the contract refuses is
//!   refused by raft-core's gate, before anything is written;
//! - `writer` makes the write batches, `reader` reads beside it, `compactor` gives purged space
//!   back; what of the log is in memory is a `LogSummary` of the contract;
//! - `database` holds RocksDB's settings, `keys`, `state` and `proof` are the stored bytes, `load`
//!   makes a summary of them;
//! - `directory`, `framing`, `wal` and `recover` are the way from files back to a log. They look at
//!   the files before RocksDB may change them: in its tolerant modes it passes over damage in
//!   silence, in its strict one it takes a torn write for damage, and one damage it reads for ever;
//! - `inspect` looks at a log without changing a byte, and checks all of it.
//!
//! Absent: repair of damaged entries from peers, a second process at the same database, and several
//! groups in one database. RocksDB's own tools may look into `db/` while no member runs; they must
//! not write.

mod compactor;
mod config;
mod database;
mod directory;
mod framing;
mod inspect;
mod keys;
mod load;
mod log;
mod proof;
mod reader;
mod recover;
mod state;
mod wal;
mod writer;

#[cfg(feature = "mutants")]
pub use config::Mutant;
pub use config::{DEFAULT_MEMTABLE_BYTES, RocksLogConfig};
pub use log::RocksLog;
