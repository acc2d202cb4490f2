//! The bytes of large answers that may wait to be sent, for all answers of a member together.
//!
//! An answer takes its share before it is put together and gives it back once it is sent. A share
//! that fits into the free bytes is given at once, even while larger shares are waited for: a
//! client that does not read its answer delays only answers for which too few bytes are left.

use std::sync::{Arc, Mutex, PoisonError};

use tokio::sync::Notify;

/// A number of bytes that answers share.
#[derive(Clone, Debug)]
pub(super) struct Budget(Arc<Bytes>);

#[derive(Debug)]
struct Bytes {
    free: Mutex<usize>,
    /// Notified whenever bytes are given back.
    freed: Notify,
}

/// Bytes taken from a [`Budget`], which are given back when this is dropped.
#[derive(Debug)]
pub(crate) struct Share {
    of: Arc<Bytes>,
    bytes: usize,
}

impl Budget {
    pub(super) fn new(bytes: usize) -> Budget {
        Budget(Arc::new(Bytes { free: Mutex::new(bytes), freed: Notify::new() }))
    }

    /// Waits until this many bytes are free, and takes them.
    pub(super) async fn take(&self, bytes: usize) -> Share {
        loop {
            // The wait is registered before the attempt, so bytes that are freed after it wake this
            // task.
            let freed = self.0.freed.notified();
            if let Some(share) = self.try_take(bytes) {
                return share;
            }
            freed.await;
        }
    }

    fn try_take(&self, bytes: usize) -> Option<Share> {
        let of = Arc::clone(&self.0);
        self.0.change(|free| {
            *free = free.checked_sub(bytes)?;
            Some(Share { of, bytes })
        })
    }

    #[cfg(test)]
    pub(super) fn free(&self) -> usize {
        self.0.change(|free| *free)
    }
}

impl Bytes {
    fn change<R>(&self, change: impl FnOnce(&mut usize) -> R) -> R {
        // No code under this lock panics, so the number is right even if the lock is poisoned.
        change(&mut self.free.lock().unwrap_or_else(PoisonError::into_inner))
    }

    fn give_back(&self, bytes: usize) {
        self.change(|free| *free += bytes);
        self.freed.notify_waiters();
    }
}

impl Share {
    /// Gives back all but this many bytes.
    pub(super) fn shrink(&mut self, bytes: usize) {
        let kept = self.bytes.min(bytes);
        self.of.give_back(self.bytes - kept);
        self.bytes = kept;
    }
}

impl Drop for Share {
    fn drop(&mut self) {
        self.of.give_back(self.bytes);
    }
}
