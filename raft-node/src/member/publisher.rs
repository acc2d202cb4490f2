//! The status, events and metrics that a member's observers see.
//!
//! A turn publishes under its lock, which wakes no observer; [`Publisher::flush`] passes the
//! changes on once the lock is released. Only one thread flushes at a time, so that observers see
//! changes in order. A thread that finds another one flushing returns; the other checks again
//! before it ends.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, TryLockError};

use tokio::sync::{broadcast, watch};

use super::metrics::Metrics;
use super::status::{NodeEvent, NodeStatus};

/// How many events a slow observer may lag behind before it misses the oldest.
const MAX_EVENTS: usize = 256;

/// A member's status and events.
pub(crate) struct Publisher {
    news: Mutex<News>,
    /// Something was published since the last flush started.
    has_news: AtomicBool,
    /// Held by the thread that flushes; taken with `try_lock` only.
    flushing: Mutex<()>,
    status: watch::Sender<Arc<NodeStatus>>,
    events: broadcast::Sender<NodeEvent>,
}

struct News {
    latest: Arc<NodeStatus>,
    events: Vec<NodeEvent>,
    metrics: Metrics,
}

impl Publisher {
    pub(crate) fn new(status: NodeStatus) -> Publisher {
        let latest = Arc::new(status);
        let (status, _) = watch::channel(Arc::clone(&latest));
        let news = News { latest, events: Vec::new(), metrics: Metrics::default() };
        Publisher {
            news: Mutex::new(news),
            has_news: AtomicBool::new(false),
            flushing: Mutex::default(),
            status,
            events: broadcast::Sender::new(MAX_EVENTS),
        }
    }

    /// The status that was published last, whether or not observers have it yet.
    pub(crate) fn latest(&self) -> Arc<NodeStatus> {
        Arc::clone(&self.news().latest)
    }

    /// A receiver with which an observer can wait for a new status.
    pub(crate) fn watch(&self) -> watch::Receiver<Arc<NodeStatus>> {
        self.status.subscribe()
    }

    /// The events from now on.
    pub(crate) fn subscribe(&self) -> broadcast::Receiver<NodeEvent> {
        self.events.subscribe()
    }

    /// Stores a new status for the next flush; `inbound_dropped` is for the metrics.
    pub(crate) fn publish(&self, status: NodeStatus, inbound_dropped: u64) {
        let mut news = self.news();
        news.metrics.publish(&status, inbound_dropped);
        news.latest = Arc::new(status);
        self.has_news.store(true, Ordering::Release);
    }

    /// Stores an event for the next flush.
    pub(crate) fn add_event(&self, event: NodeEvent) {
        self.news().events.push(event);
        self.has_news.store(true, Ordering::Release);
    }

    /// Publishes the last status of a member that has panicked.
    pub(crate) fn publish_end(&self, stopped: String) {
        self.add_event(NodeEvent::Stopped(stopped.clone()));
        let latest = self.latest();
        let status = NodeStatus { stopped: Some(stopped), closed: true, ..(*latest).clone() };
        self.publish(status, 0);
    }

    /// Passes everything that was published to the observers.
    pub(crate) fn flush(&self) {
        while self.has_news.load(Ordering::Acquire) {
            let _flushing = match self.flushing.try_lock() {
                Ok(guard) => guard,
                Err(TryLockError::Poisoned(poisoned)) => poisoned.into_inner(),
                Err(TryLockError::WouldBlock) => return,
            };
            self.has_news.store(false, Ordering::Release);
            let (latest, events) = {
                let mut news = self.news();
                (Arc::clone(&news.latest), std::mem::take(&mut news.events))
            };
            self.status.send_replace(latest);
            for event in events {
                // An error means that there is no observer.
                let _ = self.events.send(event);
            }
        }
    }

    fn news(&self) -> MutexGuard<'_, News> {
        self.news.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
