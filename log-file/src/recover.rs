//! Recovers a log from the files of a directory: the read-only steps of "Opening" in
//! `docs/formats/log-file.md`.

use std::io;
use std::sync::Arc;

use raft_core::storage::record::Unreadable;
use raft_core::storage::{LogError, LogErrorKind, LogOp, Tail};

use crate::disk::{Disk, DiskFile, read_up_to, write_all};
use crate::durable_mark::DurableMark;
use crate::facts::Checkpoint;
use crate::format::{
    FRAMES_START, HEADER_BLOCK_BYTES, HeaderFault, Position, RecordType, SEGMENT_HEADER_BYTES,
    SegmentHeader,
};
use crate::listing::Listing;
use crate::names::{DURABLE_MARK_NAME, segment_name};
use crate::replay::{Replay, ReplayFault};
use crate::scan::{Frame, NoFrame, SegmentScan};

/// The contents of the directory.
pub(crate) struct Recovery {
    pub(crate) replay: Replay,
    pub(crate) end: EndOfLog,
    /// The number of the directory, if a segment gives it.
    pub(crate) directory: Option<u64>,
    /// The position in the durable mark; the default if there is none.
    pub(crate) proven: Position,
    /// How far anything proves the stream to be synced.
    pub(crate) furthest: Position,
}

/// The end of a sound stream, and what an opening must write or remove there.
pub(crate) struct EndOfLog {
    /// Where a torn write begins, if there is one after the end.
    pub(crate) torn: Option<Position>,
    /// The last frame, if it must be written again.
    pub(crate) unproven: Option<Unproven>,
    /// The lowest segment that belongs to the log.
    pub(crate) oldest: u64,
    /// Segments without a frame, which are removed.
    pub(crate) empty: Vec<u64>,
}

impl Default for EndOfLog {
    fn default() -> EndOfLog {
        EndOfLog { torn: None, unproven: None, oldest: 1, empty: Vec::new() }
    }
}

/// A whole frame that nothing proves to be synced.
pub(crate) struct Unproven {
    pub(crate) segment: u64,
    pub(crate) offset: u64,
    bytes: Vec<u8>,
}

/// A segment that belongs to the log, and its first frame.
struct Segment {
    header: SegmentHeader,
    scan: SegmentScan,
    first: Option<(Frame, Checkpoint)>,
}

/// Reads the log that the listed files hold; an error if it is damaged. Changes nothing.
pub(crate) fn recover(disk: &Arc<dyn Disk>, listing: &Listing) -> Result<Recovery, LogError> {
    match survey(disk, listing) {
        (recovery, None) => Ok(recovery),
        (_, Some(damage)) => Err(damage),
    }
}

/// Reads the log up to the first damage, and returns that damage. Changes nothing.
pub(crate) fn survey(disk: &Arc<dyn Disk>, listing: &Listing) -> (Recovery, Option<LogError>) {
    let mut damage = None;
    let mut note = |error| {
        damage.get_or_insert(error);
    };
    let durable_mark =
        listing.has_durable_mark.then(|| DurableMark::read(disk.as_ref())).transpose();
    let durable_mark = durable_mark.map_err(&mut note).ok().flatten();
    let mut segments = Vec::new();
    for number in listing.row() {
        match open_segment(disk, number) {
            Ok(segment) => segments.push(segment),
            Err(error) => {
                note(error);
                break;
            }
        }
    }
    let proven = durable_mark.map(|mark| mark.end).unwrap_or_default();
    let directory = segments.first().map(|lowest| lowest.header.directory);
    let replay = Replay::default();
    let mut recoverer =
        Recoverer { disk: disk.clone(), segments, durable_mark, replay, furthest: proven };
    let end = recoverer.run().map_err(note).unwrap_or_default();
    let Recoverer { replay, furthest, .. } = recoverer;
    (Recovery { replay, end, directory, proven, furthest }, damage)
}

impl Recovery {
    /// The state of the log's end, for the report of an opening.
    pub(crate) fn tail(&self, disk: &dyn Disk) -> Tail {
        match self.end.torn {
            Some(torn) => Tail::TornDiscarded { place: torn.place(disk) },
            None => Tail::Clean,
        }
    }

