//! Finds answers that their clients do not read, and cuts the connections.
//!
//! In HTTP/2 a client may send requests and keep its window closed; the answers then stay in
//! memory. So each answer records when it last made progress, in ticks of about a second, and a
//! task checks all open answers once in each tick. The small answers of one connection share a
//! [`Progress`]; a large one has its own, so that other answers of a busy connection do not hide
//! it.

use std::io;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::task::{Context, Waker};
use std::time::Duration;

use tokio::time::sleep;

/// The length of a tick.
const TICK: Duration = Duration::from_secs(1);

/// All open connections and large answers of a server.
#[derive(Clone, Debug)]
pub(crate) struct Watch {
    ticks: Arc<AtomicU64>,
    /// After this many ticks without progress, a connection is cut.
    patience: u64,
    open: Arc<Mutex<Vec<Watched>>>,
}

#[derive(Debug)]
struct Watched {
    progress: Weak<Progress>,
    cut: Arc<Cut>,
}

/// The progress of some answers.
#[derive(Debug)]
pub(super) struct Progress {
    ticks: Arc<AtomicU64>,
    /// How many answers are not completely sent.
    open: AtomicUsize,
    /// The tick in which one of them last made progress.
    last: AtomicU64,
}

/// Lets other tasks end a connection.
#[derive(Debug, Default)]
pub(super) struct Cut {
    is_cut: AtomicBool,
    reader: Mutex<Option<Waker>>,
}

/// The part of a connection that its requests use.
#[derive(Clone, Debug)]
pub(crate) struct ConnectionInfo {
    /// The progress of its small answers.
    pub(super) progress: Arc<Progress>,
    pub(super) cut: Arc<Cut>,
}

impl Watch {
    pub(crate) fn new(patience: Duration) -> Watch {
        let patience = patience.as_secs().max(1);
        Watch { ticks: Arc::default(), patience, open: Arc::default() }
    }

    /// Watches a new connection.
    pub(super) fn connection(&self) -> ConnectionInfo {
        let cut = Arc::new(Cut::default());
        ConnectionInfo { progress: self.add(&cut), cut }
    }

    /// Watches one answer separately.
    pub(super) fn alone(&self, connection: &ConnectionInfo) -> Arc<Progress> {
        self.add(&connection.cut)
    }

    fn add(&self, cut: &Arc<Cut>) -> Arc<Progress> {
        let ticks = self.ticks.clone();
        let progress =
            Arc::new(Progress { ticks, open: AtomicUsize::new(0), last: AtomicU64::new(0) });
        let watched = Watched { progress: Arc::downgrade(&progress), cut: cut.clone() };
        self.open.lock().unwrap_or_else(PoisonError::into_inner).push(watched);
        progress
    }

    /// Checks all answers in each tick, as long as it is polled.
    pub(crate) async fn run(self) {
        loop {
            sleep(TICK).await;
            self.tick();
        }
    }

    fn tick(&self) {
        let now = self.ticks.fetch_add(1, Ordering::Relaxed) + 1;
        let mut open = self.open.lock().unwrap_or_else(PoisonError::into_inner);
        open.retain(|watched| {
            let Some(progress) = watched.progress.upgrade() else { return false };
            if progress.is_stuck(now, self.patience) {
                tracing::warn!("a client does not read its answers: its connection is closed");
                watched.cut.cut();
            }
            true
        });
    }
}

impl Progress {
    /// Records that an answer starts.
    pub(super) fn begin(&self) {
        self.open.fetch_add(1, Ordering::Relaxed);
        self.note();
    }

    /// Records progress.
    pub(super) fn note(&self) {
        self.last.store(self.ticks.load(Ordering::Relaxed), Ordering::Relaxed);
    }

    /// Records that an answer was sent or dropped.
    pub(super) fn end(&self) {
        self.open.fetch_sub(1, Ordering::Relaxed);
    }

    fn is_stuck(&self, now: u64, patience: u64) -> bool {
        let since = now.saturating_sub(self.last.load(Ordering::Relaxed));
        self.open.load(Ordering::Relaxed) > 0 && since > patience
    }
}

impl Cut {
    /// Ends the connection: its next read and write fail, and a read that waits is woken.
    fn cut(&self) {
        self.is_cut.store(true, Ordering::SeqCst);
        let reader = self.reader.lock().unwrap_or_else(PoisonError::into_inner).take();
        if let Some(reader) = reader {
            reader.wake();
        }
    }

    /// Fails once the connection is cut.
    pub(super) fn check(&self) -> io::Result<()> {
        if self.is_cut.load(Ordering::SeqCst) {
            return Err(io::Error::new(io::ErrorKind::TimedOut, "the client reads no answers"));
        }
        Ok(())
    }

    /// Wakes the task of `context` when the connection is cut. The caller must call `check` again
    /// afterwards.
    pub(super) fn wake_on_cut(&self, context: &Context<'_>) {
        let mut reader = self.reader.lock().unwrap_or_else(PoisonError::into_inner);
        match &*reader {
            Some(known) if known.will_wake(context.waker()) => {}
            _ => *reader = Some(context.waker().clone()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_answers_without_progress_cut_their_connection() {
        let watch = Watch::new(Duration::from_secs(3));
        let (idle, stuck, busy) = (watch.connection(), watch.connection(), watch.connection());
        stuck.progress.begin();
        busy.progress.begin();
        for _ in 0..4 {
            busy.progress.note();
            watch.tick();
        }
        assert!(idle.cut.check().is_ok());
        assert!(busy.cut.check().is_ok());
        assert!(stuck.cut.check().is_err());
    }

    #[test]
    fn other_answers_do_not_hide_a_large_answer_without_progress() {
        let watch = Watch::new(Duration::from_secs(3));
        let connection = watch.connection();
        let large = watch.alone(&connection);
        large.begin();
        for _ in 0..4 {
            connection.progress.begin();
            connection.progress.end();
            watch.tick();
        }
        assert!(connection.cut.check().is_err());
    }

    #[test]
    fn closed_connections_are_removed() {
        let watch = Watch::new(Duration::from_secs(3));
        for _ in 0..100 {
            let connection = watch.connection();
            watch.alone(&connection).begin();
        }
        watch.tick();
        assert_eq!(watch.open.lock().expect("nothing panicked").len(), 0);
    }
}
