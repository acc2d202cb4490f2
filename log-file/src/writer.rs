//! Writes batches: one frame, one write, one sync.
//!
//! The writer knows where the stream ends and what the last frame said. It publishes entries to the
//! index only after their sync, so that a reader never sees what a failure may take back.

use std::io;

use raft_core::storage::record::{encode_hard_state, encode_identity};
use raft_core::storage::{LogError, LogOp, Plan};
use raft_core::types::{Entry, EntryId, EntryKind, Identity, LogIndex};

use crate::disk::write_all;
use crate::facts::{Checkpoint, Facts};
use crate::format::{FRAMES_START, Position, RecordType};
use crate::frame_builder::{FrameBuilder, frame_bytes, records_bytes};
use crate::index::{SharedIndex, Slot};
use crate::yard::{OpenSegment, Yard};

/// The writing end of the stream.
pub(crate) struct Writer {
    pub(crate) facts: Facts,
    segment: OpenSegment,
    segment_bytes: u64,
    alignment: u64,
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
    pub(crate) fn new(start: Start, segment_bytes: u64, alignment: u64) -> Writer {
        let Start { facts, segment, end, number } = start;
        let builder = FrameBuilder::new(segment.seal);
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

    /// Writes one frame and publishes it once it is durable. On an error the stream's end is
    /// unknown, and nothing may be written any more.
    pub(crate) fn write(
        &mut self,
        op: LogOp,
        content: &Content<'_>,
        index: &SharedIndex,
        yard: &Yard,
    ) -> Result<(), LogError> {
        if !self.fits(content) {
            self.segment = yard.take(self.segment_number() + 1, self.end)?;
            self.offset = FRAMES_START;
            self.is_next_ordered = false;
        }
        let last = index.read().expect("no writer panics").bounds();
        self.encode(content, last.boundary, last.last);
        self.put(op, content)?;
        self.publish(content, index);
        self.look_ahead(yard);
        Ok(())
    }

    fn fits(&self, content: &Content<'_>) -> bool {
        // Room for the small records of any batch, the checkpoint included.
        const SMALL_RECORDS_BYTES: u64 = 512;
        let entries = records_bytes(content.entries.iter().map(Entry::size));
        let most = frame_bytes(entries + SMALL_RECORDS_BYTES, self.alignment);
        self.offset == FRAMES_START || self.offset + most <= self.segment_bytes
    }

    fn encode(&mut self, content: &Content<'_>, boundary: EntryId, last: EntryId) {
        let seal = self.segment.seal;
        let builder = &mut self.builder;
        builder.begin(seal, self.offset, self.number + 1, self.end);
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
    fn put(&mut self, op: LogOp, content: &Content<'_>) -> Result<(), LogError> {
        let hint = self.facts.commit_hint.max(content.commit_hint.unwrap_or_default());
        let hint = if content.plan.reset.is_some() { content.commit_hint } else { Some(hint) };
        let hint = hint.unwrap_or_default();
        let frame = self.builder.finish(self.alignment, hint, content.is_close);
        let end = self.offset + frame.len() as u64;
        self.segment.growth.reserve(end);
        let file = self.segment.file.as_ref();
        let segment = self.segment.seal.segment;
        let failed = |op, error: io::Error, verb| {
            let place = format!("segment {segment}, offset {}: {verb}", self.offset);
            LogError::io(op, error).at(place)
        };
        write_all(file, frame, self.offset).map_err(|error| failed(op, error, "write"))?;
        file.sync_data().map_err(|error| failed(LogOp::Sync, error, "sync"))?;
        self.facts.commit_hint = hint;
        self.offset = end;
        self.end = Position::new(segment, end);
        self.number += 1;
        self.is_closed = content.is_close;
        Ok(())
    }

    fn publish(&mut self, content: &Content<'_>, index: &SharedIndex) {
        let Plan { hard_state, reset, truncate, purge } = content.plan;
        self.facts.hard_state = hard_state.unwrap_or(self.facts.hard_state);
        self.facts.identity = content.identity.or(self.facts.identity);
        if content.entries.is_empty() && reset.or(truncate).or(purge).is_none() {
            return;
        }
        let mut index = index.write().expect("no writer panics");
        if let Some(boundary) = reset {
            index.reset(boundary);
        }
        if let Some(last) = truncate {
            index.truncate_after(last.index);
        }
        for (entry, slot) in content.entries.iter().zip(&self.slots) {
            index.push(entry.id, self.segment.seal, *slot);
            if entry.kind == EntryKind::Membership {
                index.push_membership(entry.id.index, entry.payload.clone());
            }
        }
        if let Some(upto) = purge {
            index.purge_upto(upto);
        }
    }

    /// Orders the next segment in good time, and lets this one grow.
    fn look_ahead(&mut self, yard: &Yard) {
        yard.grow(&self.segment.growth);
        let used = self.offset - FRAMES_START;
        if !self.is_next_ordered && used > self.segment_bytes / 4 {
            self.is_next_ordered = true;
            yard.order(self.segment_number() + 1, self.end);
        }
    }
}