    /// Writes the unproven last frame again, byte for byte, and syncs it (P2): the process that
    /// wrote it may never have synced it, or its sync may have failed.
    pub(crate) fn make_tail_durable(&mut self, disk: &Arc<dyn Disk>) -> Result<(), LogError> {
        let Some(Unproven { segment, offset, bytes }) = self.end.unproven.take() else {
            return Ok(());
        };
        let name = segment_name(segment);
        let again = || -> io::Result<()> {
            let file = disk.open(&name)?;
            write_all(file.as_ref(), &bytes, offset)?;
            file.sync_data()
        };
        again().map_err(|error| LogError::io(LogOp::Open, error).at(disk.place(&name)))
    }
}

fn open_segment(disk: &Arc<dyn Disk>, number: u64) -> Result<Segment, LogError> {
    let name = segment_name(number);
    let failed = |error| LogError::io(LogOp::Open, error).at(disk.place(&name));
    let file = disk.open(&name).map_err(failed)?;
    let header = read_header(file.as_ref()).map_err(failed)?;
    let header = header.and_then(|header| {
        if header.seal.segment == number { Ok(header) } else { Err(HeaderFault::Damaged) }
    });
    let header = header.map_err(|fault| header_error(fault, &disk.place(&name)))?;
    let mut scan = SegmentScan::new(file, header.seal).map_err(failed)?;
    let first = first_frame(&mut scan).map_err(failed)?;
    let first = first.map_err(|what| newer(&disk.place(&name), FRAMES_START, what))?;
    Ok(Segment { header, scan, first })
}

/// The header of a segment, from either sound copy.
pub(crate) fn read_header(file: &dyn DiskFile) -> io::Result<Result<SegmentHeader, HeaderFault>> {
    Ok(match header_copies(file)? {
        [Ok(header), _] | [_, Ok(header)] => Ok(header),
        [Err(HeaderFault::Damaged), fault] => fault,
        [fault, _] => fault,
    })
}

/// Both copies of the header of a segment.
pub(crate) fn header_copies(
    file: &dyn DiskFile,
) -> io::Result<[Result<SegmentHeader, HeaderFault>; 2]> {
    let copy = |offset| -> io::Result<Result<SegmentHeader, HeaderFault>> {
        let mut bytes = [0; SEGMENT_HEADER_BYTES];
        let count = read_up_to(file, &mut bytes, offset)?;
        Ok(SegmentHeader::decode(&bytes[..count]))
    };
    Ok([copy(0)?, copy(HEADER_BLOCK_BYTES)?])
}

fn header_error(fault: HeaderFault, place: &str) -> LogError {
    match fault {
        HeaderFault::Damaged => {
            let kind = LogErrorKind::Corrupt { index: None };
            let place = format!("{place}: both copies of the segment's header");
            LogError::new(LogOp::Open, kind).at(place)
        }
        HeaderFault::Version(version) => {
            let place =
                format!("{place}: format version {version}; use a newer version of Kontiki");
            LogError::new(LogOp::Open, LogErrorKind::Format).at(place)
        }
    }
}

/// The first frame of a segment with its checkpoint, if both are sound. If a newer version wrote
/// it, the error names the unknown value.
fn first_frame(
    scan: &mut SegmentScan,
) -> io::Result<Result<Option<(Frame, Checkpoint)>, &'static str>> {
    let frame = match scan.frame(FRAMES_START)? {
        Ok(frame) => frame,
        Err(NoFrame::Newer(what)) => return Ok(Err(what)),
        Err(NoFrame::NoHeader | NoFrame::Broken) => return Ok(Ok(None)),
    };
    let Some((record, offset)) = frame.records.first() else { return Ok(Ok(None)) };
    if record.record != RecordType::Checkpoint {
        return Ok(Ok(None));
    }
    let Some(payload) = scan.payload(record, *offset)? else { return Ok(Ok(None)) };
    Ok(match Checkpoint::decode(payload) {
        Ok(checkpoint) => Ok(Some((frame, checkpoint))),
        Err(Unreadable::Damaged) => Ok(None),
        Err(Unreadable::Newer(what)) => Err(what),
    })
}

/// The error for bytes that a newer version wrote, with checksums that hold.
fn newer(place: &str, offset: u64, what: &'static str) -> LogError {
    let place = format!("{place}, offset {offset}: {}", Unreadable::Newer(what));
    LogError::new(LogOp::Open, LogErrorKind::Format).at(place)
}

struct Recoverer {
    disk: Arc<dyn Disk>,
    segments: Vec<Segment>,
    durable_mark: Option<DurableMark>,
    replay: Replay,
    /// How far anything proves the stream to be synced.
    furthest: Position,
}

