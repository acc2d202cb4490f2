//! The store itself: opening, the verbs, closing.

use std::any::Any;
use std::sync::{Arc, RwLock};
use std::thread::{Builder, JoinHandle};

use async_trait::async_trait;
use raft_core::storage::{
    BatchStore, Detects, Durability, Gate, LogBounds, LogError, LogErrorKind, LogOp, LogReader,
    Plan, Recovered, StableState, StoreInfo, Tail, WriteBatch,
};
use raft_core::types::Identity;
use tracing::warn;

use crate::config::{FileLogConfig, Housekeeping, MAX_PAYLOAD_BYTES};
use crate::disk::{Disk, WritePath};
use crate::durable_mark::DurableMark;
use crate::facts::Facts;
use crate::format::{FORMAT_VERSION, Position};
use crate::index::{Index, SharedIndex};
use crate::listing::Listing;
use crate::names::{NEW_DURABLE_MARK_NAME, segment_name};
use crate::reader::FileReader;
use crate::real_disk::RealDisk;
use crate::recover::{EndOfLog, Recovery, recover};
use crate::segment_pool::{SegmentPool, Shape};
use crate::writer::{Content, Start, Writer};

/// A log in files. Every change for which a verb returned `Ok` survives a power cut.
pub struct FileLog {
    disk: Arc<dyn Disk>,
    index: SharedIndex,
    writer: Writer,
    pool: Arc<SegmentPool>,
    thread: Option<JoinHandle<()>>,
    housekeeping: Housekeeping,
    /// The lowest segment that was not retired.
    oldest: u64,
    tail: Tail,
    /// The number of the directory.
    directory: u64,
    /// How far the durable mark reaches.
    proven: Position,
    is_poisoned: bool,
    /// Dropped last, after the thread has ended.
    _lock: Box<dyn Any + Send + Sync>,
}

impl FileLog {
    /// Opens the log in a directory, or creates one there. The contents of the log are durable when
    /// this returns.
    pub fn open(config: FileLogConfig) -> Result<FileLog, LogError> {
        let place = config.dir.display().to_string();
        let disk = RealDisk::of(&config);
        let disk = disk.map_err(|error| LogError::io(LogOp::Open, error).at(place))?;
        FileLog::open_on(Arc::new(disk), &config)
    }

    /// Opens the log on a given disk, whatever directory the configuration names.
    pub fn open_on(disk: Arc<dyn Disk>, config: &FileLogConfig) -> Result<FileLog, LogError> {
        config.check()?;
        let lock = disk.lock().map_err(|error| lock_error(error, disk.as_ref()))?;
        let listing = Listing::of(disk.as_ref())?;
        let mut recovery = recover(&disk, &listing)?;
        recovery.make_tail_durable(&disk)?;
        let failed = |error| LogError::io(LogOp::Open, error).at(disk.place(""));
        // A name that the last process changed but did not sync must not be used before this sync.
        disk.sync_names().map_err(failed)?;
        let directory = match recovery.directory {
            Some(directory) => directory,
            None => disk.random().map_err(failed)?,
        };
        if listing.has_new_durable_mark {
            disk.unlink(NEW_DURABLE_MARK_NAME).map_err(failed)?;
        }
        let end = recovery.replay.end;
        let FileLogConfig { segment_bytes, spare_segments, housekeeping, .. } = *config;
        let is_inline = housekeeping == Housekeeping::Inline;
        let shape = Shape { directory, segment_bytes, spare_segments, is_inline };
        let first_own = end.segment + 1;
        let pool = Arc::new(SegmentPool::new(disk.clone(), shape, first_own, &listing.spares));
        pool.retire(listing.left_over());
        FileLog::begin(disk, pool, recovery, config, (directory, lock))
    }

