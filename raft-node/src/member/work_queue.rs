//! Where the executor leaves work for a thread or task.
//!
//! The pump hands out one write, one batch to apply, one snapshot and a few reads at a time, so the
//! pump itself bounds the queue. Dropping either end settles what is left: without a sender the
//! worker ends, and without a receiver all work is dropped.
//!
//! Deliberately absent: a limit, and what the work is.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::Notify;

#[derive(Debug)]
struct WorkQueue<T> {
    state: Mutex<QueueState<T>>,
    changed: Notify,
}

#[derive(Debug)]
struct QueueState<T> {
    work: VecDeque<T>,
    is_closed: bool,
    has_receiver: bool,
}

/// The executor's end of a queue. Dropping it closes the queue, so a worker never outlives the
/// executor, however that ends.
#[derive(Debug)]
pub(crate) struct WorkSender<T>(Arc<WorkQueue<T>>);

/// The worker's end of a queue. Dropping it drops the work that is left and all work that is still
/// put in, so the clients that wait for it get an answer.
#[derive(Debug)]
pub(crate) struct WorkReceiver<T>(Arc<WorkQueue<T>>);

/// Both ends of a queue.
pub(crate) fn work_queue<T>() -> (WorkSender<T>, WorkReceiver<T>) {
    let state = QueueState { work: VecDeque::new(), is_closed: false, has_receiver: true };
    let queue = Arc::new(WorkQueue { state: Mutex::new(state), changed: Notify::new() });
    (WorkSender(Arc::clone(&queue)), WorkReceiver(queue))
}

impl<T> WorkSender<T> {
    pub(crate) fn put(&self, work: T) {
        let mut state = self.0.lock();
        if state.has_receiver {
            state.work.push_back(work);
            drop(state);
            self.0.changed.notify_one();
        }
    }

    /// Closes the queue: no more work will come.
    pub(crate) fn close(&self) {
        self.0.lock().is_closed = true;
        self.0.changed.notify_one();
    }
}

impl<T> Drop for WorkSender<T> {
    fn drop(&mut self) {
        self.close();
    }
}

impl<T> WorkReceiver<T> {
    /// Whether no more work will come.
    pub(crate) fn is_closed(&self) -> bool {
        self.0.lock().is_closed
    }

    /// The next piece of work, in order; `None` once the queue is closed and empty.
    pub(crate) async fn take(&self) -> Option<T> {
        loop {
            {
                let mut state = self.0.lock();
                if let Some(work) = state.work.pop_front() {
                    return Some(work);
                }
                if state.is_closed {
                    return None;
                }
            }
            self.0.changed.notified().await;
        }
    }
}

impl<T> Drop for WorkReceiver<T> {
    fn drop(&mut self) {
        let left = {
            let mut state = self.0.lock();
            state.has_receiver = false;
            std::mem::take(&mut state.work)
        };
        drop(left);
    }
}

impl<T> WorkQueue<T> {
    fn lock(&self) -> MutexGuard<'_, QueueState<T>> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
