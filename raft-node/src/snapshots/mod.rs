//! Snapshot files: the state of a state machine after one entry, in a member's directory.
//!
//! The format is in `docs/formats/snapshot.md`. A [`SnapshotWriter`] makes the bytes of a file and
//! a [`SnapshotReader`] checks them, each with the memory of one chunk; a [`SnapshotDir`] replaces
//! one file by the next so that a power cut leaves one of them.
//!
//! | file | what is in it |
//! |---|---|
//! | `format` | the head, checksums, and why a file is refused |
//! | `writer`, `reader` | a file as a stream of the application's bytes |
//! | `dir` | the files of a member |
//!
//! Deliberately absent: when a snapshot is taken, the threads that write it, and how it is sent.

mod dir;
mod format;
mod reader;
mod writer;

pub use self::dir::{NewSnapshot, SnapshotDir, StoredSnapshot, UnusableSnapshot};
pub use self::format::{FEATURE_LEVEL, SnapshotHead, Unsound};
pub use self::reader::SnapshotReader;
pub use self::writer::SnapshotWriter;
