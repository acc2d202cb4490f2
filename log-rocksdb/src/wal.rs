//! Reads RocksDB's write-ahead logs without RocksDB.
//!
//! RocksDB has several modes to replay one. The strict mode reports a torn write as damage; the
//! others end silently at the first bad byte, or even at a bad length far before the end. This
//! module reads a file to its end, and the content after the first bad place shows whether that is
//! damage or a torn write.

use std::fs::File;
use std::io::{self, BufReader};

use raft_core::storage::record::Unreadable;

use crate::framing::{BLOCK_BYTES, Chunk, HEADER_BYTES, Part, read_block};
use crate::keys::STATE_KEY;
use crate::state::{STATE_BYTES, State};

/// The offset of the state record in a batch: after sequence and count (12), the record's type, the
/// key with its length, and the length of the value in two bytes.
const STATE_AT: usize = 12 + 1 + 1 + STATE_KEY.len() + 2;
const FRONT_BYTES: usize = STATE_AT + STATE_BYTES;
/// How many bytes before a block boundary can be part of a state record.
const SEAM_BYTES: usize = STATE_BYTES - 1;

/// The content of a write-ahead log.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct WalScan {
    /// The number of its first complete batch, if there is one.
    pub(crate) first: Option<u64>,
    /// The state after its last complete batch.
    pub(crate) latest: Option<State>,
    /// The end of the last complete batch.
    pub(crate) end: u64,
    /// The length of the file.
    pub(crate) length: u64,
    /// The newest batch with a state record after the last complete batch.
    pub(crate) newest_beyond: Option<u64>,
    /// The offset of a complete batch that is not this log's next batch.
    pub(crate) strange_at: Option<u64>,
    /// The unknown part of that batch's state record, if a newer version wrote it.
    pub(crate) newer: Option<&'static str>,
}

impl WalScan {
    /// Whether there are bytes after the last complete batch.
    pub(crate) fn is_torn(&self) -> bool {
        self.end < self.length
    }
}

/// Reads a write-ahead log of the log with this random number, from start to end.
pub(crate) fn scan(file: &File, directory: u64) -> io::Result<WalScan> {
    let mut file = BufReader::with_capacity(8 * BLOCK_BYTES, file);
    let mut scanner = Scanner::new(directory);
    let mut block = Vec::new();
    while read_block(&mut file, &mut block)? {
        scanner.take(&block);
    }
    Ok(scanner.scan)
}

/// Processes one block after another, and keeps the result.
struct Scanner {
    directory: u64,
    scan: WalScan,
    /// The first bytes of an incomplete batch, if its first chunk was read.
    pending: Option<Vec<u8>>,
    pending_at: u64,
    is_sound: bool,
    /// The end of the previous block, if it is after the last complete batch.
    seam: Vec<u8>,
}

impl Scanner {
    fn new(directory: u64) -> Scanner {
        Scanner {
            directory,
            scan: WalScan::default(),
            pending: None,
            pending_at: 0,
            is_sound: true,
            seam: Vec::new(),
        }
    }

    fn take(&mut self, block: &[u8]) {
        let start = self.scan.length;
        self.scan.length += block.len() as u64;
        let mut at = 0;
        // Too few bytes for a header are padding at a block's end, or the end of a torn write.
        while self.is_sound && at + HEADER_BYTES <= block.len() {
            match Chunk::of(&block[at..]) {
                Some(chunk) => {
                    let length = HEADER_BYTES + chunk.bytes.len();
                    self.take_chunk(&chunk, start + at as u64, length as u64);
                    at += length;
                }
                None => self.is_sound = false,
            }
        }
        if !self.is_sound {
            let behind = self.scan.end.saturating_sub(start) as usize;
            self.look_beyond(&block[behind.min(block.len())..], behind == 0);
        }
    }

    fn take_chunk(&mut self, chunk: &Chunk<'_>, at: u64, length: u64) {
        let is_begin = matches!(chunk.part, Part::Whole | Part::First);
        if is_begin == self.pending.is_some() {
            self.is_sound = false;
            return;
        }
        if is_begin {
            self.pending_at = at;
        }
        let front = self.pending.get_or_insert_default();
        let missing = FRONT_BYTES.saturating_sub(front.len());
        front.extend_from_slice(&chunk.bytes[..missing.min(chunk.bytes.len())]);
        if matches!(chunk.part, Part::Whole | Part::Last) {
            self.take_batch(at + length);
        }
    }

