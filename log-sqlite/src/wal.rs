//! Scans SQLite's write-ahead log before SQLite reads it.
//!
//! SQLite ends its replay at the first frame that does not fit, and ignores everything after it.
//! For a log that acknowledged those frames this is a silent loss. Here the whole file is read, and
//! the bytes after the first bad frame are used as evidence: one transaction is synced before the
//! next begins, so a trace of the next proves that the bad one was once whole.

use std::fs::File;
use std::io::{self, BufReader, Read};

use crate::state::State;

/// The size of a page, in every database of this crate.
pub(crate) const PAGE_BYTES: usize = 4096;
/// The length of the header of a write-ahead log.
pub(crate) const WAL_HEADER_BYTES: u64 = 32;
/// The length of a frame: its header and one page.
pub(crate) const FRAME_BYTES: u64 = (FRAME_HEADER_BYTES + PAGE_BYTES) as u64;
/// The page that holds the state record.
pub(crate) const STATE_PAGE: u32 = 2;

const FRAME_HEADER_BYTES: usize = 24;
/// The lowest bit of the magic number gives the byte order of the words that are summed.
const WAL_MAGIC: u32 = 0x377f_0682;
const WAL_VERSION: u32 = 3_007_000;

/// Both halves of a checksum.
type Sums = (u32, u32);

/// The fields of the header of a write-ahead log that are needed here.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct WalHeader {
    /// The salt of all frames that were written since the file last started again.
    pub(crate) salt: u64,
    sums: Sums,
    is_big_endian: bool,
}

/// The state of the front of the file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Front {
    /// There is no file, or it is too short for a header.
    Absent,
    /// The header's bytes do not fit its checksum.
    Bad,
    Good(WalHeader),
}

/// The content of a write-ahead log.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct WalScan {
    pub(crate) front: Front,
    /// How many frames belong to whole transactions that follow each other from the front.
    pub(crate) committed_frames: u64,
    /// The state after the last of these transactions.
    pub(crate) state: Option<State>,
    /// What this version does not know in a state record in a sound frame, if a newer version wrote
    /// one.
    pub(crate) newer: Option<&'static str>,
    /// The newest batch number in any state record after these transactions.
    pub(crate) newest_beyond: Option<u64>,
    /// The offset of the first frame that does not fit.
    pub(crate) broken_at: u64,
    /// The offset of a sound frame that follows a commit after the first bad frame.
    pub(crate) later_transaction: Option<u64>,
    /// Whether frames with the present salt follow the last whole transaction.
    pub(crate) is_torn: bool,
}

impl WalScan {
    /// The offset at which the last whole transaction ends.
    pub(crate) fn end(&self) -> u64 {
        match self.front {
            Front::Good(_) => frame_offset(self.committed_frames),
            Front::Absent | Front::Bad => 0,
        }
    }

    /// The present salt, if there is a file with a header.
    pub(crate) fn salt(&self) -> Option<u64> {
        match self.front {
            Front::Good(header) => Some(header.salt),
            Front::Absent | Front::Bad => None,
        }
    }
}

/// The offset of a frame, counted from 0.
pub(crate) fn frame_offset(frame: u64) -> u64 {
    WAL_HEADER_BYTES + frame * FRAME_BYTES
}

/// The scan of a missing write-ahead log.
pub(crate) fn scan_nothing() -> WalScan {
    Scanner::new(Front::Absent).finish()
}

/// Reads a write-ahead log from its front to its end.
pub(crate) fn scan(file: &File) -> io::Result<WalScan> {
    let mut file = BufReader::with_capacity(1 << 18, file);
    let mut bytes = Vec::new();
    if file.by_ref().take(WAL_HEADER_BYTES).read_to_end(&mut bytes)? < WAL_HEADER_BYTES as usize {
        return Ok(scan_nothing());
    }
    let mut scanner = Scanner::new(WalHeader::decode(&bytes).map_or(Front::Bad, Front::Good));
    let mut frame = Vec::new();
    while file.by_ref().take(FRAME_BYTES).read_to_end(&mut frame)? == FRAME_BYTES as usize {
        scanner.take(&Frame::of(&frame));
        frame.clear();
    }
    scanner.take_cut_frame(&frame);
    Ok(scanner.finish())
}

impl WalHeader {
    fn decode(bytes: &[u8]) -> Option<WalHeader> {
        let is_big_endian = word(bytes, 0) & 1 == 1;
        let sums = (word(bytes, 24), word(bytes, 28));
        let is_sound = word(bytes, 0) & !1 == WAL_MAGIC
            && word(bytes, 4) == WAL_VERSION
            && word(bytes, 8) == PAGE_BYTES as u32
            && add_up(is_big_endian, (0, 0), &bytes[..24]) == sums;
        is_sound.then(|| WalHeader { salt: salt_at(bytes, 16), sums, is_big_endian })
    }
}

/// The decoded fields of one frame.
struct Frame<'a> {
    page_number: u32,
    /// The database's size in pages, in the last frame of a transaction; else 0.
    database_pages: u32,
    salt: u64,
    sums: Sums,
    summed_header: &'a [u8],
    page: &'a [u8],
}

