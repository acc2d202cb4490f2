//! One file that is written and synced, without a log.

use std::fs::{File, OpenOptions};
use std::io::{self, IoSlice, Write};
use std::ops::Range;
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::path::Path;

use rustix::fs::{AtFlags, FallocateFlags, OFlags, StatxFlags, fallocate, statx};
use rustix::io::{Errno, ReadWriteFlags, pwritev2};

/// The length at which a file is written from its start again (or is truncated, if it must grow).
pub const FILE_BYTES: u64 = 64 << 20;

/// The size of the pieces in which the file is first written. With larger pieces the file system
/// may store it in a way that makes each later sync slower.
const STEP_BYTES: usize = 64 << 10;

/// The block size of direct writes if the file system does not report one: the largest block in
/// use.
const BLOCK: usize = 4096;

/// The smallest block size of direct writes, as in the file log.
const LEAST_BLOCK: usize = 512;

/// What the file contains before the measurement.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Layout {
    /// Nothing: each write makes the file longer.
    Appended,
    /// Space that was allocated with `fallocate` and never written.
    Fallocated,
    /// Bytes: each write overwrites blocks that were written before.
    Prewritten,
}

/// How a write is made durable.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verb {
    /// `pwrite`, then `fdatasync`.
    Fdatasync,
    /// A file opened with `O_DSYNC`: each write is its own sync.
    ODsync,
    /// `pwritev2` with `RWF_DSYNC`: the call also syncs what it writes.
    RwfDsync,
    /// A direct write (`O_DIRECT`), then `fdatasync`.
    DirectFdatasync,
    /// Direct writes to a file opened with `O_DSYNC`: each write is its own sync.
    DirectODsync,
    /// A direct write with `RWF_DSYNC`: the call also syncs what it writes.
    DirectRwfDsync,
}

impl Layout {
    /// All of them.
    pub const ALL: [Layout; 3] = [Layout::Prewritten, Layout::Fallocated, Layout::Appended];

    /// The name in reports.
    pub fn name(self) -> &'static str {
        match self {
            Layout::Appended => "append",
            Layout::Fallocated => "fallocated",
            Layout::Prewritten => "pre-written",
        }
    }
}

impl Verb {
    /// All of them.
    pub const ALL: [Verb; 6] = [
        Verb::Fdatasync,
        Verb::ODsync,
        Verb::RwfDsync,
        Verb::DirectFdatasync,
        Verb::DirectODsync,
        Verb::DirectRwfDsync,
    ];

    /// The name in reports.
    pub fn name(self) -> &'static str {
        match self {
            Verb::Fdatasync => "fdatasync",
            Verb::ODsync => "O_DSYNC",
            Verb::RwfDsync => "RWF_DSYNC",
            Verb::DirectFdatasync => "O_DIRECT, fdatasync",
            Verb::DirectODsync => "O_DIRECT, O_DSYNC",
            Verb::DirectRwfDsync => "O_DIRECT, RWF_DSYNC",
        }
    }

    fn is_direct(self) -> bool {
        matches!(self, Verb::DirectFdatasync | Verb::DirectODsync | Verb::DirectRwfDsync)
    }

    fn open_flags(self) -> OFlags {
        let direct = if self.is_direct() { OFlags::DIRECT } else { OFlags::empty() };
        match self {
            Verb::ODsync | Verb::DirectODsync => direct | OFlags::DSYNC,
            _ => direct,
        }
    }
}

/// A file that is written in one way.
#[derive(Debug)]
pub struct RawFile {
    file: File,
    layout: Layout,
    verb: Verb,
    /// The block size of direct writes.
    block: usize,
    /// The length at which writing starts again.
    bytes: u64,
    at: u64,
}

/// Bytes that may also be written directly, for which their start and end must be multiples of a
/// block.
#[derive(Debug)]
pub struct Aligned {
    bytes: Vec<u8>,
    payload: Range<usize>,
}

impl Aligned {
    /// A copy of `payload` at a block boundary.
    pub fn new(payload: &[u8]) -> Aligned {
        let padded_len = payload.len().max(1).next_multiple_of(BLOCK);
        let mut bytes = vec![0; padded_len + BLOCK];
        let start = bytes.as_ptr().align_offset(BLOCK);
        bytes[start..start + payload.len()].copy_from_slice(payload);
        Aligned { bytes, payload: start..start + payload.len() }
    }

    /// The payload and the zeros after it, up to the end of its last block of this size.
    fn padded_to(&self, block: usize) -> &[u8] {
        let len = self.payload.len().max(1).next_multiple_of(block);
        &self.bytes[self.payload.start..self.payload.start + len]
    }
}