    /// Records the recovered end in the durable mark, and starts a new segment after it. On a full
    /// disk both are deferred: an older durable mark remains valid, and the first write makes the
    /// segment. Unneeded space is freed before that.
    fn begin(
        disk: Arc<dyn Disk>,
        pool: Arc<SegmentPool>,
        recovery: Recovery,
        config: &FileLogConfig,
        (directory, lock): (u64, Box<dyn Any + Send + Sync>),
    ) -> Result<FileLog, LogError> {
        let tail = recovery.tail(disk.as_ref());
        let Recovery { replay, end: EndOfLog { oldest, empty, .. }, proven, .. } = recovery;
        pool.remove_empty(&empty)?;
        cut_to_end(disk.as_ref(), replay.end)?;
        let (end, number, facts) = (replay.end, replay.number, replay.facts);
        let durable_mark = if proven < end {
            DurableMark { directory, end }.write(disk.as_ref(), LogOp::Open)
        } else {
            Ok(())
        };
        let is_proven = unless_full(durable_mark)?.is_some();
        let segment = unless_full(pool.make(end.segment + 1, end))?;
        if segment.is_none() {
            let failed = |error| LogError::io(LogOp::Open, error).at(disk.place(""));
            // This syncs the name of the durable mark, which making a segment would have synced.
            pool.sync_names().map_err(failed)?;
        }
        let start = Start { facts, segment, end, number };
        let writer = Writer::new(start, config.segment_bytes, config.alignment);
        let mut log = FileLog {
            disk,
            index: Arc::new(RwLock::new(replay.index)),
            writer,
            thread: None,
            pool,
            housekeeping: config.housekeeping,
            oldest,
            tail,
            directory,
            proven: if is_proven { end } else { proven },
            is_poisoned: false,
            _lock: lock,
        };
        log.retire_empty_segments();
        log.start_housekeeping()?;
        Ok(log)
    }

    fn start_housekeeping(&mut self) -> Result<(), LogError> {
        match self.housekeeping {
            Housekeeping::Inline => self.pool.work_off(),
            Housekeeping::Thread => {
                let pool = self.pool.clone();
                let builder = Builder::new().name("log-file".to_string());
                let thread = builder.spawn(move || pool.work_until_stopped());
                self.thread = Some(thread.map_err(|error| LogError::io(LogOp::Open, error))?);
            }
        }
        Ok(())
    }

    async fn write_batch(&mut self, op: LogOp, batch: &WriteBatch) -> Result<(), LogError> {
        self.check_usable(op)?;
        let plan = self.plan(batch)?;
        if plan.is_empty() && batch.append.is_empty() {
            // A hint alone is written with the next frame, or is lost, which the contract allows.
            self.writer.facts.commit_hint = plan.commit_hint;
            return Ok(());
        }
        let commit_hint = Some(plan.commit_hint);
        let content = Content { plan, entries: &batch.append, commit_hint, ..Content::default() };
        self.write_frame(op, &content).await?;
        if plan.purge.or(plan.reset).is_some() {
            self.retire_empty_segments();
        }
        if self.housekeeping == Housekeeping::Inline {
            self.pool.work_off();
        }
        Ok(())
    }

    fn plan(&self, batch: &WriteBatch) -> Result<Plan, LogError> {
        let index = self.index();
        let gate = Gate::new(index.summary.bounds(), self.writer.facts.hard_state);
        let gate = gate.committed_up_to(self.writer.facts.commit_hint);
        gate.payloads_up_to(MAX_PAYLOAD_BYTES).pass(batch, |at| index.summary.term(at))
    }

    async fn write_frame(&mut self, op: LogOp, content: &Content<'_>) -> Result<(), LogError> {
        // If the future is dropped, the outcome of its write is never known.
        self.is_poisoned = true;
        let written = self.writer.write(op, content, &self.index, &self.pool).await;
        self.is_poisoned = written.as_ref().is_err_and(|error| !error.is_harmless());
        written
    }

    /// Retires the lowest segments in which no entry lies. The purge is durable by now, and the
    /// segment that is written to holds a checkpoint, if anything was written to it.
    fn retire_empty_segments(&mut self) {
        let newest = self.writer.checkpointed_segment();
        let keep = self.index().first_segment().unwrap_or(newest).min(newest);
        if self.oldest < keep {
            self.pool.retire(self.oldest..keep);
            self.oldest = keep;
        }
    }

    /// Records where the stream ends, all of which is synced.
    fn mark_end_durable(&mut self) -> Result<(), LogError> {
        let end = self.writer.end();
        if self.proven == end {
            return Ok(());
        }
        let failed = |error| LogError::io(LogOp::Close, error).at(self.disk.place(""));
        let durable_mark = DurableMark { directory: self.directory, end };
        let written = durable_mark.write(self.disk.as_ref(), LogOp::Close);
        let written = written.and_then(|()| self.pool.sync_names().map_err(failed));
        self.is_poisoned = written.as_ref().is_err_and(|error| !error.is_harmless());
        if written.is_ok() {
            self.proven = end;
        }
        written
    }

