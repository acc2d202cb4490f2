//! The SQLite log: a table of entries and a record of everything else, one transaction per batch.
//!
//! SQLite runs with a write-ahead log and a sync at each commit, votes and truncations included.
//! The layout is specified in `docs/formats/log-sqlite.md`. Where to begin reading:
//!
//! - `log` is the store: opening, the verbs of the contract, closing;
//! - `writer` runs the transactions, `reader` reads beside it; what of the log is in memory is a
//!   `LogSummary` of the contract;
//! - `database` holds the tables and SQLite's settings, `state` and `proof` are records of bytes;
//! - `directory`, `wal`, `recover` and `load` are the way from files back to a log. The first three
//!   look at the files before SQLite does, which would pass over damage in silence;
//! - `inspect` looks at all of that for people, and changes nothing.
//!
//! Absent: repair of damaged entries from peers, and a second process at the same database. People
//! may look into it with SQLite's own tools while no member runs; they must not write.

mod config;
mod database;
mod directory;
mod inspect;
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
pub use config::{DEFAULT_CHECKPOINT_BYTES, SqliteLogConfig};
pub use log::SqliteLog;
