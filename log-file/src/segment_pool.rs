//! The segment pool: spare files, the next segment made ready ahead of time, and the removal of
//! segments that hold no entry any more.
//!
//! The order of syncs is what matters here. A file gets the name of a segment only after its header
//! was synced; a segment is written to only after its name was synced; a removed segment becomes a
//! spare only after its removal was synced. A failure of housekeeping loses nothing and poisons
//! nothing: the file is left out, and the writer meets the cause itself if it lasts. A segment for
//! which the disk has no space is `NoSpace`: nothing of it is left, and it may be asked for again.

use std::collections::VecDeque;
use std::future::poll_fn;
use std::io;
use std::sync::{Arc, Condvar, Mutex, MutexGuard};
use std::task::{Context, Poll, Waker};
use std::time::{Duration, Instant};

use owned_dir::is_no_space;
use raft_core::storage::{LogError, LogErrorKind, LogOp};
use rustix::io::Errno;
use tracing::warn;

use crate::disk::{Disk, DiskFile, FrameFile, write_all};
use crate::format::{FRAMES_START, HEADER_BLOCK_BYTES, Position, Seal, SegmentHeader};
use crate::frame_builder::Place;
use crate::names::{segment_name, spare_name};
use crate::zero_fill::ZeroFill;

/// How many zeros are written between two syncs of a spare.
const FILL_STEP_BYTES: u64 = 1 << 20;

/// What comes of the making of a segment; nothing if it was told to stop.
type Making = io::Result<Option<OpenSegment>>;

/// How often a writer's segment is tried again, and how long the pause between is, where the
/// process or the machine lacks something for a moment: five seconds in all.
const MOST_TRIES: u32 = 500;
const TRY_PAUSE: Duration = Duration::from_millis(10);

/// How long no segment is made ahead of time on a disk that had no space for one: it is written
/// from end to end for nothing, and takes the space that the writer still has in the meantime.
const FULL_PAUSE: Duration = Duration::from_secs(5);

/// Whether an error says that the process or the machine lacks something at the moment: descriptors
/// or memory. Nothing was done then, and it may be tried again.
fn is_lack(error: &io::Error) -> bool {
    let lacks = [Errno::MFILE, Errno::NFILE, Errno::NOMEM];
    let code = error.raw_os_error();
    lacks.iter().any(|errno| code == Some(errno.raw_os_error()))
        || error.kind() == io::ErrorKind::OutOfMemory
}

/// A segment that may be written to: its header and its name are durable.
#[derive(Clone)]
pub(crate) struct OpenSegment {
    pub(crate) frames: Arc<dyn FrameFile>,
    pub(crate) seal: Seal,
    pub(crate) zero_fill: Arc<ZeroFill>,
    /// All of its bytes were written and synced before.
    pub(crate) is_written: bool,
}

impl OpenSegment {
    /// Where a frame at this offset begins.
    pub(crate) fn place(&self, offset: u64) -> Place {
        Place { seal: self.seal, offset, block_bytes: self.frames.block_bytes() }
    }
}

/// What all segments of a log have in common.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Shape {
    pub(crate) directory: u64,
    pub(crate) segment_bytes: u64,
    pub(crate) spare_segments: usize,
    /// There is no housekeeping thread that makes segments beside the writer.
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
    /// The first segment that this process made. An earlier process may have died while the kernel
    /// still had a direct write to one of its segments, so no file of theirs is written again.
    first_own: u64,
    work: Mutex<Work>,
    /// Told when there is work, or an end of it.
    wake: Condvar,
    /// Told when the ordered segment is ready, or will not be.
    done: Condvar,
}

#[derive(Default)]
struct Work {
    /// Files whose removal from the log is durable; how many of their bytes were ever written.
    spares: Vec<(String, u64)>,
    next_spare: u64,
    retired: VecDeque<u64>,
    zero_fill: Option<Arc<ZeroFill>>,
    ordered: Option<(u64, Position)>,
    is_making: bool,
    ready: Option<OpenSegment>,
    /// The writer waits for the ordered segment: no more zeros.
    is_urgent: bool,
    /// The task of a writer that does not block while it waits.
    waiter: Option<Waker>,
    /// Why there is no segment for it.
    failure: Option<io::Error>,
    /// Until when no segment is made ahead of time, since the disk had no space for one.
    pauses_until: Option<Instant>,
    is_stopped: bool,
    is_broken: bool,
}