    fn take_batch(&mut self, end: u64) {
        let front = self.pending.take().unwrap_or_default();
        let state = State::decode(front.get(STATE_AT..).unwrap_or_default());
        if let Err(Unreadable::Newer(what)) = state {
            self.scan.newer = Some(what);
        }
        let expected = self.scan.latest.map(|latest| latest.batch.wrapping_add(1));
        let is_next = |state: &State| {
            state.directory == self.directory && expected.is_none_or(|it| it == state.batch)
        };
        match state.ok().filter(is_next) {
            Some(state) => {
                self.scan.first.get_or_insert(state.batch);
                self.scan.latest = Some(state);
                self.scan.end = end;
            }
            None => {
                self.scan.strange_at = Some(self.pending_at);
                self.is_sound = false;
            }
        }
    }

    /// Looks for state records in the part of a block after the last complete batch. A record may
    /// start at the end of the previous block, and continue after this block's first header.
    fn look_beyond(&mut self, bytes: &[u8], is_whole_block: bool) {
        if is_whole_block && !self.seam.is_empty() {
            let rest = bytes.get(HEADER_BYTES..).unwrap_or_default();
            let joined = [&self.seam, &rest[..SEAM_BYTES.min(rest.len())]].concat();
            self.note(State::newest_in(&joined, self.directory));
        }
        self.note(State::newest_in(bytes, self.directory));
        self.seam = bytes[bytes.len().saturating_sub(SEAM_BYTES)..].to_vec();
    }

