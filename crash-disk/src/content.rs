//! The bytes of one file: sparse, and cheap to copy, because copies share their common chunks.

use std::collections::BTreeMap;
use std::sync::Arc;

/// Bytes are kept in chunks of one page each; a missing chunk is all zeros.
const CHUNK: u64 = 4096;

type Chunk = Arc<[u8; CHUNK as usize]>;

/// The content of a file.
#[derive(Clone, Debug, Default)]
pub struct Content {
    size: u64,
    chunks: BTreeMap<u64, Chunk>,
}

impl Content {
    /// The file's size, in bytes.
    pub fn size(&self) -> u64 {
        self.size
    }

    /// How many bytes are stored in chunks.
    pub fn kept(&self) -> u64 {
        self.chunks.len() as u64 * CHUNK
    }

    /// The bytes from `at` on, up to `length` of them or to the end of the file.
    pub fn read(&self, at: u64, length: u64) -> Vec<u8> {
        let end = at.saturating_add(length).min(self.size);
        let mut bytes = vec![0; end.saturating_sub(at) as usize];
        for (number, chunk) in self.chunks.range(at / CHUNK..end.div_ceil(CHUNK)) {
            let (start, stop) = (number * CHUNK, (number + 1) * CHUNK);
            let (from, to) = (start.max(at), stop.min(end));
            if from < to {
                let inside = &chunk[(from - start) as usize..(to - start) as usize];
                bytes[(from - at) as usize..(to - at) as usize].copy_from_slice(inside);
            }
        }
        bytes
    }

    /// Writes bytes at an offset, and extends the file if they reach beyond its end.
    pub fn write(&mut self, at: u64, bytes: &[u8]) {
        self.size = self.size.max(at + bytes.len() as u64);
        self.put(at, bytes);
    }

    /// Sets the file's length: it is truncated, or zeros are appended.
    pub fn resize(&mut self, size: u64) {
        if size < self.size {
            let _ = self.chunks.split_off(&size.div_ceil(CHUNK));
            self.zero(size, self.size - size);
        }
        self.size = size;
    }

    /// Overwrites a range with zeros; the file's size does not change.
    pub fn zero(&mut self, at: u64, length: u64) {
        let end = at.saturating_add(length);
        let (first, beyond) = (at.div_ceil(CHUNK), end / CHUNK);
        if first >= beyond {
            self.zero_partly(at, end);
            return;
        }
        self.zero_partly(at, first * CHUNK);
        self.zero_partly(beyond * CHUNK, end);
        let whole: Vec<u64> = self.chunks.range(first..beyond).map(|(number, _)| *number).collect();
        for number in whole {
            self.chunks.remove(&number);
        }
    }

    /// Whether a range holds only zeros, or lies beyond the end of the file.
    pub fn is_blank(&self, at: u64, length: u64) -> bool {
        self.read(at, length).iter().all(|byte| *byte == 0)
    }

    /// The stored chunks as ranges of bytes, in order; between them are zeros.
    pub fn stretches(&self) -> impl Iterator<Item = (u64, Vec<u8>)> {
        let mut runs: Vec<(u64, u64)> = Vec::new();
        for number in self.chunks.keys().copied() {
            match runs.last_mut() {
                Some((_, end)) if *end == number => *end += 1,
                _ => runs.push((number, number + 1)),
            }
        }
        runs.into_iter().map(|(first, end)| {
            let (at, stop) = (first * CHUNK, end * CHUNK);
            (at, self.read(at, stop - at))
        })
    }

    /// Writes zeros within the existing chunks, for a range of less than two chunks.
    fn zero_partly(&mut self, at: u64, end: u64) {
        for (number, chunk) in self.chunks.range_mut(at / CHUNK..end.div_ceil(CHUNK)) {
            let start = number * CHUNK;
            let (from, to) = (at.max(start), end.min(start + CHUNK));
            if from < to {
                Arc::make_mut(chunk)[(from - start) as usize..(to - start) as usize].fill(0);
            }
        }
    }

    fn put(&mut self, mut at: u64, mut bytes: &[u8]) {
        while !bytes.is_empty() {
            let within = (at % CHUNK) as usize;
            let (now, later) = bytes.split_at(bytes.len().min(CHUNK as usize - within));
            let chunk = self.chunks.entry(at / CHUNK);
            let chunk = chunk.or_insert_with(|| Arc::new([0; CHUNK as usize]));
            Arc::make_mut(chunk)[within..within + now.len()].copy_from_slice(now);
            at += now.len() as u64;
            bytes = later;
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::Content;

    proptest! {
        #[test]
        fn a_content_equals_a_plain_list_of_bytes(
            steps in prop::collection::vec((0..4u8, 0..20_000u64, 0..9000usize), 0..12),
        ) {
            let (mut content, mut plain) = (Content::default(), Vec::<u8>::new());
            for (number, (step, at, length)) in steps.into_iter().enumerate() {
                let (from, to) = (at as usize, at as usize + length);
                match step {
                    0 | 1 => {
                        let bytes = vec![number as u8 + 1; length];
                        content.write(at, &bytes);
                        plain.resize(plain.len().max(to), 0);
                        plain[from..to].copy_from_slice(&bytes);
                    }
                    2 => {
                        content.resize(at);
                        plain.resize(from, 0);
                    }
                    _ => {
                        content.zero(at, length as u64);
                        let (from, to) = (from.min(plain.len()), to.min(plain.len()));
                        plain[from..to].fill(0);
                    }
                }
                prop_assert_eq!(content.size(), plain.len() as u64);
                prop_assert_eq!(&content.read(0, u64::MAX), &plain);
            }
            let mut copied = vec![0; plain.len().next_multiple_of(4096)];
            for (at, bytes) in content.stretches() {
                let at = at as usize;
                copied[at..at + bytes.len()].copy_from_slice(&bytes);
            }
            prop_assert_eq!(&copied[..plain.len()], &plain[..]);
        }
    }
}
