//! Snapshots of a member: pinned where the state machine is called, and written on a thread of
//! their own, beside the traffic.
//!
//! ```text
//!   pump --plan--> executor or apply task: pin --view--> thread: write, sync, rename --> Reports
//! ```
//!
//! A failure is reported to the pump, which decides whether to try again: it does not stop the
//! member. When the member ends, a snapshot that is being written is given up.
//!
//! Deliberately absent: when a snapshot is taken, which the pump decides.

use std::io::{self, Write};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use owned_dir::{is_no_space, place_to_free};
use raft_core::types::Identity;

use super::clients::Waiters;
use super::snapshot_files::{FilesQueue, SnapshotFiles, files_in};
use super::work_queue::WorkSender;
use super::worker::{ThreadedWorker, Worker, panicked, threaded};
use crate::application::{Snapshot, StateMachine};
use crate::bootstrap::random_number;
use crate::panics::caught;
use crate::pump::{Event, SnapshotPlan, TakenSnapshot};
use crate::requests::error::SnapshotError;
use crate::restore::taken;
use crate::snapshots::{SnapshotDir, SnapshotHead};

/// A snapshot whose state is pinned.
pub(crate) struct PinnedSnapshot {
    plan: SnapshotPlan,
    view: Box<dyn Snapshot>,
}

/// Where pinned snapshots go. Cloning gives another handle to the same thread, which ends once all
/// handles are dropped.
#[derive(Clone)]
pub(crate) struct SnapshotQueue(Arc<WorkSender<PinnedSnapshot>>);

/// Dropping this gives up the snapshot that is being written, and a restore: the member ends.
#[derive(Debug)]
pub(crate) struct EndWriting(Arc<AtomicBool>);

impl Drop for EndWriting {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

/// What an executor does snapshots with.
pub(crate) struct Snapshots {
    pub(crate) queue: SnapshotQueue,
    pub(crate) files: FilesQueue,
    _end: EndWriting,
}

/// The workers of a member that takes snapshots, each for a thread of its own: writing one takes
/// long, and peers must not wait for it.
pub(crate) struct SnapshotWorkers {
    pub(crate) writer: ThreadedWorker<WriteSnapshots>,
    pub(crate) files: ThreadedWorker<SnapshotFiles>,
}

/// The parts of a member that takes snapshots in this directory.
pub(crate) fn snapshots_in(dir: SnapshotDir, identity: Identity) -> (Snapshots, SnapshotWorkers) {
    let is_over = Arc::<AtomicBool>::default();
    let end = EndWriting(Arc::clone(&is_over));
    let (files, file_worker) = files_in(dir.clone(), identity.cluster, Arc::clone(&is_over));
    let (sender, writer) = threaded(WriteSnapshots { dir, writer: identity, is_over });
    let queue = SnapshotQueue(Arc::new(sender));
    (Snapshots { queue, files, _end: end }, SnapshotWorkers { writer, files: file_worker })
}

impl Snapshots {
    /// Called when no more work will come.
    pub(crate) fn close(&self) {
        self.queue.close();
        self.files.close();
    }
}

impl SnapshotQueue {
    /// Pins the state of the state machine, which has no unfinished batch, and hands it over to be
    /// written. Returns the event for the pump if nothing is written.
    pub(crate) fn pin(
        &self,
        machine: &mut dyn StateMachine,
        plan: SnapshotPlan,
    ) -> Option<Event<Waiters>> {
        match caught(|| machine.snapshot()) {
            Ok(Ok(view)) => {
                self.0.put(PinnedSnapshot { plan, view });
                None
            }
            Ok(Err(error)) if error.kind() == io::ErrorKind::Unsupported => {
                Some(Event::Snapshotted(Err(SnapshotError::Unsupported)))
            }
            Ok(Err(error)) => {
                Some(Event::Snapshotted(Err(SnapshotError::Failed(error.to_string()))))
            }
            Err(message) => Some(panicked("the state machine", message)),
        }
    }

    /// Called when no snapshot is pinned any more.
    pub(crate) fn close(&self) {
        self.0.close();
    }
}

/// The worker that writes snapshots.
pub(crate) struct WriteSnapshots {
    dir: SnapshotDir,
    writer: Identity,
    is_over: Arc<AtomicBool>,
}

impl WriteSnapshots {
    fn write(&self, pinned: PinnedSnapshot) -> io::Result<TakenSnapshot> {
        let PinnedSnapshot { plan, view } = pinned;
        let head = SnapshotHead {
            writer: self.writer,
            last: plan.last,
            membership: (*plan.membership).clone(),
            feature_level: plan.engine.level,
            sessions: plan.engine.sessions,
            salt: random_number(),
        };
        let mut new = self.dir.create(head)?;
        let mut out = UntilOver { out: &mut new, is_over: &self.is_over };
        view.write_to(&mut out)?;
        // An application may ignore the error of a write; a part of its state must not be kept.
        out.check()?;
        Ok(taken(&new.keep()?))
    }

    fn failed(&self, error: &io::Error) -> SnapshotError {
        if is_no_space(error) {
            let place = place_to_free(self.dir.path());
            return SnapshotError::Failed(format!("there is no space in {place}: {error}"));
        }
        SnapshotError::Failed(error.to_string())
    }
}

impl Worker for WriteSnapshots {
    const NAME: &'static str = "the writer of snapshots";

    type Work = PinnedSnapshot;

    fn takes_turn(_pinned: &PinnedSnapshot) -> bool {
        false
    }

    async fn work(&mut self, pinned: PinnedSnapshot) -> Option<Event<Waiters>> {
        Some(Event::Snapshotted(self.write(pinned).map_err(|error| self.failed(&error))))
    }

    async fn finish(self) {}
}

/// An output that fails once the member ends.
struct UntilOver<'a, W> {
    out: W,
    is_over: &'a AtomicBool,
}

impl<W> UntilOver<'_, W> {
    fn check(&self) -> io::Result<()> {
        if self.is_over.load(Ordering::Relaxed) {
            return Err(io::Error::other("the member ends"));
        }
        Ok(())
    }
}

impl<W: Write> Write for UntilOver<'_, W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.check()?;
        self.out.write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.out.flush()
    }
}
