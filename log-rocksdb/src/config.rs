//! The configuration of a RocksDB log.

use std::path::PathBuf;

use raft_core::types::LogIndex;

/// The default number of bytes that RocksDB keeps in memory before it writes a table.
pub const DEFAULT_MEMTABLE_BYTES: usize = 64 << 20;

/// The largest payload, in bytes; RocksDB's own limit for a value is higher.
pub(crate) const MAX_PAYLOAD_BYTES: u64 = 512 << 20;
/// The largest index of an entry; the largest number has no successor.
pub(crate) const MAX_INDEX: LogIndex = LogIndex::new(u64::MAX - 1);

/// How a RocksDB log is laid out and run.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RocksLogConfig {
    /// The directory, which holds only this log. Created if it does not exist.
    pub dir: PathBuf,
    /// How many bytes RocksDB keeps in memory before it writes a table; up to three times as much
    /// while the disk is slow. An open after a crash replays about this much, and about half of it
    /// may be purged before its space is reclaimed.
    pub memtable_bytes: usize,
    /// A planted bug, for tests of the tests.
    #[cfg(feature = "mutants")]
    pub mutant: Option<Mutant>,
}

/// A planted bug, which the conformance suite must find.
#[cfg(feature = "mutants")]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mutant {
    /// `sync=false`: a batch is in the kernel when its write returns, but not on the disk.
    WritesWithoutSync,
    /// The range of dropped tables ends at the first remaining entry, which RocksDB includes.
    DropsTheTableOfTheFirst,
}

impl RocksLogConfig {
    /// The defaults, in this directory.
    pub fn new(dir: impl Into<PathBuf>) -> RocksLogConfig {
        RocksLogConfig {
            dir: dir.into(),
            memtable_bytes: DEFAULT_MEMTABLE_BYTES,
            #[cfg(feature = "mutants")]
            mutant: None,
        }
    }

    /// The same configuration with tables of about this many bytes.
    pub fn with_memtable(self, memtable_bytes: usize) -> RocksLogConfig {
        RocksLogConfig { memtable_bytes, ..self }
    }
}