/// Whether the writer waits for a new segment.
#[derive(Clone, Copy)]
enum When {
    /// It does: a new file is not written beforehand.
    Now,
    /// There is time to write it full of zeros.
    Ahead,
}

/// One piece of housekeeping.
enum Job {
    Grow(Arc<ZeroFill>),
    Retire(Vec<u64>),
    Make(u64, Position),
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

    /// Keeps a spare that was found, if it is whole and there is room for it.
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

    /// Makes a segment now, on the caller's time.
    pub(crate) fn make(&self, number: u64, proven: Position) -> Result<OpenSegment, LogError> {
        self.try_make(number, proven, When::Now)
            .map(|made| made.expect("only a making ahead of time is stopped"))
            .map_err(|error| self.not_made(number, error))
    }

    /// What a writer is told of a segment that could not be made.
    fn not_made(&self, number: u64, error: io::Error) -> LogError {
        if is_no_space(&error) {
            let full = LogError::new(LogOp::Write, LogErrorKind::NoSpace).because(error);
            return full.at(self.place_to_free());
        }
        LogError::io(LogOp::Write, error).at(self.place(number))
    }

    /// The same, for a writer that waits: what the process or the machine lacks for a moment, such
    /// as a free descriptor, is waited for.
    fn make_patiently(&self, number: u64, proven: Position, when: When) -> Making {
        let mut tries = 0;
        loop {
            let made = self.try_make(number, proven, when);
            let passes = made.as_ref().is_err_and(is_lack);
            tries += 1;
            if !passes || self.shape.is_inline || tries == MOST_TRIES || !self.is_waited_for() {
                return made;
            }
            std::thread::sleep(TRY_PAUSE);
        }
    }

    fn is_waited_for(&self) -> bool {
        let work = self.lock();
        (work.is_urgent || work.waiter.is_some()) && !work.is_stopped
    }

    /// The directory in words, for a message that asks for space in it.
    pub(crate) fn place_to_free(&self) -> String {
        self.disk.place_to_free()
    }

    fn place(&self, number: u64) -> String {
        self.disk.place(&segment_name(number))
    }

    /// Makes a segment of a spare or of a new file; `None` if it was told to stop.
    fn try_make(
        &self,
        number: u64,
        proven: Position,
        when: When,
    ) -> io::Result<Option<OpenSegment>> {
        let spare = self.lock().spares.pop();
        let (name, written) = match spare {
            Some((name, written)) => (name, Some(written)),
            None => (self.new_spare_name(), None),
        };
        let made = self.make_of(&name, written, (number, proven), when);
        if !matches!(made, Ok(Some(_))) {
            // What is left of it is in no list: the space is the writer's.
            let removed = self.disk.unlink(&name);
            let is_gone = removed.as_ref().is_err_and(|it| it.kind() == io::ErrorKind::NotFound);
            self.warn_of(&name, if is_gone { Ok(()) } else { removed });
        }
        made
    }

    /// The same, of this file; a new one, unless it is known how much of it was written.
    fn make_of(
        &self,
        name: &str,
        written: Option<u64>,
        (number, proven): (u64, Position),
        when: When,
    ) -> io::Result<Option<OpenSegment>> {
        let (file, written) = match written {
            Some(written) => (self.disk.open(name)?, Some(written)),
            None => {
                let file = self.disk.create(name)?;
                let written = match when {
                    When::Now => Some(FRAMES_START),
                    When::Ahead => self.fill(file.as_ref())?,
                };
                (file, written)
            }
        };
        let Some(written) = written else { return Ok(None) };
        let seal = Seal { segment: number, salt: self.disk.random()? };
        let Shape { directory, segment_bytes, .. } = self.shape;
        let header = SegmentHeader { seal, directory, proven, segment_bytes }.encode();
        for copy in [0, HEADER_BLOCK_BYTES] {
            write_all(file.as_ref(), &padded(&header), copy)?;
        }
        file.sync_data()?;
        self.disk.rename(name, &segment_name(number))?;
        self.sync_names()?;
        let is_written = written >= segment_bytes;
        let frames = self.disk.open_for_frames(&segment_name(number), file.clone(), is_written)?;
        let zero_fill = Arc::new(ZeroFill::new(file, segment_bytes, written, FRAMES_START));
        Ok(Some(OpenSegment { frames, seal, zero_fill, is_written }))
    }

