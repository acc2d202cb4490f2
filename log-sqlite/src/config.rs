//! The settings of an SQLite log.

use std::path::PathBuf;

use raft_core::types::LogIndex;

/// The default size of the write-ahead log at which its pages are copied into the database.
pub const DEFAULT_CHECKPOINT_BYTES: u64 = 4 << 20;

/// The most bytes that one payload may have; SQLite's own limit for a row is higher.
pub(crate) const MAX_PAYLOAD_BYTES: u64 = 512 << 20;
/// The last index that a row can have, whose key is a signed number.
pub(crate) const MAX_INDEX: LogIndex = LogIndex::new(i64::MAX as u64);

/// The settings of an SQLite log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SqliteLogConfig {
    /// The directory, which holds only this log. It is created if it does not exist.
    pub dir: PathBuf,
    /// About how many bytes the write-ahead log holds before a checkpoint. A checkpoint costs two
    /// syncs, and then the write-ahead log starts again at its front, over blocks that were written
    /// before. It runs once the write that filled the log was answered; the next write waits for
    /// its end.
    pub checkpoint_bytes: u64,
    /// A planted bug, for tests of the tests.
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
