//! Reads frames from a segment through a window, so that reading many small records costs few
//! calls, and large payloads are skipped.

use std::io;
use std::sync::Arc;

use raft_core::storage::record::Unreadable;

use crate::disk::{DiskFile, read_up_to};
use crate::format::{
    FRAME_HEADER_BYTES, FRAME_MAGIC, FrameHeader, Position, RECORD_HEADER_BYTES, RecordHeader, Seal,
};

const WINDOW_BYTES: usize = 64 << 10;
const SEARCH_BYTES: usize = 1 << 20;

/// A segment that is being read.
pub(crate) struct SegmentScan {
    file: Arc<dyn DiskFile>,
    seal: Seal,
    file_bytes: u64,
    window: Vec<u8>,
    window_start: u64,
}

/// One frame, its headers checked.
#[derive(Debug)]
pub(crate) struct Frame {
    pub(crate) offset: u64,
    pub(crate) header: FrameHeader,
    /// Each record header with the offset of its payload.
    pub(crate) records: Vec<(RecordHeader, u64)>,
}

impl Frame {
    pub(crate) fn end(&self) -> u64 {
        self.offset + self.header.length
    }
}

/// Why no frame was found at an offset.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum NoFrame {
    /// There is no sealed frame header.
    NoHeader,
    /// The header holds, the records do not.
    Broken,
    /// The seal of a header holds, and a newer version wrote it; names the unknown value.
    Newer(&'static str),
}

impl NoFrame {
    /// The fault of a header that cannot be read; `damaged` if it is damaged.
    fn of(fault: Unreadable, damaged: NoFrame) -> NoFrame {
        match fault {
            Unreadable::Damaged => damaged,
            Unreadable::Newer(what) => NoFrame::Newer(what),
        }
    }
}

impl SegmentScan {
    pub(crate) fn new(file: Arc<dyn DiskFile>, seal: Seal) -> io::Result<SegmentScan> {
        let file_bytes = file.len()?;
        Ok(SegmentScan { file, seal, file_bytes, window: Vec::new(), window_start: 0 })
    }

    pub(crate) fn seal(&self) -> Seal {
        self.seal
    }

    /// Bytes of the file; `None` if the file ends before them.
    pub(crate) fn bytes(&mut self, offset: u64, count: usize) -> io::Result<Option<&[u8]>> {
        if offset.checked_add(count as u64).is_none_or(|end| end > self.file_bytes) {
            return Ok(None);
        }
        let held = self.window_start..self.window_start + self.window.len() as u64;
        if !(held.contains(&offset) && offset + count as u64 <= held.end) {
            let rest = (self.file_bytes - offset).min(WINDOW_BYTES.max(count) as u64);
            self.window.resize(rest as usize, 0);
            let read = read_up_to(self.file.as_ref(), &mut self.window, offset)?;
            self.window.truncate(read);
            self.window_start = offset;
        }
        let start = (offset - self.window_start) as usize;
        Ok(self.window.get(start..start + count))
    }

    /// The frame at an offset, with all its headers checked; no payload is read.
    pub(crate) fn frame(&mut self, offset: u64) -> io::Result<Result<Frame, NoFrame>> {
        let seal = self.seal;
        let Some(bytes) = self.bytes(offset, FRAME_HEADER_BYTES)? else {
            return Ok(Err(NoFrame::NoHeader));
        };
        let header = match FrameHeader::decode(seal, offset, bytes) {
            Ok(header) => header,
            Err(fault) => return Ok(Err(NoFrame::of(fault, NoFrame::NoHeader))),
        };
        let end = offset.checked_add(header.length).filter(|end| *end <= self.file_bytes);
        let (Some(end), true) = (end, header.length.is_multiple_of(8)) else {
            return Ok(Err(NoFrame::Broken));
        };
        let records = self.records(&header, offset + FRAME_HEADER_BYTES as u64, end)?;
        Ok(records.map(|records| Frame { offset, header, records }))
    }

