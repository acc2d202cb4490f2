//! A hash over all events, and a line of text for each.
//!
//! The hash covers all events, in order; two runs of one seed must end with the same hash. Lines
//! are formatted only if they are printed.

use std::fmt;
use std::hash::{Hash, Hasher};

use crate::digest::Digest;
use crate::sim::Time;

/// The hash of a run, and its output.
#[derive(Debug)]
pub(crate) struct Journal {
    digest: Digest,
    /// Whether lines are printed.
    prints_events: bool,
    pub(crate) now: Time,
}

impl Journal {
    pub(crate) fn new(prints_events: bool) -> Journal {
        Journal { digest: Digest::default(), prints_events, now: 0 }
    }

    /// Records an event of a member: `what` goes into the hash, `words` are the line of text.
    pub(crate) fn note(&mut self, member: u64, what: impl Hash, words: fmt::Arguments<'_>) {
        (self.now, member).hash(&mut self.digest);
        what.hash(&mut self.digest);
        if self.prints_events {
            self.print(member, words);
        }
    }

    /// Adds to the hash an event that happens too often to be printed.
    pub(crate) fn hash_only(&mut self, member: u64, what: impl Hash) {
        (self.now, member).hash(&mut self.digest);
        what.hash(&mut self.digest);
    }

    /// Prints a line about an event that is already in the hash.
    pub(crate) fn print_only(&self, member: u64, words: fmt::Arguments<'_>) {
        if self.prints_events {
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
