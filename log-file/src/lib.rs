//! The flat-file log: one stream of records in pre-written, recycled segments.
//!
//! A batch is one frame: one durable write, votes and truncations included. The bytes are specified
//! in `docs/formats/log-file.md`. Where to start reading:
//!
//! - `log` is the store: opening, the verbs of the contract, closing;
//! - `writer` writes frames, `reader` reads entries concurrently, `index` holds the position of
//!   each entry;
//! - `format`, `facts`, `frame_builder` and `names` are the bytes and names, without any I/O;
//!   `durable_mark` is the small file that records how far the stream was synced;
//! - `listing`, `recover`, `scan` and `replay` turn files back into a log;
//! - `inspect` shows operators what the files hold, and changes none;
//! - `segment_pool` prepares segments ahead of time and removes or recycles them; `zero_fill`
//!   writes zeros ahead of the writer;
//! - `write_buffer` holds a frame while it is built and written, `route` is how it reaches a real
//!   disk: by a thread's own durable writes, or through an io_uring;
//! - `disk` is the interface below everything else, with [`RealDisk`] and, for tests, [`SimDisk`].
//!
//! Absent: repair of damaged entries from peers (its record number is reserved), compression, and
//! memory maps (an I/O error there would kill the process).

mod config;
mod disk;
mod durable_mark;
mod facts;
mod format;
mod frame_builder;
mod index;
mod inspect;
mod listing;
mod log;
mod names;
mod reader;
mod real_disk;
mod recover;
mod replay;
mod route;
mod scan;
mod segment_pool;
mod sim_disk;
mod write_buffer;
mod writer;
mod zero_fill;

pub use config::{
    Alignment, DEFAULT_SEGMENT_BYTES, FileLogConfig, Housekeeping, Io, MAX_SEGMENT_BYTES,
    MIN_SEGMENT_BYTES, WriteVerb,
};
pub use disk::{Disk, DiskFile, FrameFile, Put, PutError, WritePath, Written};
pub use log::FileLog;
pub use write_buffer::WriteBuffer;

pub use real_disk::RealDisk;
pub use sim_disk::{Fault, SimDisk};
