//! The proof: a small file beside the segments that says up to where the stream was once synced.
//!
//! Each frame proves the ones before it, and nothing in the stream proves its own end: a segment
//! that was cut short or removed looks like one that was never written to its end. So the end is
//! written down where that damage does not reach, by a clean close, and by an opening that made the
//! end durable (`docs/formats/log-file.md`, decision 0120). It is a lower bound: the end of a
//! stream never goes back, so that an old proof is as true as a new one and is never taken away.

use owned_dir::is_no_space;
use raft_core::storage::{LogError, LogErrorKind, LogOp};

use crate::disk::{Disk, read_up_to, write_all};
use crate::format::{Position, get_u32, get_u64, put_u32, put_u64};
use crate::names::{NEW_PROOF_NAME, PROOF_NAME};

/// The length of the file.
const PROOF_BYTES: usize = 40;
const MAGIC: &[u8; 8] = b"KTKPROVE";
const VERSION: u32 = 1;

/// How far a stream is known to be synced.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Proof {
    /// The number of the directory, which its segments bear too.
    pub(crate) directory: u64,
    /// Everything before this position was synced.
    pub(crate) end: Position,
}

/// Why bytes are no proof.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum ProofFault {
    Damaged,
    Version(u32),
}

impl Proof {
    fn encode(&self) -> [u8; PROOF_BYTES] {
        let mut bytes = [0; PROOF_BYTES];
        bytes[..8].copy_from_slice(MAGIC);
        put_u32(&mut bytes, 8, VERSION);
        put_u64(&mut bytes, 16, self.directory);
        put_u64(&mut bytes, 24, self.end.segment);
        put_u64(&mut bytes, 32, self.end.offset);
        let checksum = checksum(&bytes);
        put_u32(&mut bytes, 12, checksum);
        bytes
    }

    fn decode(bytes: &[u8]) -> Result<Proof, ProofFault> {
        let front = bytes.get(..PROOF_BYTES).ok_or(ProofFault::Damaged)?;
        if &front[..8] != MAGIC || get_u32(front, 12) != checksum(front) {
            return Err(ProofFault::Damaged);
        }
        match get_u32(front, 8) {
            VERSION if bytes.len() > PROOF_BYTES => Err(ProofFault::Damaged),
            VERSION => Ok(Proof {
                directory: get_u64(front, 16),
                end: Position::new(get_u64(front, 24), get_u64(front, 32)),
            }),
            version => Err(ProofFault::Version(version)),
        }
    }

    /// The proof of a directory that has one.
    pub(crate) fn read(disk: &dyn Disk) -> Result<Proof, LogError> {
        let place = disk.place(PROOF_NAME);
        let mut bytes = [0; PROOF_BYTES + 1];
        let read = disk.open(PROOF_NAME).and_then(|file| read_up_to(&*file, &mut bytes, 0));
        let read = read.map_err(|error| LogError::io(LogOp::Open, error).at(place.clone()))?;
        Proof::decode(&bytes[..read]).map_err(|fault| match fault {
            ProofFault::Damaged => {
                LogError::new(LogOp::Open, LogErrorKind::Corrupt { index: None })
                    .at(format!("{place}, offset 0: the proof's checksum does not hold"))
            }
            ProofFault::Version(version) => LogError::new(LogOp::Open, LogErrorKind::Format)
                .at(format!("{place}: format version {version}; use a newer version of Kontiki")),
        })
    }

    /// Writes the proof under another name first, so that it is never torn. Durable once the names
    /// are synced. `NoSpace` where the disk is full; an older proof stays as it is then.
    pub(crate) fn write(&self, disk: &dyn Disk, op: LogOp) -> Result<(), LogError> {
        let write = || {
            let file = disk.create(NEW_PROOF_NAME)?;
            write_all(&*file, &self.encode(), 0)?;
            file.sync_data()?;
            disk.rename(NEW_PROOF_NAME, PROOF_NAME)
        };
        write().map_err(|error| {
            if !is_no_space(&error) {
                return LogError::io(op, error).at(disk.place(PROOF_NAME));
            }
            // What was begun is removed at the next opening if it cannot be now.
            let _ = disk.unlink(NEW_PROOF_NAME);
            LogError::new(op, LogErrorKind::NoSpace).because(error).at(disk.place_to_free())
        })
    }
}

/// The checksum of the first bytes, which keep their place in every version.
fn checksum(bytes: &[u8]) -> u32 {
    crc32c::crc32c_append(crc32c::crc32c(&bytes[..12]), &bytes[16..PROOF_BYTES])
}

#[cfg(test)]
mod tests {
    use super::*;

    const PROOF: Proof = Proof { directory: 0x1234, end: Position { segment: 3, offset: 8264 } };

    #[test]
    fn any_flipped_bit_and_any_other_length_is_noticed() {
        let bytes = PROOF.encode();
        assert_eq!(Proof::decode(&bytes), Ok(PROOF));
        for bit in 0..PROOF_BYTES * 8 {
            let mut flipped = bytes;
            flipped[bit / 8] ^= 1 << (bit % 8);
            assert_eq!(Proof::decode(&flipped), Err(ProofFault::Damaged), "bit {bit}");
        }
        assert_eq!(Proof::decode(&bytes[..PROOF_BYTES - 1]), Err(ProofFault::Damaged));
        assert_eq!(Proof::decode(&[&bytes[..], b"x"].concat()), Err(ProofFault::Damaged));
    }

    #[test]
    fn a_newer_version_is_told_from_damage() {
        let mut bytes = PROOF.encode();
        put_u32(&mut bytes, 8, 2);
        let sum = checksum(&bytes);
        put_u32(&mut bytes, 12, sum);
        assert_eq!(Proof::decode(&bytes), Err(ProofFault::Version(2)));
    }
}
