//! The durable mark: a small file beside the segments that records up to where the stream was
//! synced.
//!
//! Each frame proves the ones before it, but nothing in the stream proves the end of the stream: a
//! segment that was cut short or removed looks like one that was never written to its end. So a
//! clean close, and an opening that made the end durable, record the end in a separate file, which
//! such damage does not affect (`docs/formats/log-file.md`, decision 0120). The durable mark is a
//! lower bound: the end of a stream never goes back, so an old durable mark remains valid and is
//! never removed.

use owned_dir::is_no_space;
use raft_core::storage::{LogError, LogErrorKind, LogOp};

use crate::disk::{Disk, read_up_to, write_all};
use crate::format::{Position, get_u32, get_u64, put_u32, put_u64};
use crate::names::{DURABLE_MARK_NAME, NEW_DURABLE_MARK_NAME};

/// The length of the file.
const DURABLE_MARK_BYTES: usize = 40;
const MAGIC: &[u8; 8] = b"KTKPROVE";
const VERSION: u32 = 1;

/// How far a stream is known to be synced.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct DurableMark {
    /// The number of the directory, which its segments also hold.
    pub(crate) directory: u64,
    /// Everything before this position was synced.
    pub(crate) end: Position,
}

/// Why bytes are not a durable mark.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum DurableMarkFault {
    Damaged,
    Version(u32),
}

impl DurableMark {
    fn encode(&self) -> [u8; DURABLE_MARK_BYTES] {
        let mut bytes = [0; DURABLE_MARK_BYTES];
        bytes[..8].copy_from_slice(MAGIC);
        put_u32(&mut bytes, 8, VERSION);
        put_u64(&mut bytes, 16, self.directory);
        put_u64(&mut bytes, 24, self.end.segment);
        put_u64(&mut bytes, 32, self.end.offset);
        let checksum = checksum(&bytes);
        put_u32(&mut bytes, 12, checksum);
        bytes
    }

    fn decode(bytes: &[u8]) -> Result<DurableMark, DurableMarkFault> {
        let front = bytes.get(..DURABLE_MARK_BYTES).ok_or(DurableMarkFault::Damaged)?;
        if &front[..8] != MAGIC || get_u32(front, 12) != checksum(front) {
            return Err(DurableMarkFault::Damaged);
        }
        match get_u32(front, 8) {
            VERSION if bytes.len() > DURABLE_MARK_BYTES => Err(DurableMarkFault::Damaged),
            VERSION => Ok(DurableMark {
                directory: get_u64(front, 16),
                end: Position::new(get_u64(front, 24), get_u64(front, 32)),
            }),
            version => Err(DurableMarkFault::Version(version)),
        }
    }

    /// The durable mark of a directory that has one.
    pub(crate) fn read(disk: &dyn Disk) -> Result<DurableMark, LogError> {
        let place = disk.place(DURABLE_MARK_NAME);
        let mut bytes = [0; DURABLE_MARK_BYTES + 1];
        let read = disk.open(DURABLE_MARK_NAME).and_then(|file| read_up_to(&*file, &mut bytes, 0));
        let read = read.map_err(|error| LogError::io(LogOp::Open, error).at(place.clone()))?;
        DurableMark::decode(&bytes[..read]).map_err(|fault| match fault {
            DurableMarkFault::Damaged => {
                LogError::new(LogOp::Open, LogErrorKind::Corrupt { index: None })
                    .at(format!("{place}, offset 0: the durable mark's checksum does not hold"))
            }
            DurableMarkFault::Version(version) => LogError::new(LogOp::Open, LogErrorKind::Format)
                .at(format!("{place}: format version {version}; use a newer version of Kontiki")),
        })
    }

    /// Writes the durable mark under another name first, so that it is never torn. Durable once the
    /// names are synced. `NoSpace` if the disk is full; an older durable mark is then unchanged.
    pub(crate) fn write(&self, disk: &dyn Disk, op: LogOp) -> Result<(), LogError> {
        let write = || {
            let file = disk.create(NEW_DURABLE_MARK_NAME)?;
            write_all(&*file, &self.encode(), 0)?;
            file.sync_data()?;
            disk.rename(NEW_DURABLE_MARK_NAME, DURABLE_MARK_NAME)
        };
        write().map_err(|error| {
            if !is_no_space(&error) {
                return LogError::io(op, error).at(disk.place(DURABLE_MARK_NAME));
            }
            // The unfinished file is removed at the next opening if it cannot be removed now.
            let _ = disk.unlink(NEW_DURABLE_MARK_NAME);
            LogError::new(op, LogErrorKind::NoSpace).because(error).at(disk.place_to_free())
        })
    }
}

/// The checksum of the first bytes, whose layout is the same in every version.
fn checksum(bytes: &[u8]) -> u32 {
    crc32c::crc32c_append(crc32c::crc32c(&bytes[..12]), &bytes[16..DURABLE_MARK_BYTES])
}

#[cfg(test)]
mod tests {
    use super::*;

    const DURABLE_MARK: DurableMark =
        DurableMark { directory: 0x1234, end: Position { segment: 3, offset: 8264 } };

    #[test]
    fn any_flipped_bit_and_any_other_length_is_noticed() {
        let bytes = DURABLE_MARK.encode();
        assert_eq!(DurableMark::decode(&bytes), Ok(DURABLE_MARK));
        for bit in 0..DURABLE_MARK_BYTES * 8 {
            let mut flipped = bytes;
            flipped[bit / 8] ^= 1 << (bit % 8);
            assert_eq!(DurableMark::decode(&flipped), Err(DurableMarkFault::Damaged), "bit {bit}");
        }
        assert_eq!(
            DurableMark::decode(&bytes[..DURABLE_MARK_BYTES - 1]),
            Err(DurableMarkFault::Damaged)
        );
        assert_eq!(
            DurableMark::decode(&[&bytes[..], b"x"].concat()),
            Err(DurableMarkFault::Damaged)
        );
    }

    #[test]
    fn a_newer_version_is_distinguished_from_damage() {
        let mut bytes = DURABLE_MARK.encode();
        put_u32(&mut bytes, 8, 2);
        let sum = checksum(&bytes);
        put_u32(&mut bytes, 12, sum);
        assert_eq!(DurableMark::decode(&bytes), Err(DurableMarkFault::Version(2)));
    }
}
