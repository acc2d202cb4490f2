//! The durable mark: a small file that records up to where the log is known to be synced and, after
//! a clean close, which files there are, with their lengths and checksums.
//!
//! It is rewritten, first under another name, whenever a log is opened or cleanly closed. So it is
//! never torn: a durable mark whose checksum is wrong is damage.

use raft_core::storage::record::Unreadable;

use crate::state::FORMAT_VERSION;

/// The longest name that a sealed file may have.
const NAME_BYTES: usize = 32;

const MAGIC: [u8; 8] = *b"KTKRPROF";
const FRONT_BYTES: usize = 40;
const FILE_BYTES: usize = 48;
const CHECKSUM_BYTES: usize = 4;

/// How far the log is known to be synced.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct DurableMark {
    /// The random number of the log.
    pub(crate) directory: u64,
    /// The last batch that is proven.
    pub(crate) batch: u64,
    /// A write-ahead log with at least this number must exist; 0 if none need exist.
    pub(crate) wal: u64,
    /// The files that a clean close left, in the order of their names; empty if there was no clean
    /// close.
    pub(crate) seal: Vec<SealedFile>,
}

/// A file as a clean close left it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct SealedFile {
    pub(crate) name: String,
    pub(crate) length: u64,
    /// 0 for a table, whose blocks have checksums of their own.
    pub(crate) checksum: u32,
}

impl DurableMark {
    pub(crate) fn encode(&self) -> Vec<u8> {
        let mut bytes = MAGIC.to_vec();
        bytes.extend_from_slice(&FORMAT_VERSION.to_le_bytes());
        bytes.extend_from_slice(&(self.seal.len() as u32).to_le_bytes());
        for number in [self.directory, self.batch, self.wal] {
            bytes.extend_from_slice(&number.to_le_bytes());
        }
        for file in &self.seal {
            let mut name = file.name.clone().into_bytes();
            name.resize(NAME_BYTES, 0);
            bytes.extend_from_slice(&name);
            bytes.extend_from_slice(&file.length.to_le_bytes());
            bytes.extend_from_slice(&u64::from(file.checksum).to_le_bytes());
        }
        bytes.extend_from_slice(&crc32c::crc32c(&bytes).to_le_bytes());
        bytes
    }

    /// The durable mark in these bytes.
    pub(crate) fn decode(bytes: &[u8]) -> Result<DurableMark, Unreadable> {
        let parts = bytes.split_last_chunk::<CHECKSUM_BYTES>();
        let (body, checksum) = parts.ok_or(Unreadable::Damaged)?;
        let (front, files) = body.split_at_checked(FRONT_BYTES).ok_or(Unreadable::Damaged)?;
        let is_sound = DurableMark::version(front) == Some(FORMAT_VERSION)
            && *checksum == crc32c::crc32c(body).to_le_bytes()
            && files.len() == small(front, 12) as usize * FILE_BYTES;
        if !is_sound {
            return Err(Unreadable::Damaged);
        }
        let [directory, batch, wal] = [16, 24, 32].map(|at| number(front, at));
        let seal = files.chunks_exact(FILE_BYTES).map(SealedFile::decode);
        Ok(DurableMark { directory, batch, wal, seal: seal.collect::<Result<_, _>>()? })
    }

    /// The version of the durable mark in these bytes, if they begin like a durable mark of any
    /// version.
    pub(crate) fn version(bytes: &[u8]) -> Option<u32> {
        (bytes.len() >= 12 && bytes[..8] == MAGIC).then(|| small(bytes, 8))
    }
}

impl SealedFile {
    fn decode(bytes: &[u8]) -> Result<SealedFile, Unreadable> {
        let end = bytes[..NAME_BYTES].iter().position(|byte| *byte == 0).unwrap_or(NAME_BYTES);
        let reserved = "a sealed file with bytes that were reserved";
        Unreadable::check_reserved(&bytes[44..FILE_BYTES], reserved)?;
        let name = String::from_utf8(bytes[..end].to_vec()).map_err(|_| Unreadable::Damaged)?;
        Ok(SealedFile { name, length: number(bytes, 32), checksum: small(bytes, 40) })
    }
}

fn small(bytes: &[u8], at: usize) -> u32 {
    u32::from_le_bytes(bytes[at..at + 4].try_into().expect("4 bytes"))
}

fn number(bytes: &[u8], at: usize) -> u64 {
    u64::from_le_bytes(bytes[at..at + 8].try_into().expect("8 bytes"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_durable_mark_round_trips_and_any_flipped_bit_is_noticed() {
        let file = |name: &str| SealedFile { name: name.into(), length: 5, checksum: 9 };
        for seal in [vec![], vec![file("CURRENT"), file("MANIFEST-18446744073709551615")]] {
            let durable_mark = DurableMark { directory: 1, batch: u64::MAX, wal: 3, seal };
            let bytes = durable_mark.encode();
            assert_eq!(DurableMark::decode(&bytes), Ok(durable_mark));
            for bit in 0..bytes.len() * 8 {
                let mut flipped = bytes.clone();
                flipped[bit / 8] ^= 1 << (bit % 8);
                assert_eq!(DurableMark::decode(&flipped), Err(Unreadable::Damaged), "bit {bit}");
            }
            for length in 0..bytes.len() {
                assert!(DurableMark::decode(&bytes[..length]).is_err(), "cut to {length}");
            }
        }
    }

    #[test]
    fn a_reserved_byte_under_a_sound_checksum_is_distinguished_from_damage() {
        let seal = vec![SealedFile { name: "CURRENT".into(), length: 5, checksum: 9 }];
        let mut bytes = DurableMark { directory: 1, batch: 2, wal: 3, seal }.encode();
        let end = bytes.len() - CHECKSUM_BYTES;
        bytes[end - 1] = 1;
        let checksum = crc32c::crc32c(&bytes[..end]).to_le_bytes();
        bytes[end..].copy_from_slice(&checksum);
        let decoded = DurableMark::decode(&bytes);
        assert!(matches!(decoded, Err(Unreadable::Newer(_))), "{decoded:?}");
    }
}
