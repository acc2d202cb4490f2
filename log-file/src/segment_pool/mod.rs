//! The segment pool: spare files, the next segment prepared ahead of time, and the removal of
//! segments that no longer hold an entry.
//!
//! The order of syncs is essential. A file gets the name of a segment only after its header was
//! synced; a segment is written to only after its name was synced; a removed segment becomes a
//! spare only after its removal was synced. A failure of housekeeping loses no data and does not
//! poison the log: the file is not used, and if the cause lasts, the writer reports it at its next
//! write. If the disk has no space for a segment, the error is `NoSpace`: no part of the segment is
//! left, and it may be requested again.
//!
//! This file has the pool's state and the writer's requests, `making` makes a segment, and
//! `housekeeping` does the work that runs concurrently with the writer.

mod housekeeping;
mod making;

use std::collections::VecDeque;
use std::future::poll_fn;
use std::io;
use std::sync::{Arc, Condvar, Mutex, MutexGuard};
use std::task::{Context, Poll, Waker};
use std::time::Instant;

use raft_core::storage::{LogError, LogOp};
use tracing::warn;

pub(crate) use self::making::OpenSegment;
use self::making::When;
use crate::disk::Disk;
use crate::format::Position;
use crate::names::{segment_name, spare_name};
use crate::zero_fill::ZeroFill;

/// The properties that all segments of a log share.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Shape {
    pub(crate) directory: u64,
    pub(crate) segment_bytes: u64,
    pub(crate) spare_segments: usize,
    /// Whether segments are made on the writer's thread, without a housekeeping thread.
    pub(crate) is_inline: bool,
}

impl Shape {
    /// Whether most of a segment of this length was written already.
    fn is_worth_keeping(self, len: u64) -> bool {
        (self.segment_bytes / 2..=self.segment_bytes).contains(&len)
    }
}

/// The segment pool, shared by the writer and the housekeeping thread.
pub(crate) struct SegmentPool {
    disk: Arc<dyn Disk>,
    shape: Shape,
    /// The first segment that this process made. An earlier process may have ended while the kernel
    /// still had a direct write to one of its segments, so no file of an earlier process is written
    /// again.
    first_own: u64,
    work: Mutex<Work>,
    /// Notified when there is work, or the pool is stopped.
    wake: Condvar,
    /// Notified when the ordered segment is ready, or could not be made.
    done: Condvar,
}

#[derive(Default)]
struct Work {
    /// Files whose removal from the log is durable, each with the number of its bytes that were
    /// ever written.
    spares: Vec<(String, u64)>,
    next_spare: u64,
    retired: VecDeque<u64>,
    zero_fill: Option<Arc<ZeroFill>>,
    ordered: Option<(u64, Position)>,
    is_making: bool,
    ready: Option<OpenSegment>,
    /// Whether the writer waits for the ordered segment, so that no more zeros are written.
    is_urgent: bool,
    /// The task of a writer that does not block while it waits.
    waiter: Option<Waker>,
    /// Why no segment could be made for the writer that waits.
    failure: Option<io::Error>,
    /// Until when no segment is made ahead of time, since the disk had no space for one.
    pauses_until: Option<Instant>,
    is_stopped: bool,
    is_broken: bool,
}

impl SegmentPool {
    /// A pool with these spares, for segments from `first_own` on.
    pub(crate) fn new(
        disk: Arc<dyn Disk>,
        shape: Shape,
        first_own: u64,
        spares: &[u64],
    ) -> SegmentPool {
        let next_spare = spares.last().map_or(1, |last| last + 1);
        let work = Mutex::new(Work { next_spare, ..Work::default() });
        let (wake, done) = (Condvar::new(), Condvar::new());
        let pool = SegmentPool { disk, shape, first_own, work, wake, done };
        for spare in spares {
            pool.adopt_spare(spare_name(*spare));
        }
        pool
    }