    fn records(
        &mut self,
        header: &FrameHeader,
        mut offset: u64,
        end: u64,
    ) -> io::Result<Result<Vec<(RecordHeader, u64)>, NoFrame>> {
        let seal = self.seal;
        let mut digest = seal.digest();
        let mut records = Vec::with_capacity((header.records as usize).min(1024));
        for _ in 0..header.records {
            let Some(bytes) = self.bytes(offset, RECORD_HEADER_BYTES)? else {
                return Ok(Err(NoFrame::Broken));
            };
            digest.update(bytes);
            let record = match RecordHeader::decode(seal, offset, bytes) {
                Ok(record) => record,
                Err(fault) => return Ok(Err(NoFrame::of(fault, NoFrame::Broken))),
            };
            records.push((record, offset + RECORD_HEADER_BYTES as u64));
            offset += record.record_bytes();
            if offset > end {
                return Ok(Err(NoFrame::Broken));
            }
        }
        let is_whole = digest.digest() == header.digest;
        Ok(if is_whole { Ok(records) } else { Err(NoFrame::Broken) })
    }

    /// The payload of a record, if its checksum holds.
    pub(crate) fn payload(
        &mut self,
        record: &RecordHeader,
        offset: u64,
    ) -> io::Result<Option<&[u8]>> {
        let seal = self.seal;
        let payload = self.bytes(offset, record.payload_bytes as usize)?;
        Ok(payload.filter(|payload| seal.payload_hash(payload) == record.payload_hash))
    }

    /// The bytes of a whole frame, if the checksums of all its payloads hold. They are read from
    /// the file once more, and the checksums are compared with these bytes, since they will be
    /// written over the frame.
    pub(crate) fn sound_bytes(&mut self, frame: &Frame) -> io::Result<Option<Vec<u8>>> {
        let Some(bytes) = self.whole_bytes(frame)? else { return Ok(None) };
        let seal = self.seal;
        let is_sound = frame.records.iter().all(|(record, offset)| {
            let start = (offset - frame.offset) as usize;
            let payload = bytes.get(start..start + record.payload_bytes as usize);
            payload.is_some_and(|payload| seal.payload_hash(payload) == record.payload_hash)
        });
        Ok(is_sound.then_some(bytes))
    }

    /// The bytes of a whole frame, if its headers are still there.
    fn whole_bytes(&self, frame: &Frame) -> io::Result<Option<Vec<u8>>> {
        let mut bytes = vec![0; frame.header.length as usize];
        let read = read_up_to(self.file.as_ref(), &mut bytes, frame.offset)?;
        if read < bytes.len() {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        let is_same = FrameHeader::decode(self.seal, frame.offset, &bytes) == Ok(frame.header)
            && frame.records.iter().all(|(record, offset)| {
                let start = *offset - RECORD_HEADER_BYTES as u64;
                let header = &bytes[(start - frame.offset) as usize..];
                RecordHeader::decode(self.seal, start, header) == Ok(*record)
            });
        Ok(is_same.then_some(bytes))
    }

    /// The furthest position that any sealed frame header at or after `from` records as synced.
    pub(crate) fn furthest_proven(&mut self, from: u64) -> io::Result<Option<Position>> {
        let (mut offset, mut furthest) = (from, None);
        while offset + FRAME_HEADER_BYTES as u64 <= self.file_bytes {
            let count = (self.file_bytes - offset).min(SEARCH_BYTES as u64) as usize;
            let seal = self.seal;
            let Some(bytes) = self.bytes(offset, count)? else { break };
            let last = count - FRAME_HEADER_BYTES;
            for at in (0..=last).step_by(8).filter(|at| &bytes[*at..at + 4] == FRAME_MAGIC) {
                let found = FrameHeader::sealed(seal, offset + at as u64, &bytes[at..]);
                furthest = furthest.max(found.map(|header| header.synced));
            }
            offset += (last as u64 / 8 + 1) * 8;
        }
        Ok(furthest)
    }
}

#[cfg(test)]
mod tests {
    use raft_core::types::{EntryId, LogIndex, Term};

    use super::*;
    use crate::config::Alignment;
    use crate::disk::Disk;
    use crate::format::RecordType;
    use crate::frame_builder::{FrameBuilder, Place};
    use crate::sim_disk::SimDisk;

    const SEAL: Seal = Seal { segment: 1, salt: 5 };
    const OFFSET: u64 = 8192;

