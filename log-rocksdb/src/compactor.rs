//! A thread that reclaims purged space.
//!
//! A deletion in RocksDB is itself a record, which removes the data below it only when both are
//! compacted. RocksDB would do so when enough records exist; a log that was purged and stays idle
//! would keep its space. So each deletion of purged entries wakes this thread.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::thread::JoinHandle;

use raft_core::storage::LogOp;
use raft_core::types::LogIndex;
use rocksdb::CompactOptions;

use crate::database::{Handle, log};
use crate::keys::entry_key;

/// A thread that compacts the first part of the entries' family on request.
pub(crate) struct Compactor {
    /// The end of the part to compact.
    upto: Arc<AtomicU64>,
    /// `None` when the thread must end.
    wake: Option<SyncSender<()>>,
    thread: Option<JoinHandle<()>>,
}

impl Compactor {
    pub(crate) fn start(handle: Arc<Handle>) -> Compactor {
        let (wake, woken) = sync_channel(1);
        let thread = std::thread::Builder::new().name("log-rocksdb".into());
        let upto = Arc::new(AtomicU64::new(0));
        let asked = upto.clone();
        let started = thread.spawn(move || run(&handle, &asked, &woken));
        if let Err(error) = &started {
            tracing::warn!("no compaction thread, so purged entries are compacted late: {error}");
        }
        Compactor { upto, wake: Some(wake), thread: started.ok() }
    }

    /// Requests compaction of the entries below an index. A request that comes while another one
    /// waits is served with it.
    pub(crate) fn compact_below(&self, upto: LogIndex) {
        self.upto.fetch_max(upto.get(), Ordering::Relaxed);
        if let Some(wake) = &self.wake {
            let _ = wake.try_send(());
        }
    }

    /// Waits for the thread's end. Its work must have been stopped before.
    pub(crate) fn join(&mut self) {
        self.wake = None;
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

fn run(handle: &Handle, upto: &AtomicU64, woken: &Receiver<()>) {
    let mut options = CompactOptions::default();
    // RocksDB's own compactions continue in parallel, or writes would have to wait for this one.
    options.set_exclusive_manual_compaction(false);
    while woken.recv().is_ok() {
        let end = entry_key(LogIndex::new(upto.swap(0, Ordering::Relaxed)));
        // This call reports no error. After a failed compaction RocksDB refuses the next write, and
        // the close of the log asks it for such failures.
        let _ = handle.with(LogOp::Purge, |database| {
            database.compact_range_cf_opt(log(database), None::<&[u8]>, Some(end), &options);
            Ok(())
        });
    }
}