    /// Syncs the names. Once that failed it is never tried again: a second sync may succeed and
    /// mean nothing.
    pub(crate) fn sync_names(&self) -> io::Result<()> {
        if self.lock().is_broken {
            return Err(io::Error::other("an earlier sync of the directory failed"));
        }
        self.disk.sync_names().map_err(|error| {
            self.lock().is_broken = true;
            // Not a lack of space that passes, whatever its cause.
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

    /// Whether the ordered segment is neither ready nor being made, and may be ordered again: its
    /// making has failed, and not for lack of space a moment ago.
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
    /// being made. Where a write does not block, neither does this.
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
                made.map(|made| made.expect("only a making ahead of time is stopped"))
                    .map_err(|error| self.not_made(number, error))
            }
        }
    }

    /// Leaves the making to the housekeeping thread, whatever it takes.
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

    /// Lets the segment that is written to grow ahead of its writer.
    pub(crate) fn grow(&self, zero_fill: &Arc<ZeroFill>) {
        if zero_fill.is_hungry() {
            self.lock().zero_fill = Some(zero_fill.clone());
            self.wake.notify_one();
        }
    }

    /// Gives up segments that hold nothing any more, lowest first; that must be durable.
    pub(crate) fn retire(&self, segments: impl IntoIterator<Item = u64>) {
        let mut work = self.lock();
        work.retired.extend(segments);
        if !work.retired.is_empty() {
            self.wake.notify_one();
        }
    }

    /// Does all the work there is, on the caller's time.
    pub(crate) fn work_off(&self) {
        loop {
            let job = self.lock().next_job();
            match job {
                Some(job) => self.run(job),
                None => return,
            }
        }
    }

    /// The life of the housekeeping thread.
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

    /// Ends the thread's work, at the next step.
    pub(crate) fn stop(&self) {
        self.lock().is_stopped = true;
        self.wake.notify_one();
    }

    fn run(&self, job: Job) {
        match job {
            // The writer meets the cause at its own next write.
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
                warn!(segment = number, %error, "no segment was made ready ahead");
                // Without a thread the same calls give the same bytes, whatever the time.
                if is_no_space(&error) && !self.shape.is_inline {
                    work.pauses_until = Some(Instant::now() + FULL_PAUSE);
                }
                // Kept for a writer that waits, since it will not try for itself.
                work.failure = work.waiter.is_some().then_some(error);
            }
        }
        let waiter = work.waiter.take();
        drop(work);
        waiter.into_iter().for_each(Waker::wake);
        self.done.notify_all();
    }

    /// Writes a new file full of zeros, and syncs it in steps. Stops early when the writer waits.
    fn fill(&self, file: &dyn DiskFile) -> io::Result<Option<u64>> {
        let mut written = 0;
        while written < self.shape.segment_bytes {
            let (is_urgent, is_stopped) = {
                let work = self.lock();
                (work.is_urgent, work.is_stopped)
            };
            if is_stopped {
                return Ok(None);
            }
            if is_urgent && written >= FRAMES_START {
                break;
            }
            // A writer that waits needs no more than the headers, and perhaps there is no more.
            let step = if is_urgent { FRAMES_START } else { FILL_STEP_BYTES };
            let end = self.shape.segment_bytes.min(written + step);
            file.fill(written..end)?;
            file.sync_data()?;
            written = end;
        }
        Ok(Some(written))
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

    /// Removes segments in which no frame was found, highest first, so that the row of segments
    /// never has a gap. Their files are not used again: a frame of the process that made them may
    /// still arrive there. The removal is durable once the names are synced.
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

impl Work {
    /// The most urgent piece of work; what is taken is not given again.
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

/// A header, with zeros up to the end of its block.
fn padded(header: &[u8]) -> Vec<u8> {
    let mut block = header.to_vec();
    block.resize(HEADER_BLOCK_BYTES as usize, 0);
    block
}
