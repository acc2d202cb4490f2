//! Writes batches: one frame, one write, one sync.
//!
//! The writer keeps the end of the stream and the content of the last frame. It publishes entries
//! to the index only after their sync, so that a reader never sees an entry that a failure may
//! remove.
//!
//! Where the disk has no space, a frame is refused (`NoSpace`): either no segment could be made for
//! it, or the segment could not grow by it. In the second case the rest of the segment is given up:
//! it is cut to its last frame, and the next frame goes to a new segment, as after an opening. So a
//! frame that was written in part is never written over.

use std::io;

use owned_dir::is_no_space;
use raft_core::storage::record::{encode_hard_state, encode_identity};
use raft_core::storage::{LogError, LogErrorKind, LogOp, Plan};
use raft_core::types::{Entry, EntryId, Identity, LogIndex};

use crate::config::Alignment;
use crate::disk::{Put, PutError, Written};
use crate::facts::{Checkpoint, Facts};
use crate::format::{FRAME_HEADER_BYTES, FRAMES_START, Position, RecordType};
use crate::frame_builder::{FrameBuilder, records_bytes};
use crate::index::{SharedIndex, Slot};
use crate::segment_pool::{OpenSegment, SegmentPool};

/// How much is written to a segment that still grows before the next one is prepared, so that a log
/// that is opened for a few writes only does not prepare one each time.
const GROWING_BYTES: u64 = 1 << 20;
/// The minimum length of a segment whose rest is left unused once a zero-filled one is ready.
const LEAVABLE_BYTES: u64 = 4 << 20;

/// The writing end of the stream.
pub(crate) struct Writer {
    pub(crate) facts: Facts,
    /// The open segment. `None` after an opening or a write that found no space, until a write
    /// finds space.
    segment: Option<OpenSegment>,
    /// The number of the next segment.
    next_segment: u64,
    segment_bytes: u64,
    alignment: Alignment,
    /// The offset of the next frame in the segment, if there is one.
    offset: u64,
    /// The end of the last frame; everything before it is synced.
    end: Position,
    /// The number of the last frame.
    number: u64,
    /// Whether the last frame is a clean close.
    is_closed: bool,
    is_next_ordered: bool,
    /// `None` before the first frame.
    builder: Option<FrameBuilder>,
    slots: Vec<Slot>,
}

/// The content of one frame.
#[derive(Default)]
pub(crate) struct Content<'a> {
    pub(crate) identity: Option<Identity>,
    pub(crate) plan: Plan,
    pub(crate) entries: &'a [Entry],
    /// The commit hint after this frame; `None` if it does not change.
    pub(crate) commit_hint: Option<LogIndex>,
    pub(crate) is_close: bool,
}

/// Where a writer continues the stream: after the recovered part, in a new segment.
pub(crate) struct Start {
    pub(crate) facts: Facts,
    /// `None` if the disk had no space for it.
    pub(crate) segment: Option<OpenSegment>,
    pub(crate) end: Position,
    pub(crate) number: u64,
}

impl Writer {
    pub(crate) fn new(start: Start, segment_bytes: u64, alignment: Alignment) -> Writer {
        let Start { facts, segment, end, number } = start;
        let newest = segment.as_ref().map_or(end.segment, |segment| segment.seal.segment);
        Writer {
            facts,
            segment,
            next_segment: newest + 1,
            segment_bytes,
            alignment,
            offset: FRAMES_START,
            end,
            number,
            is_closed: false,
            is_next_ordered: false,
            builder: None,
            slots: Vec::new(),
        }
    }

    /// The highest segment that holds a checkpoint; the segments before it may be removed.
    pub(crate) fn checkpointed_segment(&self) -> u64 {
        self.end.segment
    }

    /// The end of the last frame; everything before it is synced.
    pub(crate) fn end(&self) -> Position {
        self.end
    }

    /// Whether a clean close would change anything.
    pub(crate) fn is_worth_closing(&self) -> bool {
        !self.is_closed && self.segment.is_some() && self.offset > FRAMES_START
    }

