//! A hash over all events, and a line of text for each.
//!
//! The hash covers every event, in order; two runs of one seed must end with the same hash. Lines
//! are formatted only if they are printed.

use std::fmt;
use std::hash::{Hash, Hasher};

use crate::digest::Digest;
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

    /// Records what happened to a member: as a value for the hash, and as a line of text.
    pub(crate) fn note(&mut self, member: u64, what: impl Hash, words: fmt::Arguments<'_>) {
        (self.now, member).hash(&mut self.digest);
        what.hash(&mut self.digest);
        if self.aloud {
            self.print(member, words);
        }
    }

    /// Records only in the hash what happens too often to be printed.
    pub(crate) fn hash_only(&mut self, member: u64, what: impl Hash) {
        (self.now, member).hash(&mut self.digest);
        what.hash(&mut self.digest);
    }

    /// A line of text that the hash need not cover.
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
