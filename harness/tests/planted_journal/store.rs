//! A store in a journal that proves its prefix, correct unless a bug is planted in it.
//!
//! The file `journal` is a list of records, each with a length, a checksum over position, store id
//! and body, and a body. The first record holds the store id. The file `proof` is the durable mark:
//! the length up to which the journal was synced. Each opening and each clean close rewrites it
//! under another name and renames it.

use std::fs::{self, File, OpenOptions};
use std::io::{self, ErrorKind};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

use async_trait::async_trait;
use log_memory::MemoryLog;
use raft_core::storage::record::{decode_identity, encode_identity};
use raft_core::storage::{Detects, Durability, LogBounds, LogError, LogErrorKind, LogOp};
use raft_core::storage::{
    LogReader, LogStore, Recovered, StableStore, Store, StoreInfo, WriteBatch, check_identity,
};
use raft_core::types::{Entry, EntryId, HardState, Identity, LogIndex};

use crate::bug::Bug;
use crate::record::{Record, checksum, number};

/// One handle.
pub struct Journal {
    memory: MemoryLog,
    identity: Option<Identity>,
    dir: PathBuf,
    file: File,
    _lock: File,
    store: u64,
    end: u64,
    is_poisoned: bool,
    bug: Option<Bug>,
}

fn failed(op: LogOp, place: &str) -> impl Fn(io::Error) -> LogError {
    move |error| LogError::io(op, error).at(place)
}

/// Checks that the lock file has the age that was recorded when the journal was created.
fn check_age(dir: &Path, lock: &File) -> Result<(), LogError> {
    let open_failed = failed(LogOp::Open, "age");
    let modified = lock.metadata().and_then(|it| it.modified()).map_err(&open_failed)?;
    let age = format!("{modified:?}");
    match fs::read_to_string(dir.join("age")) {
        Err(_) => fs::write(dir.join("age"), age).map_err(&open_failed),
        Ok(known) if known == age => Ok(()),
        Ok(_) => {
            let kind = LogErrorKind::Corrupt { index: None };
            Err(LogError::new(LogOp::Open, kind).at("lock: has another age"))
        }
    }
}

impl Journal {
    pub async fn open(dir: &Path, bug: Option<Bug>) -> Result<Journal, LogError> {
        let open_failed = failed(LogOp::Open, "a planted journal");
        let mut options = OpenOptions::new();
        options.read(true).write(true).create(true).truncate(false);
        let lock = options.open(dir.join("lock")).map_err(&open_failed)?;
        lock.try_lock().map_err(|_| LogError::new(LogOp::Open, LogErrorKind::InUse))?;
        if bug == Some(Bug::IdentifiesItsFilesByTheirAge) {
            check_age(dir, &lock)?;
        }
        let known = dir.join("journal").exists();
        let file = options.open(dir.join("journal")).map_err(&open_failed)?;
        let (memory, dir) = (MemoryLog::new(), dir.to_owned());
        let (identity, store, end, is_poisoned) = (None, 0, 0, false);
        let mut journal =
            Journal { memory, identity, dir, file, _lock: lock, store, end, is_poisoned, bug };
        let durable_mark = journal.read_durable_mark()?;
        let bytes = journal.read()?;
        if !known && durable_mark.is_some() && !journal.has(Bug::MissingFileIsAFreshLog) {
            return Err(journal.damage(0, "the journal is missing"));
        }
        let (proven, proven_store) = durable_mark.unwrap_or_default();
        let is_fresh = bytes.is_empty() && proven == 0;
        let takes_for_fresh =
            journal.has(Bug::MissingFileIsAFreshLog) || journal.has(Bug::FailedReadIsAFreshLog);
        if is_fresh || (bytes.is_empty() && takes_for_fresh) {
            journal.found().map_err(&open_failed)?;
        } else {
            journal.replay(&bytes, proven, proven_store).await?;
        }
        journal.prove_opening().map_err(&open_failed)?;
        Ok(journal)
    }

    fn read(&self) -> Result<Vec<u8>, LogError> {
        match fs::read(self.dir.join("journal")) {
            Ok(bytes) => Ok(bytes),
            Err(_) if self.has(Bug::FailedReadIsAFreshLog) => Ok(Vec::new()),
            Err(error) => Err(failed(LogOp::Open, "journal")(error)),
        }
    }

    fn read_durable_mark(&self) -> Result<Option<(u64, u64)>, LogError> {
        let bytes = match fs::read(self.dir.join("proof")) {
            Ok(bytes) => bytes,
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(None),
            Err(_) if self.has(Bug::FailedReadIsAFreshLog) => return Ok(None),
            Err(error) => return Err(failed(LogOp::Open, "proof")(error)),
        };
        let (end, store, sum) = (number(&bytes, 0), number(&bytes, 8), number(&bytes, 16));
        match (end, store) {
            (Some(end), Some(store)) if sum == Some(checksum(0, &bytes[..16])) => {
                Ok(Some((end, store)))
            }
            _ => Err(self.damage(0, "the durable mark")),
        }
    }