impl Frame<'_> {
    fn of(bytes: &[u8]) -> Frame<'_> {
        Frame {
            page_number: word(bytes, 0),
            database_pages: word(bytes, 4),
            salt: salt_at(bytes, 8),
            sums: (word(bytes, 16), word(bytes, 20)),
            summed_header: &bytes[..8],
            page: &bytes[FRAME_HEADER_BYTES..],
        }
    }

    /// Whether the frame fits after one with these sums.
    fn follows(&self, header: &WalHeader, before: Sums) -> bool {
        let front = add_up(header.is_big_endian, before, self.summed_header);
        self.page_number != 0
            && self.salt == header.salt
            && add_up(header.is_big_endian, front, self.page) == self.sums
    }

    fn newer(&self) -> Option<&'static str> {
        (self.page_number == STATE_PAGE).then(|| State::find_newer(self.page)).flatten()
    }

    fn state(&self) -> Option<State> {
        (self.page_number == STATE_PAGE).then(|| State::find(self.page)).flatten()
    }
}

/// Scans one frame after the other, and keeps what each proves.
struct Scanner {
    scan: WalScan,
    frame: u64,
    /// The stored sums of the previous frame.
    before: Sums,
    is_in_chain: bool,
    /// A state record of the transaction that is being read.
    pending: Option<State>,
    has_commit_beyond: bool,
}

impl Scanner {
    fn new(front: Front) -> Scanner {
        let scan = WalScan {
            front,
            committed_frames: 0,
            state: None,
            newer: None,
            newest_beyond: None,
            broken_at: 0,
            later_transaction: None,
            is_torn: false,
        };
        let (before, is_in_chain) = match front {
            Front::Good(header) => (header.sums, true),
            Front::Absent | Front::Bad => ((0, 0), false),
        };
        let pending = None;
        Scanner { scan, frame: 0, before, is_in_chain, pending, has_commit_beyond: false }
    }

    fn take(&mut self, frame: &Frame<'_>) {
        let before = std::mem::replace(&mut self.before, frame.sums);
        let fits = match self.scan.front {
            Front::Good(header) => frame.follows(&header, before),
            Front::Absent | Front::Bad => false,
        };
        if self.is_in_chain && !fits {
            self.is_in_chain = false;
            self.scan.broken_at = frame_offset(self.frame);
        }
        if self.is_in_chain {
            self.take_next(frame)
        } else {
            self.take_beyond(frame, fits)
        }
        self.frame += 1;
    }

    fn take_next(&mut self, frame: &Frame<'_>) {
        self.pending = frame.state().or(self.pending);
        self.scan.newer = self.scan.newer.or(frame.newer());
        self.scan.is_torn = frame.database_pages == 0;
        if frame.database_pages != 0 {
            self.scan.committed_frames = self.frame + 1;
            self.scan.state = self.pending.take().or(self.scan.state);
        }
    }

    /// Takes the first bad frame, or one after it. Its mark that it ends a transaction counts only
    /// if the frame `fits` the one before it.
    fn take_beyond(&mut self, frame: &Frame<'_>, fits: bool) {
        self.scan.is_torn |= Some(frame.salt) == self.scan.salt();
        let newest = frame.state().map(|state| state.batch);
        self.scan.newest_beyond = self.scan.newest_beyond.max(newest);
        if fits && self.has_commit_beyond {
            self.scan.later_transaction.get_or_insert(frame_offset(self.frame));
        }
        self.has_commit_beyond |= fits && frame.database_pages != 0;
    }

    /// Takes the last bytes, which are too few for a frame.
    fn take_cut_frame(&mut self, bytes: &[u8]) {
        let has_salt = bytes.len() >= 16 && Some(salt_at(bytes, 8)) == self.scan.salt();
        self.scan.is_torn |= has_salt;
    }

    fn finish(mut self) -> WalScan {
        if self.is_in_chain {
            self.scan.broken_at = frame_offset(self.frame);
        }
        let pending = self.pending.map(|state| state.batch);
        self.scan.newest_beyond = self.scan.newest_beyond.max(pending);
        self.scan
    }
}

fn word(bytes: &[u8], at: usize) -> u32 {
    u32::from_be_bytes(bytes[at..at + 4].try_into().expect("4 bytes"))
}

fn salt_at(bytes: &[u8], at: usize) -> u64 {
    u64::from_be_bytes(bytes[at..at + 8].try_into().expect("8 bytes"))
}

/// SQLite's checksum, continued over these bytes.
fn add_up(is_big_endian: bool, sums: Sums, bytes: &[u8]) -> Sums {
    let word = |at: &[u8]| {
        let four = at.try_into().expect("4 bytes");
        if is_big_endian { u32::from_be_bytes(four) } else { u32::from_le_bytes(four) }
    };
    bytes.chunks_exact(8).fold(sums, |(first, second), pair| {
        let first = first.wrapping_add(word(&pair[..4])).wrapping_add(second);
        (first, second.wrapping_add(word(&pair[4..])).wrapping_add(first))
    })
}
