//! Builds the bytes of one frame in a buffer that is used again and again.

use raft_core::types::{EntryId, LogIndex};
use xxhash_rust::xxh3::Xxh3;

use crate::format::{
    FRAME_HEADER_BYTES, FrameHeader, Position, RECORD_HEADER_BYTES, RecordHeader, RecordType, Seal,
    record_bytes,
};

/// What the buffer is shrunk to after a larger frame.
const KEPT_BUFFER_BYTES: usize = 8 << 20;

/// A frame under construction.
pub(crate) struct FrameBuilder {
    seal: Seal,
    offset: u64,
    bytes: Vec<u8>,
    digest: Xxh3,
    header: FrameHeader,
}

impl FrameBuilder {
    pub(crate) fn new(seal: Seal) -> FrameBuilder {
        let header = FrameHeader::default();
        FrameBuilder { seal, offset: 0, bytes: Vec::new(), digest: seal.digest(), header }
    }

    /// Starts a frame at a place of the stream.
    pub(crate) fn begin(&mut self, seal: Seal, offset: u64, number: u64, synced: Position) {
        self.seal = seal;
        self.offset = offset;
        self.digest = seal.digest();
        self.bytes.clear();
        self.bytes.shrink_to(KEPT_BUFFER_BYTES);
        self.bytes.resize(FRAME_HEADER_BYTES, 0);
        self.header = FrameHeader { number, synced, ..FrameHeader::default() };
    }

    /// Adds a record; the offset of its header in the segment.
    pub(crate) fn push(
        &mut self,
        record: RecordType,
        entry_kind: u8,
        id: EntryId,
        payload: &[u8],
    ) -> u64 {
        let offset = self.offset + self.bytes.len() as u64;
        let payload_bytes = u32::try_from(payload.len()).expect("payloads were checked");
        let payload_hash = self.seal.payload_hash(payload);
        let header = RecordHeader { record, entry_kind, payload_bytes, id, payload_hash };
        let header = header.encode(self.seal, offset);
        self.digest.update(&header);
        self.bytes.extend_from_slice(&header);
        self.bytes.extend_from_slice(payload);
        self.bytes.resize(self.bytes.len().next_multiple_of(8), 0);
        self.header.records += 1;
        if record == RecordType::Entry && self.header.first_entry == LogIndex::ZERO {
            self.header.first_entry = id.index;
        }
        offset
    }

    /// Pads the frame, heads it, and gives its bytes.
    pub(crate) fn finish(&mut self, alignment: u64, hint: LogIndex, is_close: bool) -> &[u8] {
        let length = frame_bytes(self.bytes.len() as u64 - FRAME_HEADER_BYTES as u64, alignment);
        self.bytes.resize(length as usize, 0);
        self.header.length = length;
        self.header.commit_hint = hint;
        self.header.is_close = is_close;
        self.header.digest = self.digest.digest();
        self.header.encode(self.seal, self.offset, &mut self.bytes);
        &self.bytes
    }
}

/// How long a frame with so many bytes of records is.
pub(crate) fn frame_bytes(records_bytes: u64, alignment: u64) -> u64 {
    (FRAME_HEADER_BYTES as u64 + records_bytes).next_multiple_of(alignment)
}

/// How many bytes records with payloads of these lengths take.
pub(crate) fn records_bytes(payload_lengths: impl Iterator<Item = u64>) -> u64 {
    payload_lengths.map(record_bytes).sum()
}

const _: () =
    assert!(FRAME_HEADER_BYTES.is_multiple_of(8) && RECORD_HEADER_BYTES.is_multiple_of(8));
