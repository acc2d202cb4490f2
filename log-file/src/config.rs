//! The settings of a flat-file log.

use std::path::PathBuf;

use raft_core::storage::{LogError, LogErrorKind, LogOp};

use crate::format::FRAMES_START;

/// The length of a segment by default, in bytes.
pub const DEFAULT_SEGMENT_BYTES: u64 = 64 << 20;

/// The smallest segment, in bytes: the headers, and space for a few frames.
pub const MIN_SEGMENT_BYTES: u64 = 16 << 10;

/// The largest segment, in bytes.
pub const MAX_SEGMENT_BYTES: u64 = 4 << 30;

/// The most bytes that one payload may have.
pub(crate) const MAX_PAYLOAD_BYTES: u64 = 1 << 30;

/// How a flat-file log is laid out and run.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FileLogConfig {
    /// The directory, which holds nothing but this log. It is created if it does not exist.
    pub dir: PathBuf,
    /// The length of a segment, in bytes. It may differ between openings.
    pub segment_bytes: u64,
    /// Where a batch may begin.
    pub alignment: Alignment,
    /// How many emptied segments are kept for later use. Others are removed.
    pub spare_segments: usize,
    /// Which thread prepares and removes segments.
    pub housekeeping: Housekeeping,
    /// Whether a thread or the kernel waits for the disk.
    pub io: Io,
    /// How a frame is made durable.
    pub write_verb: WriteVerb,
}

/// Whether a thread or the kernel waits for the disk while a frame is written. If the machine or
/// the file system does not offer the choice, it is replaced by [`Io::Thread`], and that is logged.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Io {
    /// [`Io::Ring`] where the kernel and the file system allow it and handing a write over does not
    /// block the thread, which the device reports or a trial measures; else [`Io::Thread`]. With a
    /// named [`WriteVerb`] a thread writes.
    #[default]
    Auto,
    /// The kernel: a write is handed over through an io_uring and waited for without blocking, so
    /// that the store needs no thread to write. Linux, on a file system with direct I/O. The Tokio
    /// runtime that polls the write should have its I/O enabled: without I/O, or without a runtime,
    /// the wait blocks.
    Ring,
    /// The thread that writes also waits.
    Thread,
}

/// How a frame is made durable in a segment whose bytes were all written before; a segment that
/// still grows is written to and then synced. A verb that the machine or the file system does not
/// offer is replaced by the next in this list, and that is logged.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum WriteVerb {
    /// The first of those below that the file system offers.
    #[default]
    Auto,
    /// A direct write, past the page cache, that is its own sync: `O_DIRECT` and `RWF_DSYNC`.
    Direct,
    /// A write that is its own sync: `RWF_DSYNC`.
    Dsync,
    /// A write, then `fdatasync`.
    Fdatasync,
}

/// Where a batch may begin. If each batch begins on a boundary of the device, no write ever touches
/// a sector that holds acknowledged bytes, at the cost of the unused space between batches.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Alignment {
    /// At the front of a block where that costs little: if the batch before ends at most 511 bytes,
    /// or an eighth of its length, before that block; otherwise anywhere. On a disk with blocks of
    /// 512 bytes that is always the front of a block.
    #[default]
    Auto,
    /// Anywhere (at a multiple of 8).
    Packed,
    /// At a multiple of 512.
    Sector,
    /// At a multiple of 4096.
    Page,
}

/// Which thread prepares the next segment and removes the old ones.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Housekeeping {
    /// A thread of the store's own, so that a write does not wait for this work.
    #[default]
    Thread,
    /// The thread of each write, after its batch is durable. For simulators: the same calls give
    /// the same bytes.
    Inline,
}

impl FileLogConfig {
    /// The defaults, in this directory.
    pub fn new(dir: impl Into<PathBuf>) -> FileLogConfig {
        FileLogConfig {
            dir: dir.into(),
            segment_bytes: DEFAULT_SEGMENT_BYTES,
            alignment: Alignment::default(),
            spare_segments: 2,
            housekeeping: Housekeeping::default(),
            io: Io::default(),
            write_verb: WriteVerb::default(),
        }
    }

    pub(crate) fn check(&self) -> Result<(), LogError> {
        let allowed = MIN_SEGMENT_BYTES..=MAX_SEGMENT_BYTES;
        if allowed.contains(&self.segment_bytes) && self.segment_bytes.is_multiple_of(4096) {
            return Ok(());
        }
        let place = format!(
            "segment_bytes = {}; choose a multiple of 4096 from {MIN_SEGMENT_BYTES} to \
             {MAX_SEGMENT_BYTES}",
            self.segment_bytes
        );
        Err(LogError::new(LogOp::Open, LogErrorKind::Format).at(place))
    }
}

impl Alignment {
    /// How long a batch of this length becomes, on a disk that takes blocks of this length.
    pub(crate) fn padded(self, length: u64, block_bytes: u64) -> u64 {
        /// A batch may always be padded by so many bytes, so that it ends on the boundary of a
        /// block.
        const CHEAP_BYTES: u64 = 511;
        match self {
            Alignment::Auto => {
                let packed = length.next_multiple_of(8);
                let whole = packed.next_multiple_of(block_bytes);
                if whole - packed <= CHEAP_BYTES.max(packed / 8) { whole } else { packed }
            }
            Alignment::Packed => length.next_multiple_of(8),
            Alignment::Sector => length.next_multiple_of(512),
            Alignment::Page => length.next_multiple_of(4096),
        }
    }
}

const _: () = assert!(FRAMES_START < MIN_SEGMENT_BYTES);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_end_on_a_boundary_must_be_cheap() {
        let padded = |length, block_bytes| Alignment::Auto.padded(length, block_bytes);
        assert_eq!([padded(377, 1), padded(377, 512), padded(513, 512)], [384, 512, 1024]);
        assert_eq!(
            [padded(377, 4096), padded(3600, 4096), padded(19_024, 4096)],
            [384, 4096, 20_480]
        );
    }
}
