//! The operations that a disk records: each operation that changes something, in order.

use std::ffi::OsString;
use std::path::PathBuf;

use bytes::Bytes;
use serde::{Deserialize, Serialize};

/// The number of a file or a directory; it is never reused.
pub type Ino = u64;

/// The directory that is mounted.
pub const ROOT: Ino = 1;

/// The kind of a new file.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Kind {
    /// A file with content.
    File,
    /// A directory.
    Directory,
    /// A symbolic link to this path.
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
        /// Its kind.
        kind: Kind,
        /// Its name.
        at: Name,
    },
    /// A further name for a file.
    Link {
        /// The file.
        ino: Ino,
        /// The new name.
        at: Name,
    },
    /// The removal of a name of a file or of an empty directory.
    Unlink {
        /// The name.
        at: Name,
    },
    /// A rename, which replaces the file at the new name in one step.
    Rename {
        /// The old name.
        from: Name,
        /// The new name.
        to: Name,
        /// Whether the two names are exchanged instead.
        exchange: bool,
    },
    /// Bytes are written to a file.
    Write {
        /// The file.
        ino: Ino,
        /// The offset of the first byte.
        at: u64,
        /// The bytes.
        bytes: Bytes,
        /// Whether the file was open with `O_DIRECT`. Such a write may still be in flight when the
        /// process that requested it has ended.
        is_direct: bool,
    },
    /// The length of a file is changed.
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
        /// The start of the range.
        at: u64,
        /// The length of the range.
        length: u64,
    },
    /// A sync of a file, or of the names in a directory: `fsync`, `fdatasync`, `msync`.
    Sync {
        /// The file or directory.
        ino: Ino,
    },
    /// A sync of a range of a file and of the file's size: what a write with `O_DSYNC`, `O_SYNC` or
    /// `RWF_DSYNC` requests. Other writes to the file are not made durable.
    SyncRange {
        /// The file.
        ino: Ino,
        /// The start of the range.
        at: u64,
        /// The length of the range.
        length: u64,
    },
    /// A failed sync. As on Linux, the pages that it should have made durable count as clean from
    /// now on: they can still be read, no later sync covers them, and a power cut may lose them.
    SyncFailed {
        /// The file or directory.
        ino: Ino,
    },
    /// A mark that the caller placed between the operations.
    Mark(u64),
}

impl Change {
    /// The file whose bytes, or whose durability, the operation changes.
    pub fn file(&self) -> Option<Ino> {
        match self {
            Change::Write { ino, .. } | Change::Resize { ino, .. } | Change::Zero { ino, .. } => {
                Some(*ino)
            }
            _ => None,
        }
    }

    /// The directories whose names the operation changes.
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
