//! The thread that copies the write-ahead log into the database, after the answer of the write that
//! filled it.
//!
//! A checkpoint writes up to a thousand pages and syncs twice. The writer requests one, answers its
//! caller, and waits for the end of the checkpoint before the next transaction. So a checkpoint
//! delays nothing if a pause follows, and without pauses the write-ahead log grows no further.
//!
//! A panic during a checkpoint counts as its failure, so that no write waits for ever (P21).
//!
//! Absent: checkpoints while a transaction is written, since a failed sync of one could then lose
//! the pages of the other. Also absent is a second attempt: a failed checkpoint ends the handle
//! (P15), since after a failed sync the pages of the database may be clean in memory and missing on
//! the disk, and a second checkpoint would release the write-ahead log, which still has them.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, Condvar, Mutex, MutexGuard};
use std::thread::JoinHandle;

use rusqlite::{Connection, ffi};

use crate::database::checkpoint;

/// The writer's connection, and a thread that runs checkpoints on it between transactions.
pub(crate) struct Checkpointer {
    shared: Arc<Shared>,
    /// `None` if the thread could not be started: then a write waits for its checkpoint.
    thread: Option<JoinHandle<()>>,
}

struct Shared {
    database: Mutex<Connection>,
    work: Mutex<Work>,
    /// Notified whenever `work` changes.
    changed: Condvar,
}

#[derive(Default)]
struct Work {
    is_asked: bool,
    is_stopped: bool,
    /// The outcome of the last checkpoint, until it is taken.
    outcome: Option<rusqlite::Result<bool>>,
}

impl Checkpointer {
    /// Starts the thread.
    pub(crate) fn start(database: Connection) -> Checkpointer {
        let (database, work) = (Mutex::new(database), Mutex::default());
        let shared = Arc::new(Shared { database, work, changed: Condvar::new() });
        let seen = shared.clone();
        let thread = std::thread::Builder::new().name("log-sqlite".into());
        let started = thread.spawn(move || seen.run());
        if let Err(error) = &started {
            tracing::warn!("writes wait for checkpoints, as there is no thread for them: {error}");
        }
        Checkpointer { shared, thread: started.ok() }
    }

    /// The connection, for a transaction. Call [`Checkpointer::outcome`] first.
    pub(crate) fn database(&self) -> MutexGuard<'_, Connection> {
        self.shared.database.lock().expect("nothing panics while it holds the connection")
    }

    /// Requests a checkpoint of everything written so far. Its outcome must be taken before the
    /// next transaction.
    pub(crate) fn ask(&self) {
        if self.thread.is_some() {
            self.shared.lock().is_asked = true;
            self.shared.changed.notify_all();
        } else {
            let outcome = self.shared.checkpoint();
            self.shared.lock().outcome = Some(outcome);
        }
    }

    /// Waits for the requested checkpoint, if there is one, and returns its outcome once: whether
    /// it reached the end of the write-ahead log.
    pub(crate) fn outcome(&self) -> Option<rusqlite::Result<bool>> {
        let mut work = self.shared.lock();
        while work.is_asked {
            work = self.shared.changed.wait(work).expect("nothing panics while it holds the work");
        }
        work.outcome.take()
    }
}

impl Drop for Checkpointer {
    fn drop(&mut self) {
        self.shared.lock().is_stopped = true;
        self.shared.changed.notify_all();
        if let Some(thread) = self.thread.take() {
            // A panic of the thread was reported when it happened.
            let _ = thread.join();
        }
    }
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, Work> {
        self.work.lock().expect("nothing panics while it holds the work")
    }

    /// The loop of the thread.
    fn run(&self) {
        let mut work = self.lock();
        while !work.is_stopped {
            if work.is_asked {
                drop(work);
                let outcome = self.checkpoint();
                work = self.lock();
                work.is_asked = false;
                work.outcome = Some(outcome);
                self.changed.notify_all();
            } else {
                work = self.changed.wait(work).expect("nothing panics while it holds the work");
            }
        }
    }

    /// Runs a checkpoint. A panic is returned as its error. It also poisons the lock of the
    /// connection, so every later checkpoint fails, too.
    fn checkpoint(&self) -> rusqlite::Result<bool> {
        let run = || checkpoint(&self.database.lock().expect("no transaction panics"));
        catch_unwind(AssertUnwindSafe(run)).unwrap_or_else(|_| {
            let internal = ffi::Error::new(ffi::SQLITE_INTERNAL);
            let panicked = Some("the checkpoint panicked".to_owned());
            Err(rusqlite::Error::SqliteFailure(internal, panicked))
        })
    }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc;
    use std::time::Duration;

    use rusqlite::ErrorCode;

    use super::*;

    fn started(dir: &tempfile::TempDir) -> Arc<Checkpointer> {
        let database = Connection::open(dir.path().join("log.db")).expect("opens");
        database.pragma_update(None, "journal_mode", "WAL").expect("set");
        database.execute("CREATE TABLE log (idx)", []).expect("written");
        Arc::new(Checkpointer::start(database))
    }

    /// Calls `act` in another thread, and fails if it does not return.
    fn returned<T: Send + 'static>(
        checkpointer: &Arc<Checkpointer>,
        act: impl FnOnce(&Checkpointer) -> T + Send + 'static,
    ) -> T {
        let (sender, receiver) = mpsc::channel();
        let checkpointer = checkpointer.clone();
        std::thread::spawn(move || sender.send(act(&checkpointer)));
        receiver.recv_timeout(Duration::from_secs(60)).expect("the call returns")
    }

    /// What was slow: a write waited for the checkpoint that it made necessary.
    #[test]
    fn asking_for_a_checkpoint_waits_for_nothing() {
        let dir = tempfile::tempdir().expect("a directory");
        let checkpointer = started(&dir);
        assert!(returned(&checkpointer, Checkpointer::outcome).is_none(), "nothing was asked for");
        // While this is held, no checkpoint can run.
        let held = checkpointer.database();
        returned(&checkpointer, Checkpointer::ask);
        drop(held);
        assert_eq!(returned(&checkpointer, Checkpointer::outcome), Some(Ok(true)));
        assert!(returned(&checkpointer, Checkpointer::outcome).is_none(), "it is returned once");
    }

    /// What went wrong: after a panic of the thread, the next write waited for ever (P21).
    #[test]
    fn a_checkpoint_that_panics_has_failed() {
        let dir = tempfile::tempdir().expect("a directory");
        let checkpointer = started(&dir);
        // A lock that is poisoned makes the checkpoint panic.
        let poisoner = checkpointer.clone();
        let poisoned = std::thread::spawn(move || {
            let _held = poisoner.database();
            panic!("while the connection is locked");
        });
        poisoned.join().expect_err("it panicked");
        for _ in 0..2 {
            returned(&checkpointer, Checkpointer::ask);
            let outcome = returned(&checkpointer, Checkpointer::outcome).expect("it was asked for");
            let error = outcome.expect_err("the checkpoint panicked");
            assert_eq!(error.sqlite_error_code(), Some(ErrorCode::InternalMalfunction));
        }
    }
}
