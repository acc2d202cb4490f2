//! A small store in one file, correct unless a bug is planted in it.
//!
//! The file `log` is a list of records, each with a length, a checksum and a batch. A record is
//! written and synced before its verb returns. When the file has grown large, a new file is written
//! that holds the state in two records; it is synced and renamed over the old one, and the
//! directory is synced. An opening reads the records up to the first incomplete one, and writes and
//! syncs them again.

use std::fs::{self, File, OpenOptions};
use std::io;
use std::ops::Range;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use async_trait::async_trait;
use log_memory::MemoryLog;
use raft_core::storage::record::{decode_identity, encode_identity};
use raft_core::storage::{Detects, Durability, LogBounds, LogError, LogErrorKind, LogOp};
use raft_core::storage::{
    LogReader, LogStore, Recovered, StableStore, Store, StoreInfo, WriteBatch,
};
use raft_core::types::{Entry, EntryId, HardState, Identity, LogIndex, Term};
use rustix::fs::{OFlags, fcntl_getfl, fcntl_setfl};

use crate::bug::Bug;
use crate::lock::Lock;
use crate::record::{Record, in_parts};

/// The size at which the file is rewritten, in bytes.
const ROTATE_BYTES: u64 = 24 << 10;

/// One of the bugs does not sync records of at least this length.
const LARGE_BYTES: usize = 200 << 10;

/// One handle.
pub struct FileStore {
    memory: MemoryLog,
    identity: Option<Identity>,
    dir: PathBuf,
    file: File,
    _lock: Lock,
    end: u64,
    writes: u64,
    is_poisoned: bool,
    /// Whether a read failed, after which a bug refuses all writes.
    has_failed: Arc<AtomicBool>,
    /// Whether the file is written with direct I/O, and the store is declared never to block.
    is_direct: bool,
    bug: Option<Bug>,
}

fn failed(op: LogOp) -> impl Fn(io::Error) -> LogError {
    move |error| LogError::io(op, error)
}

/// Sets direct I/O for a file on the disk of the suite, which accepts direct writes of any length.
/// On other disks this does nothing.
fn write_directly(file: &File) -> io::Result<()> {
    const FUSE: i64 = 0x6573_5546;
    if rustix::fs::fstatfs(file)?.f_type as i64 != FUSE {
        return Ok(());
    }
    Ok(fcntl_setfl(file, fcntl_getfl(file)? | OFlags::DIRECT)?)
}

impl FileStore {
    pub async fn open(dir: &Path, bug: Option<Bug>) -> Result<FileStore, LogError> {
        FileStore::open_as(dir, bug, bug == Some(Bug::LateWriteHitsTheNext)).await
    }

    /// Opens the correct store, with direct writes that it gives to the kernel without waiting.
    pub async fn open_direct(dir: &Path) -> Result<FileStore, LogError> {
        FileStore::open_as(dir, None, true).await
    }

    async fn open_as(dir: &Path, bug: Option<Bug>, is_direct: bool) -> Result<FileStore, LogError> {
        let lock = Lock::take(dir, bug)?;
        let mut options = OpenOptions::new();
        options.read(true).write(true).create(true).truncate(false);
        let file = options.open(dir.join("log")).map_err(failed(LogOp::Open))?;
        if is_direct {
            write_directly(&file).map_err(failed(LogOp::Open))?;
        }
        let (memory, dir) = (MemoryLog::new(), dir.to_owned());
        let (identity, end, writes, is_poisoned) = (None, 0, 0, false);
        let mut store = FileStore {
            memory,
            identity,
            dir,
            file,
            _lock: lock,
            end,
            writes,
            is_poisoned,
            has_failed: Arc::default(),
            is_direct,
            bug,
        };
        store.replay().await?;
        Ok(store)
    }

    async fn replay(&mut self) -> Result<(), LogError> {
        let bytes = fs::read(self.dir.join("log")).map_err(failed(LogOp::Open))?;
        let mut at = 0;
        while let Some((mut record, length)) = Record::parse(&bytes[at..], self.bug) {
            at += length;
            if let Some(identity) = record.identity.take() {
                self.identity = decode_identity(&identity).ok();
            }
            self.memory.write(record.batch()).await?;
        }
        self.end = at as u64;
        self.rewrite_found(&bytes[..at]).map_err(failed(LogOp::Open))
    }

