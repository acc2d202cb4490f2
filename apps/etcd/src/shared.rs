//! The state of the etcd machine, shared between the machine that changes it and the services that
//! read it.
//!
//! A *generation* is a state and all its changes. The commands of the log change the present
//! generation. A restore from a snapshot begins another one; reads that are in progress finish on
//! the one that they began with, so they see one revision to their end.

use std::ops::{Deref, DerefMut};
use std::sync::{Arc, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard, Weak};
use std::thread;
use std::time::Duration;

use tokio::sync::Notify;
use tokio::time::sleep;

use crate::alarms::Alarms;
use crate::mvcc::{Pin, Store};

/// The most unneeded versions that are freed for each batch of commands, and in each step between
/// batches. One step takes less than a microsecond, so a compaction never delays the member for
/// long, and it frees versions faster than commands can add them.
pub(crate) const SWEEP_STEPS: usize = 1024;

/// The pause between two steps of a sweep.
const SWEEP_PAUSE: Duration = Duration::from_millis(2);

/// The pause where a pinned revision needs everything that is left to free.
const PINNED_PAUSE: Duration = Duration::from_millis(100);

/// The pause before an earlier generation is examined again for reads in progress.
const RETIRING_PAUSE: Duration = Duration::from_millis(50);

/// The state that a member has built from the log: the key space and the alarms.
#[derive(Debug, Default)]
pub(crate) struct State {
    pub(crate) store: Store,
    pub(crate) alarms: Alarms,
}

/// A state and all its changes. Cloning gives another handle to the same one.
#[derive(Clone, Debug, Default)]
pub struct Generation {
    /// How many generations were before it.
    number: u64,
    state: Arc<RwLock<State>>,
}

/// The key space of a generation, locked for reading.
#[derive(Debug)]
pub struct ReadStore<'s>(RwLockReadGuard<'s, State>);

/// The state of a generation, locked for the machine that changes it.
#[derive(Debug)]
pub(crate) struct WriteState<'s> {
    generation: &'s Generation,
    state: RwLockWriteGuard<'s, State>,
}

/// A revision of a generation that stays readable as long as this value exists.
#[derive(Debug)]
pub(crate) struct Pinned {
    generation: Generation,
    _pin: Pin,
}

impl Generation {
    /// How many generations were before it.
    pub(crate) fn number(&self) -> u64 {
        self.number
    }

    /// The state, for the machine that changes it.
    pub(crate) fn write(&self) -> WriteState<'_> {
        let state = self.state.write().unwrap_or_else(PoisonError::into_inner);
        WriteState { generation: self, state }
    }

    /// The key space, for reading. The call waits while a batch of commands is applied, and the
    /// next batch waits for the reader, so read in short steps.
    pub fn read(&self) -> ReadStore<'_> {
        // The lock is poisoned only if applying panicked, and then the member is stopping. The
        // result of finished transactions can still be read.
        ReadStore(self.state.read().unwrap_or_else(PoisonError::into_inner))
    }

    /// The alarms that are raised.
    pub fn alarms(&self) -> Alarms {
        self.read().state().alarms.clone()
    }

    /// Keeps this generation, with what `pin` keeps of it.
    pub(crate) fn pinned(&self, pin: Pin) -> Pinned {
        Pinned { generation: self.clone(), _pin: pin }
    }

    /// Frees the state once nothing reads it any more: at once if nothing does. The state may be
    /// large, so the last one to read it must not be the one that frees it.
    fn retire(self) {
        if Arc::strong_count(&self.state) == 1 {
            return;
        }
        let wait_and_free = move || {
            while Arc::strong_count(&self.state) > 1 {
                thread::sleep(RETIRING_PAUSE);
            }
        };
        // Without a thread, the last one to read it frees it.
        let _ = thread::Builder::new().name("retire".to_owned()).spawn(wait_and_free);
    }
}

impl Pinned {
    /// The generation whose revision is kept readable.
    pub(crate) fn generation(&self) -> &Generation {
        &self.generation
    }
}

/// The state of a member, shared between the machine that changes it and the services that read
/// it.
#[derive(Clone, Debug, Default)]
pub struct SharedStore {
    generations: Arc<RwLock<Generations>>,
    /// Notified when a compaction has discarded versions.
    compacted: Arc<Notify>,
}

#[derive(Debug, Default)]
struct Generations {
    present: Generation,
    /// Earlier ones, which exist as long as something reads them.
    earlier: Vec<(u64, Weak<RwLock<State>>)>,
}

impl SharedStore {
    /// The state as it is now, and its later changes until a snapshot is restored.
    pub fn now(&self) -> Generation {
        self.generations().present.clone()
    }

    /// The generation with this number, if something still keeps it.
    pub(crate) fn generation(&self, number: u64) -> Option<Generation> {
        let generations = self.generations();
        if number == generations.present.number {
            return Some(generations.present.clone());
        }
        let earlier = generations.earlier.iter().find(|earlier| earlier.0 == number);
        earlier.and_then(|(number, state)| {
            Some(Generation { number: *number, state: state.upgrade()? })
        })
    }

    /// Begins another generation with this state.
    pub(crate) fn replace(&self, state: State) {
        let before = {
            let mut generations = self.generations.write().unwrap_or_else(PoisonError::into_inner);
            let number = generations.present.number + 1;
            let next = Generation { number, state: Arc::new(RwLock::new(state)) };
            let before = std::mem::replace(&mut generations.present, next);
            generations.earlier.retain(|(_, state)| state.strong_count() > 0);
            generations.earlier.push((before.number, Arc::downgrade(&before.state)));
            before
        };
        before.retire();
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
                let now = self.now();
                let store = &mut now.write().store;
                (store.sweep(SWEEP_STEPS), store.is_to_be_swept())
            };
            match (is_any_left, steps) {
                (false, _) => self.compacted.notified().await,
                (true, 0) => sleep(PINNED_PAUSE).await,
                (true, _) => sleep(SWEEP_PAUSE).await,
            }
        }
    }

    fn generations(&self) -> RwLockReadGuard<'_, Generations> {
        self.generations.read().unwrap_or_else(PoisonError::into_inner)
    }
}

impl WriteState<'_> {
    /// Keeps what `revision` sees in this generation.
    pub(crate) fn pinned(&self, revision: i64) -> Pinned {
        self.generation.pinned(self.state.store.pin(revision))
    }
}

impl Deref for WriteState<'_> {
    type Target = State;

    fn deref(&self) -> &State {
        &self.state
    }
}

impl DerefMut for WriteState<'_> {
    fn deref_mut(&mut self) -> &mut State {
        &mut self.state
    }
}

impl ReadStore<'_> {
    /// The whole state.
    pub(crate) fn state(&self) -> &State {
        &self.0
    }
}

impl Deref for ReadStore<'_> {
    type Target = Store;

    fn deref(&self) -> &Store {
        &self.0.store
    }
}
