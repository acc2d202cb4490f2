//! A store in one file, a journal: one synced record for each batch; the log is also kept in
//! memory.
//!
//! A record is a change and its CRC, which includes the record's number. The first record that does
//! not match ends the journal: its write was torn. Each opening writes the journal's content to a
//! new file, which replaces the old one; so does a change once the file has grown large.
//! `docs/write-a-backend.md` explains it step by step.

use std::fs::{self, File};
use std::io::{self, Write};
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::{Arc, RwLock};

use async_trait::async_trait;
use crc::{CRC_32_ISCSI, Crc};
use kontiki::storage::{
    BatchStore, Detects, Durability, Gate, LogBounds, LogError, LogErrorKind, LogOp, LogReader,
    ReadBudget, StableState, StoreInfo, WriteBatch,
};
use kontiki::types::{Entry, EntryId, Identity, LogIndex, Term};
use postcard::{take_from_bytes_crc32, to_allocvec_crc32};
use serde::{Deserialize, Serialize};

static CRC: Crc<u32> = Crc::<u32>::new(&CRC_32_ISCSI);

/// The body of a record. The whole state of a log is also one, with the boundary as its reset.
#[derive(Default, Serialize, Deserialize)]
struct Change {
    identity: Option<Identity>,
    batch: WriteBatch,
}

/// The state, shared by the store and its readers.
#[derive(Clone)]
struct Shared(Arc<RwLock<Change>>);

pub struct Journal {
    state: Shared,
    /// The file and its number of records; `None` after a failure, when its content is unknown.
    file: Option<(File, u32)>,
    /// The journal's directory, and the length at which the journal is rewritten.
    dir: PathBuf,
    limit: u64,
    _lock: File,
}

/// How much a journal may grow beyond twice its length after the last rewrite.
const SPARE_BYTES: u64 = 64 << 10;

impl Journal {
    /// Opens the journal in a directory, or creates one there.
    pub fn open(dir: &Path) -> Result<Journal, LogError> {
        let failed = |error| LogError::io(LogOp::Open, error).at(dir.display().to_string());
        fs::create_dir_all(dir).map_err(failed)?;
        let lock = File::create(dir.join("lock")).map_err(failed)?;
        let in_use = |error| LogError::new(LogOp::Open, LogErrorKind::InUse).because(error);
        lock.try_lock().map_err(in_use)?;
        let (state, file) = rewrite(dir).map_err(failed)?;
        let limit = limit(&file).map_err(failed)?;
        let (state, file) = (Shared(Arc::new(state.into())), Some((file, 1)));
        Ok(Journal { state, file, dir: dir.to_owned(), limit, _lock: lock })
    }

    /// Writes and syncs a change; readers see it only after that.
    fn commit(&mut self, op: LogOp, change: Change) -> Result<(), LogError> {
        let file = self.file.take();
        let (mut file, count) = file.ok_or_else(|| LogError::new(op, LogErrorKind::Poisoned))?;
        write_record(&mut file, count, &change).map_err(|error| LogError::io(op, error))?;
        self.state.0.write().unwrap().apply(change);
        let length = file.metadata().map_err(|error| LogError::io(op, error))?.len();
        if length <= self.limit {
            self.file = Some((file, count.wrapping_add(1)));
            return Ok(());
        }
        let (_, file) = rewrite(&self.dir).map_err(|error| LogError::io(op, error))?;
        self.limit = limit(&file).map_err(|error| LogError::io(op, error))?;
        self.file = Some((file, 1));
        Ok(())
    }
}

/// Reads the journal and writes its content to a new file, whose name is durable too.
fn rewrite(dir: &Path) -> io::Result<(Change, File)> {
    let (path, new_path) = (dir.join("journal"), dir.join("journal.new"));
    let bytes = if path.exists() { fs::read(&path)? } else { Vec::new() };
    let (mut state, mut rest, mut count) = (Change::default(), &bytes[..], 0);
    while let Ok((next, after)) = take_from_bytes_crc32(rest, CRC.digest_with_initial(count)) {
        state.apply(next);
        (rest, count) = (after, count.wrapping_add(1));
    }
    let mut file = File::create(&new_path)?;
    write_record(&mut file, 0, &state)?;
    fs::rename(&new_path, &path)?;
    File::open(dir)?.sync_all()?;
    File::open(dir.join(".."))?.sync_all()?;
    Ok((state, file))
}

