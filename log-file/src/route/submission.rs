//! One operation at a time through an io_uring: the only place of this crate with `unsafe` in it.
//!
//! The kernel reads the buffer, and writes to the file, after the call that asked for it has
//! returned. So the [`Slot`] owns both from then on, until the kernel reports completion; a slot
//! that is dropped earlier waits for the completion.

#![allow(unsafe_code)]

use std::io;
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;

use io_uring::{IoUring, opcode, squeue, types};
use rustix::io::Errno;
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;

use crate::write_buffer::WriteBuffer;

/// The most bytes that one operation writes; the kernel accepts no more than 2 GiB.
const MOST_BYTES: usize = 1 << 30;

/// The bit of a write that is its own sync, as Linux defines it.
const RWF_DSYNC: i32 = 2;

/// A ring with room for one operation.
pub(super) struct Slot {
    ring: IoUring,
    /// The buffer and file of the operation under way.
    held: Option<Held>,
    /// Whether the kernel accepted the operation.
    is_submitted: bool,
}

/// The buffer and file that an operation needs until it completes.
pub(super) struct Held {
    pub(super) buffer: WriteBuffer,
    pub(super) file: Arc<OwnedFd>,
}

/// The operations.
#[derive(Clone, Copy, Debug)]
pub(super) enum Operation {
    /// Writes the buffer from `from` on, to this offset of the file. `by_worker`: a worker of the
    /// kernel does it, so that the call that hands it over never waits for the device.
    Write { from: usize, offset: u64, is_own_sync: bool, by_worker: bool },
    /// Makes durable what was written to the file.
    Fdatasync,
}

impl Slot {
    pub(super) fn new() -> io::Result<Slot> {
        /// The smallest ring: one operation is under way at most.
        const ENTRIES: u32 = 2;
        Ok(Slot { ring: IoUring::new(ENTRIES)?, held: None, is_submitted: false })
    }

    /// Whether nothing is under way, and no failure left anything behind.
    pub(super) fn is_free(&self) -> bool {
        self.held.is_none()
    }

    /// Starts an operation. On an error the kernel has not accepted it, and the slot must not be
    /// used again.
    pub(super) fn begin(&mut self, held: Held, operation: Operation) -> io::Result<()> {
        assert!(self.held.is_none(), "an operation is under way");
        let held = self.held.insert(held);
        let file = types::Fd(held.file.as_raw_fd());
        let entry = match operation {
            Operation::Write { from, offset, is_own_sync, by_worker } => {
                let bytes = &held.buffer[from..];
                let count = bytes.len().min(MOST_BYTES) as u32;
                let flags = if is_own_sync { RWF_DSYNC } else { 0 };
                let entry = opcode::Write::new(file, bytes.as_ptr(), count);
                let entry = entry.offset(offset).rw_flags(flags).build();
                if by_worker { entry.flags(squeue::Flags::ASYNC) } else { entry }
            }
            Operation::Fdatasync => {
                opcode::Fsync::new(file).flags(types::FsyncFlags::DATASYNC).build()
            }
        };
        self.is_submitted = false;
        // SAFETY: the entry names the file and bytes of the buffer. Both are owned by `self.held`,
        // which gives them back only once the completion was taken, or leaks them; and the bytes do
        // not move when the buffer does, and nothing changes them while the buffer is held.
        let pushed = unsafe { self.ring.submission().push(&entry) };
        pushed.map_err(|_| io::Error::other("the submission queue is full"))?;
        retried(|| self.ring.submit())?;
        self.is_submitted = true;
        Ok(())
    }

    /// The operation, if it has completed: what it held, and how many bytes it wrote.
    pub(super) fn reap(&mut self) -> Option<(Held, io::Result<usize>)> {
        let code = self.ring.completion().next()?.result();
        let result =
            usize::try_from(code).map_err(|_| io::Error::from_raw_os_error(code.saturating_neg()));
        Some((self.held.take()?, result))
    }

    /// The ring, to be watched by the reactor of the runtime that this is called in: readable when
    /// an operation has completed. An error where that runtime has its I/O switched off: no stable
    /// call reports that, and Tokio panics instead.
    pub(super) fn watch(&self) -> io::Result<AsyncFd<OwnedFd>> {
        let ring = self.ring.as_fd().try_clone_to_owned()?;
        let register = move || {
            // SAFETY: an owned descriptor names the same open file, and is open, as long as it
            // lives.
            unsafe { AsyncFd::register_with_interest(ring, Interest::READABLE) }
        };
        let registered = catch_unwind(AssertUnwindSafe(register));
        registered
            .map_err(|_| io::Error::other("the runtime has its I/O switched off"))?
            .map_err(io::Error::from)
    }

    /// Blocks until the operation under way, if there is one, can be reaped.
    pub(super) fn wait(&mut self) -> io::Result<()> {
        if self.held.is_some() && self.is_submitted {
            retried(|| self.ring.submit_and_wait(1))?;
        }
        Ok(())
    }
}

/// Repeats a call as long as it is interrupted by a signal or the kernel is temporarily short of
/// memory.
fn retried(mut call: impl FnMut() -> io::Result<usize>) -> io::Result<usize> {
    /// How often the kernel may be out of resources in a row.
    const MOST_TRIES: usize = 1000;
    let mut tries = 0;
    loop {
        let error = match call() {
            Ok(count) => return Ok(count),
            Err(error) => error,
        };
        let passes = [Errno::AGAIN, Errno::BUSY].map(|errno| Some(errno.raw_os_error()));
        match error.kind() {
            io::ErrorKind::Interrupted => {}
            _ if passes.contains(&error.raw_os_error()) && tries < MOST_TRIES => {
                tries += 1;
                std::thread::yield_now();
            }
            _ => return Err(error),
        }
    }
}

impl Drop for Slot {
    fn drop(&mut self) {
        if self.wait().is_err() {
            // The kernel may still read it, so it is leaked rather than reused.
            std::mem::forget(self.held.take());
        }
    }
}
