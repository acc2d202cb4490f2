//! The 28 bytes before each header: what follows, how long it is, and its checksums.

use crc32c::{crc32c, crc32c_append};
use raft_core::types::ClusterId;

use super::{MAX_BODY_BYTES, MAX_HEADER_BYTES, WireError};

/// The length of the prefix.
pub const PREFIX_BYTES: usize = 28;

const MAGIC: [u8; 3] = *b"KTK";

/// The offset of the checksum of prefix and header; it covers the bytes before it and the header.
const CHECKSUM_AT: usize = 24;

/// A prefix whose magic, version and lengths are valid.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Prefix {
    /// The version of the frame.
    pub version: u8,
    /// The sender's cluster.
    pub cluster: ClusterId,
    /// The bytes of the header.
    pub header_bytes: usize,
    /// The bytes of the body.
    pub body_bytes: usize,
    /// The body's CRC-32C.
    pub body_checksum: u32,
}

impl Prefix {
    /// The bytes, with the checksum over them and the header.
    pub fn encode(&self, header: &[u8]) -> [u8; PREFIX_BYTES] {
        let mut bytes = [0; PREFIX_BYTES];
        bytes[..3].copy_from_slice(&MAGIC);
        bytes[3] = self.version;
        bytes[4..8].copy_from_slice(&(self.header_bytes as u32).to_le_bytes());
        bytes[8..12].copy_from_slice(&(self.body_bytes as u32).to_le_bytes());
        bytes[12..20].copy_from_slice(&self.cluster.0.to_le_bytes());
        bytes[20..24].copy_from_slice(&self.body_checksum.to_le_bytes());
        let checksum = checksum(&bytes, header);
        bytes[CHECKSUM_AT..].copy_from_slice(&checksum.to_le_bytes());
        bytes
    }

    /// Decodes a prefix of the agreed version, and checks everything but the checksum, which needs
    /// the header.
    pub fn decode(bytes: &[u8; PREFIX_BYTES], version: u8) -> Result<Prefix, WireError> {
        if bytes[..3] != MAGIC {
            return Err(WireError::Magic);
        }
        if bytes[3] != version {
            return Err(WireError::Version(bytes[3]));
        }
        let prefix = Prefix {
            version,
            header_bytes: u32_at(bytes, 4) as usize,
            body_bytes: u32_at(bytes, 8) as usize,
            cluster: ClusterId(u64::from(u32_at(bytes, 12)) | u64::from(u32_at(bytes, 16)) << 32),
            body_checksum: u32_at(bytes, 20),
        };
        if prefix.header_bytes > MAX_HEADER_BYTES {
            return Err(WireError::HeaderTooLong(prefix.header_bytes as u64));
        }
        if prefix.body_bytes > MAX_BODY_BYTES {
            return Err(WireError::BodyTooLong(prefix.body_bytes as u64));
        }
        Ok(prefix)
    }
}

/// Whether the checksum in the prefix is that of the prefix and this header.
pub fn is_intact(prefix: &[u8; PREFIX_BYTES], header: &[u8]) -> bool {
    u32_at(prefix, CHECKSUM_AT) == checksum(prefix, header)
}

fn checksum(prefix: &[u8; PREFIX_BYTES], header: &[u8]) -> u32 {
    crc32c_append(crc32c(&prefix[..CHECKSUM_AT]), header)
}

fn u32_at(bytes: &[u8; PREFIX_BYTES], at: usize) -> u32 {
    u32::from_le_bytes([bytes[at], bytes[at + 1], bytes[at + 2], bytes[at + 3]])
}