    /// Writes the found records again, since a killed process may have left them unsynced.
    fn rewrite_found(&self, found: &[u8]) -> io::Result<()> {
        if self.has(Bug::OpensWithoutSync) || self.never_syncs() {
            return self.file.set_len(self.end);
        }
        // The change of the size waits for direct writes of an earlier process that are in flight.
        if !self.has(Bug::LateWriteHitsTheNext) {
            self.file.set_len(self.end)?;
        }
        self.file.write_all_at(found, 0)?;
        self.file.sync_all()?;
        File::open(&self.dir)?.sync_all()
    }

    fn has(&self, bug: Bug) -> bool {
        self.bug == Some(bug)
    }

    fn never_syncs(&self) -> bool {
        self.has(Bug::NeverSynced) || self.has(Bug::CloseIsTheOnlySync)
    }

    fn is_synced(&self, record: &Record) -> bool {
        let none = record.append.is_empty();
        match self.bug {
            Some(Bug::NeverSynced | Bug::CloseIsTheOnlySync | Bug::SyncedBeforeTheWrite) => false,
            Some(Bug::SyncedEverySecondTime) => self.writes.is_multiple_of(2),
            Some(Bug::VoteNotSynced) => record.hard_state.is_none() || !none,
            Some(Bug::EntriesNotSynced) => none,
            Some(Bug::TruncationNotSynced) => record.truncate_after.is_none() || !none,
            Some(Bug::PurgeNotSynced) => record.purge_upto.is_none() || !none,
            Some(Bug::ResetNotSynced) => record.reset.is_none(),
            Some(Bug::IdentityNotSynced) => record.identity.is_none(),
            Some(Bug::LargeRecordNotSynced) => record.payload_bytes() <= LARGE_BYTES,
            _ => true,
        }
    }

    async fn keep(&mut self, op: LogOp, record: Record) -> Result<(), LogError> {
        let kept = self.try_keep(record).await;
        self.is_poisoned |= kept.is_err();
        kept.map_err(failed(op))
    }

    fn check_poison(&self, op: LogOp) -> Result<(), LogError> {
        if self.is_poisoned || self.has_failed.load(Ordering::Relaxed) {
            return Err(LogError::new(op, LogErrorKind::Poisoned));
        }
        Ok(())
    }

    async fn try_keep(&mut self, record: Record) -> io::Result<()> {
        let bytes = record.bytes();
        if self.has(Bug::SyncedBeforeTheWrite) {
            self.file.sync_data()?;
        }
        if self.has(Bug::DsyncOfTheCommitOnly) {
            return self.sync_the_end_alone(&bytes);
        }
        self.file.write_all_at(&bytes, self.end)?;
        self.end += bytes.len() as u64;
        self.writes += 1;
        if self.has(Bug::SyncsAfterTheAnswer) {
            let file = self.file.try_clone()?;
            std::thread::spawn(move || file.sync_data());
        } else if self.is_synced(&record) {
            self.file.sync_data()?;
        }
        // Rewriting the file would sync it, which this bug must not do.
        let grows = self.has(Bug::NeverRotates) || self.has(Bug::NeverFreesSpace);
        let rotates = self.end > ROTATE_BYTES && !self.has(Bug::LargeRecordNotSynced) && !grows;
        if rotates { self.rotate().await } else { Ok(()) }
    }

    /// The bug assumes that a write with O_DSYNC also makes earlier writes durable.
    fn sync_the_end_alone(&mut self, bytes: &[u8]) -> io::Result<()> {
        let (most, end) = bytes.split_at(bytes.len() - 8);
        self.file.write_all_at(most, self.end)?;
        let (at, flags) = (self.end + most.len() as u64, rustix::io::ReadWriteFlags::DSYNC);
        rustix::io::pwritev2(&self.file, &[io::IoSlice::new(end)], at, flags)?;
        self.end += bytes.len() as u64;
        Ok(())
    }

