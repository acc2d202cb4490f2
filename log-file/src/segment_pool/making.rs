//! Making a segment: from a spare or a new file, with its header and its name durable.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use owned_dir::is_no_space;
use raft_core::storage::{LogError, LogErrorKind, LogOp};
use rustix::io::Errno;

use super::{SegmentPool, Shape};
use crate::disk::{DiskFile, FrameFile, write_all};
use crate::format::{FRAMES_START, HEADER_BLOCK_BYTES, Position, Seal, SegmentHeader};
use crate::frame_builder::Place;
use crate::names::segment_name;
use crate::zero_fill::ZeroFill;

/// How many zeros are written between two syncs of a spare.
const FILL_STEP_BYTES: u64 = 1 << 20;

/// The result of making a segment; none if the pool was stopped meanwhile.
pub(super) type Making = io::Result<Option<OpenSegment>>;

/// How often the making of a segment for a waiting writer is tried, and the pause between two
/// tries, where the process or the machine is short of a resource: five seconds in all.
const MOST_TRIES: u32 = 500;
const TRY_PAUSE: Duration = Duration::from_millis(10);

/// Whether an error means that the process or the machine is temporarily short of descriptors or
/// memory. The call then had no effect and may be repeated.
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
    /// Whether all of its bytes were written and synced before.
    pub(crate) is_written: bool,
}

impl OpenSegment {
    /// Where a frame at this offset begins.
    pub(crate) fn place(&self, offset: u64) -> Place {
        Place { seal: self.seal, offset, block_bytes: self.frames.block_bytes() }
    }
}

/// Whether the writer waits for a new segment.
#[derive(Clone, Copy)]
pub(super) enum When {
    /// The writer waits, so a new file is not filled with zeros first.
    Now,
    /// The writer does not wait, so there is time to fill a new file with zeros.
    Ahead,
}

impl SegmentPool {
    /// Makes a segment now, on the calling thread.
    pub(crate) fn make(&self, number: u64, proven: Position) -> Result<OpenSegment, LogError> {
        self.try_make(number, proven, When::Now)
            .map(|made| made.expect("only a segment that is made ahead of time is stopped"))
            .map_err(|error| self.not_made(number, error))
    }

    /// The writer's error for a segment that could not be made.
    pub(super) fn not_made(&self, number: u64, error: io::Error) -> LogError {
        if is_no_space(&error) {
            let full = LogError::new(LogOp::Write, LogErrorKind::NoSpace).because(error);
            return full.at(self.place_to_free());
        }
        LogError::io(LogOp::Write, error).at(self.place(number))
    }

    /// Makes a segment; while a writer waits for it and the process or the machine is short of a
    /// resource, such as a descriptor, tries again.
    pub(super) fn make_patiently(&self, number: u64, proven: Position, when: When) -> Making {
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

    /// Makes a segment from a spare or a new file; `None` if the pool was stopped meanwhile.
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
            // The file that remains is in no list, so it is removed to free its space.
            let removed = self.disk.unlink(&name);
            let is_gone = removed.as_ref().is_err_and(|it| it.kind() == io::ErrorKind::NotFound);
            self.warn_of(&name, if is_gone { Ok(()) } else { removed });
        }
        made
    }

    /// Makes a segment from this file, of which `written` bytes were written; from a new file if
    /// `written` is `None`.
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
            // A writer that waits needs only the headers, and there may be no more space.
            let step = if is_urgent { FRAMES_START } else { FILL_STEP_BYTES };
            let end = self.shape.segment_bytes.min(written + step);
            file.fill(written..end)?;
            file.sync_data()?;
            written = end;
        }
        Ok(Some(written))
    }
}

/// A header, with zeros up to the end of its block.
fn padded(header: &[u8]) -> Vec<u8> {
    let mut block = header.to_vec();
    block.resize(HEADER_BLOCK_BYTES as usize, 0);
    block
}