fn limit(file: &File) -> io::Result<u64> {
    Ok(2 * file.metadata()?.len() + SPARE_BYTES)
}

fn write_record(file: &mut File, count: u32, change: &Change) -> io::Result<()> {
    let record = to_allocvec_crc32(change, CRC.digest_with_initial(count));
    file.write_all(&record.map_err(io::Error::other)?)?;
    file.sync_data()
}

impl Change {
    fn apply(&mut self, Change { identity, batch: next }: Change) {
        self.identity = identity.or(self.identity);
        let all = &mut self.batch;
        all.hard_state = next.hard_state.or(all.hard_state);
        if next.reset.is_some() {
            (all.reset, all.append) = (next.reset, Vec::new());
        }
        if let Some(last) = next.truncate_after {
            all.append.retain(|entry| entry.id.index <= last);
        }
        all.append.extend(next.append);
        let boundary = all.reset.unwrap_or_default();
        if let Some(upto) = next.purge_upto.filter(|it| it.index > boundary.index) {
            all.append.retain(|entry| entry.id.index > upto.index);
            all.reset = Some(upto);
        }
    }

    fn bounds(&self) -> LogBounds {
        let boundary = self.batch.reset.unwrap_or_default();
        LogBounds { boundary, last: self.batch.append.last().map_or(boundary, |entry| entry.id) }
    }

    fn range(&self, range: Range<LogIndex>) -> Result<&[Entry], LogError> {
        self.bounds().check_read(&range)?;
        let place = |index: LogIndex| index.since(self.bounds().first()) as usize;
        Ok(self.batch.append.get(place(range.start)..place(range.end)).unwrap_or_default())
    }

    fn term(&self, index: LogIndex) -> Result<Term, LogError> {
        let EntryId { term, index: before } = self.bounds().boundary;
        Ok(if index == before { term } else { self.range(index..index.next())?[0].id.term })
    }
}

#[async_trait]
impl LogReader for Shared {
    async fn read(&mut self, range: Range<LogIndex>, max: u64) -> Result<Vec<Entry>, LogError> {
        let (state, mut budget) = (self.0.read().unwrap(), ReadBudget::new(max));
        let entries = state.range(range)?.iter();
        Ok(entries.take_while(|entry| budget.takes(entry.size())).cloned().collect())
    }
    async fn term(&mut self, index: LogIndex) -> Result<Term, LogError> {
        self.0.read().unwrap().term(index)
    }
}

#[async_trait]
impl BatchStore for Journal {
    fn declaration(&self) -> StoreInfo {
        StoreInfo {
            backend: "journal".into(),
            durability: Durability::PowerLoss,
            atomic_batch: true,
            may_block: true,
            detects: Detects::Payload,
            sync_verb: "fdatasync".into(),
            format_version: 1,
        }
    }
    fn log_bounds(&self) -> LogBounds {
        self.state.0.read().unwrap().bounds()
    }
    fn log_reader(&self) -> Box<dyn LogReader> {
        Box::new(self.state.clone())
    }
    fn stable_state(&self, _: LogOp) -> Result<StableState, LogError> {
        let state = self.state.0.read().unwrap();
        let hard_state = state.batch.hard_state.unwrap_or_default();
        Ok(StableState { identity: state.identity, hard_state })
    }
    fn check_usable(&self, op: LogOp) -> Result<(), LogError> {
        self.file.as_ref().map(drop).ok_or_else(|| LogError::new(op, LogErrorKind::Poisoned))
    }
    async fn change(&mut self, op: LogOp, batch: WriteBatch) -> Result<(), LogError> {
        let state = self.state.clone();
        let gate = Gate::new(self.log_bounds(), self.stable_state(op)?.hard_state);
        gate.pass(&batch, |index| state.0.read().unwrap().term(index))?;
        self.commit(op, Change { identity: None, batch })
    }
    async fn write_identity(&mut self, identity: Identity) -> Result<(), LogError> {
        let (identity, batch) = (Some(identity), WriteBatch::default());
        self.commit(LogOp::Identity, Change { identity, batch })
    }
}
