//! RocksDB's framing of records in its write-ahead logs and its manifest, and the one damage of the
//! framing that makes RocksDB hang.
//!
//! A file consists of blocks of 32 KiB, a block of chunks, and a record is one chunk or several. If
//! RocksDB meets a chunk of a *recycled* log after a chunk of another kind, it reports "bad
//! record", does not advance, and meets the same chunk again for ever (`ReadPhysicalRecord` in
//! `db/log_reader.cc`, since its pull request 12643; version 11.8 has the bug). One flipped bit can
//! turn any chunk into such a chunk. This log never recycles a file, so it has no such chunks, and
//! looks for them before RocksDB opens the files.

use std::fs::File;
use std::io::{self, BufReader, Read};

pub(crate) const BLOCK_BYTES: usize = 32 << 10;
pub(crate) const HEADER_BYTES: usize = 7;

/// The kinds of chunks in recycled logs.
const RECYCLED: [u8; 6] = [5, 6, 7, 8, 11, 131];

/// Reads the next block, of which the last may be short; returns whether there was one.
pub(crate) fn read_block(file: &mut impl Read, block: &mut Vec<u8>) -> io::Result<bool> {
    block.clear();
    Ok(file.take(BLOCK_BYTES as u64).read_to_end(block)? > 0)
}

/// Which part of a record a chunk holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Part {
    Whole,
    First,
    Middle,
    Last,
}

/// The content after one header.
pub(crate) struct Chunk<'a> {
    pub(crate) part: Part,
    pub(crate) bytes: &'a [u8],
}

impl Chunk<'_> {
    /// The chunk at the front of the rest of a block, if its checksum matches.
    pub(crate) fn of(rest: &[u8]) -> Option<Chunk<'_>> {
        let (header, rest) = rest.split_at_checked(HEADER_BYTES)?;
        let bytes = rest.get(..usize::from(u16::from_le_bytes([header[4], header[5]])))?;
        let part = match header[6] {
            1 => Part::Whole,
            2 => Part::First,
            3 => Part::Middle,
            4 => Part::Last,
            _ => return None,
        };
        let sum = crc32c::crc32c_append(crc32c::crc32c(&header[6..]), bytes);
        let masked = sum.rotate_right(15).wrapping_add(0xa282_ead8);
        (header[..4] == masked.to_le_bytes()).then_some(Chunk { part, bytes })
    }
}

/// The offset of a chunk that RocksDB would read in an endless loop, if there is one.
pub(crate) fn find_trap(file: &File) -> io::Result<Option<u64>> {
    let mut file = BufReader::with_capacity(8 * BLOCK_BYTES, file);
    let (mut block, mut start, mut has_record) = (Vec::new(), 0, false);
    while read_block(&mut file, &mut block)? {
        if let Some(at) = trap_in(&block, &mut has_record) {
            return Ok(Some(start + at as u64));
        }
        start += block.len() as u64;
    }
    Ok(None)
}

/// Reads a block as RocksDB does: any other damage ends the block, not the file. A chunk of a
/// recycled log before the first complete record does not cause the loop.
fn trap_in(block: &[u8], has_record: &mut bool) -> Option<usize> {
    let mut at = 0;
    while let Some(header) = block.get(at..at + HEADER_BYTES) {
        if RECYCLED.contains(&header[HEADER_BYTES - 1]) {
            return has_record.then_some(at);
        }
        let chunk = Chunk::of(&block[at..])?;
        *has_record |= matches!(chunk.part, Part::Whole | Part::Last);
        at += HEADER_BYTES + chunk.bytes.len();
    }
    None
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use super::*;

    fn chunk(kind: u8, length: usize) -> Vec<u8> {
        let bytes = vec![kind; length];
        let sum = crc32c::crc32c_append(crc32c::crc32c(&[kind]), &bytes);
        let masked = sum.rotate_right(15).wrapping_add(0xa282_ead8);
        let header = [&masked.to_le_bytes()[..], &(length as u16).to_le_bytes(), &[kind]];
        [header.concat(), bytes].concat()
    }

    fn trap(chunks: &[Vec<u8>]) -> Option<u64> {
        let mut file = tempfile::NamedTempFile::new().expect("a file");
        file.write_all(&chunks.concat()).expect("writes");
        find_trap(&file.reopen().expect("opens")).expect("reads")
    }

    #[test]
    fn a_recycled_kind_behind_a_record_is_a_trap() {
        for kind in RECYCLED {
            assert_eq!(trap(&[chunk(1, 20), chunk(kind, 9)]), Some(27), "kind {kind}");
            assert_eq!(trap(&[chunk(2, 5), chunk(4, 8), chunk(kind, 9)]), Some(27));
            assert_eq!(trap(&[chunk(kind, 9), chunk(1, 20)]), None, "RocksDB ends there");
            assert_eq!(trap(&[chunk(2, 20), chunk(kind, 9)]), None, "no record is complete");
        }
        assert_eq!(trap(&[chunk(1, 20), chunk(2, 9), chunk(4, 0), chunk(1, 3)]), None);
    }

    /// Damage ends its block; RocksDB continues with the next block.
    #[test]
    fn a_trap_is_found_in_a_later_block() {
        let rest = BLOCK_BYTES - (HEADER_BYTES + 20);
        let mut bad = chunk(1, rest - HEADER_BYTES);
        assert_eq!(trap(&[chunk(1, 20), bad.clone(), chunk(7, 9)]), Some(BLOCK_BYTES as u64));
        bad[100] ^= 1;
        assert_eq!(trap(&[chunk(1, 20), bad, chunk(7, 9)]), Some(BLOCK_BYTES as u64));
        let padded = chunk(1, rest - HEADER_BYTES - 6);
        let padding = vec![0; 6];
        assert_eq!(trap(&[chunk(1, 20), padded, padding, chunk(5, 9)]), Some(BLOCK_BYTES as u64));
    }
}
