//! A place where one task leaves work for another.
//!
//! The pump hands out one write, one batch to apply and a few reads at a time, so the queue behind
//! a desk is bounded by the pump itself; the desk only passes things on and wakes the worker.

use std::collections::VecDeque;
use std::sync::{Mutex, MutexGuard, PoisonError};

use tokio::sync::Notify;

/// Work for one worker.
#[derive(Debug)]
pub(crate) struct Desk<T> {
    state: Mutex<State<T>>,
    changed: Notify,
}

#[derive(Debug)]
struct State<T> {
    work: VecDeque<T>,
    closed: bool,
}

impl<T> Desk<T> {
    pub(crate) fn new() -> Desk<T> {
        let state = State { work: VecDeque::new(), closed: false };
        Desk { state: Mutex::new(state), changed: Notify::new() }
    }

    /// Leaves work.
    pub(crate) fn put(&self, work: T) {
        self.lock().work.push_back(work);
        self.changed.notify_one();
    }

    /// The next piece of work, in order; `None` once the desk is closed and all work is taken.
    pub(crate) async fn take(&self) -> Option<T> {
        loop {
            {
                let mut state = self.lock();
                if let Some(work) = state.work.pop_front() {
                    return Some(work);
                }
                if state.closed {
                    return None;
                }
            }
            self.changed.notified().await;
        }
    }

    /// No more work will come.
    pub(crate) fn close(&self) {
        self.lock().closed = true;
        self.changed.notify_one();
    }

    fn lock(&self) -> MutexGuard<'_, State<T>> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