    /// Writes one frame and publishes it once it is durable. After `NoSpace` it may be written
    /// again. On any other error, or if the future is dropped, the stream's end is unknown, and
    /// nothing may be written any more. On a disk that blocks, the first poll is the last.
    pub(crate) async fn write(
        &mut self,
        op: LogOp,
        content: &Content<'_>,
        index: &SharedIndex,
        pool: &SegmentPool,
    ) -> Result<(), LogError> {
        let segment = self.segment_for(content, pool).await?;
        let last = index.read().expect("no writer panics").summary.bounds();
        self.encode(&segment, content, last.boundary, last.last);
        self.put(&segment, op, content, pool).await?;
        self.publish(&segment, content, index);
        self.look_ahead(&segment, pool);
        Ok(())
    }

    /// The segment for a frame with this content: the current one, or the next one. If the next one
    /// cannot be made, the current one remains in use for frames that fit.
    async fn segment_for(
        &mut self,
        content: &Content<'_>,
        pool: &SegmentPool,
    ) -> Result<OpenSegment, LogError> {
        if let Some(segment) = &self.segment
            && self.fits(self.most_bytes(segment, content))
            && !self.may_move_on(segment, pool)
        {
            return Ok(segment.clone());
        }
        let next = pool.take(self.next_segment, self.end).await?;
        self.next_segment += 1;
        self.offset = FRAMES_START;
        self.is_next_ordered = false;
        Ok(self.segment.insert(next).clone())
    }

    /// The largest size of a frame with this content.
    fn most_bytes(&self, segment: &OpenSegment, content: &Content<'_>) -> u64 {
        // Space for the small records of any batch, including the checkpoint.
        const SMALL_RECORDS_BYTES: u64 = 512;
        let entries = records_bytes(content.entries.iter().map(Entry::size));
        let length = FRAME_HEADER_BYTES as u64 + entries + SMALL_RECORDS_BYTES;
        self.alignment.padded(length, segment.frames.block_bytes())
    }

    fn fits(&self, most_bytes: u64) -> bool {
        self.offset == FRAMES_START || self.offset + most_bytes <= self.segment_bytes
    }

    /// Whether to leave unused the rest of a segment that still grows, since a segment that was
    /// written beforehand is ready.
    fn may_move_on(&self, segment: &OpenSegment, pool: &SegmentPool) -> bool {
        let is_growing = !segment.is_written && self.segment_bytes >= LEAVABLE_BYTES;
        is_growing && self.is_next_ordered && pool.has_written_segment()
    }

    fn encode(
        &mut self,
        segment: &OpenSegment,
        content: &Content<'_>,
        boundary: EntryId,
        last: EntryId,
    ) {
        let seal = segment.seal;
        let most_bytes = self.most_bytes(segment, content);
        let place = segment.place(self.offset);
        let builder = self.builder.get_or_insert_with(|| FrameBuilder::new(place));
        builder.begin(place, self.number + 1, self.end, most_bytes);
        self.slots.clear();
        if self.offset == FRAMES_START {
            let is_first = seal.segment == 1;
            let checkpoint = Checkpoint {
                boundary,
                previous_end: if is_first { 0 } else { self.end.offset },
                hard_state: self.facts.hard_state,
                identity: self.facts.identity,
            };
            builder.push(RecordType::Checkpoint, 0, last, &checkpoint.encode());
        }
        if let Some(identity) = &content.identity {
            builder.push(RecordType::Identity, 0, EntryId::ZERO, &encode_identity(identity));
        }
        if let Some(hard_state) = content.plan.hard_state {
            let payload = encode_hard_state(hard_state);
            builder.push(RecordType::HardState, 0, EntryId::ZERO, &payload);
        }
        if let Some(boundary) = content.plan.reset {
            builder.push(RecordType::Reset, 0, boundary, &[]);
        }
        if let Some(last) = content.plan.truncate {
            builder.push(RecordType::Truncate, 0, last, &[]);
        }
        for Entry { id, kind, payload } in content.entries {
            let offset = builder.push(RecordType::Entry, kind.number(), *id, payload);
            self.slots.push(Slot::new(offset, payload.len() as u32));
        }
        if let Some(upto) = content.plan.purge {
            builder.push(RecordType::Purge, 0, upto, &[]);
        }
    }