    /// The bug overwrites the whole log in place for a hint, without regard for a power cut.
    fn rewrite_without_care(&self) -> io::Result<()> {
        let bytes = fs::read(self.dir.join("log"))?;
        self.file.set_len(0)?;
        self.file.write_all_at(&bytes, 0)
    }

    async fn rotate(&mut self) -> io::Result<()> {
        let state = self.memory.load_hard_state().await.map_err(io::Error::other)?;
        let LogBounds { boundary, last } = self.memory.bounds();
        let range = boundary.index.next()..last.index.next();
        let entries = self.memory.reader().read(range, u64::MAX).await.map_err(io::Error::other)?;
        let kept = (!self.has(Bug::RotationForgetsTheVote)).then_some(state);
        let reset = Some(boundary);
        let whole = WriteBatch { hard_state: kept, reset, ..WriteBatch::of_entries(entries) };
        let own = self.identity.filter(|_| !self.has(Bug::RotationForgetsTheIdentity));
        let identity = own.map(|identity| encode_identity(&identity));
        let mut bytes = Record { identity, ..Record::default() }.bytes();
        bytes.extend(Record::of(&whole).bytes());
        let (new, old) = (self.dir.join("log.new"), self.dir.join("log"));
        let mut options = OpenOptions::new();
        let file = options.read(true).write(true).create(true).truncate(true).open(&new)?;
        if self.is_direct {
            write_directly(&file)?;
        }
        file.write_all_at(&bytes, 0)?;
        if !self.has(Bug::RotatedBeforeItsBytes) && !self.never_syncs() {
            file.sync_all()?;
        }
        if self.has(Bug::RemovedBeforeItIsReplaced) {
            fs::remove_file(&old)?;
            File::open(&self.dir)?.sync_all()?;
        }
        fs::rename(&new, &old)?;
        if !self.has(Bug::DirectoryNotSyncedAfterRotation) && !self.never_syncs() {
            File::open(&self.dir)?.sync_all()?;
        }
        (self.file, self.end) = (file, bytes.len() as u64);
        Ok(())
    }

    /// The batch as the records in which it is stored.
    fn records(&self, batch: &WriteBatch) -> Vec<Record> {
        let whole = Record::of(batch);
        let (vote, rest) = (whole.hard_state, Record { hard_state: None, ..Record::of(batch) });
        let vote = Record { hard_state: vote, ..Record::default() };
        let purge = Record { purge_upto: rest.purge_upto, ..Record::default() };
        let first = self.memory.bounds().boundary.index.next().get();
        match self.bug {
            Some(Bug::TermBeforeItsVote) if vote.hard_state.is_some_and(|(_, vote)| vote > 0) => {
                let term = vote.hard_state.map(|(term, _)| (term, 0));
                vec![Record { hard_state: term, ..Record::default() }, whole]
            }
            Some(Bug::TruncateAndAppendInTwoSyncs) => {
                let cut = Record { append: Vec::new(), purge_upto: None, ..whole };
                let append = Record { append: rest.append, ..purge };
                vec![cut, append]
            }
            Some(Bug::PurgeInTwoSyncs) if purge.purge_upto.is_some_and(|(_, at)| at > first) => {
                let almost = purge.purge_upto.map(|(term, index)| (term, index - 1));
                vec![Record { purge_upto: almost, ..purge }, whole]
            }
            Some(Bug::BatchInTwoSyncs) => vec![vote, rest],
            Some(Bug::EntriesBeforeTheVote) => vec![rest, vote],
            Some(Bug::LargeBatchInParts) if batch.append.len() > 200 => in_parts(batch, 200),
            Some(Bug::MegabytesInParts) if batch.size() > 512 << 10 => in_parts(batch, 10),
            _ => vec![whole],
        }
    }
}

#[async_trait]
impl LogStore for FileStore {
    fn bounds(&self) -> LogBounds {
        self.memory.bounds()
    }

