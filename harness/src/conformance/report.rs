//! How a check ends, and the text of a broken promise.

use std::error::Error;
use std::fmt;

use raft_core::storage::LogError;

/// The text of each promise in `docs/laws.md`; a test checks that the two are equal.
const PROMISES: [&str; 21] = [
    "A mutating verb that returned `Ok` is durable, at the durability that the store declares.",
    "What `open` shows is already durable: an unproven tail is made so, or dropped, before it \
     returns.",
    "A crash leaves a prefix of what was written, never shorter than the last `Ok`.",
    "A store that declares `atomic_batch` leaves whole batches; another may leave only the first \
     verbs of the last one, in their order, so hard state is ahead of entries, never behind.",
    "No holes and no falling terms, ever.",
    "The boundary's id outlives its entry, also in an empty log; its term can be read.",
    "Purged entries and a truncated suffix never come back.",
    "Term and vote are one unit, and never go back.",
    "Truncation, purge and reset leave the hard state alone.",
    "A read of a range that is not empty returns at least one entry, and exact bytes.",
    "A reader sees what was written, later writes too; bytes that it returned never change.",
    "A read that races with a truncation, a purge or a reset returns entries that were each stored \
     under their id, or `Compacted` or `Unavailable`, never `Corrupt`.",
    "`Compacted`, `Unavailable`, `Corrupt`, `Io`, `Poisoned` and `Refused` are distinguished.",
    "Damage never passes for data, at the level that the store declares it detects.",
    "The first failed write or sync poisons the handle for good; a failed sync is never tried \
     again. Opening again works once the cause is gone. A write for which there is no space may be \
     refused instead (`NoSpace`, P16); a sync may not.",
    "A refused request changed nothing, and does not poison; nor does one that failed with \
     `NoSpace`, which may be given again. A purge below the boundary and a truncation at or past \
     the end are no-ops. A truncation below the commit hint that `recover` would report is refused \
     (L10); a reset is no truncation.",
    "One opener at a time.",
    "`recover` returns what the log holds: its term runs and memberships, and a commit hint that \
     is never above the last entry or above every hint that was given.",
    "A purge frees space, or the store uses it again: a log that is purged as it grows does \
     not grow for ever.",
    "No opening, no verb and no reader panics, whatever is asked and whatever the files hold.",
    "Each opening, verb and read comes to an end, with an answer.",
];

/// The text of a promise, by its number.
pub fn promise_text(number: usize) -> Option<&'static str> {
    PROMISES.get(number.checked_sub(1)?).copied()
}

/// A promise that a store broke.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Broken {
    /// The number of the promise.
    pub promise: usize,
    /// What was seen, and what was expected.
    pub what: String,
}

/// Why a check ended early.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Halt {
    /// The store broke a promise.
    Broken(Broken),
    /// According to the store's declarations this check is not for it.
    DoesNotApply(&'static str),
    /// This machine lacks something that the check needs.
    Skipped(String),
    /// The store kept its promises, but did not do what the check is about.
    Thin(&'static str),
    /// The rest of the check needs a part of the contract that the store is declared to lack. The
    /// check has found nothing wrong up to there.
    LeftOut(&'static str),
}

/// How a check ended if it found no broken promise.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// The store kept its promises.
    Held,
    /// According to the store's declarations the check is not for it.
    DoesNotApply(&'static str),
    /// This machine lacks something that the check needs.
    Skipped(String),
    /// The store kept its promises, but did not do what the check is about, so the result proves
    /// little.
    Thin(&'static str),
}

/// What a step of a check returns.
pub type Checked<T = ()> = Result<T, Halt>;

/// The end of a check: promise P`promise` was broken.
pub(crate) fn broken<T>(promise: usize, what: impl Into<String>) -> Checked<T> {
    Err(Halt::Broken(Broken { promise, what: what.into() }))
}

/// Returns an error that promise P`promise` was broken, unless `kept` holds.
pub(crate) fn promised(promise: usize, kept: bool, what: impl FnOnce() -> String) -> Checked {
    if kept { Ok(()) } else { broken(promise, what()) }
}

/// The text of an error with all its causes, since only the causes say why a store does not open.
pub(crate) fn with_causes(error: &LogError) -> String {
    let mut words = error.to_string();
    let mut cause = error.source();
    while let Some(known) = cause {
        words.push_str(&format!(": {known}"));
        cause = known.source();
    }
    words
}

impl fmt::Display for Broken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let text = promise_text(self.promise).unwrap_or("(no such promise)");
        write!(f, "broken promise P{}: {text}\nwhat was seen: {}", self.promise, self.what)
    }
}

#[cfg(test)]
mod tests {
    use super::promise_text;

    #[test]
    fn the_promises_are_those_of_the_laws_page() {
        let laws = include_str!("../../../docs/laws.md");
        let rows: Vec<&str> = laws.lines().filter(|line| line.starts_with("| P")).collect();
        assert!(rows.len() > 10, "only {} promises were found", rows.len());
        for (number, row) in (1..).zip(&rows) {
            let text = promise_text(number).unwrap_or("(missing)");
            assert_eq!(*row, format!("| P{number} | {text} |"));
        }
        assert_eq!(promise_text(rows.len() + 1), None);
    }
}
