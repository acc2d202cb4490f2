//! The requests to a store and its answers: the lines that a failure prints.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use raft_core::storage::LogError;

use super::report::with_causes;
use super::tally::Tally;

/// The requests to the store and its answers, in order. Clones share one list.
#[derive(Clone, Debug, Default)]
pub(crate) struct Journal {
    lines: Arc<Mutex<Vec<String>>>,
    /// The number of lines that were ever written.
    steps: Arc<AtomicU64>,
    /// The name of the store, if several stores share the list.
    name: Option<Arc<str>>,
    tally: Tally,
}

impl Journal {
    /// An empty journal for a check that counts in `tally`.
    pub(crate) fn with(tally: Tally) -> Journal {
        Journal { tally, ..Journal::default() }
    }

    pub(crate) fn lines(&self) -> Vec<String> {
        self.lock().clone()
    }

    /// What the check counts.
    pub(crate) fn tally(&self) -> &Tally {
        &self.tally
    }

    pub(crate) fn clear(&self) {
        self.lock().clear();
    }

    /// Removes all lines after the first `lines`.
    pub(crate) fn keep(&self, lines: usize) {
        self.lock().truncate(lines);
    }

    /// A handle to the same list that puts the store's name in every line.
    pub(crate) fn under(&self, name: &str) -> Journal {
        Journal { name: Some(name.into()), ..self.clone() }
    }

    /// A check that panicked while it wrote a line leaves a list that can still be read.
    fn lock(&self) -> MutexGuard<'_, Vec<String>> {
        self.lines.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Replaces the list by the steps that led to the check's current state.
    pub(crate) fn replace(&self, lines: &[String]) {
        self.steps.fetch_add(1, Ordering::Relaxed);
        *self.lock() = lines.to_vec();
    }

    /// How many steps were made so far.
    pub(crate) fn steps(&self) -> u64 {
        self.steps.load(Ordering::Relaxed)
    }

    pub(crate) fn note<T>(&self, asked: &str, result: &Result<T, LogError>) {
        let result = match result {
            Ok(_) => "Ok".to_owned(),
            Err(error) => with_causes(error),
        };
        self.note_line(&format!("{asked}: {result}"));
    }

    pub(crate) fn note_line(&self, line: &str) {
        self.steps.fetch_add(1, Ordering::Relaxed);
        self.lock().push(match &self.name {
            Some(name) => format!("{name}: {line}"),
            None => line.to_owned(),
        });
    }
}
