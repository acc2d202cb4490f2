//! The runtime on which a store of openraft works. Its tasks end before the store is dropped.
//!
//! A store written for openraft may need a tokio runtime, and the suite polls it from threads that
//! have none. So each verb runs as a task on the adapter's own runtime, and its caller waits for
//! the task. A task continues if its caller is dropped, as it would in openraft. Each task holds a
//! ticket; [`Tasks::close`] issues no new tickets and waits until all are dropped, so that no task
//! holds a file of the store once its handle is dropped.
//!
//! A panic in a task is passed on to the caller, where the suite sees it (P20).

use std::panic::resume_unwind;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Mutex, MutexGuard, PoisonError};

use tokio::runtime::{Builder, Runtime};
use tokio::task::JoinHandle;

/// How many threads a store's tasks have: one for its writes, and one for its readers.
const THREADS: usize = 2;

/// The tasks of one store.
pub(crate) struct Tasks {
    /// Invariant: `Some` until `close`. The runtime is `Some` until `end`.
    tickets: Mutex<Option<Sender<()>>>,
    ended: Mutex<Receiver<()>>,
    runtime: Mutex<Option<Runtime>>,
}

impl Tasks {
    /// A runtime without tasks; an error if the system cannot start a thread.
    pub(crate) fn new() -> std::io::Result<Tasks> {
        let runtime = Builder::new_multi_thread().worker_threads(THREADS).enable_all().build()?;
        let (tickets, ended) = channel();
        let (tickets, ended) = (Mutex::new(Some(tickets)), Mutex::new(ended));
        Ok(Tasks { tickets, ended, runtime: Mutex::new(Some(runtime)) })
    }

    /// Starts work. `None` once the tasks are closed.
    pub(crate) fn begin<T: Send + 'static>(
        &self,
        work: impl Future<Output = T> + Send + 'static,
    ) -> Option<JoinHandle<T>> {
        let ticket = lock(&self.tickets).clone()?;
        let work = async move {
            let done = work.await;
            drop(ticket);
            done
        };
        Some(lock(&self.runtime).as_ref()?.spawn(work))
    }

    /// Does work, and waits for it. `None` once the tasks are closed.
    pub(crate) async fn run<T: Send + 'static>(
        &self,
        work: impl Future<Output = T> + Send + 'static,
    ) -> Option<T> {
        match self.begin(work)?.await {
            Ok(done) => Some(done),
            Err(error) => match error.try_into_panic() {
                Ok(panic) => resume_unwind(panic),
                Err(_) => None,
            },
        }
    }

    /// Accepts no more work, and waits for the work in progress.
    pub(crate) fn close(&self) {
        *lock(&self.tickets) = None;
        // The channel carries no values: an error means that the last ticket was dropped.
        while lock(&self.ended).recv().is_ok() {}
    }

    /// Ends the tasks that the store itself has started, as the end of a process would.
    pub(crate) fn end(&self) {
        if let Some(runtime) = lock(&self.runtime).take() {
            runtime.shutdown_background();
        }
    }
}

pub(crate) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
