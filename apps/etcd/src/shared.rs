//! The state of the etcd machine, shared between the machine that changes it and the services that
//! read it.

use std::ops::Deref;
use std::sync::{Arc, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};

use crate::alarms::Alarms;
use crate::mvcc::Store;

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
