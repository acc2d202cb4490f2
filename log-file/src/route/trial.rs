//! Tries a way of writing on a small file beside the segments, before any frame depends on it.

use std::fs::{File, remove_file};
use std::io;
use std::path::{Path, PathBuf};
use std::pin::pin;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};

use rustix::fs::{AtFlags, StatxFlags, statx};

use super::direct::OwnSync;
use super::ring::{Ring, RingFile};
use crate::disk::{FrameFile, Put, Written};
use crate::names::spare_name;
use crate::paper::{MEMORY_ALIGNMENT, Paper};

/// The strictest block that fits the layout of a segment.
const MOST_BLOCK_BYTES: u64 = 4096;

/// Tries direct writes; the length of the file system's blocks for them.
pub(super) fn try_direct(dir: &Path) -> io::Result<u64> {
    let trial = Trial::begin(dir)?;
    let block_bytes = trial.block_bytes()?;
    let file = OwnSync::open(&trial.path, Some(block_bytes));
    let file = file.map_err(|error| because("O_DIRECT", &error))?;
    let written = trial.write(&file, block_bytes, || ());
    written.map_err(|error| because("O_DIRECT and RWF_DSYNC", &error))?;
    Ok(block_bytes)
}

/// Tries writes that are their own sync.
pub(super) fn try_dsync(dir: &Path) -> io::Result<()> {
    let trial = Trial::begin(dir)?;
    let file = OwnSync::open(&trial.path, None)?;
    trial.write(&file, MOST_BLOCK_BYTES, || ()).map_err(|error| because("RWF_DSYNC", &error))
}

/// Tries an io_uring; it, and the length of the file system's blocks for direct writes.
pub(super) fn try_ring(dir: &Path) -> io::Result<(Arc<Ring>, u64)> {
    let ring = Ring::new().map_err(|error| because("io_uring_setup", &error))?;
    let trial = Trial::begin(dir)?;
    let block_bytes = trial.block_bytes()?;
    let file = RingFile::open(&ring, &trial.path, Some(block_bytes));
    let file = file.map_err(|error| because("O_DIRECT", &error))?;
    let written = trial.write(&file, block_bytes, || ring.settle());
    written.map_err(|error| because("IORING_OP_WRITE with RWF_DSYNC", &error))?;
    Ok((ring, block_bytes))
}

/// The call that failed, and why.
fn because(what: &str, error: &io::Error) -> io::Error {
    io::Error::new(error.kind(), format!("{what}: {error}"))
}

/// A file that is gone when the trial ends. It bears the name of a spare segment, so that the next
/// opening removes what a crash left.
struct Trial {
    path: PathBuf,
}

impl Trial {
    fn begin(dir: &Path) -> io::Result<Trial> {
        let path = dir.join(spare_name(0));
        File::create(&path)?;
        Ok(Trial { path })
    }

    /// What the file system says of its direct writes. One that says nothing may still allow them,
    /// for whole pages.
    fn block_bytes(&self) -> io::Result<u64> {
        let file = File::open(&self.path)?;
        let wanted = StatxFlags::DIOALIGN;
        let told = statx(&file, "", AtFlags::EMPTY_PATH, wanted)?;
        if !StatxFlags::from_bits_retain(told.stx_mask).contains(wanted) {
            return Ok(MOST_BLOCK_BYTES);
        }
        let memory = told.stx_dio_mem_align as usize;
        let block = u64::from(told.stx_dio_offset_align);
        let fits = block.is_power_of_two() && block <= MOST_BLOCK_BYTES;
        match fits && memory <= MEMORY_ALIGNMENT {
            true => Ok(block.max(512)),
            false => {
                let what = match block {
                    0 => "O_DIRECT: the file system has none".to_owned(),
                    _ => format!("O_DIRECT: the file system wants blocks of {block} bytes"),
                };
                Err(io::Error::new(io::ErrorKind::Unsupported, what))
            }
        }
    }

    fn write(&self, file: &dyn FrameFile, count: u64, settle: impl Fn()) -> io::Result<()> {
        let mut paper = Paper::default();
        paper.reserve(count as usize);
        paper.pad(count as usize);
        let Written { result, .. } = match file.put(paper, 0) {
            Put::Done(written) => written,
            Put::Started(going_on) => {
                settle();
                match pin!(going_on).poll(&mut Context::from_waker(Waker::noop())) {
                    Poll::Ready(written) => written,
                    Poll::Pending => return Err(io::Error::other("the write did not end")),
                }
            }
        };
        result.map_err(|failed| failed.error)
    }
}

impl Drop for Trial {
    fn drop(&mut self) {
        // If it stays, the next opening removes it.
        let _ = remove_file(&self.path);
    }
}
