//! The SQLite log: a table of entries and a record of everything else, one transaction per batch.
//!
//! SQLite runs with a write-ahead log and a sync at each commit, votes and truncations included.
//! The layout is specified in `docs/formats/log-sqlite.md`. Where to start reading:
//!
//! - `log` is the store: opening, the verbs of the contract, closing;
//! - `writer` runs the transactions, `checkpointer` works between them, and `reader` reads in
//!   parallel with both; a `LogSummary` of the contract is the part of the log in memory;
//! - `database` holds the tables and SQLite's settings, `full_disk` finds the errors that mean a
//!   full disk, and `state` and `durable_mark` are records of bytes;
//! - `directory`, `wal`, `recover` and `load` open a log from its files. The first three check the
//!   files before SQLite reads them, because SQLite would skip damage without a report;
//! - `inspect` reports the content and the state of a log for an operator, and changes nothing.
//!
//! Absent: repair of damaged entries from peers, and a second process on the same database.
//! SQLite's own tools may read it while no member runs, but must not write.

mod checkpointer;
mod config;
mod database;
mod directory;
mod durable_mark;
mod full_disk;
mod inspect;
mod load;
mod log;
mod reader;
mod recover;
mod state;
mod wal;
mod writer;

#[cfg(feature = "mutants")]
pub use config::Mutant;
pub use config::{DEFAULT_CHECKPOINT_BYTES, SqliteLogConfig};
pub use log::SqliteLog;
