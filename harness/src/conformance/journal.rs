//! What was asked of a store and what it answered: the lines that a failure prints.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use raft_core::storage::LogError;

use super::report::with_causes;
use super::tally::Tally;

/// What was asked of the store and what it answered, in order. Clones share one list.
#[derive(Clone, Debug, Default)]
pub(crate) struct Journal {
    lines: Arc<Mutex<Vec<String>>>,
    /// Counts every line that was ever written.
    steps: Arc<AtomicU64>,
    /// Which of several stores writes here.
    name: Option<Arc<str>>,
    tally: Tally,
}

impl Journal {
    /// An empty one, of a check that counts there.
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

    /// Forgets all but the first lines.
    pub(crate) fn keep(&self, lines: usize) {
        self.lock().truncate(lines);
    }

    /// The same list, in which every line names the store.
    pub(crate) fn under(&self, name: &str) -> Journal {
        Journal { name: Some(name.into()), ..self.clone() }
    }

    /// A check that panicked while it wrote a line leaves a list that is still worth reading.
    fn lock(&self) -> MutexGuard<'_, Vec<String>> {
        self.lines.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Another list instead: what led to where a check is now.
    pub(crate) fn replace(&self, lines: &[String]) {
        self.steps.fetch_add(1, Ordering::Relaxed);
        *self.lock() = lines.to_vec();
    }

    /// How many steps were made so far.
    pub(crate) fn steps(&self) -> u64 {
        self.steps.load(Ordering::Relaxed)
    }

    pub(crate) fn note<T>(&self, asked: &str, said: &Result<T, LogError>) {
        let said = match said {
            Ok(_) => "Ok".to_owned(),
            Err(error) => with_causes(error),
        };
        self.note_line(&format!("{asked}: {said}"));
    }

    pub(crate) fn note_line(&self, line: &str) {
        self.steps.fetch_add(1, Ordering::Relaxed);
        self.lock().push(match &self.name {
            Some(name) => format!("{name}: {line}"),
            None => line.to_owned(),
        });
    }
}
