//! The primitives that threads of a member share.
//!
//! The modules that are explored under `loom` (`requests`, `member::mailbox`, `member::scheduler`)
//! take them from here. `tests/loom.rs` compiles the same files with another `sync`, made of loom's
//! versions, so no feature or flag changes how this crate is built for a user.

use std::sync::PoisonError;
pub(crate) use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize};
pub(crate) use std::sync::{Mutex, MutexGuard};
pub(crate) use std::thread_local;

/// A lock that no thread waits for while the member runs: threads take it with `try_lock` only.
#[derive(Debug)]
pub(crate) struct TryMutex<T>(Mutex<T>);

impl<T> TryMutex<T> {
    pub(crate) fn new(value: T) -> TryMutex<T> {
        TryMutex(Mutex::new(value))
    }

    /// The lock, unless another thread has it.
    pub(crate) fn try_lock(&self) -> Option<MutexGuard<'_, T>> {
        // A holder that may panic catches the panic, so the lock is not poisoned.
        self.0.try_lock().ok()
    }

    /// The lock, for work outside of turns: the start of a member, and its end in a panic.
    pub(crate) fn lock(&self) -> MutexGuard<'_, T> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
