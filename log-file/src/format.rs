//! The bytes of a segment header, a frame header and a record header, as `docs/formats/log-file.md`
//! specifies them. Nothing here reads or writes a file.

use raft_core::types::{EntryId, EntryKind, LogIndex, Term};
use xxhash_rust::const_xxh3::const_custom_default_secret;
use xxhash_rust::xxh3::{Xxh3, xxh3_64_with_secret, xxh3_64_with_seed};

use raft_core::storage::record::Unreadable;

/// The version that this code writes, and the only one it reads.
pub(crate) const FORMAT_VERSION: u32 = 1;

/// The length of one copy of a segment's header, with its padding.
pub(crate) const HEADER_BLOCK_BYTES: u64 = 4096;
/// Where the frames of a segment begin: after both copies of its header.
pub(crate) const FRAMES_START: u64 = 2 * HEADER_BLOCK_BYTES;
pub(crate) const SEGMENT_HEADER_BYTES: usize = 64;
pub(crate) const FRAME_HEADER_BYTES: usize = 80;
pub(crate) const RECORD_HEADER_BYTES: usize = 40;

const SEGMENT_MAGIC: &[u8; 8] = b"KTKSEGMT";
pub(crate) const FRAME_MAGIC: &[u8; 4] = b"KTKF";
const FLAG_CLOSE: u32 = 1;

/// A place in the stream: the number of a segment, and an offset in it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Position {
    pub(crate) segment: u64,
    pub(crate) offset: u64,
}

impl Position {
    pub(crate) fn new(segment: u64, offset: u64) -> Position {
        Position { segment, offset }
    }
}

/// The salt and number of one segment, which its checksums depend on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Seal {
    pub(crate) segment: u64,
    pub(crate) salt: u64,
}

impl Seal {
    /// The checksum of header bytes at `offset`.
    fn checksum(self, offset: u64, bytes: &[u8]) -> u32 {
        // Hashed in one piece, since a call costs more than the bytes do.
        let mut sealed = [0; 24 + FRAME_HEADER_BYTES];
        put_u64(&mut sealed, 0, self.salt);
        put_u64(&mut sealed, 8, self.segment);
        put_u64(&mut sealed, 16, offset);
        let end = 24 + bytes.len();
        sealed[24..end].copy_from_slice(bytes);
        crc32c::crc32c(&sealed[..end])
    }

    pub(crate) fn payload_hash(self, payload: &[u8]) -> u64 {
        xxh3_64_with_seed(payload, self.salt)
    }

    /// The same hash, for one payload after another.
    pub(crate) fn payload_hasher(self) -> PayloadHasher {
        PayloadHasher { salt: self.salt, secret: const_custom_default_secret(self.salt) }
    }

    /// A hash for the record headers of one frame.
    pub(crate) fn digest(self) -> Xxh3 {
        Xxh3::with_seed(self.salt)
    }
}

/// The hash of payloads in one segment. The secret that long payloads derive from the salt is
/// derived once.
pub(crate) struct PayloadHasher {
    salt: u64,
    secret: [u8; 192],
}

impl PayloadHasher {
    pub(crate) fn hash(&self, payload: &[u8]) -> u64 {
        /// The longest input that XXH3 hashes without a secret derived from its seed.
        const SHORT_BYTES: usize = 240;
        match payload.len() {
            0..=SHORT_BYTES => xxh3_64_with_seed(payload, self.salt),
            _ => xxh3_64_with_secret(payload, &self.secret),
        }
    }
}

/// The header of a segment, which is stored twice.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct SegmentHeader {
    pub(crate) seal: Seal,
    pub(crate) directory: u64,
    pub(crate) proven: Position,
    pub(crate) segment_bytes: u64,
}

/// Why a block is not a segment header.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum HeaderFault {
    /// The checksum does not hold: damage.
    Damaged,
    /// The checksum holds, and the version is not one that this code reads.
    Version(u32),
}

impl SegmentHeader {
    pub(crate) fn encode(&self) -> [u8; SEGMENT_HEADER_BYTES] {
        let mut bytes = [0; SEGMENT_HEADER_BYTES];
        bytes[..8].copy_from_slice(SEGMENT_MAGIC);
        put_u32(&mut bytes, 8, FORMAT_VERSION);
        put_u64(&mut bytes, 16, self.seal.segment);
        put_u64(&mut bytes, 24, self.seal.salt);
        put_u64(&mut bytes, 32, self.directory);
        put_u64(&mut bytes, 40, self.proven.segment);
        put_u64(&mut bytes, 48, self.proven.offset);
        put_u64(&mut bytes, 56, self.segment_bytes);
        let checksum = segment_checksum(&bytes);
        put_u32(&mut bytes, 12, checksum);
        bytes
    }