    /// Adds a spare that was found at the opening, if it is whole and the pool is not full;
    /// otherwise removes it.
    fn adopt_spare(&self, name: String) {
        let has_room = self.lock().spares.len() < self.shape.spare_segments;
        let len = self.disk.open(&name).and_then(|file| file.len());
        match len {
            Ok(len) if has_room && self.shape.is_worth_keeping(len) => {
                self.lock().spares.push((name, len));
            }
            _ => self.warn_of(&name, self.disk.unlink(&name)),
        }
    }

    fn is_waited_for(&self) -> bool {
        let work = self.lock();
        (work.is_urgent || work.waiter.is_some()) && !work.is_stopped
    }

    /// The directory as text, for a message that asks for space in it.
    pub(crate) fn place_to_free(&self) -> String {
        self.disk.place_to_free()
    }

    fn place(&self, number: u64) -> String {
        self.disk.place(&segment_name(number))
    }

    /// Syncs the names. After a failure it is never tried again: a second sync may succeed without
    /// having made the names durable.
    pub(crate) fn sync_names(&self) -> io::Result<()> {
        if self.lock().is_broken {
            return Err(io::Error::other("an earlier sync of the directory failed"));
        }
        self.disk.sync_names().map_err(|error| {
            self.lock().is_broken = true;
            // Never reported as a temporary lack of space, whatever its cause.
            io::Error::other(error)
        })
    }

    fn new_spare_name(&self) -> String {
        let mut work = self.lock();
        work.next_spare += 1;
        spare_name(work.next_spare - 1)
    }

    /// Orders the segment after the current one, to be made ahead of time.
    pub(crate) fn order(&self, number: u64, proven: Position) {
        self.lock().ordered = Some((number, proven));
        self.wake.notify_one();
    }

    /// Whether the ordered segment is neither ready nor being made, and may be ordered again:
    /// making it failed, and not because of a recent lack of space.
    pub(crate) fn has_failed(&self) -> bool {
        let work = self.lock();
        let is_missing = work.ready.is_none() && work.ordered.is_none() && !work.is_making;
        is_missing && work.pauses_until.is_none_or(|end| Instant::now() >= end)
    }

    /// Whether the ordered segment is ready, and written from end to end.
    pub(crate) fn has_written_segment(&self) -> bool {
        self.lock().ready.as_ref().is_some_and(|ready| ready.is_written)
    }

    /// The ordered segment, or one made on the spot. Waits only for the last steps of one that is
    /// being made. If writes do not block, neither does this.
    pub(crate) async fn take(
        &self,
        number: u64,
        proven: Position,
    ) -> Result<OpenSegment, LogError> {
        if self.disk.blocks_here() || self.shape.is_inline {
            self.wait_for(number, proven)
        } else {
            poll_fn(|context| self.poll_take(context, number, proven)).await
        }
    }

    fn wait_for(&self, number: u64, proven: Position) -> Result<OpenSegment, LogError> {
        let mut work = self.lock();
        work.ordered = None;
        work.is_urgent = true;
        while work.is_making {
            work = self.done.wait(work).expect("nothing panics while it holds the pool");
        }
        work.is_urgent = false;
        match work.ready.take() {
            Some(ready) if ready.seal.segment == number => Ok(ready),
            _ => {
                work.is_urgent = true;
                drop(work);
                let made = self.make_patiently(number, proven, When::Now);
                self.lock().is_urgent = false;
                made.map(|made| made.expect("only a segment that is made ahead of time is stopped"))
                    .map_err(|error| self.not_made(number, error))
            }
        }
    }

    /// The ordered segment, once the housekeeping thread has made it.
    fn poll_take(
        &self,
        context: &Context<'_>,
        number: u64,
        proven: Position,
    ) -> Poll<Result<OpenSegment, LogError>> {
        let mut work = self.lock();
        let failure = work.failure.take();
        let taken = match work.ready.take() {
            Some(ready) if ready.seal.segment == number => Ok(ready),
            _ => match failure {
                Some(error) => Err(self.not_made(number, error)),
                None => {
                    if !work.is_making {
                        work.ordered = Some((number, proven));
                        self.wake.notify_one();
                    }
                    work.is_urgent = true;
                    work.waiter = Some(context.waker().clone());
                    return Poll::Pending;
                }
            },
        };
        (work.is_urgent, work.waiter) = (false, None);
        Poll::Ready(taken)
    }

