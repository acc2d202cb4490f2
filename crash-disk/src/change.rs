//! What a disk notes down: each operation that changes something, in the order in which it came.

use std::ffi::OsString;
use std::path::PathBuf;

use bytes::Bytes;
use serde::{Deserialize, Serialize};

/// The number of a file or a directory; it is never used again.
pub type Ino = u64;

/// The directory that is mounted.
pub const ROOT: Ino = 1;

/// What a new file is.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Kind {
    /// A file with bytes in it.
    File,
    /// A directory.
    Directory,
    /// A name that stands for another path.
    Symlink(PathBuf),
}

/// A name in a directory.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Name {
    /// The directory.
    pub dir: Ino,
    /// The name in it.
    pub name: OsString,
}

/// One operation.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Change {
    /// A new file, directory or symbolic link, under its first name.
    Create {
        /// Its number.
        ino: Ino,
        /// What it is.
        kind: Kind,
        /// Its name.
        at: Name,
    },
    /// One more name for a file.
    Link {
        /// The file.
        ino: Ino,
        /// The new name.
        at: Name,
    },
    /// A name is removed, of a file or of an empty directory.
    Unlink {
        /// The name.
        at: Name,
    },
    /// A name moves, and replaces what has the new name, in one step.
    Rename {
        /// The old name.
        from: Name,
        /// The new name.
        to: Name,
        /// Whether the two names are exchanged instead.
        exchange: bool,
    },
    /// Bytes are put into a file.
    Write {
        /// The file.
        ino: Ino,
        /// Where the first one goes.
        at: u64,
        /// What is put there.
        bytes: Bytes,
        /// Whether the file was open with `O_DIRECT`. Such a write may still be on its way when the
        /// process that asked for it is gone.
        is_direct: bool,
    },
    /// A file becomes this long.
    Resize {
        /// The file.
        ino: Ino,
        /// Its new size.
        size: u64,
    },
    /// A range of a file becomes zeros; its size stays.
    Zero {
        /// The file.
        ino: Ino,
        /// Where the range begins.
        at: u64,
        /// How long it is.
        length: u64,
    },
    /// A file is durable, or the names in a directory are: `fsync`, `fdatasync`, `msync`.
    Sync {
        /// The file or directory.
        ino: Ino,
    },
    /// A range of a file is durable, with the file's size: what a write with `O_DSYNC`, `O_SYNC` or
    /// `RWF_DSYNC` asks for. What else was written to the file is not.
    SyncRange {
        /// The file.
        ino: Ino,
        /// Where the range begins.
        at: u64,
        /// How long it is.
        length: u64,
    },
    /// A sync failed. As on Linux, what it had to make durable counts as clean from now on: it is
    /// still read, no later sync covers it, and a power cut may take it.
    SyncFailed {
        /// The file or directory.
        ino: Ino,
    },
    /// The caller's remark, in its place between the operations.
    Mark(u64),
}

impl Change {
    /// The file that the operation is about: its bytes, or whether they are durable.
    pub fn file(&self) -> Option<Ino> {
        match self {
            Change::Write { ino, .. } | Change::Resize { ino, .. } | Change::Zero { ino, .. } => {
                Some(*ino)
            }
            _ => None,
        }
    }

    /// The directories whose names change.
    pub fn directories(&self) -> impl Iterator<Item = Ino> {
        let (one, other) = match self {
            Change::Create { at, .. } | Change::Link { at, .. } | Change::Unlink { at } => {
                (Some(at.dir), None)
            }
            Change::Rename { from, to, .. } => (Some(from.dir), Some(to.dir)),
            _ => (None, None),
        };
        one.into_iter().chain(other.filter(|other| Some(*other) != one))
    }
}