    fn index(&self) -> std::sync::RwLockReadGuard<'_, Index> {
        self.index.read().expect("no writer panics")
    }
}

impl Drop for FileLog {
    fn drop(&mut self) {
        // A write whose future was dropped ends before the lock is released.
        self.disk.settle();
        if let Ok(mut index) = self.index.write() {
            index.close();
        }
        self.pool.stop();
        if let Some(thread) = self.thread.take() {
            // A panic of the thread was reported when it happened.
            let _ = thread.join();
        }
    }
}

/// The declarations of a flat-file log.
pub(crate) fn store_info(WritePath { sync_verb, may_block }: WritePath) -> StoreInfo {
    StoreInfo {
        backend: "file".into(),
        durability: Durability::PowerLoss,
        atomic_batch: true,
        may_block,
        detects: Detects::ProvenPrefix,
        sync_verb,
        format_version: FORMAT_VERSION,
    }
}

pub(crate) fn lock_error(error: std::io::Error, disk: &dyn Disk) -> LogError {
    let place = disk.place(crate::names::LOCK_NAME);
    match error.kind() {
        std::io::ErrorKind::WouldBlock => LogError::new(LogOp::Open, LogErrorKind::InUse).at(place),
        _ => LogError::io(LogOp::Open, error).at(place),
    }
}

/// The result of a step of opening; `None`, with a warning, if the disk has no space for it.
fn unless_full<T>(made: Result<T, LogError>) -> Result<Option<T>, LogError> {
    match made {
        Ok(made) => Ok(Some(made)),
        Err(error) if error.kind == LogErrorKind::NoSpace => {
            warn!(
                "the disk is full, so the log takes no writes until there is space: {}",
                error.place
            );
            Ok(None)
        }
        Err(error) => Err(error),
    }
}

/// Frees the space after the last frame of a segment that is no longer written to. This need not be
/// durable, since the space is not read.
fn cut_to_end(disk: &dyn Disk, end: Position) -> Result<(), LogError> {
    if end == Position::default() {
        return Ok(());
    }
    let name = segment_name(end.segment);
    let cut = || {
        let file = disk.open(&name)?;
        if file.len()? > end.offset { file.set_len(end.offset) } else { Ok(()) }
    };
    cut().map_err(|error| LogError::io(LogOp::Open, error).at(disk.place(&name)))
}

#[async_trait]
impl BatchStore for FileLog {
    fn declaration(&self) -> StoreInfo {
        store_info(self.disk.write_path())
    }

    fn log_bounds(&self) -> LogBounds {
        self.index().summary.bounds()
    }

    fn log_reader(&self) -> Box<dyn LogReader> {
        Box::new(FileReader::new(self.disk.clone(), self.index.clone()))
    }

    fn stable_state(&self, _: LogOp) -> Result<StableState, LogError> {
        let Facts { identity, hard_state, .. } = self.writer.facts;
        Ok(StableState { identity, hard_state })
    }

    fn check_usable(&self, op: LogOp) -> Result<(), LogError> {
        if self.is_poisoned { Err(LogError::new(op, LogErrorKind::Poisoned)) } else { Ok(()) }
    }

    async fn change(&mut self, op: LogOp, batch: WriteBatch) -> Result<(), LogError> {
        let written = self.write_batch(op, &batch).await;
        written.map_err(|error| error.giving_back(batch))
    }

    async fn write_identity(&mut self, identity: Identity) -> Result<(), LogError> {
        let content = Content { identity: Some(identity), ..Content::default() };
        self.write_frame(LogOp::Identity, &content).await
    }

    async fn recover_all(&mut self) -> Result<Recovered, LogError> {
        let Facts { hard_state, commit_hint, .. } = self.writer.facts;
        self.index().summary.recovered(hard_state, commit_hint, self.tail.clone())
    }

    /// Writes a last frame that proves all frames before it, and the durable mark of that frame, if
    /// anything is unproven.
    async fn finish(&mut self) -> Result<(), LogError> {
        self.check_usable(LogOp::Close)?;
        if self.writer.is_worth_closing() {
            let content = Content { is_close: true, ..Content::default() };
            self.write_frame(LogOp::Close, &content).await?;
        }
        self.mark_end_durable()
    }
}
