//! Writes frames through an io_uring: the kernel writes, and the runtime wakes the task that waits.
//!
//! A frame is one direct write that is its own sync, in a segment that was written beforehand; in
//! one that still grows it is a write, then a sync. One frame is under way at a time. Where the
//! future is polled inside a Tokio runtime, the ring is watched by its reactor; outside of one, or
//! in one without I/O, the poll blocks, since nothing would wake the task.
//!
//! A future that is dropped leaves its write under way. The ring holds buffer and file until the
//! write has ended, accepts no other write, and [`Ring::settle`] waits for it.

use std::io;
use std::os::fd::OwnedFd;
use std::path::Path;
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};
use std::task::{Context, Poll};

use raft_core::storage::LogOp;
use rustix::io::Errno;
use tokio::io::unix::AsyncFd;
use tokio::runtime::{self, Handle};

use super::direct::{open_existing, whole_blocks};
use super::submission::{Held, Operation, Slot};
use crate::disk::{FrameFile, Put, PutError, Written};
use crate::write_buffer::WriteBuffer;

/// A ring for the frames of one log.
pub(crate) struct Ring {
    state: Mutex<RingState>,
    /// Whether direct writes are handed to workers of the kernel.
    by_worker: AtomicBool,
}

struct RingState {
    slot: Slot,
    in_flight: Option<InFlight>,
    /// How the last write ended, until its future is polled.
    written: Option<Written>,
    /// The runtime whose reactor watches the ring; without a reactor if the runtime's I/O is off.
    watch: Option<(runtime::Id, Option<AsyncFd<OwnedFd>>)>,
}

/// A frame that is being written.
#[derive(Clone, Copy)]
struct InFlight {
    offset: u64,
    /// The number of bytes, and how many of them were written.
    length: usize,
    done: usize,
    /// The blocks of direct writes; none where a sync must follow.
    direct: Option<u64>,
    by_worker: bool,
    /// How often the write was handed over again since it last made progress.
    again: u32,
}

impl std::fmt::Debug for Ring {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Ring")
    }
}

impl Ring {
    pub(super) fn new() -> io::Result<Arc<Ring>> {
        let state = RingState { slot: Slot::new()?, in_flight: None, written: None, watch: None };
        Ok(Arc::new(Ring { state: Mutex::new(state), by_worker: AtomicBool::new(false) }))
    }

    /// Hands direct writes to workers of the kernel from now on. The kernel issues a write in the
    /// call that hands it over, and where the device has answered before that call returns, the
    /// flush that makes the write durable is waited for in it.
    pub(super) fn use_workers(&self) {
        self.by_worker.store(true, Ordering::Relaxed);
    }

    /// Waits until no write is under way.
    pub(super) fn settle(&self) {
        self.state().settle();
    }

    fn poll(&self, context: &mut Context<'_>) -> Poll<Written> {
        let mut state = self.state();
        loop {
            state.advance();
            if let Some(written) = state.written.take() {
                return Poll::Ready(written);
            }
            match state.poll_ring(context) {
                // An operation may have completed after the last check.
                Poll::Ready(Ok(())) => {}
                // No runtime watches the ring, or its runtime has ended.
                Poll::Ready(Err(_)) => state.settle(),
                Poll::Pending => return Poll::Pending,
            }
        }
    }

    fn state(&self) -> MutexGuard<'_, RingState> {
        self.state.lock().expect("nothing panics while it holds the ring")
    }
}

impl RingState {
    /// Starts a write; returns the buffer if the previous write was not waited for.
    fn begin(&mut self, held: Held, in_flight: InFlight) -> Result<(), WriteBuffer> {
        if !self.slot.is_free() || self.written.is_some() {
            return Err(held.buffer);
        }
        self.in_flight = Some(in_flight);
        self.submit(held, in_flight);
        // Some writes end at once.
        self.advance();
        Ok(())
    }

    /// Submits the next operation of a frame.
    fn submit(&mut self, held: Held, in_flight: InFlight) {
        let InFlight { offset, length, done, direct, by_worker, .. } = in_flight;
        let operation = if done < length {
            Operation::Write {
                from: done,
                offset: offset + done as u64,
                is_own_sync: direct.is_some(),
                by_worker,
            }
        } else {
            Operation::Fdatasync
        };
        if let Err(error) = self.slot.begin(held, operation) {
            self.end(WriteBuffer::default(), Err(PutError { op: LogOp::Write, error }));
        }
    }

