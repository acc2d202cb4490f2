//! The files of snapshots that are sent and received, and the state machine while it is restored
//! from one: a thread of its own.
//!
//! ```text
//!   pump --TransferWork--> executor --> thread: read, write, sync, check --> Reports
//!   pump --restore--> executor or apply task: lends the state machine --> thread: restores it
//! ```
//!
//! A state machine is lent to the thread, which gives it back before it reports that it is
//! restored. If it cannot be restored, the member stops: its state would be neither the old one nor
//! the new one. When the member ends, the restore is given up.
//!
//! Deliberately absent: what is sent and received when, which the pump decides.

use std::collections::BTreeMap;
use std::io::ErrorKind;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use bytes::Bytes;
use owned_dir::{is_no_space, place_to_free};
use raft_core::types::{ClusterId, EntryId};
use tokio::sync::oneshot;
use tracing::warn;

use super::clients::Waiters;
use super::work_queue::WorkSender;
use super::worker::{ThreadedWorker, Worker, threaded};
use crate::SnapshotId;
use crate::application::{Fatal, StateMachine};
use crate::pump::{Event, ReceivedSnapshot, StopReason, TransferWork};
use crate::restore::{restore_from, taken};
use crate::snapshots::{ReceivedFile, SentFile, SnapshotDir, Unsound};

/// Work for the thread.
pub(crate) enum FileWork {
    Transfer(TransferWork),
    Restore(EntryId, Lent),
}

/// A state machine that is lent, and where it goes back.
pub(crate) struct Lent {
    machine: Box<dyn StateMachine>,
    back: oneshot::Sender<Box<dyn StateMachine>>,
}

/// Where a lent state machine comes back; nothing comes if it could not be restored.
pub(crate) type ComesBack = oneshot::Receiver<Box<dyn StateMachine>>;

/// Where work for the thread goes. Cloning gives another handle to the same thread.
#[derive(Clone)]
pub(crate) struct FilesQueue(Arc<WorkSender<FileWork>>);

impl FilesQueue {
    pub(crate) fn put(&self, work: TransferWork) {
        self.0.put(FileWork::Transfer(work));
    }

    /// Lends the state machine, to be restored from the snapshot that ends here.
    pub(crate) fn lend(&self, machine: Box<dyn StateMachine>, last: EntryId) -> ComesBack {
        let (back, comes_back) = oneshot::channel();
        self.0.put(FileWork::Restore(last, Lent { machine, back }));
        comes_back
    }

    /// Called when no more work will come.
    pub(crate) fn close(&self) {
        self.0.close();
    }
}

/// The thread's worker and its queue, for the snapshots of this directory.
pub(crate) fn files_in(
    dir: SnapshotDir,
    cluster: ClusterId,
    is_over: Arc<AtomicBool>,
) -> (FilesQueue, ThreadedWorker<SnapshotFiles>) {
    let (sent, received) = (BTreeMap::new(), None);
    let (sender, worker) = threaded(SnapshotFiles { dir, cluster, is_over, sent, received });
    (FilesQueue(Arc::new(sender)), worker)
}

/// The files that are open.
pub(crate) struct SnapshotFiles {
    dir: SnapshotDir,
    cluster: ClusterId,
    /// Set when the member ends.
    is_over: Arc<AtomicBool>,
    /// The files that peers are receiving.
    sent: BTreeMap<SnapshotId, SentFile>,
    /// The file that this member is receiving.
    received: Option<ReceivedFile>,
}

impl SnapshotFiles {
    fn transfer(&mut self, work: TransferWork) -> Option<Event<Waiters>> {
        match work {
            TransferWork::Read { to, id, offset, most } => {
                let result = self.read(id, offset, most);
                Some(Event::ChunkRead { to, id, offset, result })
            }
            TransferWork::Release(id) => {
                self.sent.remove(&id);
                None
            }
            TransferWork::Spool { number, id, offset, bytes } => {
                let result = self.spool(id, offset, &bytes);
                Some(Event::Spooled { number, result })
            }
            TransferWork::Keep(id) => Some(Event::Kept(self.keep(id))),
            TransferWork::Discard => {
                self.received = None;
                None
            }
        }
    }

    fn read(&mut self, id: SnapshotId, offset: u64, most: u32) -> Result<Option<Bytes>, String> {
        use std::collections::btree_map::Entry;
        let file = match self.sent.entry(id) {
            Entry::Occupied(open) => open.into_mut(),
            Entry::Vacant(place) => match self.dir.open_to_send(id.last, id.salt) {
                Ok(opened) => place.insert(opened),
                Err(error) if error.kind() == ErrorKind::NotFound => return Ok(None),
                Err(error) => return Err(failed(id, &error)),
            },
        };
        let read = file.read(offset, most).map_err(|error| failed(id, &error))?;
        Ok(Some(read.into()))
    }

    fn spool(&mut self, id: SnapshotId, offset: u64, bytes: &[u8]) -> Result<(), String> {
        let added = self.file_at(id, offset).and_then(|file| file.add(bytes));
        added.map_err(|error| {
            self.received = None;
            if is_no_space(&error) {
                let place = place_to_free(self.dir.path());
                return format!("there is no space in {place}: {error}");
            }
            error.to_string()
        })
    }

    /// The file that is being received, which ends at this offset; a new one at offset 0.
    fn file_at(&mut self, id: SnapshotId, offset: u64) -> std::io::Result<&mut ReceivedFile> {
        if offset == 0 {
            // The file that was received before may have the same name, so it goes first.
            self.received = None;
            self.received = Some(self.dir.receive(id.last, id.salt)?);
        }
        let file = self.received.as_mut();
        let continued =
            file.filter(|file| (file.id(), file.bytes()) == ((id.last, id.salt), offset));
        continued.ok_or_else(|| std::io::Error::other("the file does not end at this offset"))
    }

    fn keep(&mut self, id: SnapshotId) -> Result<ReceivedSnapshot, String> {
        let file = self.received.take().filter(|file| file.id() == (id.last, id.salt));
        let file = file.ok_or("there is no such file")?;
        let goes_on = || !self.is_over.load(Ordering::Relaxed);
        let kept = file.keep(self.cluster, goes_on);
        let stored = kept.map_err(|why: Unsound| format!("it is {why}"))?;
        let (taken, engine) = (taken(&stored), stored.engine());
        Ok(ReceivedSnapshot { taken, membership: Arc::new(stored.head.membership), engine })
    }

    fn restore(&self, last: EntryId, lent: Lent) -> Event<Waiters> {
        let Lent { mut machine, back } = lent;
        match restore_from(&self.dir, last, machine.as_mut(), &self.is_over) {
            Ok(()) => {
                // Nothing takes it back if the member has ended.
                let _ = back.send(machine);
                Event::Restored
            }
            Err(error) => Event::Stop(StopReason::StateMachine(Fatal::new(error.to_string()))),
        }
    }
}

/// Logs why a file could not be read now.
fn failed(id: SnapshotId, error: &std::io::Error) -> String {
    warn!(%error, "snapshot {id} cannot be read for a peer; it is tried again");
    error.to_string()
}

impl Worker for SnapshotFiles {
    const NAME: &'static str = "the thread for the files of snapshots";

    type Work = FileWork;

    fn takes_turn(_work: &FileWork) -> bool {
        false
    }

    async fn work(&mut self, work: FileWork) -> Option<Event<Waiters>> {
        match work {
            FileWork::Transfer(work) => self.transfer(work),
            FileWork::Restore(last, lent) => Some(self.restore(last, lent)),
        }
    }

    async fn finish(self) {}
}