    pub(crate) fn decode(bytes: &[u8]) -> Result<SegmentHeader, HeaderFault> {
        let Some(bytes) = bytes.get(..SEGMENT_HEADER_BYTES) else {
            return Err(HeaderFault::Damaged);
        };
        if &bytes[..8] != SEGMENT_MAGIC || get_u32(bytes, 12) != segment_checksum(bytes) {
            return Err(HeaderFault::Damaged);
        }
        match get_u32(bytes, 8) {
            FORMAT_VERSION => Ok(SegmentHeader {
                seal: Seal { segment: get_u64(bytes, 16), salt: get_u64(bytes, 24) },
                directory: get_u64(bytes, 32),
                proven: Position::new(get_u64(bytes, 40), get_u64(bytes, 48)),
                segment_bytes: get_u64(bytes, 56),
            }),
            version => Err(HeaderFault::Version(version)),
        }
    }
}

fn segment_checksum(bytes: &[u8]) -> u32 {
    crc32c::crc32c_append(crc32c::crc32c(&bytes[..12]), &bytes[16..SEGMENT_HEADER_BYTES])
}

/// The header of a frame.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct FrameHeader {
    pub(crate) number: u64,
    pub(crate) length: u64,
    pub(crate) records: u32,
    pub(crate) is_close: bool,
    pub(crate) synced: Position,
    pub(crate) commit_hint: LogIndex,
    pub(crate) first_entry: LogIndex,
    pub(crate) digest: u64,
}

impl FrameHeader {
    /// Writes the header to the front of `bytes`, for a frame at `offset`.
    pub(crate) fn encode(&self, seal: Seal, offset: u64, bytes: &mut [u8]) {
        let bytes = &mut bytes[..FRAME_HEADER_BYTES];
        bytes.fill(0);
        bytes[..4].copy_from_slice(FRAME_MAGIC);
        put_u64(bytes, 8, self.number);
        put_u64(bytes, 16, self.length);
        put_u32(bytes, 24, self.records);
        put_u32(bytes, 28, if self.is_close { FLAG_CLOSE } else { 0 });
        put_u64(bytes, 32, self.synced.segment);
        put_u64(bytes, 40, self.synced.offset);
        put_u64(bytes, 48, self.commit_hint.get());
        put_u64(bytes, 56, self.first_entry.get());
        put_u64(bytes, 64, self.digest);
        let checksum = seal.checksum(offset, &bytes[8..]);
        put_u32(bytes, 4, checksum);
    }

    /// The header at the front of `bytes`. [`Unreadable::Damaged`] also where no header's seal
    /// holds for this offset.
    pub(crate) fn decode(seal: Seal, offset: u64, bytes: &[u8]) -> Result<FrameHeader, Unreadable> {
        let header = FrameHeader::sealed(seal, offset, bytes).ok_or(Unreadable::Damaged)?;
        if get_u32(bytes, 28) & !FLAG_CLOSE != 0 {
            return Err(Unreadable::Newer("a frame with a flag that is not known"));
        }
        let reserved = &bytes[72..FRAME_HEADER_BYTES];
        Unreadable::check_reserved(reserved, "a frame header with bytes that were reserved")?;
        Ok(header)
    }

    /// The known fields of a header whose seal holds for this offset.
    pub(crate) fn sealed(seal: Seal, offset: u64, bytes: &[u8]) -> Option<FrameHeader> {
        let bytes = bytes.get(..FRAME_HEADER_BYTES)?;
        if &bytes[..4] != FRAME_MAGIC || get_u32(bytes, 4) != seal.checksum(offset, &bytes[8..]) {
            return None;
        }
        Some(FrameHeader {
            number: get_u64(bytes, 8),
            length: get_u64(bytes, 16),
            records: get_u32(bytes, 24),
            is_close: get_u32(bytes, 28) & FLAG_CLOSE != 0,
            synced: Position::new(get_u64(bytes, 32), get_u64(bytes, 40)),
            commit_hint: LogIndex::new(get_u64(bytes, 48)),
            first_entry: LogIndex::new(get_u64(bytes, 56)),
            digest: get_u64(bytes, 64),
        })
    }
}

/// The types of records. Numbers are never reused; 8 is reserved for repair.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum RecordType {
    Entry,
    HardState,
    Truncate,
    Purge,
    Reset,
    Identity,
    Checkpoint,
}

