//! The runtime that a store of openraft works on: tasks that end before the store is dropped.
//!
//! A store written for openraft may need a runtime of tokio, and the suite polls it from threads
//! that have none. So each verb runs as a task on a runtime of the adapter's own, and its caller
//! waits for the task. A task goes on when its caller is gone, as it would in openraft. Each task
//! holds a ticket; [`Tasks::close`] takes no new ones and waits for all tickets to come back, so
//! that no task holds a file of the store once its handle is dropped.
//!
//! A panic of a task is handed on to its caller, where the suite sees it (P20).

use std::panic::resume_unwind;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Mutex, MutexGuard, PoisonError};

use tokio::runtime::{Builder, Runtime};
use tokio::task::JoinHandle;

/// How many threads a store's tasks have: one for its writes, and one for its readers.
const THREADS: usize = 2;

/// The tasks of one store.
pub(crate) struct Tasks {
    /// Invariant: there until `close`, as is the runtime.
    tickets: Mutex<Option<Sender<()>>>,
    ended: Mutex<Receiver<()>>,
    runtime: Mutex<Option<Runtime>>,
}

impl Tasks {
    /// A runtime without any task; an error if the system gives no thread.
    pub(crate) fn new() -> std::io::Result<Tasks> {
        let runtime = Builder::new_multi_thread().worker_threads(THREADS).enable_all().build()?;
        let (tickets, ended) = channel();
        let (tickets, ended) = (Mutex::new(Some(tickets)), Mutex::new(ended));
        Ok(Tasks { tickets, ended, runtime: Mutex::new(Some(runtime)) })
    }

    /// Begins work. `None` once the tasks are closed.
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

    /// Takes no more work, and waits for what is under way.
    pub(crate) fn close(&self) {
        *lock(&self.tickets) = None;
        // An error says that the last ticket was dropped: nothing is ever sent.
        while lock(&self.ended).recv().is_ok() {}
    }

    /// Ends the tasks that the store itself has begun, as the end of a process would.
    pub(crate) fn end(&self) {
        if let Some(runtime) = lock(&self.runtime).take() {
            runtime.shutdown_background();
        }
    }
}

pub(crate) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
