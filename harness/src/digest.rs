//! A hash that is the same in every process, for journals and state machines.

use std::hash::{Hash, Hasher};

/// A 64-bit hash that is the same in every process: multiply and fold.
#[derive(Clone, Debug, Default)]
pub(crate) struct Digest {
    state: u64,
}

impl Digest {
    /// The hash of one value.
    pub(crate) fn of(value: impl Hash) -> u64 {
        let mut digest = Digest::default();
        value.hash(&mut digest);
        digest.finish()
    }

    fn fold(&mut self, word: u64) {
        let mixed = (self.state ^ word).wrapping_add(0x9e37_79b9_7f4a_7c15);
        let product = u128::from(mixed) * 0xd6e8_feb8_6659_fd93_u128;
        self.state = (product as u64) ^ ((product >> 64) as u64);
    }
}

impl Hasher for Digest {
    fn write(&mut self, bytes: &[u8]) {
        for chunk in bytes.chunks(8) {
            let mut word = [0; 8];
            word[..chunk.len()].copy_from_slice(chunk);
            self.fold(u64::from_le_bytes(word));
        }
        self.fold(bytes.len() as u64);
    }

    fn write_u8(&mut self, number: u8) {
        self.fold(u64::from(number));
    }

    fn write_u32(&mut self, number: u32) {
        self.fold(u64::from(number));
    }

    fn write_u64(&mut self, number: u64) {
        self.fold(number);
    }

    fn write_usize(&mut self, number: usize) {
        self.fold(number as u64);
    }

    fn finish(&self) -> u64 {
        self.state
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_hash_depends_on_order_and_values() {
        assert_eq!(Digest::of((1_u64, 2_u64)), Digest::of((1_u64, 2_u64)));
        assert_ne!(Digest::of((1_u64, 2_u64)), Digest::of((2_u64, 1_u64)));
        assert_ne!(Digest::of("ab"), Digest::of("abc"));
        assert_ne!(Digest::of(0_u64), Digest::of((0_u64, 0_u64)));
    }
}
