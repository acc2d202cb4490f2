//! The memory log: the simplest correct store, and the model that all other stores are held to.
//!
//! [`MemoryLog::new`] gives a volatile store: every write is kept at once, and all is gone with
//! the process. [`MemoryLog::open`] puts the same store on a [`MemoryDisk`], which a test or a
//! simulator keeps while "processes" come and go. Such a disk tells *written* from *durable*:
//! what was written is read at once, and stays only if [`MemoryDisk::sync`] was called before
//! [`MemoryDisk::crash`].
//!
//! What is refused, and in which order a batch is checked and applied, stands in `state`; it
//! follows the contract word for word (P16), so that a difference between this store and another
//! is a bug in one of them.
//!
//! Absent: files, threads, limits. Entries are packed (`entries`), since all of them stay.

mod disk;
mod entries;
mod log;
mod reader;
mod state;

pub use disk::{MemoryDisk, SyncMode};
pub use log::MemoryLog;
