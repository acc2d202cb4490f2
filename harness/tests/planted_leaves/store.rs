//! A small store with one file for each entry, correct unless a bug is planted in it.
//!
//! The file `head` holds identity, hard state, boundary and era, and is replaced by a rename. The
//! file `leaf-E-N` holds entry N of era E; each reset starts a new era. Leaves at or below the
//! boundary, and those of other eras, are leftovers, and are removed. A suffix is deleted from its
//! end, and the directory is synced after each file, so that a power cut leaves the suffix shorter,
//! but without a hole.

use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};

use async_trait::async_trait;
use log_memory::MemoryLog;
use raft_core::storage::record::{decode_identity, encode_identity};
use raft_core::storage::{
    Detects, Durability, LogBounds, LogError, LogErrorKind, LogOp, LogReader, LogStore, Recovered,
    StableStore, Store, StoreInfo, WriteBatch, check_identity,
};
use raft_core::types::{Entry, EntryId, HardState, Identity, LogIndex};
use serde::{Deserialize, Serialize};
use tokio::task::yield_now;

/// A bug that is planted in a store of leaves.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Bug {
    SuffixDeletedFrontToBack,
}

/// A bug, the check that finds it, and the broken promise.
pub const KILLERS: &[(Bug, &str, usize)] =
    &[(Bug::SuffixDeletedFrontToBack, "power_loss::rewritten_entries_survive", 3)];

#[derive(Clone, Default, Serialize, Deserialize)]
struct Head {
    identity: Option<Vec<u8>>,
    era: u64,
    batch: WriteBatch,
}

/// One handle.
pub struct LeafStore {
    memory: MemoryLog,
    head: Head,
    dir: PathBuf,
    _lock: File,
    is_poisoned: bool,
    bug: Option<Bug>,
}

fn failed(op: LogOp) -> impl Fn(io::Error) -> LogError {
    move |error| LogError::io(op, error)
}

impl LeafStore {
    pub async fn open(dir: &Path, bug: Option<Bug>) -> Result<LeafStore, LogError> {
        let lock = File::create(dir.join("lock")).map_err(failed(LogOp::Open))?;
        lock.try_lock().map_err(|_| LogError::new(LogOp::Open, LogErrorKind::InUse))?;
        let (memory, dir, head) = (MemoryLog::new(), dir.to_owned(), Head::default());
        let mut store = LeafStore { memory, head, dir, _lock: lock, is_poisoned: false, bug };
        store.load().await?;
        Ok(store)
    }

    /// Loads the files and writes them again, since a killed process may have left them unsynced.
    async fn load(&mut self) -> Result<(), LogError> {
        let open_failed = failed(LogOp::Open);
        if let Some(head) = self.read("head").map_err(&open_failed)? {
            self.head = postcard::from_bytes(&head).map_err(|_| corrupt())?;
        }
        self.keep_head().map_err(&open_failed)?;
        self.memory.write(self.head.batch.clone()).await?;
        let mut leaves = self.leaves().map_err(&open_failed)?;
        let boundary = self.memory.bounds().boundary.index.get();
        leaves.sort_unstable();
        for (era, number) in leaves {
            let name = format!("leaf-{era}-{number}");
            if number <= boundary || era != self.head.era {
                fs::remove_file(self.dir.join(name)).map_err(&open_failed)?;
                continue;
            }
            let bytes = self.read(&name).map_err(&open_failed)?.unwrap_or_default();
            let entry: Entry = postcard::from_bytes(&bytes).map_err(|_| corrupt())?;
            self.replace(&name, &bytes).map_err(&open_failed)?;
            self.memory.append(&[entry]).await?;
        }
        self.sync_names().map_err(&open_failed)
    }

    /// The era and the index of each leaf.
    fn leaves(&self) -> io::Result<Vec<(u64, u64)>> {
        let names = fs::read_dir(&self.dir)?.map(|found| Ok(found?.file_name()));
        let names: Vec<_> = names.collect::<io::Result<_>>()?;
        let leaf = |name: &std::ffi::OsString| {
            let (era, number) = name.to_str()?.strip_prefix("leaf-")?.split_once('-')?;
            Some((era.parse().ok()?, number.parse().ok()?))
        };
        Ok(names.iter().filter_map(leaf).collect())
    }

    fn leaf(&self, number: u64) -> String {
        format!("leaf-{}-{number}", self.head.era)
    }