impl RecordType {
    const ALL: [(u8, RecordType); 7] = [
        (1, RecordType::Entry),
        (2, RecordType::HardState),
        (3, RecordType::Truncate),
        (4, RecordType::Purge),
        (5, RecordType::Reset),
        (6, RecordType::Identity),
        (7, RecordType::Checkpoint),
    ];

    fn number(self) -> u8 {
        let found = RecordType::ALL.iter().find(|(_, record)| *record == self);
        found.expect("every type is listed").0
    }

    fn from_number(number: u8) -> Option<RecordType> {
        let found = RecordType::ALL.iter().find(|(listed, _)| *listed == number);
        found.map(|(_, record)| *record)
    }
}

/// The header of a record, which comes before its payload.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct RecordHeader {
    pub(crate) record: RecordType,
    pub(crate) entry_kind: u8,
    pub(crate) payload_bytes: u32,
    pub(crate) id: EntryId,
    pub(crate) payload_hash: u64,
}

impl RecordHeader {
    pub(crate) fn encode(&self, seal: Seal, offset: u64) -> [u8; RECORD_HEADER_BYTES] {
        let mut bytes = [0; RECORD_HEADER_BYTES];
        bytes[4] = self.record.number();
        bytes[5] = self.entry_kind;
        put_u32(&mut bytes, 8, self.payload_bytes);
        put_u64(&mut bytes, 16, self.id.index.get());
        put_u64(&mut bytes, 24, self.id.term.get());
        put_u64(&mut bytes, 32, self.payload_hash);
        let checksum = seal.checksum(offset, &bytes[4..]);
        put_u32(&mut bytes, 0, checksum);
        bytes
    }

    /// The header at the front of `bytes`, if its seal holds for this offset.
    pub(crate) fn decode(
        seal: Seal,
        offset: u64,
        bytes: &[u8],
    ) -> Result<RecordHeader, Unreadable> {
        let bytes = bytes.get(..RECORD_HEADER_BYTES).ok_or(Unreadable::Damaged)?;
        if get_u32(bytes, 0) != seal.checksum(offset, &bytes[4..]) {
            return Err(Unreadable::Damaged);
        }
        let unknown = Unreadable::Newer("a record of an unknown type");
        let record = RecordType::from_number(bytes[4]).ok_or(unknown)?;
        let entry_kind = bytes[5];
        let is_known = match record {
            RecordType::Entry => EntryKind::from_number(entry_kind).is_some(),
            _ => entry_kind == 0,
        };
        if !is_known {
            return Err(Unreadable::Newer("an entry of an unknown kind"));
        }
        let reserved = "a record header with bytes that were reserved";
        Unreadable::check_reserved(&bytes[6..8], reserved)?;
        Unreadable::check_reserved(&bytes[12..16], "a record of another group")?;
        Ok(RecordHeader {
            record,
            entry_kind,
            payload_bytes: get_u32(bytes, 8),
            id: id_at(bytes, 16),
            payload_hash: get_u64(bytes, 32),
        })
    }

    /// How many bytes the record takes, padding included.
    pub(crate) fn record_bytes(&self) -> u64 {
        record_bytes(u64::from(self.payload_bytes))
    }
}

/// How many bytes a record with such a payload takes.
pub(crate) fn record_bytes(payload_bytes: u64) -> u64 {
    RECORD_HEADER_BYTES as u64 + payload_bytes.next_multiple_of(8)
}

pub(crate) fn put_u32(bytes: &mut [u8], at: usize, value: u32) {
    bytes[at..at + 4].copy_from_slice(&value.to_le_bytes());
}

pub(crate) fn put_u64(bytes: &mut [u8], at: usize, value: u64) {
    bytes[at..at + 8].copy_from_slice(&value.to_le_bytes());
}

pub(crate) fn get_u32(bytes: &[u8], at: usize) -> u32 {
    u32::from_le_bytes(bytes[at..at + 4].try_into().expect("four bytes"))
}

pub(crate) fn get_u64(bytes: &[u8], at: usize) -> u64 {
    u64::from_le_bytes(bytes[at..at + 8].try_into().expect("eight bytes"))
}

/// An entry id, stored as index and term.
pub(crate) fn id_at(bytes: &[u8], at: usize) -> EntryId {
    EntryId::new(Term::new(get_u64(bytes, at + 8)), LogIndex::new(get_u64(bytes, at)))
}

pub(crate) fn put_id(bytes: &mut [u8], at: usize, id: EntryId) {
    put_u64(bytes, at, id.index.get());
    put_u64(bytes, at + 8, id.term.get());
}

#[cfg(test)]
mod tests {
    use super::*;

