//! The memory log: the simplest correct store, and the model for all other stores.
//!
//! [`MemoryLog::new`] returns a volatile store: a write is complete at once, and the log ends with
//! the process. [`MemoryLog::open`] opens the same store on a [`MemoryDisk`], which a test or a
//! simulator keeps while "processes" start and end. Such a disk distinguishes *written* from
//! *durable*: written data can be read at once, and survives [`MemoryDisk::crash`] only if
//! [`MemoryDisk::sync`] was called before.
//!
//! `state` decides which batches are refused, and in which order a batch is checked and applied; it
//! follows the contract word for word (P16), so that a difference between this store and another
//! is a bug in one of them.
//!
//! Deliberately absent: files, threads, limits.

mod disk;
mod entries;
mod log;
mod reader;
mod state;

pub use disk::{MemoryDisk, SyncMode};
pub use log::MemoryLog;
