//! The state of the etcd machine, shared between the machine that changes it and the services that
//! read it.

use std::ops::Deref;
use std::sync::{Arc, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};
use std::time::Duration;

use tokio::sync::Notify;
use tokio::time::sleep;

use crate::alarms::Alarms;
use crate::mvcc::Store;

/// The most unneeded versions that are freed for each batch of commands, and in each step between
/// batches. One step takes less than a microsecond, so a compaction never delays the member for
/// long, and it frees versions faster than commands can add them.
pub(crate) const SWEEP_STEPS: usize = 1024;

/// The pause between two steps of a sweep.
const SWEEP_PAUSE: Duration = Duration::from_millis(2);

/// The pause where a pinned revision needs everything that is left to free.
const PINNED_PAUSE: Duration = Duration::from_millis(100);

/// The state that a member has built from the log: the key space and the alarms.
#[derive(Debug, Default)]
pub(crate) struct State {
    pub(crate) store: Store,
    pub(crate) alarms: Alarms,
}

/// The state of a member, shared between the machine that changes it and the services that read
/// it.
#[derive(Clone, Debug, Default)]
pub struct SharedStore {
    state: Arc<RwLock<State>>,
    /// Notified when a compaction has discarded versions.
    compacted: Arc<Notify>,
}

/// The key space, locked for reading.
#[derive(Debug)]
pub struct ReadStore<'s>(RwLockReadGuard<'s, State>);

impl SharedStore {
    /// The state, for the machine that changes it.
    pub(crate) fn write(&self) -> RwLockWriteGuard<'_, State> {
        self.state.write().unwrap_or_else(PoisonError::into_inner)
    }

    /// The key space, for reading. The call waits while a batch of commands is applied, and the
    /// next batch waits for the reader, so read in short steps.
    pub fn read(&self) -> ReadStore<'_> {
        // The lock is poisoned only if applying panicked, and then the member is stopping. The
        // result of finished transactions can still be read.
        ReadStore(self.state.read().unwrap_or_else(PoisonError::into_inner))
    }

    /// Wakes the sweep, which frees the versions that a compaction discarded.
    pub(crate) fn note_compaction(&self) {
        self.compacted.notify_one();
    }

    /// Frees the versions that compactions discarded, in short steps, even while no commands
    /// arrive. Never returns. No answer depends on it.
    pub(crate) async fn sweep(self) {
        loop {
            let (steps, is_any_left) = {
                let store = &mut self.write().store;
                (store.sweep(SWEEP_STEPS), store.is_to_be_swept())
            };
            match (is_any_left, steps) {
                (false, _) => self.compacted.notified().await,
                (true, 0) => sleep(PINNED_PAUSE).await,
                (true, _) => sleep(SWEEP_PAUSE).await,
            }
        }
    }

    /// The alarms that are raised.
    pub fn alarms(&self) -> Alarms {
        self.read().0.alarms.clone()
    }
}

impl Deref for ReadStore<'_> {
    type Target = Store;

    fn deref(&self) -> &Store {
        &self.0.store
    }
}
