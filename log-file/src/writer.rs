//! Writes batches: one frame, one write, one sync.
//!
//! The writer knows where the stream ends and what the last frame said. It publishes entries to the
//! index only after their sync, so that a reader never sees what a failure may take back.

use raft_core::storage::record::{encode_hard_state, encode_identity};
use raft_core::storage::{LogError, LogOp, Plan};
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
/// How long a segment is at least whose rest is left alone once a better one is ready.
const LEAVABLE_BYTES: u64 = 4 << 20;

/// The writing end of the stream.
pub(crate) struct Writer {
    pub(crate) facts: Facts,
    segment: OpenSegment,
    segment_bytes: u64,
    alignment: Alignment,
    /// Where the next frame goes in the segment.
    offset: u64,
    /// Where the last frame ends; all before it is synced.
    end: Position,
    /// The number of the last frame.
    number: u64,
    /// Whether the last frame is a clean close.
    is_closed: bool,
    is_next_ordered: bool,
    builder: FrameBuilder,
    slots: Vec<Slot>,
}

/// What one frame shall hold.
#[derive(Default)]
pub(crate) struct Content<'a> {
    pub(crate) identity: Option<Identity>,
    pub(crate) plan: Plan,
    pub(crate) entries: &'a [Entry],
    /// The commit hint after this frame; none where it stays as it is.
    pub(crate) commit_hint: Option<LogIndex>,
    pub(crate) is_close: bool,
}

/// Where a writer takes up the stream: behind what was recovered, in a new segment.
pub(crate) struct Start {
    pub(crate) facts: Facts,
    pub(crate) segment: OpenSegment,
    pub(crate) end: Position,
    pub(crate) number: u64,
}

impl Writer {
    pub(crate) fn new(start: Start, segment_bytes: u64, alignment: Alignment) -> Writer {
        let Start { facts, segment, end, number } = start;
        let builder = FrameBuilder::new(segment.place(FRAMES_START));
        Writer {
            facts,
            segment,
            segment_bytes,
            alignment,
            offset: FRAMES_START,
            end,
            number,
            is_closed: false,
            is_next_ordered: false,
            builder,
            slots: Vec::new(),
        }
    }

    pub(crate) fn segment_number(&self) -> u64 {
        self.segment.seal.segment
    }

    /// The highest segment that holds a checkpoint, so that the ones before it may go.
    pub(crate) fn checkpointed_segment(&self) -> u64 {
        self.end.segment
    }

    /// Where the last frame ends; all before it is synced.
    pub(crate) fn end(&self) -> Position {
        self.end
    }

    /// Whether a clean close would say anything new.
    pub(crate) fn is_worth_closing(&self) -> bool {
        !self.is_closed && self.offset > FRAMES_START
    }

    /// Writes one frame and publishes it once it is durable. On an error, or if the future is
    /// dropped, the stream's end is unknown, and nothing may be written any more. On a disk that
    /// blocks, the first poll is the last.
    pub(crate) async fn write(
        &mut self,
        op: LogOp,
        content: &Content<'_>,
        index: &SharedIndex,
        pool: &SegmentPool,
    ) -> Result<(), LogError> {
        let most_bytes = self.most_bytes(content);
        if !self.fits(most_bytes) || self.may_move_on(pool) {
            self.segment = pool.take(self.segment_number() + 1, self.end).await?;
            self.offset = FRAMES_START;
            self.is_next_ordered = false;
        }
        let last = index.read().expect("no writer panics").summary.bounds();
        self.encode(content, most_bytes, last.boundary, last.last);
        self.put(op, content).await?;
        self.publish(content, index);
        self.look_ahead(pool);
        Ok(())
    }

    /// The most that a frame with this content can take.
    fn most_bytes(&self, content: &Content<'_>) -> u64 {
        // Room for the small records of any batch, the checkpoint included.
        const SMALL_RECORDS_BYTES: u64 = 512;
        let entries = records_bytes(content.entries.iter().map(Entry::size));
        let length = FRAME_HEADER_BYTES as u64 + entries + SMALL_RECORDS_BYTES;
        self.alignment.padded(length, self.segment.frames.block_bytes())
    }

    fn fits(&self, most_bytes: u64) -> bool {
        self.offset == FRAMES_START || self.offset + most_bytes <= self.segment_bytes
    }

    /// Whether the rest of a segment that still grows is better left alone, since one that was
    /// written beforehand is ready.
    fn may_move_on(&self, pool: &SegmentPool) -> bool {
        let is_growing = !self.segment.is_written && self.segment_bytes >= LEAVABLE_BYTES;
        is_growing && self.is_next_ordered && pool.has_written_segment()
    }

    fn encode(&mut self, content: &Content<'_>, most_bytes: u64, boundary: EntryId, last: EntryId) {
        let seal = self.segment.seal;
        let builder = &mut self.builder;
        builder.begin(self.segment.place(self.offset), self.number + 1, self.end, most_bytes);
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
    async fn put(&mut self, op: LogOp, content: &Content<'_>) -> Result<(), LogError> {
        let hint = content.commit_hint.unwrap_or(self.facts.commit_hint);
        let length = self.builder.finish(self.alignment, hint, content.is_close);
        let (start, end) = (self.offset, self.offset + length);
        self.segment.zero_fill.reserve(end);
        let segment = self.segment_number();
        let from = self.segment.place(start).block_offset();
        let Written { buffer, result } =
            match self.segment.frames.put(self.builder.give_buffer(), from) {
                Put::Done(written) => written,
                Put::Started(going_on) => going_on.await,
            };
        self.builder.take_buffer(buffer);
        result.map_err(|PutError { op: failed, error }| {
            let (op, verb) = match failed {
                LogOp::Write => (op, "write"),
                sync => (sync, "sync"),
            };
            LogError::io(op, error).at(format!("segment {segment}, offset {start}: {verb}"))
        })?;
        self.facts.commit_hint = hint;
        self.offset = end;
        self.end = Position::new(segment, end);
        self.number += 1;
        self.is_closed = content.is_close;
        Ok(())
    }

    fn publish(&mut self, content: &Content<'_>, index: &SharedIndex) {
        let Plan { hard_state, reset, truncate, purge, .. } = content.plan;
        self.facts.hard_state = hard_state.unwrap_or(self.facts.hard_state);
        self.facts.identity = content.identity.or(self.facts.identity);
        if content.entries.is_empty() && reset.or(truncate).or(purge).is_none() {
            return;
        }
        let mut index = index.write().expect("no writer panics");
        index.apply(&content.plan, content.entries, self.segment.seal, &self.slots);
    }

    /// Orders the next segment in good time, and lets this one grow.
    fn look_ahead(&mut self, pool: &SegmentPool) {
        pool.grow(&self.segment.zero_fill);
        let used = self.offset - FRAMES_START;
        let enough = if self.segment.is_written {
            self.segment_bytes / 4
        } else {
            GROWING_BYTES.min(self.segment_bytes / 4)
        };
        // One that could not be made ahead of time is ordered again, so that the writer has it,
        // with its descriptors open, before it needs it.
        let is_missing = !self.is_next_ordered || pool.has_failed();
        if is_missing && used > enough {
            self.is_next_ordered = true;
            pool.order(self.segment_number() + 1, self.end);
        }
    }
}
