//! The work of housekeeping, in order of urgency: zeros ahead of the writer, segments to retire,
//! and the next segment.

use std::sync::Arc;
use std::task::Waker;
use std::time::{Duration, Instant};

use owned_dir::is_no_space;
use tracing::warn;

use super::making::When;
use super::{SegmentPool, Work};
use crate::format::Position;
use crate::names::segment_name;
use crate::zero_fill::ZeroFill;

/// How long no segment is made ahead of time on a disk that had no space for one: the attempt would
/// fail again, and meanwhile use the space that the writer still has.
const FULL_PAUSE: Duration = Duration::from_secs(5);

/// One piece of housekeeping.
enum Job {
    Grow(Arc<ZeroFill>),
    Retire(Vec<u64>),
    Make(u64, Position),
}

impl SegmentPool {
    /// Does all pending work, on the calling thread.
    pub(crate) fn work_off(&self) {
        loop {
            let job = self.lock().next_job();
            match job {
                Some(job) => self.run(job),
                None => return,
            }
        }
    }

    /// The housekeeping thread: does the work, and waits for more, until it is stopped.
    pub(crate) fn work_until_stopped(&self) {
        let mut work = self.lock();
        while !work.is_stopped {
            match work.next_job() {
                Some(job) => {
                    drop(work);
                    self.run(job);
                    work = self.lock();
                }
                None => {
                    work = self.wake.wait(work).expect("nothing panics while it holds the pool");
                }
            }
        }
    }

    fn run(&self, job: Job) {
        match job {
            // If the cause lasts, the writer reports it at its next write.
            Job::Grow(zero_fill) => self.warn_of("a growing segment", zero_fill.step()),
            Job::Retire(segments) => self.retire_now(&segments),
            Job::Make(number, proven) => self.make_ahead(number, proven),
        }
    }

    fn make_ahead(&self, number: u64, proven: Position) {
        let made = self.make_patiently(number, proven, When::Ahead);
        let mut work = self.lock();
        work.is_making = false;
        match made {
            Ok(made) => work.ready = made,
            Err(error) => {
                warn!(segment = number, %error, "no segment was prepared ahead of time");
                // Without a thread the same calls give the same bytes, whatever the time.
                if is_no_space(&error) && !self.shape.is_inline {
                    work.pauses_until = Some(Instant::now() + FULL_PAUSE);
                }
                // Stored for a writer that waits, since it does not make a segment itself.
                work.failure = work.waiter.is_some().then_some(error);
            }
        }
        let waiter = work.waiter.take();
        drop(work);
        waiter.into_iter().for_each(Waker::wake);
        self.done.notify_all();
    }

    /// Turns segments into spares, or removes them.
    fn retire_now(&self, segments: &[u64]) {
        let mut kept = Vec::new();
        for number in segments {
            let name = segment_name(*number);
            let len = self.disk.open(&name).and_then(|file| file.len()).unwrap_or(0);
            let room = self.shape.spare_segments.saturating_sub(self.lock().spares.len());
            let is_own = *number >= self.first_own;
            if is_own && self.shape.is_worth_keeping(len) && kept.len() < room {
                let spare = self.new_spare_name();
                match self.disk.rename(&name, &spare) {
                    Ok(()) => kept.push((spare, len)),
                    Err(error) => self.warn_of(&name, Err(error)),
                }
            } else {
                self.warn_of(&name, self.disk.unlink(&name));
            }
        }
        match self.sync_names() {
            Ok(()) => self.lock().spares.extend(kept),
            Err(error) => self.warn_of("the directory", Err(error)),
        }
    }
}

impl Work {
    /// The most urgent piece of work, which is removed from the pending work.
    fn next_job(&mut self) -> Option<Job> {
        if let Some(zero_fill) = self.zero_fill.take() {
            return Some(Job::Grow(zero_fill));
        }
        if !self.retired.is_empty() {
            return Some(Job::Retire(self.retired.drain(..).collect()));
        }
        let (number, proven) = self.ordered.take()?;
        self.is_making = true;
        Some(Job::Make(number, proven))
    }
}
