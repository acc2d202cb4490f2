//! The bytes of a snapshot file that are not the application's: the head, and the checksums.

use std::fmt;
use std::io;

use raft_core::consensus::MAX_NUMBER;
use raft_core::storage::record::{
    DecodeError, decode_identity, decode_membership, encode_identity, encode_membership,
};
use raft_core::types::{EntryId, Identity, LogIndex, Membership, Term};
use thiserror::Error;
use xxhash_rust::xxh3::{Xxh3, xxh3_64};

use crate::features::{FEATURE_LEVEL, FIRST_LEVEL};
use crate::sessions::{MAX_TABLE_BYTES, SessionTable};

pub(super) const MAGIC: [u8; 8] = *b"KTKSNAPS";
/// The newest version, whose files begin with the table of the sessions.
pub(super) const VERSION: u32 = 2;

/// The version of files without one: those of a cluster at the first feature level.
const VERSION_WITHOUT_SESSIONS: u32 = 1;

/// The bytes before the sections.
pub(super) const FIXED_BYTES: usize = 32;
pub(super) const MAX_SECTIONS_BYTES: usize = 1 << 20;

/// The bytes of a chunk before those of the application.
pub(super) const CHUNK_HEADER_BYTES: usize = 16;
pub(super) const MAX_CHUNK_BYTES: usize = 1 << 20;
pub(super) const END_BYTES: usize = 40;

const SECTION_HEADER_BYTES: usize = 16;
const REQUIRED: u32 = 1;

/// What a snapshot file says about its content.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SnapshotHead {
    /// The member that took the snapshot, with its cluster.
    pub writer: Identity,
    /// The last entry that the snapshot includes. Invariant: its index is not 0.
    pub last: EntryId,
    /// The membership in force at that entry.
    pub membership: Membership,
    /// The feature level at that entry.
    pub feature_level: u32,
    /// The client sessions at that entry; none at the first feature level.
    pub sessions: SessionTable,
    /// A random number, so that no chunk of another file passes for one of this file.
    pub salt: u64,
}

/// Why the bytes of a snapshot file are refused.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum Unsound {
    /// The bytes are damaged.
    #[error("damaged at byte {at}: {what}")]
    Damaged {
        /// The offset in the file of the part that is damaged.
        at: u64,
        /// What does not fit.
        what: &'static str,
    },
    /// A newer version of Kontiki wrote the file.
    #[error("written by a newer version of Kontiki ({0}); use that version")]
    Newer(String),
    /// The file cannot be read.
    #[error("cannot be read: {0}")]
    Io(#[from] io::Error),
}

impl Unsound {
    pub(super) fn damaged(at: u64, what: &'static str) -> Unsound {
        Unsound::Damaged { at, what }
    }
}

// ---- the head ----

/// The fixed part of a head.
pub(super) struct Fixed {
    pub(super) sections_bytes: usize,
    checksum: u64,
    version: u32,
    salt: u64,
}

impl SnapshotHead {
    /// The bytes of the head, if the table of the sessions has so many.
    pub(super) fn encode(&self, table_bytes: u64) -> Vec<u8> {
        let mut last = self.last.term.get().to_le_bytes().to_vec();
        last.extend(self.last.index.get().to_le_bytes());
        let mut sections = Vec::new();
        add_section(&mut sections, "writer", &encode_identity(&self.writer));
        add_section(&mut sections, "last", &last);
        add_section(&mut sections, "members", &encode_membership(&self.membership));
        add_section(&mut sections, "level", &self.feature_level.to_le_bytes());
        let version = if self.feature_level > FIRST_LEVEL {
            add_section(&mut sections, "sessions", &table_bytes.to_le_bytes());
            VERSION
        } else {
            VERSION_WITHOUT_SESSIONS
        };
        let mut bytes = MAGIC.to_vec();
        bytes.extend(version.to_le_bytes());
        bytes.extend((sections.len() as u32).to_le_bytes());
        let checksum = head_checksum(&bytes, self.salt, &sections);
        bytes.extend(checksum.to_le_bytes());
        bytes.extend(self.salt.to_le_bytes());
        bytes.extend(sections);
        bytes
    }