/// How far the tail segment could be read.
struct TailWalk {
    last: Option<Frame>,
    stopped_at: u64,
    why: NoFrame,
}

impl Recoverer {
    fn run(&mut self) -> Result<EndOfLog, LogError> {
        let Some(lowest) = self.segments.first() else { return self.blank() };
        let (oldest, directory) = (lowest.header.seal.segment, lowest.header.directory);
        self.check_directory(directory)?;
        let tail = self.segments.iter().rposition(|segment| segment.first.is_some()).unwrap_or(0);
        for at in 0..tail {
            self.walk_sealed(at)?;
        }
        let walk = self.walk_tail(tail)?;
        let (torn, unproven) = self.settle_tail(tail, walk)?;
        self.replay.check_complete(self.place(0))?;
        let has_frames = self.replay.end.segment == oldest + tail as u64;
        if !has_frames && oldest + tail as u64 != self.replay.end.segment + 1 {
            return Err(self.damage(tail, FRAMES_START, "the segments before it are missing"));
        }
        let first_empty = if has_frames { tail + 1 } else { tail };
        let empty = self.segments[first_empty..].iter().map(|segment| segment.header.seal.segment);
        Ok(EndOfLog { torn, unproven, oldest, empty: empty.collect() })
    }

    fn blank(&self) -> Result<EndOfLog, LogError> {
        match self.durable_mark {
            Some(durable_mark) => Err(self.missing(durable_mark.end.segment)),
            None => Ok(EndOfLog::default()),
        }
    }

    fn check_directory(&self, directory: u64) -> Result<(), LogError> {
        if self.durable_mark.is_some_and(|mark| mark.directory != directory) {
            let place = format!("{}: it is of another log", self.disk.place(DURABLE_MARK_NAME));
            return Err(LogError::new(LogOp::Open, LogErrorKind::Corrupt { index: None }).at(place));
        }
        match self.segments.iter().position(|segment| segment.header.directory != directory) {
            Some(at) => Err(self.damage(at, 0, "the segment is of another log")),
            None => Ok(()),
        }
    }

    /// Reads a segment whose successor has frames: it must be sound up to its end, which the
    /// successor's checkpoint gives. If the checkpoint cannot be read, the successor is damaged;
    /// the segment is still applied.
    fn walk_sealed(&mut self, at: usize) -> Result<(), LogError> {
        let next = self.segments[at + 1].first.as_ref();
        let end = next.map(|(_, checkpoint)| checkpoint.previous_end);
        let mut offset = FRAMES_START;
        while end.is_none_or(|end| offset < end) {
            match self.frame(at, offset)? {
                Ok(frame) if end.is_none_or(|end| frame.end() <= end) => {
                    offset = frame.end();
                    self.apply(at, &frame)?;
                }
                _ if end.is_none() => break,
                _ => return Err(self.damage(at, offset, "a frame that was synced")),
            }
        }
        match end {
            Some(end) if offset == end => Ok(()),
            Some(end) => Err(self.damage(at, end, "the end of the segment")),
            None => Err(self.damage(at + 1, FRAMES_START, "a frame that was synced")),
        }
    }

    /// Reads the last segment with frames, up to the first place without a sound one. Every frame
    /// except the last is proven by the frame after it, and applied.
    fn walk_tail(&mut self, tail: usize) -> Result<TailWalk, LogError> {
        let mut last: Option<Frame> = None;
        let mut offset = FRAMES_START;
        loop {
            let why = match self.frame(tail, offset)? {
                Ok(frame) if last.as_ref().is_none_or(|last| follows(last, &frame)) => {
                    offset = frame.end();
                    if let Some(proven) = last.replace(frame) {
                        self.apply(tail, &proven)?;
                    }
                    continue;
                }
                Ok(_) => NoFrame::Broken,
                Err(why) => why,
            };
            return Ok(TailWalk { last, stopped_at: offset, why });
        }
    }

