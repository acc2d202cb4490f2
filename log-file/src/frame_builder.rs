//! Builds the bytes of one frame in a reused buffer, after the bytes that precede the frame in its
//! first block.

use raft_core::types::{EntryId, LogIndex};
use xxhash_rust::xxh3::Xxh3;

use crate::config::Alignment;
use crate::format::{
    FRAME_HEADER_BYTES, FrameHeader, PayloadHasher, Position, RECORD_HEADER_BYTES, RecordHeader,
    RecordType, Seal, record_bytes,
};
use crate::write_buffer::WriteBuffer;

/// A frame under construction.
pub(crate) struct FrameBuilder {
    place: Place,
    /// The front of the block in which the frame begins, then the frame. The buffer is handed over
    /// while it is written.
    buffer: WriteBuffer,
    /// How much of the buffer comes before the frame.
    lead: usize,
    /// Where the frame that was finished last ends in the buffer.
    written: usize,
    digest: Xxh3,
    hasher: PayloadHasher,
    header: FrameHeader,
}

/// Where a frame begins, and the block length of the disk.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Place {
    pub(crate) seal: Seal,
    pub(crate) offset: u64,
    /// Each write begins and ends at a multiple of this.
    pub(crate) block_bytes: u64,
}

impl Place {
    /// The front of the block in which the frame begins.
    pub(crate) fn block_offset(self) -> u64 {
        self.offset - self.lead()
    }

    fn lead(self) -> u64 {
        self.offset % self.block_bytes
    }
}

impl FrameBuilder {
    pub(crate) fn new(place: Place) -> FrameBuilder {
        FrameBuilder {
            place,
            buffer: WriteBuffer::default(),
            lead: 0,
            written: 0,
            digest: place.seal.digest(),
            hasher: place.seal.payload_hasher(),
            header: FrameHeader::default(),
        }
    }

    /// Starts a frame of at most `most_bytes`. A frame that begins inside a block directly follows
    /// the frame that was built before.
    pub(crate) fn begin(&mut self, place: Place, number: u64, synced: Position, most_bytes: u64) {
        if place.seal != self.place.seal {
            self.hasher = place.seal.payload_hasher();
        }
        self.place = place;
        self.digest = place.seal.digest();
        self.header = FrameHeader { number, synced, ..FrameHeader::default() };
        self.lead = place.lead() as usize;
        self.buffer.keep(self.written - self.lead..self.written);
        self.buffer.reserve(self.lead + (most_bytes + place.block_bytes) as usize);
        self.buffer.pad(self.lead + FRAME_HEADER_BYTES);
    }

    /// Adds a record; returns the offset of its header in the segment.
    pub(crate) fn push(
        &mut self,
        record: RecordType,
        entry_kind: u8,
        id: EntryId,
        payload: &[u8],
    ) -> u64 {
        let Place { seal, .. } = self.place;
        let offset = self.place.block_offset() + self.buffer.len() as u64;
        let payload_bytes = u32::try_from(payload.len()).expect("payloads were checked");
        let payload_hash = self.hasher.hash(payload);
        let header = RecordHeader { record, entry_kind, payload_bytes, id, payload_hash };
        let header = header.encode(seal, offset);
        self.digest.update(&header);
        self.buffer.extend(&header);
        self.buffer.extend(payload);
        // The buffer begins at a multiple of 8 of the segment, as every frame does.
        self.buffer.pad(self.buffer.len().next_multiple_of(8));
        self.header.records += 1;
        if record == RecordType::Entry && self.header.first_entry == LogIndex::ZERO {
            self.header.first_entry = id.index;
        }
        offset
    }

    /// Writes the frame's header and pads the frame; returns its length.
    pub(crate) fn finish(&mut self, alignment: Alignment, hint: LogIndex, is_close: bool) -> u64 {
        let length = (self.buffer.len() - self.lead) as u64;
        let length = alignment.padded(length, self.place.block_bytes);
        self.written = self.lead + length as usize;
        self.header.length = length;
        self.header.commit_hint = hint;
        self.header.is_close = is_close;
        self.header.digest = self.digest.digest();
        let Place { seal, offset, block_bytes } = self.place;
        self.buffer.pad(self.written.next_multiple_of(block_bytes as usize));
        self.header.encode(seal, offset, &mut self.buffer.bytes_mut()[self.lead..]);
        self.buffer.align();
        length
    }

    /// The finished frame, with the rest of its first and last block.
    pub(crate) fn give_buffer(&mut self) -> WriteBuffer {
        std::mem::take(&mut self.buffer)
    }

    /// Takes the buffer back, once it is written.
    pub(crate) fn take_buffer(&mut self, buffer: WriteBuffer) {
        self.buffer = buffer;
    }
}

/// How many bytes records with payloads of these lengths take.
pub(crate) fn records_bytes(payload_lengths: impl Iterator<Item = u64>) -> u64 {
    payload_lengths.map(record_bytes).sum()
}

const _: () =
    assert!(FRAME_HEADER_BYTES.is_multiple_of(8) && RECORD_HEADER_BYTES.is_multiple_of(8));