    /// Collects a completed operation, and continues from there.
    fn advance(&mut self) {
        while let Some((held, result)) = self.slot.reap() {
            let mut in_flight = self.in_flight.expect("its operation is over");
            let is_sync = in_flight.done == in_flight.length;
            let op = if is_sync || in_flight.direct.is_some() { LogOp::Sync } else { LogOp::Write };
            match result {
                Ok(_) if is_sync => return self.end(held.buffer, Ok(())),
                Ok(count) => {
                    let block_bytes = in_flight.direct.unwrap_or(1);
                    let before = in_flight.done;
                    in_flight.again = 0;
                    in_flight.done = whole_blocks(before + count, in_flight.length, block_bytes);
                    if in_flight.done == before {
                        let error = io::ErrorKind::WriteZero.into();
                        return self.end(held.buffer, Err(PutError { op, error }));
                    }
                    if in_flight.done == in_flight.length && in_flight.direct.is_some() {
                        return self.end(held.buffer, Ok(()));
                    }
                }
                Err(error) if !is_sync && may_be_retried(&error, in_flight.again) => {
                    in_flight.again += 1
                }
                Err(error) => return self.end(held.buffer, Err(PutError { op, error })),
            }
            self.in_flight = Some(in_flight);
            self.submit(held, in_flight);
        }
    }

    fn end(&mut self, buffer: WriteBuffer, result: Result<(), PutError>) {
        self.in_flight = None;
        self.written = Some(Written { buffer, result });
    }

    /// Ready when an operation may have completed; an error where no runtime watches the ring.
    fn poll_ring(&mut self, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        let here = Handle::try_current().map_err(io::Error::other)?.id();
        if self.watch.as_ref().is_none_or(|(runtime, _)| *runtime != here) {
            let watched = self.slot.watch();
            if let Err(error) = &watched {
                tracing::warn!(%error, "each write of the log blocks its thread: call `enable_io`");
            }
            self.watch = Some((here, watched.ok()));
        }
        let Some((_, Some(ring))) = &self.watch else {
            return Poll::Ready(Err(io::ErrorKind::Unsupported.into()));
        };
        let mut ready = std::task::ready!(ring.poll_read_ready(context))?;
        ready.clear_ready();
        Poll::Ready(Ok(()))
    }

    fn settle(&mut self) {
        while self.in_flight.is_some() {
            if let Err(error) = self.slot.wait() {
                let error = PutError { op: LogOp::Sync, error };
                return self.end(WriteBuffer::default(), Err(error));
            }
            self.advance();
        }
    }
}

/// Whether a write that came back with this error was not carried out and may be handed over again:
/// the kernel was interrupted or short of a resource, or the thread that handed it over has ended,
/// and its workers with it. A sync is never repeated.
fn may_be_retried(error: &io::Error, times: u32) -> bool {
    /// How often in a row a write may be handed over again. A longer-lasting error comes from the
    /// disk, and this loop runs under a lock.
    const MOST_TIMES: u32 = 100;
    let is_cancelled = error.raw_os_error() == Some(Errno::CANCELED.raw_os_error());
    let passes = matches!(error.kind(), io::ErrorKind::Interrupted | io::ErrorKind::WouldBlock);
    times < MOST_TIMES && (is_cancelled || passes)
}

/// A segment that is written to through the ring.
pub(super) struct RingFile {
    ring: Arc<Ring>,
    file: Arc<OwnedFd>,
    direct: Option<u64>,
}

impl RingFile {
    /// Opens a segment: with the blocks of direct writes, or to be written, then synced.
    pub(super) fn open(ring: &Arc<Ring>, path: &Path, direct: Option<u64>) -> io::Result<RingFile> {
        let file = Arc::new(open_existing(path, direct.is_some())?);
        Ok(RingFile { ring: Arc::clone(ring), file, direct })
    }
}

impl FrameFile for RingFile {
    fn block_bytes(&self) -> u64 {
        self.direct.unwrap_or(1)
    }

