//! The durable mark: a small file that records up to where the log is known to be synced.
//!
//! It is rewritten whenever a log is opened and at a clean close, first under another name. So it
//! is never torn: a durable mark whose checksum is wrong is damage.

use crate::state::FORMAT_VERSION;

/// The length of the file.
pub(crate) const DURABLE_MARK_BYTES: usize = 48;

const MAGIC: [u8; 8] = *b"KTKPROOF";
const CHECKSUM: usize = 44;

/// How far the log is known to be synced.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct DurableMark {
    /// The random number of the log.
    pub(crate) directory: u64,
    /// The last batch that is proven.
    pub(crate) batch: u64,
    /// The salt of the write-ahead log, 0 if there was none.
    pub(crate) salt: u64,
    /// How many frames of that write-ahead log are proven.
    pub(crate) frames: u64,
}

impl DurableMark {
    pub(crate) fn encode(&self) -> [u8; DURABLE_MARK_BYTES] {
        let mut bytes = [0; DURABLE_MARK_BYTES];
        bytes[..8].copy_from_slice(&MAGIC);
        bytes[8..12].copy_from_slice(&FORMAT_VERSION.to_le_bytes());
        let numbers = [self.directory, self.batch, self.salt, self.frames];
        for (place, number) in bytes[12..CHECKSUM].chunks_exact_mut(8).zip(numbers) {
            place.copy_from_slice(&number.to_le_bytes());
        }
        let checksum = crc32c::crc32c(&bytes[..CHECKSUM]);
        bytes[CHECKSUM..].copy_from_slice(&checksum.to_le_bytes());
        bytes
    }

    /// The version of the durable mark in these bytes, if they begin like a durable mark of any
    /// version.
    pub(crate) fn version(bytes: &[u8]) -> Option<u32> {
        let (magic, rest) = bytes.split_first_chunk::<8>()?;
        let version = rest.first_chunk()?;
        (*magic == MAGIC).then(|| u32::from_le_bytes(*version))
    }

    pub(crate) fn decode(bytes: &[u8]) -> Option<DurableMark> {
        let bytes: &[u8; DURABLE_MARK_BYTES] = bytes.try_into().ok()?;
        let number = |at: usize| u64::from_le_bytes(bytes[at..at + 8].try_into().expect("8 bytes"));
        let is_sound = bytes[..8] == MAGIC
            && bytes[8..12] == FORMAT_VERSION.to_le_bytes()
            && bytes[CHECKSUM..] == crc32c::crc32c(&bytes[..CHECKSUM]).to_le_bytes();
        let [directory, batch, salt, frames] = [12, 20, 28, 36].map(number);
        is_sound.then_some(DurableMark { directory, batch, salt, frames })
    }
}