    fn damage(&self, at: usize, what: &str) -> LogError {
        let error = if self.has(Bug::DamageIsReportedAsAbsence) {
            LogErrorKind::Unavailable { last: self.memory.bounds().last.index }
        } else {
            LogErrorKind::Corrupt { index: None }
        };
        let error = LogError::new(LogOp::Open, error);
        if self.has(Bug::DamageHasNoPlace) {
            error
        } else {
            error.at(format!("{}, offset {at}: {what}", self.dir.display()))
        }
    }

    /// Creates a journal, whose first record holds the store id.
    fn found(&mut self) -> io::Result<()> {
        let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
        self.store = since.map_or(1, |since| since.as_nanos() as u64);
        let record = Record { store: Some(self.store), ..Record::default() };
        let bytes = record.bytes(0);
        self.file.set_len(0)?;
        self.file.write_all_at(&bytes, 0)?;
        self.end = bytes.len() as u64;
        Ok(())
    }

    fn seed(&self, at: usize) -> u64 {
        match (at, self.has(Bug::ChecksumIgnoresThePlace)) {
            (0, _) => 0,
            (_, true) => self.store,
            (_, false) => self.store ^ (at as u64) << 20,
        }
    }

    async fn replay(&mut self, bytes: &[u8], proven: u64, store: u64) -> Result<(), LogError> {
        let mut at = 0;
        while let Some((mut record, length)) = Record::parse(&bytes[at..], self.seed(at), self.bug)
        {
            self.store = record.store.take().unwrap_or(self.store);
            at += length;
            if let Some(identity) = record.identity.take() {
                self.identity = decode_identity(&identity).ok();
            }
            self.memory.write(record.batch()).await?;
        }
        let is_foreign = store != self.store && proven > 0;
        if is_foreign && !self.has(Bug::ForeignJournalIsAccepted) {
            return Err(self.damage(0, "the journal of another store"));
        }
        self.check_end(bytes, at, proven)?;
        self.end = at as u64;
        if self.has(Bug::OpensWithoutARewrite) {
            // The sync that follows does not write pages that a failed sync has marked as clean.
            return self.file.set_len(self.end).map_err(failed(LogOp::Open, "journal"));
        }
        // A killed process or a failed sync may have left these records unsynced.
        let rewritten =
            self.file.set_len(self.end).and_then(|()| self.file.write_all_at(&bytes[..at], 0));
        rewritten.map_err(failed(LogOp::Open, "journal"))
    }

    /// Checks that the records may end at this position.
    fn check_end(&self, bytes: &[u8], at: usize, proven: u64) -> Result<(), LogError> {
        if self.has(Bug::ZerosEndTheLog) && bytes.get(at..at + 8).is_some_and(|it| it == [0; 8]) {
            return Ok(());
        }
        if self.has(Bug::MiddleDamageEndsTheLog) {
            return Ok(());
        }
        let is_short = (at as u64) < proven && !self.has(Bug::DurableMarkIsNotRead);
        let sound =
            |later: &usize| Record::parse(&bytes[*later..], self.seed(*later), self.bug).is_some();
        let goes_on = (at + 1..bytes.len()).find(sound);
        let is_nothing = at == 0 || (proven == 0 && self.memory.bounds().last != EntryId::ZERO);
        if is_short || (goes_on.is_some() && !self.has(Bug::ChecksumIgnoresThePlace)) || is_nothing
        {
            Err(self.damage(at, "a record that was synced"))
        } else {
            Ok(())
        }
    }

    fn prove_opening(&mut self) -> io::Result<()> {
        if self.has(Bug::OpeningSyncErrorIsIgnored) {
            self.sync_and_mark(|file| file.sync_all().or(Ok(())))
        } else {
            self.sync_and_mark(File::sync_all)
        }
    }

    /// Syncs the journal, and then writes the durable mark.
    fn sync_and_mark(&mut self, sync: fn(&File) -> io::Result<()>) -> io::Result<()> {
        sync(&self.file)?;
        if self.has(Bug::OpeningProvesNothing) && self.dir.join("proof").exists() {
            return Ok(());
        }
        let mut bytes = self.end.to_le_bytes().to_vec();
        bytes.extend(self.store.to_le_bytes());
        bytes.extend(checksum(0, &bytes).to_le_bytes());
        let (new, old) = (self.dir.join("proof.new"), self.dir.join("proof"));
        let mut options = OpenOptions::new();
        if self.has(Bug::TemporaryFileBlocksTheNextOpening) {
            options.create_new(true)
        } else {
            options.create(true).truncate(true)
        };
        let file = options.write(true).open(&new)?;
        file.write_all_at(&bytes, 0)?;
        sync(&file)?;
        fs::rename(&new, &old)?;
        sync(&File::open(&self.dir)?)
    }

    fn has(&self, bug: Bug) -> bool {
        self.bug == Some(bug)
    }