    fn put(&self, buffer: WriteBuffer, offset: u64) -> Put {
        let by_worker = self.direct.is_some() && self.ring.by_worker.load(Ordering::Relaxed);
        let (length, direct) = (buffer.len(), self.direct);
        let in_flight = InFlight { offset, length, done: 0, direct, by_worker, again: 0 };
        let held = Held { buffer, file: Arc::clone(&self.file) };
        match self.ring.state().begin(held, in_flight) {
            Ok(()) => Put::Started(Box::pin(Arrival(Arc::clone(&self.ring)))),
            Err(buffer) => {
                let error = io::Error::other("the previous write was not waited for");
                Put::Done(Written { buffer, result: Err(PutError { op: LogOp::Write, error }) })
            }
        }
    }
}

/// A future that is ready when the write under way has ended.
struct Arrival(Arc<Ring>);

impl Future for Arrival {
    type Output = Written;

    fn poll(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Written> {
        self.0.poll(context)
    }
}

#[cfg(test)]
mod tests {
    use std::task::Waker;

    use super::*;

    /// A ring with a segment of some zeros; `None` on a machine without io_uring.
    fn ring_file(dir: &Path, direct: Option<u64>) -> Option<(Arc<Ring>, RingFile)> {
        let path = dir.join("segment");
        std::fs::write(&path, vec![0; 1 << 20]).expect("writes");
        let ring = Ring::new().ok()?;
        let file = RingFile::open(&ring, &path, direct).ok()?;
        Some((ring, file))
    }

    fn buffer_of(byte: u8, count: usize) -> WriteBuffer {
        let mut buffer = WriteBuffer::default();
        buffer.reserve(count);
        buffer.extend(&vec![byte; count]);
        buffer
    }

    #[test]
    fn a_dropped_write_is_waited_for_and_not_mistaken_for_another() {
        let dir = tempfile::tempdir().expect("a directory");
        for direct in [None, Some(4096)] {
            let Some((ring, file)) = ring_file(dir.path(), direct) else { continue };
            drop(file.put(buffer_of(1, 512 << 10), 0));
            let Put::Done(refused) = file.put(buffer_of(2, 4096), 0) else { panic!("it began") };
            assert!(refused.result.is_err() && refused.buffer.len() == 4096);
            ring.settle();
            assert!(ring.state().in_flight.is_none(), "it is over");
            let bytes = std::fs::read(dir.path().join("segment")).expect("reads");
            assert!(bytes[..512 << 10].iter().all(|byte| *byte == 1), "it was written");
        }
    }

    /// What went wrong: a write that kept failing was handed over for ever, with the ring's lock
    /// held.
    #[test]
    fn a_write_is_retried_after_a_temporary_error_but_not_for_ever() {
        for errno in [Errno::AGAIN, Errno::INTR, Errno::CANCELED] {
            let error = io::Error::from(errno);
            assert!(may_be_retried(&error, 0) && may_be_retried(&error, 99), "{error}");
            assert!(!may_be_retried(&error, 100), "{error}");
        }
        assert!(!may_be_retried(&io::Error::from(Errno::IO), 0));
    }

    #[test]
    fn an_error_of_the_disk_is_returned() {
        let dir = tempfile::tempdir().expect("a directory");
        let Some((ring, file)) = ring_file(dir.path(), Some(512)) else { return };
        let Put::Started(mut going_on) = file.put(buffer_of(1, 100), 0) else { panic!("refused") };
        ring.settle();
        let mut context = Context::from_waker(Waker::noop());
        let Poll::Ready(Written { buffer, result }) = going_on.as_mut().poll(&mut context) else {
            panic!("it is over")
        };
        // Direct writes must be of whole blocks.
        let failed = result.expect_err("a piece of a block");
        assert_eq!((failed.error.kind(), buffer.len()), (io::ErrorKind::InvalidInput, 100));
        let Put::Started(mut going_on) = file.put(buffer_of(1, 512), 0) else { panic!("refused") };
        ring.settle();
        let over = going_on.as_mut().poll(&mut context);
        assert!(matches!(over, Poll::Ready(Written { result: Ok(()), .. })), "it goes on");
    }
}
