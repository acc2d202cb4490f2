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
//! | `spool` | a file on its way from one member to another |
//!
//! Deliberately absent: when a snapshot is taken, the threads that write it, and what is sent when.

mod dir;
mod format;
mod reader;
mod spool;
mod writer;

pub use self::dir::{DamagedSnapshot, NewSnapshot, SnapshotDir, StoredSnapshot, UnusableSnapshot};
pub use self::format::{SnapshotHead, Unsound};
pub use self::reader::SnapshotReader;
pub use self::spool::{ReceivedFile, SentFile};
pub use self::writer::SnapshotWriter;