    /// Whether a reader accepts a head with these bytes.
    pub(super) fn check(bytes: &[u8]) -> Result<(), Unsound> {
        let (fixed, sections) = bytes.split_first_chunk().ok_or(CONTENT)?;
        SnapshotHead::decode(fixed, sections).map(drop)
    }

    /// The head in these bytes: the fixed part, and as many bytes of sections as it names.
    /// Also returns how many bytes the table of the sessions has, which is not read here.
    pub(super) fn decode(
        fixed: &[u8; FIXED_BYTES],
        sections: &[u8],
    ) -> Result<(Self, u64), Unsound> {
        let Fixed { checksum, version, salt, .. } = Fixed::decode(fixed)?;
        if head_checksum(&fixed[..16], salt, sections) != checksum {
            return Err(Unsound::damaged(0, "the checksum of the head"));
        }
        if !(VERSION_WITHOUT_SESSIONS..=VERSION).contains(&version) {
            return Err(Unsound::Newer(format!("version {version} of the format")));
        }
        let found = Sections::split(sections)?;
        let head = found.head(salt)?;
        if head.feature_level > FEATURE_LEVEL {
            return Err(Unsound::Newer(format!("feature level {}", head.feature_level)));
        }
        match found.sessions {
            None if version == VERSION_WITHOUT_SESSIONS => Ok((head, 0)),
            Some(bytes) if version == VERSION => {
                let bytes = u64::from_le_bytes(bytes.try_into().map_err(|_| CONTENT)?);
                if bytes > MAX_TABLE_BYTES { Err(CONTENT) } else { Ok((head, bytes)) }
            }
            None | Some(_) => Err(CONTENT),
        }
    }

    /// The seed of the checksum of what lies after this many bytes of chunks.
    pub(super) fn seed(&self, chunk_bytes: u64) -> u64 {
        let EntryId { term, index } = self.last;
        let parts = [self.writer.cluster.0, term.get(), index.get(), self.salt, chunk_bytes];
        let mut bytes = [0; 40];
        for (to, part) in bytes.chunks_exact_mut(8).zip(parts) {
            to.copy_from_slice(&part.to_le_bytes());
        }
        xxh3_64(&bytes)
    }
}

impl Fixed {
    /// The fixed part in these bytes, which its checksum guards only together with the sections.
    pub(super) fn decode(bytes: &[u8; FIXED_BYTES]) -> Result<Fixed, Unsound> {
        if bytes[..8] != MAGIC {
            return Err(Unsound::damaged(0, "the magic number"));
        }
        let [version, length] = [8, 12].map(|at| u32_at(bytes, at));
        if length as usize > MAX_SECTIONS_BYTES {
            return Err(Unsound::damaged(12, "the length of the sections"));
        }
        let [checksum, salt] = [16, 24].map(|at| u64_at(bytes, at));
        Ok(Fixed { sections_bytes: length as usize, checksum, version, salt })
    }
}

fn head_checksum(start: &[u8], salt: u64, sections: &[u8]) -> u64 {
    let mut digest = Xxh3::new();
    digest.update(start);
    digest.update(&salt.to_le_bytes());
    digest.update(sections);
    digest.digest()
}

fn add_section(to: &mut Vec<u8>, name: &str, content: &[u8]) {
    let mut padded = [0; 8];
    padded[..name.len()].copy_from_slice(name.as_bytes());
    to.extend(padded);
    to.extend(REQUIRED.to_le_bytes());
    to.extend((content.len() as u32).to_le_bytes());
    to.extend(content);
}

/// The content of each section that this version knows.
#[derive(Default)]
struct Sections<'a> {
    writer: Option<&'a [u8]>,
    last: Option<&'a [u8]>,
    members: Option<&'a [u8]>,
    level: Option<&'a [u8]>,
    sessions: Option<&'a [u8]>,
}

