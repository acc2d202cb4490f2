//! Writes that are their own sync, made by the calling thread.

use std::fs::File;
use std::io::{self, IoSlice};
use std::os::fd::OwnedFd;
use std::path::Path;

use raft_core::storage::LogOp;
use rustix::fs::{Mode, OFlags, open};
use rustix::io::{Errno, ReadWriteFlags, pwritev2};

use crate::disk::{FrameFile, Put, PutError, Written};
use crate::write_buffer::WriteBuffer;

/// A segment for such writes.
pub(super) struct OwnSync {
    file: File,
    block_bytes: u64,
}

impl OwnSync {
    pub(super) fn open(path: &Path, direct: Option<u64>) -> io::Result<OwnSync> {
        let file = open_existing(path, direct.is_some())?.into();
        Ok(OwnSync { file, block_bytes: direct.unwrap_or(1) })
    }

    fn write(&self, bytes: &[u8], offset: u64) -> io::Result<()> {
        let mut done = 0;
        while done < bytes.len() {
            let rest = [IoSlice::new(&bytes[done..])];
            match pwritev2(&self.file, &rest, offset + done as u64, ReadWriteFlags::DSYNC) {
                Ok(count) => done = whole_blocks(done + count, bytes.len(), self.block_bytes),
                Err(Errno::INTR) => continue,
                Err(error) => return Err(error.into()),
            }
            if done == 0 {
                return Err(io::ErrorKind::WriteZero.into());
            }
        }
        Ok(())
    }
}

impl FrameFile for OwnSync {
    fn block_bytes(&self) -> u64 {
        self.block_bytes
    }

    fn put(&self, buffer: WriteBuffer, offset: u64) -> Put {
        let result = self.write(&buffer, offset);
        let result = result.map_err(|error| PutError { op: LogOp::Sync, error });
        Put::Done(Written { buffer, result })
    }
}

/// The position from which a short write continues: for a direct write, the front of a block.
pub(super) fn whole_blocks(done: usize, length: usize, block_bytes: u64) -> usize {
    if done < length { done - done % block_bytes as usize } else { done }
}

pub(super) fn open_existing(path: &Path, is_direct: bool) -> io::Result<OwnedFd> {
    let direct = if is_direct { OFlags::DIRECT } else { OFlags::empty() };
    Ok(open(path, OFlags::RDWR | OFlags::CLOEXEC | direct, Mode::empty())?)
}