    /// Decides whether the last frame is proven, and whether damage or a torn write stopped the
    /// walk.
    fn settle_tail(
        &mut self,
        tail: usize,
        walk: TailWalk,
    ) -> Result<(Option<Position>, Option<Unproven>), LogError> {
        let segment = self.segments[tail].header.seal.segment;
        let stopped_at = Position::new(segment, walk.stopped_at);
        let proven = self.furthest_proven(tail, walk.stopped_at)?;
        let synced_by_last = walk.last.as_ref().map(|last| last.header.synced);
        self.furthest = proven.max(synced_by_last.unwrap_or_default());
        if proven > stopped_at {
            if let Some(last) = &walk.last {
                self.apply(tail, last)?;
            }
            return Err(self.lost(tail, walk.stopped_at, proven));
        }
        let broken = (walk.why == NoFrame::Broken).then_some(stopped_at);
        let Some(last) = walk.last else { return Ok((broken, None)) };
        if proven == stopped_at {
            self.apply(tail, &last)?;
            return Ok((broken, None));
        }
        let place = self.place(tail);
        let failed = |error| LogError::io(LogOp::Open, error).at(place.clone());
        let scan = &mut self.segments[tail].scan;
        let Some(bytes) = scan.sound_bytes(&last).map_err(failed)? else {
            return Ok((Some(Position::new(segment, last.offset)), None));
        };
        self.apply(tail, &last)?;
        Ok((broken, Some(Unproven { segment, offset: last.offset, bytes })))
    }

    /// The error for a stream that ends before a position that was synced.
    fn lost(&self, tail: usize, stopped_at: u64, proven: Position) -> LogError {
        let segment = self.segments[tail].header.seal.segment;
        let next = tail + 1;
        if proven.segment <= segment {
            self.damage(tail, stopped_at, "a frame that was synced")
        } else if next < self.segments.len() {
            self.damage(next, FRAMES_START, "a frame that was synced")
        } else {
            self.missing(segment + 1)
        }
    }

    /// The furthest position that anything proves to be synced: the durable mark, the segment
    /// headers, and the frame headers after the place where reading stopped, whatever lies between.
    fn furthest_proven(&mut self, tail: usize, stopped_at: u64) -> Result<Position, LogError> {
        let recorded = self.segments.iter().map(|segment| segment.header.proven).max();
        let mut proven = self.furthest.max(recorded.unwrap_or_default());
        for at in tail..self.segments.len() {
            let from = if at == tail { stopped_at } else { FRAMES_START };
            let found = self.segments[at].scan.furthest_proven(from);
            let found = found.map_err(|error| self.read_failed(at, error))?;
            proven = proven.max(found.unwrap_or_default());
        }
        Ok(proven)
    }

    /// The frame at an offset. A frame of a newer version is an error wherever it is: it is not a
    /// torn write.
    fn frame(&mut self, at: usize, offset: u64) -> Result<Result<Frame, NoFrame>, LogError> {
        let found = self.segments[at].scan.frame(offset);
        match found.map_err(|error| self.read_failed(at, error))? {
            Err(NoFrame::Newer(what)) => Err(newer(&self.place(at), offset, what)),
            found => Ok(found),
        }
    }

    fn apply(&mut self, at: usize, frame: &Frame) -> Result<(), LogError> {
        let applied = self.replay.apply(&mut self.segments[at].scan, frame);
        applied.map_err(|fault| match fault {
            ReplayFault::Damaged(what) => self.damage(at, frame.offset, what),
            ReplayFault::Newer(what) => newer(&self.place(at), frame.offset, what),
            ReplayFault::Read(error) => self.read_failed(at, error),
        })
    }

    fn place(&self, at: usize) -> String {
        self.disk.place(&segment_name(self.segments[at].header.seal.segment))
    }

    /// The error for a segment that was synced and is missing.
    fn missing(&self, segment: u64) -> LogError {
        let kind = LogErrorKind::Corrupt { index: Some(self.replay.next_index()) };
        let place = self.disk.place(&segment_name(segment));
        LogError::new(LogOp::Open, kind).at(format!("{place}: missing, and it was synced"))
    }

    fn read_failed(&self, at: usize, error: io::Error) -> LogError {
        LogError::io(LogOp::Open, error).at(self.place(at))
    }

    fn damage(&self, at: usize, offset: u64, what: &str) -> LogError {
        let kind = LogErrorKind::Corrupt { index: Some(self.replay.next_index()) };
        let place = format!("{}, offset {offset}: {what}", self.place(at));
        LogError::new(LogOp::Open, kind).at(place)
    }
}

fn follows(last: &Frame, frame: &Frame) -> bool {
    frame.header.number == last.header.number + 1 && frame.header.synced.offset >= last.end()
}