impl RawFile {
    /// A new file in `dir`. Its length is at most `bytes`, which must be a multiple of 64 KiB. An
    /// error of the kind `Unsupported` or `InvalidInput` means that the file system does not
    /// support this verb.
    pub fn create(
        dir: &Path,
        name: &str,
        layout: Layout,
        verb: Verb,
        bytes: u64,
    ) -> io::Result<RawFile> {
        let path = dir.join(name);
        let mut file = OpenOptions::new().write(true).create_new(true).open(&path)?;
        match layout {
            Layout::Appended => {}
            Layout::Fallocated => fallocate(&file, FallocateFlags::empty(), 0, bytes)?,
            Layout::Prewritten => {
                for _ in 0..bytes / STEP_BYTES as u64 {
                    file.write_all(&[0; STEP_BYTES])?;
                }
            }
        }
        file.sync_all()?;
        File::open(dir)?.sync_all()?;
        let flags = verb.open_flags().bits() as i32;
        let file = OpenOptions::new().write(true).custom_flags(flags).open(&path)?;
        let block = block_of(&file)?;
        Ok(RawFile { file, layout, verb, block, bytes, at: 0 })
    }

    /// Writes the payload after the previous one, and waits until it is durable.
    pub fn write_and_sync(&mut self, aligned: &Aligned) -> io::Result<()> {
        let bytes = if self.verb.is_direct() {
            aligned.padded_to(self.block)
        } else {
            &aligned.bytes[aligned.payload.clone()]
        };
        if self.at + bytes.len() as u64 > self.bytes {
            self.begin_again()?;
        }
        match self.verb {
            Verb::RwfDsync | Verb::DirectRwfDsync => self.write_as_sync(bytes)?,
            _ => self.file.write_all_at(bytes, self.at)?,
        }
        self.at += bytes.len() as u64;
        match self.verb {
            Verb::Fdatasync | Verb::DirectFdatasync => self.file.sync_data(),
            _ => Ok(()),
        }
    }

    fn write_as_sync(&self, bytes: &[u8]) -> io::Result<()> {
        let mut done = 0;
        while done < bytes.len() {
            let rest = [IoSlice::new(&bytes[done..])];
            match pwritev2(&self.file, &rest, self.at + done as u64, ReadWriteFlags::DSYNC) {
                Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
                Ok(count) => done += count,
                Err(Errno::INTR) => {}
                Err(error) => return Err(error.into()),
            }
        }
        Ok(())
    }

    /// A file whose blocks exist is written from its start again; a growing file is truncated to
    /// zero.
    fn begin_again(&mut self) -> io::Result<()> {
        self.at = 0;
        match self.layout {
            Layout::Prewritten => Ok(()),
            Layout::Appended => self.file.set_len(0),
            Layout::Fallocated => {
                self.file.set_len(0)?;
                Ok(fallocate(&self.file, FallocateFlags::empty(), 0, self.bytes)?)
            }
        }
    }
}

/// The block size that the file log would use for direct writes to this file.
fn block_of(file: &File) -> io::Result<usize> {
    let wanted = StatxFlags::DIOALIGN;
    let attributes = statx(file, "", AtFlags::EMPTY_PATH, wanted)?;
    let block = attributes.stx_dio_offset_align as usize;
    let is_reported = StatxFlags::from_bits_retain(attributes.stx_mask).contains(wanted);
    let fits = block.is_power_of_two() && block <= BLOCK;
    Ok(if is_reported && fits { block.max(LEAST_BLOCK) } else { BLOCK })
}

/// Whether the error means that the file system does not support the operation.
pub(crate) fn is_unsupported(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::InvalidInput | io::ErrorKind::Unsupported)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn written_bytes_are_in_the_file() {
        let dir = tempfile::tempdir().expect("a directory");
        for (place, layout) in Layout::ALL.into_iter().enumerate() {
            let name = place.to_string();
            let mut file =
                RawFile::create(dir.path(), &name, layout, Verb::RwfDsync, 1 << 20).expect("made");
            file.write_and_sync(&Aligned::new(b"one")).expect("written");
            file.write_and_sync(&Aligned::new(b"two")).expect("written");
            let there = std::fs::read(dir.path().join(name)).expect("there");
            assert_eq!(&there[..6], b"onetwo", "{}", layout.name());
        }
    }

    #[test]
    fn a_direct_write_begins_and_ends_on_a_block() {
        for len in [0, 1, 256, BLOCK, BLOCK + 1] {
            let aligned = Aligned::new(&vec![7; len]);
            for block in [LEAST_BLOCK, BLOCK] {
                let bytes = aligned.padded_to(block);
                assert_eq!(bytes.as_ptr().align_offset(BLOCK), 0);
                assert_eq!(bytes.len(), len.max(1).next_multiple_of(block));
            }
            assert_eq!(&aligned.bytes[aligned.payload.clone()], vec![7; len]);
        }
    }

    #[test]
    fn a_file_begins_again_at_its_end() {
        let dir = tempfile::tempdir().expect("a directory");
        let payload = Aligned::new(&vec![7; 24 << 20]);
        for layout in [Layout::Appended, Layout::Fallocated] {
            let mut file =
                RawFile::create(dir.path(), layout.name(), layout, Verb::Fdatasync, FILE_BYTES)
                    .expect("made");
            for _ in 0..3 {
                file.write_and_sync(&payload).expect("written");
            }
            assert_eq!(file.at, 24 << 20);
        }
    }
}