    async fn append(&mut self, entries: &[Entry]) -> Result<(), LogError> {
        self.write(WriteBatch::of_entries(entries.to_vec())).await
    }

    async fn truncate_after(&mut self, index: LogIndex) -> Result<(), LogError> {
        self.write(WriteBatch { truncate_after: Some(index), ..WriteBatch::default() }).await
    }

    async fn purge_upto(&mut self, upto: EntryId) -> Result<(), LogError> {
        self.write(WriteBatch { purge_upto: Some(upto), ..WriteBatch::default() }).await
    }

    async fn reset(&mut self, boundary: EntryId) -> Result<(), LogError> {
        self.write(WriteBatch { reset: Some(boundary), ..WriteBatch::default() }).await
    }

    fn reader(&self) -> Box<dyn LogReader> {
        if !self.has(Bug::AFailedReadPoisons) {
            return self.memory.reader();
        }
        let (memory, path) = (self.memory.reader(), self.dir.join("log"));
        Box::new(FileReader { memory, path, has_failed: self.has_failed.clone() })
    }
}

/// A reader that reads the file each time, and reports a failure to the store.
struct FileReader {
    memory: Box<dyn LogReader>,
    path: PathBuf,
    has_failed: Arc<AtomicBool>,
}

#[async_trait]
impl LogReader for FileReader {
    async fn read(&mut self, range: Range<LogIndex>, most: u64) -> Result<Vec<Entry>, LogError> {
        if let Err(error) = fs::read(&self.path) {
            self.has_failed.store(true, Ordering::Relaxed);
            return Err(LogError::io(LogOp::Read, error));
        }
        self.memory.read(range, most).await
    }

    async fn term(&mut self, index: LogIndex) -> Result<Term, LogError> {
        self.memory.term(index).await
    }
}

#[async_trait]
impl StableStore for FileStore {
    async fn load_identity(&mut self) -> Result<Option<Identity>, LogError> {
        Ok(self.identity)
    }

    async fn save_identity(&mut self, identity: &Identity) -> Result<(), LogError> {
        self.check_poison(LogOp::Identity)?;
        if raft_core::storage::check_identity(self.identity, identity)? {
            self.identity = Some(*identity);
            let record = Record { identity: Some(encode_identity(identity)), ..Record::default() };
            self.keep(LogOp::Identity, record).await?;
        }
        Ok(())
    }

    async fn load_hard_state(&mut self) -> Result<HardState, LogError> {
        self.memory.load_hard_state().await
    }

    async fn save_hard_state(&mut self, hard_state: HardState) -> Result<(), LogError> {
        self.write(WriteBatch { hard_state: Some(hard_state), ..WriteBatch::default() }).await
    }
}

#[async_trait]
impl Store for FileStore {
    fn info(&self) -> StoreInfo {
        StoreInfo {
            backend: "planted files".into(),
            durability: Durability::PowerLoss,
            atomic_batch: true,
            may_block: !self.is_direct,
            detects: Detects::Nothing,
            sync_verb: "fdatasync".into(),
            format_version: 1,
        }
    }

    async fn write(&mut self, batch: WriteBatch) -> Result<(), LogError> {
        self.check_poison(LogOp::Write)?;
        if self.has(Bug::HintAloneRewritesTheLog) && batch.is_empty() && batch.commit_hint.is_some()
        {
            return self.rewrite_without_care().map_err(failed(LogOp::Write));
        }
        let records = self.records(&batch);
        self.memory.write(batch).await?;
        for record in records {
            self.keep(LogOp::Write, record).await?;
        }
        Ok(())
    }

    async fn recover(&mut self) -> Result<Recovered, LogError> {
        let recovered = self.memory.recover().await?;
        Ok(Recovered { commit_hint: LogIndex::new(0), ..recovered })
    }

    async fn close(&mut self) -> Result<(), LogError> {
        if self.has(Bug::NeverSynced) {
            Ok(())
        } else {
            let synced = self.file.sync_all();
            self.is_poisoned |= synced.is_err();
            synced.map_err(failed(LogOp::Close))
        }
    }
}