impl<'a> Sections<'a> {
    fn split(bytes: &'a [u8]) -> Result<Sections<'a>, Unsound> {
        const SECTIONS: Unsound =
            Unsound::Damaged { at: FIXED_BYTES as u64, what: "the sections of the head" };
        let (mut found, mut rest) = (Sections::default(), bytes);
        while !rest.is_empty() {
            let (header, after) = rest.split_at_checked(SECTION_HEADER_BYTES).ok_or(SECTIONS)?;
            let length = u32_at(header, 12) as usize;
            let (content, after) = after.split_at_checked(length).ok_or(SECTIONS)?;
            let name = String::from_utf8_lossy(&header[..8]);
            let flags = u32_at(header, 8);
            if let Some(known) = found.field(name.trim_end_matches('\0')) {
                if known.replace(content).is_some() {
                    return Err(SECTIONS);
                }
            } else if flags != 0 {
                let name = name.trim_end_matches('\0');
                return Err(Unsound::Newer(format!("a section {name:?} with flags {flags}")));
            }
            rest = after;
        }
        Ok(found)
    }

    fn field(&mut self, name: &str) -> Option<&mut Option<&'a [u8]>> {
        match name {
            "writer" => Some(&mut self.writer),
            "last" => Some(&mut self.last),
            "members" => Some(&mut self.members),
            "level" => Some(&mut self.level),
            "sessions" => Some(&mut self.sessions),
            _ => None,
        }
    }

    fn head(&self, salt: u64) -> Result<SnapshotHead, Unsound> {
        let writer = decode_identity(given(self.writer)?).map_err(record_error)?;
        let membership = decode_membership(given(self.members)?).map_err(record_error)?;
        let last = given(self.last)?.as_chunks::<8>();
        let ([term, index], []) = last else { return Err(CONTENT) };
        let [term, index] = [term, index].map(|number| u64::from_le_bytes(*number));
        let level: [u8; 4] = given(self.level)?.try_into().map_err(|_| CONTENT)?;
        if index == 0 || term.max(index) > MAX_NUMBER {
            return Err(CONTENT);
        }
        let last = EntryId::new(Term::new(term), LogIndex::new(index));
        let feature_level = u32::from_le_bytes(level);
        let sessions = SessionTable::default();
        Ok(SnapshotHead { writer, last, membership, feature_level, sessions, salt })
    }
}

/// A section is missing, or its content is not what its name says.
pub(super) const CONTENT: Unsound =
    Unsound::Damaged { at: FIXED_BYTES as u64, what: "the content of a section of the head" };

fn given(section: Option<&[u8]>) -> Result<&[u8], Unsound> {
    section.ok_or(CONTENT)
}

fn record_error(error: DecodeError) -> Unsound {
    match error {
        DecodeError::Version(version) => {
            Unsound::Newer(format!("version {version} of a record in the head"))
        }
        _ => CONTENT,
    }
}

// ---- chunks ----

/// The checksum of a chunk or of the end record: of its first eight bytes, and of what follows the
/// checksum.
pub(super) fn sealed(seed: u64, start: &[u8], content: &[u8]) -> u64 {
    let mut digest = Xxh3::with_seed(seed);
    digest.update(start);
    digest.update(content);
    digest.digest()
}

/// The checksum of everything so far.
pub(super) struct Digest(Box<Xxh3>);

impl Digest {
    pub(super) fn new() -> Digest {
        Digest(Box::new(Xxh3::new()))
    }

    pub(super) fn add(&mut self, bytes: &[u8]) {
        self.0.update(bytes);
    }

    pub(super) fn value(&self) -> u64 {
        self.0.digest()
    }
}

impl fmt::Debug for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Digest({:016x})", self.value())
    }
}

pub(super) fn u32_at(bytes: &[u8], at: usize) -> u32 {
    u32::from_le_bytes(bytes[at..at + 4].try_into().expect("four bytes"))
}

pub(super) fn u64_at(bytes: &[u8], at: usize) -> u64 {
    u64::from_le_bytes(bytes[at..at + 8].try_into().expect("eight bytes"))
}
