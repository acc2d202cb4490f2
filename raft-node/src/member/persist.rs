//! Makes batches durable, one after another. Owns the store.
//!
//! While the disk has no space, the writer keeps the batch and gives it to the store again until
//! the write succeeds. Meanwhile the protocol treats the disk as stalled: a leader steps down, no
//! vote is given, nothing is acknowledged, and what is already durable can be read.

use std::sync::Arc;
use std::time::Duration;

use raft_core::storage::{LogError, LogErrorKind, Store, WriteBatch};
use tokio::runtime::Handle;
use tokio::sync::Notify;
use tokio::time::sleep;
use tracing::{error, info, warn};

use super::clients::Waiters;
use super::worker::Worker;
use crate::pump::Event;

/// The pause before a batch for which there was no space is given to the store again.
const SPACE_PAUSE: Duration = Duration::from_millis(500);

/// The worker that writes batches to the store and closes the store at the end.
pub(crate) struct Persist {
    store: Box<dyn Store>,
    failed: bool,
    /// Notified when the member ends, so that the wait for space stops.
    end: Arc<Notify>,
    runtime: Handle,
}

/// Dropping this notifies a [`Persist`] that the member ends.
#[derive(Debug)]
pub(crate) struct EndWaiting(Arc<Notify>);

impl Drop for EndWaiting {
    fn drop(&mut self) {
        self.0.notify_one();
    }
}

impl Persist {
    /// Must be called inside the member's runtime, whose clock the worker uses.
    pub(crate) fn new(store: Box<dyn Store>) -> (Persist, EndWaiting) {
        let (end, runtime) = (Arc::<Notify>::default(), Handle::current());
        let waiting = EndWaiting(Arc::clone(&end));
        (Persist { store, failed: false, end, runtime }, waiting)
    }

    /// Writes a batch for which there was no space, once there is space for it.
    ///
    /// # Errors
    /// The store's error; `NoSpace` if the member ends first, or if the store did not return the
    /// batch.
    async fn write_later(&mut self, mut full: LogError) -> Result<(), LogError> {
        if full.unwritten.is_some() {
            log_full_disk(&full);
        }
        loop {
            let Some(unwritten) = full.unwritten.take() else { return Err(full) };
            if self.is_over_before_next_try().await {
                return Err(full);
            }
            match self.store.write(*unwritten).await {
                Err(error) if error.kind == LogErrorKind::NoSpace => full = error,
                written => {
                    if written.is_ok() {
                        info!("there is space for the log again: the member continues");
                    }
                    return written;
                }
            }
        }
    }

    /// Pauses before the next attempt; returns whether the member ended in the meantime.
    async fn is_over_before_next_try(&mut self) -> bool {
        let pause = {
            // The thread that polls may be a client's, outside of any runtime.
            let _inside = self.runtime.enter();
            sleep(SPACE_PAUSE)
        };
        tokio::select! {
            () = self.end.notified() => true,
            () = pause => false,
        }
    }
}

fn log_full_disk(full: &LogError) {
    error!(
        "the disk is full: the log in {} takes no write until there is space. Until then this \
         member neither leads nor votes nor acknowledges anything; it continues by itself once \
         there is space again, so remove other files there, or enlarge the file system",
        full.place
    );
}

impl Worker for Persist {
    const NAME: &'static str = "the log store";

    type Work = WriteBatch;

    /// A single entry belongs to a single client, which waits for nothing else. Where there are
    /// more, turns taken by the disks' threads would break up the groups that gather for the
    /// member's own task.
    fn takes_turn(batch: &WriteBatch) -> bool {
        batch.append.len() <= 1
    }

    async fn work(&mut self, batch: WriteBatch) -> Option<Event<Waiters>> {
        let result = match self.store.write(batch).await {
            // The box keeps the future small for the writes that find space.
            Err(full) if full.kind == LogErrorKind::NoSpace => {
                Box::pin(self.write_later(full)).await
            }
            written => written,
        };
        self.failed = result.is_err();
        Some(Event::Written(result))
    }

    async fn finish(mut self) {
        if !self.failed
            && let Err(error) = self.store.close().await
        {
            warn!(%error, "the log store did not close cleanly; nothing acknowledged is lost");
        }
    }
}