    /// The write and the sync of the frame.
    async fn put(
        &mut self,
        segment: &OpenSegment,
        op: LogOp,
        content: &Content<'_>,
        pool: &SegmentPool,
    ) -> Result<(), LogError> {
        let hint = content.commit_hint.unwrap_or(self.facts.commit_hint);
        let builder = self.builder.as_mut().expect("a frame was built");
        let length = builder.finish(self.alignment, hint, content.is_close);
        let (start, end) = (self.offset, self.offset + length);
        segment.zero_fill.reserve(end);
        let number = segment.seal.segment;
        let from = segment.place(start).block_offset();
        let Written { buffer, result } = match segment.frames.put(builder.give_buffer(), from) {
            Put::Done(written) => written,
            Put::Started(going_on) => going_on.await,
        };
        builder.take_buffer(buffer);
        match result {
            Ok(()) => {}
            Err(PutError { op: LogOp::Write, error }) if is_no_space(&error) => {
                return Err(self.give_up_rest(segment, op, error, pool));
            }
            Err(PutError { op: failed, error }) => {
                let (op, verb) = match failed {
                    LogOp::Write => (op, "write"),
                    sync => (sync, "sync"),
                };
                return Err(write_failed(op, number, start, verb, error));
            }
        }
        self.facts.commit_hint = hint;
        self.offset = end;
        self.end = Position::new(number, end);
        self.number += 1;
        self.is_closed = content.is_close;
        Ok(())
    }

    /// Gives up the space after the last frame of a segment that cannot grow. A segment without a
    /// frame is made again under the same number: only the last segment of a log may have no frame.
    fn give_up_rest(
        &mut self,
        segment: &OpenSegment,
        op: LogOp,
        error: io::Error,
        pool: &SegmentPool,
    ) -> LogError {
        let number = segment.seal.segment;
        if let Err(error) = segment.zero_fill.cut(self.offset) {
            return write_failed(op, number, self.offset, "cut", error);
        }
        self.segment = None;
        if self.offset == FRAMES_START {
            self.next_segment = number;
        }
        LogError::new(op, LogErrorKind::NoSpace).because(error).at(pool.place_to_free())
    }

    fn publish(&mut self, segment: &OpenSegment, content: &Content<'_>, index: &SharedIndex) {
        let Plan { hard_state, reset, truncate, purge, .. } = content.plan;
        self.facts.hard_state = hard_state.unwrap_or(self.facts.hard_state);
        self.facts.identity = content.identity.or(self.facts.identity);
        if content.entries.is_empty() && reset.or(truncate).or(purge).is_none() {
            return;
        }
        let mut index = index.write().expect("no writer panics");
        index.apply(&content.plan, content.entries, segment.seal, &self.slots);
    }

    /// Orders the next segment ahead of time, and extends this one.
    fn look_ahead(&mut self, segment: &OpenSegment, pool: &SegmentPool) {
        pool.grow(&segment.zero_fill);
        let used = self.offset - FRAMES_START;
        let enough = if segment.is_written {
            self.segment_bytes / 4
        } else {
            GROWING_BYTES.min(self.segment_bytes / 4)
        };
        // A segment that could not be made ahead of time is ordered again, so that it is ready,
        // with its descriptors open, before the writer needs it.
        let is_missing = !self.is_next_ordered || pool.has_failed();
        if is_missing && used > enough {
            self.is_next_ordered = true;
            pool.order(self.next_segment, self.end);
        }
    }
}

fn write_failed(op: LogOp, segment: u64, offset: u64, verb: &str, error: io::Error) -> LogError {
    LogError::io(op, error).at(format!("segment {segment}, offset {offset}: {verb}"))
}
