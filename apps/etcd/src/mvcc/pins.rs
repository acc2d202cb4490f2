//! Pins: revisions that a sweep keeps readable while a long read is in progress.
//!
//! A read that takes many steps releases the store's lock between them. Its [`Pin`] keeps every
//! version that its revision sees, whatever is compacted in the meantime; dropping the pin releases
//! them. A pin is not replicated and no answer depends on it: it only delays the freeing of memory.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};

/// The revisions that are pinned at present.
#[derive(Clone, Debug, Default)]
pub(super) struct Pins {
    /// The number of pins of each revision. Invariant: no number is 0.
    pinned: Arc<Mutex<BTreeMap<i64, usize>>>,
}

/// Keeps one revision readable until it is dropped.
#[derive(Debug)]
pub struct Pin {
    pins: Pins,
    revision: i64,
}

impl Pins {
    pub(super) fn pin(&self, revision: i64) -> Pin {
        self.locked(|pinned| *pinned.entry(revision).or_default() += 1);
        Pin { pins: self.clone(), revision }
    }

    /// The lowest pinned revision, if any.
    pub(super) fn lowest(&self) -> Option<i64> {
        self.locked(|pinned| pinned.keys().next().copied())
    }

    fn locked<R>(&self, work: impl FnOnce(&mut BTreeMap<i64, usize>) -> R) -> R {
        // Nothing in this module panics, so the map is sound even if it is poisoned.
        work(&mut self.pinned.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

impl Drop for Pin {
    fn drop(&mut self) {
        self.pins.locked(|pinned| {
            if let Some(count) = pinned.get_mut(&self.revision) {
                *count -= 1;
                if *count == 0 {
                    pinned.remove(&self.revision);
                }
            }
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_lowest_of_several_pins_counts_until_its_last_one_is_dropped() {
        let pins = Pins::default();
        let (first, second, higher) = (pins.pin(3), pins.pin(3), pins.pin(5));
        assert_eq!(pins.lowest(), Some(3));
        drop(first);
        assert_eq!(pins.lowest(), Some(3));
        drop(second);
        assert_eq!(pins.lowest(), Some(5));
        drop(higher);
        assert_eq!(pins.lowest(), None);
    }
}