    fn read(&self, name: &str) -> io::Result<Option<Vec<u8>>> {
        match fs::read(self.dir.join(name)) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            read => read.map(Some),
        }
    }

    /// Writes a file under another name, and renames it when it is whole.
    fn keep(&self, name: &str, bytes: &[u8]) -> io::Result<()> {
        self.replace(name, bytes)?;
        self.sync_names()
    }

    /// Like `keep`, but the name is not durable yet.
    fn replace(&self, name: &str, bytes: &[u8]) -> io::Result<()> {
        let new = self.dir.join("new");
        fs::write(&new, bytes)?;
        File::open(&new)?.sync_all()?;
        fs::rename(&new, self.dir.join(name))
    }

    fn keep_head(&self) -> io::Result<()> {
        let bytes =
            postcard::to_extend(&self.head, Vec::new()).expect("plain data can always be encoded");
        self.keep("head", &bytes)
    }

    fn sync_names(&self) -> io::Result<()> {
        File::open(&self.dir)?.sync_all()
    }

    async fn remove(&self, numbers: impl Iterator<Item = u64>) -> io::Result<()> {
        for number in numbers {
            fs::remove_file(self.dir.join(self.leaf(number)))?;
            self.sync_names()?;
            yield_now().await;
        }
        Ok(())
    }

    /// Makes a batch durable that was already applied in memory.
    async fn try_keep(&mut self, batch: &WriteBatch, before: LogBounds) -> io::Result<()> {
        let (mut first, mut last) = (before.boundary.index.get() + 1, before.last.index.get());
        if let Some(hard_state) = batch.hard_state {
            self.head.batch.hard_state = Some(hard_state);
            self.keep_head()?;
        }
        if let Some(boundary) = batch.reset {
            self.head.batch.reset = Some(boundary);
            self.head.era += 1;
            self.keep_head()?;
            (first, last) = (boundary.index.get() + 1, boundary.index.get());
        }
        match (batch.truncate_after.map(|cut| cut.get() + 1), self.bug) {
            (Some(cut), Some(Bug::SuffixDeletedFrontToBack)) => self.remove(cut..=last).await?,
            (Some(cut), None) => self.remove((cut..=last).rev()).await?,
            (None, _) => {}
        }
        for entry in &batch.append {
            let bytes =
                postcard::to_extend(entry, Vec::new()).expect("plain data can always be encoded");
            self.keep(&self.leaf(entry.id.index.get()), &bytes)?;
            yield_now().await;
        }
        let boundary = self.memory.bounds().boundary;
        if batch.purge_upto.is_some() && boundary.index >= LogIndex::new(first) {
            self.head.batch.reset = Some(boundary);
            self.keep_head()?;
            self.remove(first..=boundary.index.get()).await?;
        }
        Ok(())
    }

    fn check_poison(&self, op: LogOp) -> Result<(), LogError> {
        if self.is_poisoned { Err(LogError::new(op, LogErrorKind::Poisoned)) } else { Ok(()) }
    }
}

fn corrupt() -> LogError {
    LogError::new(LogOp::Open, LogErrorKind::Corrupt { index: None }).at("a planted leaf")
}

#[async_trait]
impl LogStore for LeafStore {
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
impl StableStore for LeafStore {
    async fn load_identity(&mut self) -> Result<Option<Identity>, LogError> {
        Ok(self.head.identity.as_deref().and_then(|bytes| decode_identity(bytes).ok()))
    }

    async fn save_identity(&mut self, identity: &Identity) -> Result<(), LogError> {
        self.check_poison(LogOp::Identity)?;
        if check_identity(self.load_identity().await?, identity)? {
            self.head.identity = Some(encode_identity(identity));
            let kept = self.keep_head();
            self.is_poisoned |= kept.is_err();
            kept.map_err(failed(LogOp::Identity))?;
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
impl Store for LeafStore {
    fn info(&self) -> StoreInfo {
        StoreInfo {
            backend: "planted leaves".into(),
            durability: Durability::PowerLoss,
            atomic_batch: false,
            may_block: true,
            detects: Detects::Nothing,
            sync_verb: "fsync".into(),
            format_version: 1,
        }
    }

    async fn write(&mut self, batch: WriteBatch) -> Result<(), LogError> {
        self.check_poison(LogOp::Write)?;
        let before = self.memory.bounds();
        self.memory.write(batch.clone()).await?;
        let kept = self.try_keep(&batch, before).await;
        self.is_poisoned |= kept.is_err();
        kept.map_err(failed(LogOp::Write))
    }

    async fn recover(&mut self) -> Result<Recovered, LogError> {
        self.memory.recover().await
    }
}