    fn note(&mut self, batch: Option<u64>) {
        self.scan.newest_beyond = self.scan.newest_beyond.max(batch);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Write;

    const DIRECTORY: u64 = 77;

    /// The bytes of a batch as RocksDB passes them to its write-ahead log.
    fn batch(number: u64, payload: usize) -> Vec<u8> {
        let state = State { batch: number, ..State::blank(DIRECTORY) };
        let mut bytes = vec![0; 12];
        bytes.extend_from_slice(&[1, STATE_KEY.len() as u8]);
        bytes.extend_from_slice(STATE_KEY);
        bytes.extend_from_slice(&[0xa4, 1]);
        bytes.extend_from_slice(&state.encode());
        bytes.resize(bytes.len() + payload, number as u8);
        bytes
    }

    /// A write-ahead log of these batches, and the end of each batch.
    fn wal(batches: &[Vec<u8>]) -> (Vec<u8>, Vec<u64>) {
        let (mut file, mut ends) = (Vec::new(), Vec::new());
        for batch in batches {
            append(&mut file, batch);
            ends.push(file.len() as u64);
        }
        (file, ends)
    }

    fn append(file: &mut Vec<u8>, batch: &[u8]) {
        let (mut rest, mut is_begin) = (batch, true);
        loop {
            let left = BLOCK_BYTES - file.len() % BLOCK_BYTES;
            if left < HEADER_BYTES {
                file.resize(file.len() + left, 0);
                continue;
            }
            let (part, later) = rest.split_at(rest.len().min(left - HEADER_BYTES));
            let kind = match (is_begin, later.is_empty()) {
                (true, true) => 1,
                (true, false) => 2,
                (false, false) => 3,
                (false, true) => 4,
            };
            let sum = crc32c::crc32c_append(crc32c::crc32c(&[kind]), part);
            let masked = sum.rotate_right(15).wrapping_add(0xa282_ead8);
            file.extend_from_slice(&masked.to_le_bytes());
            file.extend_from_slice(&(part.len() as u16).to_le_bytes());
            file.push(kind);
            file.extend_from_slice(part);
            (rest, is_begin) = (later, false);
            if rest.is_empty() {
                return;
            }
        }
    }

    fn scan_bytes(bytes: &[u8]) -> WalScan {
        let mut file = tempfile::NamedTempFile::new().expect("a file");
        file.write_all(bytes).expect("writes");
        scan(&file.reopen().expect("opens"), DIRECTORY).expect("reads")
    }

    /// Batches of which some cross one or two block boundaries, and some end just before one.
    fn sample() -> Vec<Vec<u8>> {
        let sizes = [0, 32_300, 9, 40_000, 70_000, 100, 32_768 * 2, 0, 0, 3];
        (1..).zip(sizes).map(|(number, size)| batch(number, size)).collect()
    }

    #[test]
    fn complete_batches_are_found_up_to_the_end() {
        for count in 0..=sample().len() {
            let (bytes, ends) = wal(&sample()[..count]);
            let scan = scan_bytes(&bytes);
            assert_eq!(scan.end, ends.last().copied().unwrap_or(0));
            assert_eq!(scan.latest.map(|latest| latest.batch).unwrap_or(0), count as u64);
            assert_eq!((scan.is_torn(), scan.newest_beyond, scan.strange_at), (false, None, None));
        }
    }

    /// A batch's state record may cross a block boundary at each of its bytes.
    #[test]
    fn a_state_record_across_a_block_boundary_is_found_in_a_sound_batch_and_after_a_bad_one() {
        for before in BLOCK_BYTES - 500..BLOCK_BYTES {
            let first = batch(1, 0).len() + HEADER_BYTES;
            let filler = before.saturating_sub(first + batch(2, 0).len() + HEADER_BYTES);
            let (mut bytes, ends) = wal(&[batch(1, 0), batch(2, filler), batch(3, 500)]);
            let sound = scan_bytes(&bytes);
            assert_eq!(sound.latest.map(|latest| latest.batch), Some(3), "{before}");
            bytes[ends[0] as usize + 30] ^= 1;
            let bad = scan_bytes(&bytes);
            assert_eq!((bad.end, bad.newest_beyond), (ends[0], Some(3)), "{before}");
        }
    }

    #[test]
    fn each_cut_leaves_complete_batches_and_no_later_one() {
        let (bytes, ends) = wal(&sample());
        for cut in (0..bytes.len()).step_by(97) {
            let scan = scan_bytes(&bytes[..cut]);
            let whole = ends.iter().filter(|end| **end <= cut as u64).count();
            assert_eq!(scan.latest.map(|latest| latest.batch).unwrap_or(0), whole as u64);
            assert!(scan.newest_beyond.unwrap_or(0) <= whole as u64 + 1);
        }
    }

    #[test]
    fn after_each_flip_before_the_last_batch_a_later_batch_is_found() {
        let (bytes, ends) = wal(&sample());
        for at in (0..bytes.len()).step_by(61) {
            let mut flipped = bytes.clone();
            flipped[at] ^= 0x11;
            let scan = scan_bytes(&flipped);
            let whole = ends.iter().filter(|end| **end <= at as u64).count();
            let is_padding = scan.end == bytes.len() as u64;
            assert!(is_padding || scan.end == ends[..whole].last().copied().unwrap_or(0), "{at}");
            let is_last = whole + 1 == ends.len();
            let newest = scan.newest_beyond.unwrap_or(0);
            assert!(is_padding || is_last || newest == ends.len() as u64, "{at}: {newest}");
        }
    }

    #[test]
    fn a_batch_of_another_log_or_out_of_order_is_reported() {
        let (bytes, ends) = wal(&[batch(4, 10), batch(6, 10)]);
        let scan = scan_bytes(&bytes);
        assert_eq!((scan.strange_at, scan.end), (Some(ends[0]), ends[0]));
        let (bytes, _) = wal(&[vec![7; 300]]);
        assert_eq!(scan_bytes(&bytes).strange_at, Some(0));
    }

    #[test]
    fn arbitrary_bytes_cause_no_panic() {
        let (bytes, _) = wal(&sample());
        for at in (0..bytes.len() - 8).step_by(1009) {
            let mut bad = bytes.clone();
            bad[at..at + 8].copy_from_slice(&[0xff; 8]);
            scan_bytes(&bad);
            bad[at..].fill(0);
            scan_bytes(&bad);
        }
    }
}