    fn keep(&mut self, op: LogOp, record: &Record) -> Result<(), LogError> {
        let bytes = record.bytes(self.seed(self.end as usize));
        let kept = self.try_keep(&bytes);
        let is_full = kept.as_ref().is_err_and(|error| error.kind() == io::ErrorKind::StorageFull);
        let refuses = self.has(Bug::RefusedWriteIsShown) || self.has(Bug::RefusedBatchIsLost);
        if is_full && refuses {
            return Err(LogError::new(op, LogErrorKind::NoSpace));
        }
        self.is_poisoned |= kept.is_err() && !self.has(Bug::ContinuesAfterAFailure);
        kept.map_err(failed(op, "journal"))
    }

    fn try_keep(&mut self, bytes: &[u8]) -> io::Result<()> {
        match self.bug {
            Some(Bug::WriteErrorIsIgnored) => drop(self.file.write_all_at(bytes, self.end)),
            Some(Bug::ShortWriteIsTakenForAWholeOne) => {
                self.file.write_at(bytes, self.end)?;
            }
            _ => self.file.write_all_at(bytes, self.end)?,
        }
        self.end += bytes.len() as u64;
        match self.bug {
            Some(Bug::SyncErrorIsIgnored) => drop(self.file.sync_data()),
            Some(Bug::SyncIsTriedAgain) => {
                self.file.sync_data().or_else(|_| self.file.sync_data())?
            }
            _ => self.file.sync_data()?,
        }
        Ok(())
    }

    fn check_poison(&self, op: LogOp) -> Result<(), LogError> {
        if self.is_poisoned { Err(LogError::new(op, LogErrorKind::Poisoned)) } else { Ok(()) }
    }
}

#[async_trait]
impl LogStore for Journal {
    fn bounds(&self) -> LogBounds {
        self.memory.bounds()
    }

    async fn append(&mut self, entries: &[Entry]) -> Result<(), LogError> {
        self.write(WriteBatch::of_entries(entries.to_vec())).await
    }

    async fn truncate_after(&mut self, index: LogIndex) -> Result<(), LogError> {
        self.write(WriteBatch::of_truncation(index)).await
    }

    async fn purge_upto(&mut self, upto: EntryId) -> Result<(), LogError> {
        self.write(WriteBatch::of_purge(upto)).await
    }

    async fn reset(&mut self, boundary: EntryId) -> Result<(), LogError> {
        self.write(WriteBatch::of_reset(boundary)).await
    }

    fn reader(&self) -> Box<dyn LogReader> {
        self.memory.reader()
    }
}

#[async_trait]
impl StableStore for Journal {
    async fn load_identity(&mut self) -> Result<Option<Identity>, LogError> {
        Ok(self.identity)
    }

    async fn save_identity(&mut self, identity: &Identity) -> Result<(), LogError> {
        self.check_poison(LogOp::Identity)?;
        if check_identity(self.identity, identity)? {
            let record = Record { identity: Some(encode_identity(identity)), ..Record::default() };
            let kept = self.keep(LogOp::Identity, &record);
            self.is_poisoned &= !self.has(Bug::IdentityErrorDoesNotPoison);
            if !self.has(Bug::IdentityErrorIsIgnored) {
                kept?;
            }
            self.identity = Some(*identity);
        }
        Ok(())
    }

    async fn load_hard_state(&mut self) -> Result<HardState, LogError> {
        self.memory.load_hard_state().await
    }

    async fn save_hard_state(&mut self, hard_state: HardState) -> Result<(), LogError> {
        self.write(WriteBatch::of_hard_state(hard_state)).await
    }
}

#[async_trait]
impl Store for Journal {
    fn info(&self) -> StoreInfo {
        StoreInfo {
            backend: "planted journal".into(),
            durability: Durability::PowerLoss,
            atomic_batch: true,
            may_block: true,
            detects: Detects::ProvenPrefix,
            sync_verb: "fdatasync".into(),
            format_version: 1,
        }
    }

    async fn write(&mut self, batch: WriteBatch) -> Result<(), LogError> {
        if !self.has(Bug::PurgesAfterAFailure) || batch.purge_upto.is_none() {
            self.check_poison(LogOp::Write)?;
        }
        let record = Record::of(&batch);
        let kept = Record::of(&batch).batch();
        if self.has(Bug::RefusedBatchIsLost) && !kept.is_empty() {
            self.keep(LogOp::Write, &record)?;
            return self.memory.write(batch).await;
        }
        self.memory.write(batch.clone()).await?;
        if kept.is_empty() {
            return Ok(());
        }
        let written = self.keep(LogOp::Write, &Record::of(&batch));
        written.map_err(|error| error.giving_back(batch))
    }

    async fn recover(&mut self) -> Result<Recovered, LogError> {
        let recovered = self.memory.recover().await?;
        Ok(Recovered { commit_hint: LogIndex::ZERO, ..recovered })
    }

    async fn close(&mut self) -> Result<(), LogError> {
        self.check_poison(LogOp::Close)?;
        let proven = self.sync_and_mark(File::sync_all);
        self.is_poisoned |= proven.is_err() && !self.has(Bug::ContinuesAfterAFailedClose);
        proven.map_err(failed(LogOp::Close, "proof"))
    }
}
