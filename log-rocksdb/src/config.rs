//! What a user may choose about a RocksDB log.

use std::path::PathBuf;

use raft_core::types::LogIndex;

/// How many bytes RocksDB gathers in memory before it writes a table, unless told otherwise.
pub const DEFAULT_MEMTABLE_BYTES: usize = 64 << 20;

/// The most bytes that one payload may have; RocksDB's own limit for a value lies above it.
pub(crate) const MAX_PAYLOAD_BYTES: u64 = 512 << 20;
/// The last index that an entry can have; the greatest number has no successor.
pub(crate) const MAX_INDEX: LogIndex = LogIndex::new(u64::MAX - 1);

/// How a RocksDB log is laid out and run.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RocksLogConfig {
    /// The directory, which holds nothing but this log. Created if it is not there.
    pub dir: PathBuf,
    /// How many bytes RocksDB gathers in memory before it writes a table; up to three times as much
    /// while the disk is behind. An open after a crash replays about as much, and about half of it
    /// may be purged before its space is given back.
    pub memtable_bytes: usize,
    /// A bug to run with, for tests of the tests.
    #[cfg(feature = "mutants")]
    pub mutant: Option<Mutant>,
}

/// A planted bug, which the conformance suite must find.
#[cfg(feature = "mutants")]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mutant {
    /// `sync=false`: a batch is in the kernel when its write returns, and not on the disk.
    WritesWithoutSync,
    /// Tables are dropped up to the first entry that stays, and RocksDB takes that for inside.
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

    /// The same, with tables of about this many bytes.
    pub fn with_memtable(self, memtable_bytes: usize) -> RocksLogConfig {
        RocksLogConfig { memtable_bytes, ..self }
    }
}
