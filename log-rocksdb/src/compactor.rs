//! The thread that gives purged space back.
//!
//! A deletion in RocksDB is itself something written, which takes away what lies beneath it only
//! when both are compacted. RocksDB would do so when enough has gathered; a log that was purged
//! and stays idle would keep its space. So each deletion of purged entries wakes this thread.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::thread::JoinHandle;

use raft_core::storage::LogOp;
use raft_core::types::LogIndex;
use rocksdb::CompactOptions;

use crate::database::{Handle, log};
use crate::keys::entry_key;

/// A thread that compacts the front of the entries' family when it is told to.
pub(crate) struct Compactor {
    /// Up to where.
    upto: Arc<AtomicU64>,
    /// Gone when the thread is to end.
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
            tracing::warn!("purged entries are compacted late, as there is no thread: {error}");
        }
        Compactor { upto, wake: Some(wake), thread: started.ok() }
    }

    /// Compacts soon what lies below an index. A request that comes while another one waits
    /// is served with it.
    pub(crate) fn compact_below(&self, upto: LogIndex) {
        self.upto.fetch_max(upto.get(), Ordering::Relaxed);
        if let Some(wake) = &self.wake {
            let _ = wake.try_send(());
        }
    }

    /// Waits for the thread's end. What it does must have been stopped before.
    pub(crate) fn join(&mut self) {
        self.wake = None;
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

fn run(handle: &Handle, upto: &AtomicU64, woken: &Receiver<()>) {
    let mut options = CompactOptions::default();
    // RocksDB's own compactions go on meanwhile, or writes would have to wait for this one.
    options.set_exclusive_manual_compaction(false);
    while woken.recv().is_ok() {
        let end = entry_key(LogIndex::new(upto.swap(0, Ordering::Relaxed)));
        // A failed compaction is RocksDB's to report: the next write fails with its error.
        let _ = handle.with(LogOp::Purge, |database| {
            database.compact_range_cf_opt(log(database), None::<&[u8]>, Some(end), &options);
            Ok(())
        });
    }
}
