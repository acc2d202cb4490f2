//! A hash over all events, and a line of text for each.
//!
//! The hash covers every event, in order; two runs of one seed must end with the same hash. Lines
//! are formatted only if they are printed.

use std::fmt;
use std::hash::{Hash, Hasher};

use crate::sim::Time;

/// The record of a run.
#[derive(Debug)]
pub(crate) struct Journal {
    digest: Digest,
    /// Whether lines are printed.
    aloud: bool,
    pub(crate) now: Time,
}

impl Journal {
    pub(crate) fn new(aloud: bool) -> Journal {
        Journal { digest: Digest::default(), aloud, now: 0 }
    }

    /// Notes what happened to a member: for the hash by value, for people in words.
    pub(crate) fn note(&mut self, member: u64, what: impl Hash, words: fmt::Arguments<'_>) {
        (self.now, member).hash(&mut self.digest);
        what.hash(&mut self.digest);
        if self.aloud {
            self.print(member, words);
        }
    }

    /// Notes for the hash alone what happens too often to be printed.
    pub(crate) fn hash_only(&mut self, member: u64, what: impl Hash) {
        (self.now, member).hash(&mut self.digest);
        what.hash(&mut self.digest);
    }

    /// Words for people that say nothing new to the hash.
    pub(crate) fn say(&self, member: u64, words: fmt::Arguments<'_>) {
        if self.aloud {
            self.print(member, words);
        }
    }

    fn print(&self, member: u64, words: fmt::Arguments<'_>) {
        let millis = self.now / 1_000;
        let micros = self.now % 1_000;
        println!("{millis:>9}.{micros:03}  {member}  {words}");
    }

    /// The hash of everything so far.
    pub(crate) fn hash(&self) -> u64 {
        self.digest.finish()
    }
}

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
    fn order_and_values_count() {
        assert_eq!(Digest::of((1_u64, 2_u64)), Digest::of((1_u64, 2_u64)));
        assert_ne!(Digest::of((1_u64, 2_u64)), Digest::of((2_u64, 1_u64)));
        assert_ne!(Digest::of("ab"), Digest::of("abc"));
        assert_ne!(Digest::of(0_u64), Digest::of((0_u64, 0_u64)));
    }
}
