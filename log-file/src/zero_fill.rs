//! Writes zeros ahead of the writer, in small steps.
//!
//! The first segment that a store creates is not zero-filled beforehand; its blocks are allocated
//! behind the first appends. A step is never synced here: the next sync of the writer covers it.
//! This makes a few appends slightly slower, and leaves every error of the file to the writer,
//! which must report it.

use std::io;
use std::ops::Range;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};

use crate::disk::{DiskFile, write_all};

/// How far ahead of the writer zeros are written, at most.
const AHEAD_BYTES: u64 = 1 << 20;
const PAGE_BYTES: u64 = 4096;
/// How many zeros one call writes. Linux keeps the data of one call in memory in pieces as large as
/// the call, and a later sync of a few bytes scans the whole piece: zeros written in calls of 1 MiB
/// cost each sync 6 us of 38 (of 16 MiB, 18 of 50); below 256 KiB there is no difference.
const CALL_BYTES: u64 = 64 << 10;

/// How much of a segment is written, and the writer's position.
pub(crate) struct ZeroFill {
    file: Arc<dyn DiskFile>,
    limit: u64,
    ahead: u64,
    /// The writer's position.
    position: AtomicU64,
    /// Everything before this offset is written. It is changed only under the lock, which a step
    /// holds while it writes, so that zeros never overwrite a frame.
    written: AtomicU64,
    lock: Mutex<()>,
    /// Whether a step has failed (most likely on a full disk), after which no more zeros are
    /// written.
    is_given_up: AtomicBool,
}

impl ZeroFill {
    pub(crate) fn new(
        file: Arc<dyn DiskFile>,
        limit: u64,
        written: u64,
        position: u64,
    ) -> ZeroFill {
        ZeroFill {
            file,
            limit,
            ahead: AHEAD_BYTES.min((limit / 8).next_multiple_of(PAGE_BYTES)),
            position: AtomicU64::new(position),
            written: AtomicU64::new(written),
            lock: Mutex::new(()),
            is_given_up: AtomicBool::new(false),
        }
    }

    /// The writer is about to write up to `end`; later steps write no zeros before it.
    pub(crate) fn reserve(&self, end: u64) {
        if end > self.written.load(Ordering::Acquire) {
            let _held = self.hold();
            self.written.fetch_max(end, Ordering::AcqRel);
        }
        self.position.store(end, Ordering::Release);
    }

    /// Whether a step is needed.
    pub(crate) fn needs_step(&self) -> bool {
        let written = self.written.load(Ordering::Acquire);
        let wanted = self.position.load(Ordering::Acquire) + self.ahead - self.ahead / 4;
        written < wanted.min(self.limit) && !self.is_given_up.load(Ordering::Acquire)
    }

    /// Writes one step of zeros, if one is needed.
    pub(crate) fn step(&self) -> io::Result<()> {
        let _held = self.hold();
        if !self.needs_step() {
            return Ok(());
        }
        let start = self.written.load(Ordering::Acquire);
        let step = (self.ahead / 4).max(PAGE_BYTES);
        let end = (start + step).next_multiple_of(PAGE_BYTES).min(self.limit);
        write_zeros(self.file.as_ref(), start..end)
            .inspect_err(|_| self.is_given_up.store(true, Ordering::Release))?;
        self.written.store(end, Ordering::Release);
        Ok(())
    }

    /// Truncates the file to this length, and writes no more zeros to it.
    pub(crate) fn cut(&self, len: u64) -> io::Result<()> {
        let _held = self.hold();
        self.is_given_up.store(true, Ordering::Release);
        self.file.set_len(len)
    }

    fn hold(&self) -> MutexGuard<'_, ()> {
        self.lock.lock().expect("nothing panics while it writes zeros")
    }
}

/// Writes zeros to a part of a file.
pub(crate) fn write_zeros(file: &dyn DiskFile, range: Range<u64>) -> io::Result<()> {
    let zeros = [0; CALL_BYTES as usize];
    for start in range.clone().step_by(CALL_BYTES as usize) {
        let count = CALL_BYTES.min(range.end - start);
        write_all(file, &zeros[..count as usize], start)?;
    }
    Ok(())
}
