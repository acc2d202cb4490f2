//! The buffer in which a frame is built: at an address from which a device can read directly, and
//! preceded by the part of its first block that was written before.
//!
//! A disk that is written without the page cache accepts only whole blocks. A frame that begins
//! inside a block is then written together with the block's present content, byte for byte the
//! same; "Writing" in `docs/formats/log-file.md` explains why that is safe.

use std::ops::{Deref, Range};

/// The strictest memory alignment that any device requires here.
pub(crate) const MEMORY_ALIGNMENT: usize = 4096;

/// The size to which the buffer is shrunk after a larger frame.
const KEPT_BYTES: usize = 8 << 20;

/// Bytes that start at a multiple of 4096 in memory.
#[derive(Debug, Default)]
pub struct WriteBuffer {
    /// The bytes, after `front` others that only align them.
    bytes: Vec<u8>,
    front: usize,
}

impl WriteBuffer {
    /// How many bytes there are.
    pub(crate) fn len(&self) -> usize {
        self.bytes.len() - self.front
    }

    /// Keeps the bytes of this range as the first ones, and drops the others.
    pub(crate) fn keep(&mut self, range: Range<usize>) {
        let kept = range.len();
        let range = self.front + range.start..self.front + range.end;
        self.bytes.copy_within(range, self.front);
        self.bytes.truncate(self.front + kept);
    }

    /// Reserves space for this many bytes in total, so that they need not move while more are
    /// added.
    pub(crate) fn reserve(&mut self, total: usize) {
        let needed = total + MEMORY_ALIGNMENT;
        if self.bytes.capacity() < needed || self.bytes.capacity() > KEPT_BYTES.max(2 * needed) {
            let mut roomy = Vec::with_capacity(needed.next_power_of_two());
            let kept = std::mem::take(&mut self.bytes);
            let front = padding_of(&roomy);
            roomy.resize(front, 0);
            roomy.extend_from_slice(&kept[self.front..]);
            (self.bytes, self.front) = (roomy, front);
        }
    }

    pub(crate) fn extend(&mut self, bytes: &[u8]) {
        self.bytes.extend_from_slice(bytes);
    }

    /// Appends zeros up to this total length.
    pub(crate) fn pad(&mut self, total: usize) {
        self.bytes.resize(self.front + total, 0);
    }

    pub(crate) fn bytes_mut(&mut self) -> &mut [u8] {
        &mut self.bytes[self.front..]
    }

    /// Whether the bytes are where a device may read them.
    pub(crate) fn is_aligned(&self) -> bool {
        padding_of(self) == 0
    }

    /// Moves the bytes to an aligned address, if they outgrew the reserved space.
    pub(crate) fn align(&mut self) {
        if !self.is_aligned() {
            let total = self.len();
            let kept = WriteBuffer { bytes: std::mem::take(&mut self.bytes), front: self.front };
            self.front = 0;
            self.reserve(total);
            self.extend(&kept);
        }
    }
}

impl Deref for WriteBuffer {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        &self.bytes[self.front..]
    }
}

/// The distance to the next aligned address.
fn padding_of(bytes: &[u8]) -> usize {
    let past = bytes.as_ptr().addr() % MEMORY_ALIGNMENT;
    if past == 0 { 0 } else { MEMORY_ALIGNMENT - past }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_stay_unchanged_and_aligned() {
        let mut buffer = WriteBuffer::default();
        let mut all = Vec::new();
        for round in 1..2000usize {
            let piece = vec![round as u8; round * 7 % 300];
            if !round.is_multiple_of(3) {
                buffer.reserve(buffer.len() + piece.len());
            }
            buffer.extend(&piece);
            all.extend(piece);
            buffer.align();
            assert!(buffer.is_aligned(), "round {round}");
            assert_eq!(*buffer, *all);
            if round.is_multiple_of(50) {
                let from = buffer.len() / 512 * 512;
                buffer.keep(from..buffer.len());
                all.drain(..from);
            }
        }
    }

    #[test]
    fn a_large_frame_does_not_keep_its_memory() {
        let mut buffer = WriteBuffer::default();
        buffer.reserve(40 << 20);
        buffer.pad(40 << 20);
        buffer.keep(0..100);
        buffer.reserve(1000);
        assert!(buffer.bytes.capacity() <= KEPT_BYTES && buffer.is_aligned());
        assert_eq!(buffer.len(), 100);
    }
}