    const SEAL: Seal = Seal { segment: 3, salt: 0x0123_4567_89ab_cdef };

    #[test]
    fn headers_are_read_as_they_were_written() {
        let proven = Position::new(2, 8192);
        let header = SegmentHeader { seal: SEAL, directory: 9, proven, segment_bytes: 1 << 20 };
        assert_eq!(SegmentHeader::decode(&header.encode()), Ok(header));

        let frame = FrameHeader {
            number: 5,
            length: 160,
            records: 2,
            is_close: true,
            synced: proven,
            commit_hint: LogIndex::new(4),
            first_entry: LogIndex::new(6),
            digest: 7,
        };
        let mut bytes = [1; FRAME_HEADER_BYTES];
        frame.encode(SEAL, 4096, &mut bytes);
        assert_eq!(FrameHeader::decode(SEAL, 4096, &bytes), Ok(frame));

        for (_, record) in RecordType::ALL {
            let id = EntryId::new(Term::new(2), LogIndex::new(3));
            let entry_kind = u8::from(record == RecordType::Entry);
            let header = RecordHeader { record, entry_kind, payload_bytes: 9, id, payload_hash: 8 };
            let bytes = header.encode(SEAL, 16);
            assert_eq!(RecordHeader::decode(SEAL, 16, &bytes), Ok(header));
        }
    }

    /// A seal holds neither at another offset nor in another use of the file.
    #[test]
    fn a_seal_holds_at_one_offset_only() {
        let mut bytes = [0; FRAME_HEADER_BYTES];
        FrameHeader::default().encode(SEAL, 4096, &mut bytes);
        assert_eq!(FrameHeader::decode(SEAL, 4104, &bytes), Err(Unreadable::Damaged));
        for other in [Seal { segment: 4, ..SEAL }, Seal { salt: 1, ..SEAL }] {
            assert_eq!(FrameHeader::decode(other, 4096, &bytes), Err(Unreadable::Damaged));
        }
    }

    /// A newer version may give meaning to each of these fields, so they are not ignored.
    #[test]
    fn reserved_fields_of_sealed_headers_are_distinguished_from_damage() {
        let mut frame = [0; FRAME_HEADER_BYTES];
        FrameHeader::default().encode(SEAL, 4096, &mut frame);
        for at in (28..32).chain(72..80) {
            let mut newer = frame;
            newer[at] ^= 0x80;
            assert_eq!(FrameHeader::decode(SEAL, 4096, &newer), Err(Unreadable::Damaged));
            let sum = SEAL.checksum(4096, &newer[8..]);
            put_u32(&mut newer, 4, sum);
            let decoded = FrameHeader::decode(SEAL, 4096, &newer);
            assert!(matches!(decoded, Err(Unreadable::Newer(_))), "byte {at}: {decoded:?}");
        }
        let (record, id) = (RecordType::Truncate, EntryId::ZERO);
        let header = RecordHeader { record, entry_kind: 0, payload_bytes: 0, id, payload_hash: 0 };
        let record = header.encode(SEAL, 16);
        for at in (4..8).chain(12..16) {
            let mut newer = record;
            newer[at] ^= 0x80;
            assert_eq!(RecordHeader::decode(SEAL, 16, &newer), Err(Unreadable::Damaged));
            let sum = SEAL.checksum(16, &newer[4..]);
            put_u32(&mut newer, 0, sum);
            let decoded = RecordHeader::decode(SEAL, 16, &newer);
            assert!(matches!(decoded, Err(Unreadable::Newer(_))), "byte {at}: {decoded:?}");
        }
    }

    #[test]
    fn payloads_of_any_length_have_one_hash() {
        let bytes: Vec<u8> = (0..3000).map(|at| (at * 7 % 251) as u8).collect();
        let hasher = SEAL.payload_hasher();
        for length in (0..600).chain([1023, 1024, 1025, 2048, 3000]) {
            let payload = &bytes[..length];
            assert_eq!(hasher.hash(payload), SEAL.payload_hash(payload), "{length} bytes");
        }
    }

    #[test]
    fn a_newer_version_is_distinguished_from_damage() {
        let proven = Position::default();
        let header = SegmentHeader { seal: SEAL, directory: 9, proven, segment_bytes: 0 };
        let mut bytes = header.encode();
        put_u32(&mut bytes, 8, 2);
        assert_eq!(SegmentHeader::decode(&bytes), Err(HeaderFault::Damaged));
        let checksum = segment_checksum(&bytes);
        put_u32(&mut bytes, 12, checksum);
        assert_eq!(SegmentHeader::decode(&bytes), Err(HeaderFault::Version(2)));
    }
}
