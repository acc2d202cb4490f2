//! The counterpart of the crate's `src/sync.rs`, built from loom's primitives.

use std::ops::{Deref, DerefMut};
use std::sync;

use loom::sync::atomic::Ordering;
pub(crate) use loom::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize};
pub(crate) use loom::sync::{Mutex, MutexGuard};
pub(crate) use loom::thread_local;

/// A lock that has `try_lock` only: no thread blocks on it.
///
/// Loom's own mutex is not suitable: it blocks a thread in `try_lock` until the lock is released,
/// and its releases are not steps, so no schedule has a thread that fails. Here taking and
/// releasing the lock are steps of one atomic.
pub(crate) struct TryMutex<T> {
    is_held: AtomicBool,
    value: sync::Mutex<T>,
}

/// The lock, held until this is dropped.
pub(crate) struct Guard<'a, T> {
    is_held: &'a AtomicBool,
    /// Invariant: `Some` until the guard is dropped.
    value: Option<sync::MutexGuard<'a, T>>,
}

impl<T> TryMutex<T> {
    pub(crate) fn new(value: T) -> TryMutex<T> {
        TryMutex { is_held: AtomicBool::new(false), value: sync::Mutex::new(value) }
    }

    pub(crate) fn try_lock(&self) -> Option<Guard<'_, T>> {
        let (acquire, relaxed) = (Ordering::Acquire, Ordering::Relaxed);
        self.is_held.compare_exchange(false, true, acquire, relaxed).ok()?;
        let value = Some(self.value.try_lock().expect("only the lock's holder reaches the value"));
        Some(Guard { is_held: &self.is_held, value })
    }
}

impl<T> Deref for Guard<'_, T> {
    type Target = T;

    fn deref(&self) -> &T {
        self.value.as_ref().expect("held")
    }
}

impl<T> DerefMut for Guard<'_, T> {
    fn deref_mut(&mut self) -> &mut T {
        self.value.as_mut().expect("held")
    }
}

impl<T> Drop for Guard<'_, T> {
    fn drop(&mut self) {
        self.value = None;
        self.is_held.store(false, Ordering::Release);
    }
}