    /// Extends the current segment, ahead of its writer.
    pub(crate) fn grow(&self, zero_fill: &Arc<ZeroFill>) {
        if zero_fill.needs_step() {
            self.lock().zero_fill = Some(zero_fill.clone());
            self.wake.notify_one();
        }
    }

    /// Retires segments that no longer hold an entry, lowest first. The purge or truncation that
    /// emptied them must be durable.
    pub(crate) fn retire(&self, segments: impl IntoIterator<Item = u64>) {
        let mut work = self.lock();
        work.retired.extend(segments);
        if !work.retired.is_empty() {
            self.wake.notify_one();
        }
    }

    /// Stops the housekeeping thread at its next step.
    pub(crate) fn stop(&self) {
        self.lock().is_stopped = true;
        self.wake.notify_one();
    }

    /// Removes segments in which no frame was found, highest first, so that the sequence of
    /// segments never has a gap. Their files are not used again: a frame of the process that made
    /// them may still arrive there. The removal is durable once the names are synced.
    pub(crate) fn remove_empty(&self, segments: &[u64]) -> Result<(), LogError> {
        for number in segments.iter().rev() {
            let removed = self.disk.unlink(&segment_name(*number));
            removed.map_err(|error| LogError::io(LogOp::Open, error).at(self.place(*number)))?;
        }
        Ok(())
    }

    fn warn_of(&self, what: &str, result: io::Result<()>) {
        if let Err(error) = result {
            warn!(what, %error, "housekeeping of the log failed; the next start tries again");
        }
    }

    fn lock(&self) -> MutexGuard<'_, Work> {
        self.work.lock().expect("nothing panics while it holds the pool")
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sim_disk::{Fault, SimDisk};

    /// A pool on a disk with these segments, all of which this process made.
    fn pool(disk: &SimDisk, segments: impl Iterator<Item = u64>) -> SegmentPool {
        segments.for_each(|number| disk.put(&segment_name(number), vec![7; 16 << 10]));
        let shape =
            Shape { directory: 1, segment_bytes: 16 << 10, spare_segments: 2, is_inline: true };
        SegmentPool::new(Arc::new(disk.clone()), shape, 1, &[])
    }

    /// A removal that fails halfway leaves no gap in the sequence of segments.
    #[test]
    fn segments_without_a_frame_are_removed_from_the_end() {
        let disk = SimDisk::new(1);
        let pool = pool(&disk, 2..=4);
        disk.plan_fault(disk.operations() + 1, Fault::Error(io::ErrorKind::Other));
        pool.remove_empty(&[2, 3, 4]).expect_err("the second removal fails");
        assert_eq!(disk.list().expect("lists"), [segment_name(2), segment_name(3)]);
    }

    /// A power cut may bring a segment back under its name until its removal is durable.
    #[test]
    fn a_retired_segment_is_a_spare_once_its_removal_is_durable() {
        let disk = SimDisk::new(1);
        let pool = pool(&disk, 1..=1);
        pool.retire([1]);
        pool.work_off();
        assert_eq!(pool.lock().spares.len(), 1);
        for seed in 0..50 {
            assert_eq!(disk.image(seed).bytes(&segment_name(1)), None, "seed {seed}");
        }
    }

    #[test]
    fn a_retired_segment_whose_removal_may_not_be_durable_is_not_written_to() {
        let disk = SimDisk::new(1);
        let pool = pool(&disk, 1..=1);
        pool.retire([1]);
        // The file is renamed, and then the names are synced.
        disk.plan_fault(disk.operations() + 1, Fault::Error(io::ErrorKind::Other));
        pool.work_off();
        let made = pool.make(2, Position::default()).map(|_| ());
        made.expect_err("no name can be made durable any more");
        for seed in 0..50 {
            let bytes = disk.image(seed).bytes(&segment_name(1));
            assert!(bytes.is_none_or(|it| it == vec![7; 16 << 10]), "seed {seed}");
        }
    }
}