    /// A frame of two entries of a term, with payloads of this byte.
    fn frame_of(term: u64, byte: u8) -> Vec<u8> {
        let place = Place { seal: SEAL, offset: OFFSET, block_bytes: 1 };
        let mut builder = FrameBuilder::new(place);
        builder.begin(place, 1, Position::default(), 1024);
        for index in 1..=2 {
            let id = EntryId::new(Term::new(term), LogIndex::new(index));
            builder.push(RecordType::Entry, 1, id, &[byte; 64]);
        }
        builder.finish(Alignment::Packed, LogIndex::ZERO, false);
        builder.give_buffer().to_vec()
    }

    fn scan_of(frame: &[u8]) -> SegmentScan {
        let mut bytes = vec![0; OFFSET as usize];
        bytes.extend(frame);
        let disk = SimDisk::new(0);
        disk.put("segment", bytes);
        SegmentScan::new(disk.open("segment").expect("there"), SEAL).expect("opens")
    }

    #[test]
    fn a_frame_is_found_with_its_records() {
        let mut scan = scan_of(&frame_of(1, 1));
        let frame = scan.frame(OFFSET).expect("reads").expect("sound");
        assert_eq!((frame.header.first_entry, frame.records.len()), (LogIndex::new(1), 2));
        let bytes = scan.sound_bytes(&frame).expect("reads");
        assert_eq!(bytes, Some(frame_of(1, 1)));
        assert_eq!(scan.frame(OFFSET + 8).expect("reads").err(), Some(NoFrame::NoHeader));
    }

    /// A file that ends early once it was read a number of times.
    struct EndsEarly(Arc<dyn DiskFile>, std::sync::atomic::AtomicU32);

    impl DiskFile for EndsEarly {
        fn len(&self) -> io::Result<u64> {
            self.0.len()
        }

        fn read_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<usize> {
            use std::sync::atomic::Ordering;
            let is_over = self.1.fetch_add(1, Ordering::Relaxed) > 0;
            if is_over { Ok(0) } else { self.0.read_at(buffer, offset) }
        }

        fn write_at(&self, bytes: &[u8], offset: u64) -> io::Result<usize> {
            self.0.write_at(bytes, offset)
        }

        fn fill(&self, range: std::ops::Range<u64>) -> io::Result<()> {
            self.0.fill(range)
        }

        fn sync_data(&self) -> io::Result<()> {
            self.0.sync_data()
        }

        fn set_len(&self, len: u64) -> io::Result<()> {
            self.0.set_len(len)
        }
    }

    /// What went wrong: the last frame is read once more to be written over itself, and where that
    /// read was short, zeros were written over a sound frame.
    #[test]
    fn a_short_second_read_of_a_frame_is_an_error() {
        let whole = scan_of(&frame_of(1, 1)).file;
        let short = Arc::new(EndsEarly(whole, 0.into()));
        let mut scan = SegmentScan::new(short, SEAL).expect("opens");
        let frame = scan.frame(OFFSET).expect("reads").expect("sound");
        let error = scan.sound_bytes(&frame).expect_err("it is short");
        assert_eq!(error.kind(), io::ErrorKind::UnexpectedEof);
    }

    /// Two writes to one place, half of each present: the checksum of every part holds, that of the
    /// whole does not.
    #[test]
    fn a_mixture_of_two_frames_is_not_a_frame() {
        let (one, other) = (frame_of(1, 1), frame_of(2, 1));
        let second = FRAME_HEADER_BYTES + RECORD_HEADER_BYTES + 64;
        let mixed = [&one[..second], &other[second..]].concat();
        let found = scan_of(&mixed).frame(OFFSET).expect("reads");
        assert_eq!(found.err(), Some(NoFrame::Broken));
    }

    #[test]
    fn a_frame_that_ends_beyond_its_file_is_broken() {
        let frame = frame_of(1, 1);
        for kept in [FRAME_HEADER_BYTES, frame.len() - 1] {
            let found = scan_of(&frame[..kept]).frame(OFFSET).expect("reads");
            assert_eq!(found.err(), Some(NoFrame::Broken));
        }
    }
}
