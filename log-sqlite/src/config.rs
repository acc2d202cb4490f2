//! What a user may choose about an SQLite log.

use std::path::PathBuf;

use raft_core::types::LogIndex;

/// How large the write-ahead log grows before its pages are copied into the database, unless told
/// otherwise.
pub const DEFAULT_CHECKPOINT_BYTES: u64 = 4 << 20;

/// The most bytes that one payload may have; SQLite's own limit for a row lies above it.
pub(crate) const MAX_PAYLOAD_BYTES: u64 = 512 << 20;
/// The last index that a row can have, whose key is a signed number.
pub(crate) const MAX_INDEX: LogIndex = LogIndex::new(i64::MAX as u64);

/// How an SQLite log is laid out and run.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SqliteLogConfig {
    /// The directory, which holds nothing but this log. Created if it is not there.
    pub dir: PathBuf,
    /// About how many bytes the write-ahead log gathers before a checkpoint. A checkpoint costs two
    /// syncs, and the log begins again at its front, over blocks that are written already.
    pub checkpoint_bytes: u64,
    /// A bug to run with, for tests of the tests.
    #[cfg(feature = "mutants")]
    pub mutant: Option<Mutant>,
}

/// A planted bug, which the power cuts of the conformance suite must find.
#[cfg(feature = "mutants")]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mutant {
    /// `synchronous=NORMAL`: commits do not wait for the disk, only checkpoints do.
    SynchronousNormal,
}

impl SqliteLogConfig {
    /// The defaults, in this directory.
    pub fn new(dir: impl Into<PathBuf>) -> SqliteLogConfig {
        SqliteLogConfig {
            dir: dir.into(),
            checkpoint_bytes: DEFAULT_CHECKPOINT_BYTES,
            #[cfg(feature = "mutants")]
            mutant: None,
        }
    }
}
