//! Tries a way of writing on a small file beside the segments, before any frame depends on it.

use std::fs::{self, File, remove_file};
use std::io;
use std::path::{Path, PathBuf};
use std::pin::pin;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};
use std::time::{Duration, Instant};

use rustix::fs::{AtFlags, StatxFlags, statx};

use super::device::flushes_separately;
use super::direct::OwnSync;
use super::ring::{Ring, RingFile};
use crate::disk::{FrameFile, Put, Written};
use crate::names::spare_name;
use crate::write_buffer::{MEMORY_ALIGNMENT, WriteBuffer};

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
    let written = trial.write(&file, MOST_BLOCK_BYTES, || ());
    written.map(drop).map_err(|error| because("RWF_DSYNC", &error))
}

/// An io_uring that was tried and works.
pub(super) struct TriedRing {
    pub(super) ring: Arc<Ring>,
    /// The length of the file system's blocks for direct writes.
    pub(super) block_bytes: u64,
    /// Why handing a write to the kernel would sometimes block the thread; `None` if it does not.
    pub(super) blocking: Option<String>,
}

/// Tries an io_uring.
pub(super) fn try_ring(dir: &Path) -> io::Result<TriedRing> {
    let ring = Ring::new().map_err(|error| because("io_uring_setup", &error))?;
    let trial = Trial::begin(dir)?;
    let block_bytes = trial.block_bytes()?;
    let file = RingFile::open(&ring, &trial.path, Some(block_bytes));
    let file = file.map_err(|error| because("O_DIRECT", &error))?;
    let written = trial.write(&file, block_bytes, || ring.settle());
    written.map_err(|error| because("IORING_OP_WRITE with RWF_DSYNC", &error))?;
    let blocking = why_blocking(dir, || trial.write(&file, block_bytes, || ring.settle()));
    Ok(TriedRing { ring, block_bytes, blocking })
}

/// How many writes are measured, how long that takes at most, and in how many of them the thread
/// may sleep: a single sleep may come from a lock.
const MEASURED_WRITES: u32 = 24;
const MEASURED_TIME: Duration = Duration::from_millis(100);
const SLEEPS_ALLOWED: u32 = 1;

/// Why handing a direct write that is its own sync to the kernel would block the thread. The kernel
/// issues the write in the call that hands it over. Where the device has answered before that call
/// returns, the flush after the write is made in that call, too.
fn why_blocking(dir: &Path, mut write: impl FnMut() -> io::Result<Submission>) -> Option<String> {
    if flushes_separately(dir) == Some(true) {
        return Some("the device flushes its cache separately from the write (no FUA)".to_owned());
    }
    let (began, mut writes, mut slept) = (Instant::now(), 0, 0);
    while writes < MEASURED_WRITES && began.elapsed() < MEASURED_TIME {
        match write() {
            Ok(Submission { slept: Some(has_slept) }) => slept += u32::from(has_slept),
            Ok(Submission { slept: None }) => {
                return Some("/proc does not report sleeps".to_owned());
            }
            Err(error) => return Some(format!("a write failed: {error}")),
        }
        writes += 1;
    }
    (slept > SLEEPS_ALLOWED).then(|| format!("the thread slept in {slept} of {writes} submissions"))
}

/// The measurement of handing over one write.
struct Submission {
    /// Whether the thread went to sleep; `None` where nothing reports it.
    slept: Option<bool>,
}

/// How often this thread has gone to sleep of its own accord.
fn sleeps() -> Option<u64> {
    let status = fs::read_to_string("/proc/thread-self/status").ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix("voluntary_ctxt_switches:"))?;
    line.trim().parse().ok()
}

/// An error that names the call that failed and its cause.
fn because(what: &str, error: &io::Error) -> io::Error {
    io::Error::new(error.kind(), format!("{what}: {error}"))
}

/// A file that is removed when the trial ends. It has the name of a spare segment, so that the next
/// opening removes it if a crash left it behind.
struct Trial {
    path: PathBuf,
}

impl Trial {
    fn begin(dir: &Path) -> io::Result<Trial> {
        let path = dir.join(spare_name(0));
        File::create(&path)?;
        Ok(Trial { path })
    }

    /// The block length that the file system requires for direct writes. A file system that reports
    /// nothing may still allow them, for whole pages.
    fn block_bytes(&self) -> io::Result<u64> {
        let file = File::open(&self.path)?;
        let wanted = StatxFlags::DIOALIGN;
        let reported = statx(&file, "", AtFlags::EMPTY_PATH, wanted)?;
        if !StatxFlags::from_bits_retain(reported.stx_mask).contains(wanted) {
            return Ok(MOST_BLOCK_BYTES);
        }
        let memory = reported.stx_dio_mem_align as usize;
        let block = u64::from(reported.stx_dio_offset_align);
        let fits = block.is_power_of_two() && block <= MOST_BLOCK_BYTES;
        if fits && memory <= MEMORY_ALIGNMENT {
            Ok(block.max(512))
        } else {
            let what = match block {
                0 => "O_DIRECT: the file system does not support it".to_owned(),
                _ => format!("O_DIRECT: the file system requires blocks of {block} bytes"),
            };
            Err(io::Error::new(io::ErrorKind::Unsupported, what))
        }
    }

    fn write(&self, file: &dyn FrameFile, count: u64, settle: impl Fn()) -> io::Result<Submission> {
        let mut buffer = WriteBuffer::default();
        buffer.reserve(count as usize);
        buffer.pad(count as usize);
        let before = sleeps();
        let put = file.put(buffer, 0);
        let slept = before.zip(sleeps()).map(|(before, after)| before < after);
        let Written { result, .. } = match put {
            Put::Done(written) => written,
            Put::Started(going_on) => {
                settle();
                match pin!(going_on).poll(&mut Context::from_waker(Waker::noop())) {
                    Poll::Ready(written) => written,
                    Poll::Pending => return Err(io::Error::other("the write did not end")),
                }
            }
        };
        result.map_err(|failed| failed.error)?;
        Ok(Submission { slept })
    }
}

impl Drop for Trial {
    fn drop(&mut self) {
        // If it stays, the next opening removes it.
        let _ = remove_file(&self.path);
    }
}
