//! A log of this project as a writer, opened by its name.

use std::collections::VecDeque;
use std::path::{Path, PathBuf};
use std::time::Instant;

use bytes::Bytes;
use kontiki::storage::{Store, WriteBatch};
use kontiki::types::{Entry, EntryId, EntryKind, LogIndex, Term};

use super::{KEPT_BYTES, PURGE_STEP_BYTES, Writer, sqlite_wal};
use crate::lane::{Pending, Role, Subject};
use crate::named_log::open;
use crate::workload::incompressible;
use crate::{BenchError, Stop};

/// The term of all entries.
const TERM: Term = Term::new(1);

/// The payload of an entry that fills a log before it is measured, and the number of entries in a
/// batch.
const FILL_ENTRY_BYTES: usize = 64 << 10;
const FILL_BATCH: u64 = 16;

/// A store that accepts groups of entries and is kept at a bounded length.
pub struct StoreWriter {
    store: Box<dyn Store>,
    backend: String,
    dir: PathBuf,
    payload: Bytes,
    last: LogIndex,
    batch: WriteBatch,
    /// The ends of ranges of [`PURGE_STEP_BYTES`] that are not purged yet, the oldest first.
    steps: VecDeque<LogIndex>,
    bytes_in_step: u64,
}

impl StoreWriter {
    /// A new log of this backend in `dir`, for entries of this size.
    pub fn create(backend: &str, dir: &Path, size: usize) -> Result<StoreWriter, BenchError> {
        let dir = dir.join(backend);
        let store = open(backend, dir.clone())?;
        Ok(StoreWriter {
            store,
            backend: backend.to_owned(),
            dir,
            payload: Bytes::from(incompressible(size)),
            last: LogIndex::ZERO,
            batch: WriteBatch::default(),
            steps: VecDeque::new(),
            bytes_in_step: 0,
        })
    }

    /// Writes this many bytes of payload in large pieces, so that a log in use is measured: its
    /// segments are recycled, its tables have levels. Writes fewer if the deadline `until` comes
    /// first. Returns the number of bytes written.
    pub async fn fill(
        &mut self,
        bytes: u64,
        until: Instant,
        stop: &Stop,
    ) -> Result<u64, BenchError> {
        let payload = std::mem::replace(&mut self.payload, incompressible(FILL_ENTRY_BYTES).into());
        let mut filled = 0;
        while filled < bytes && Instant::now() < until {
            stop.check()?;
            self.prepare(FILL_BATCH);
            self.write().await?;
            filled += FILL_BATCH * FILL_ENTRY_BYTES as u64;
        }
        self.payload = payload;
        Ok(filled)
    }

    /// Forms a group that truncates the last entry and appends another one in its place.
    pub fn prepare_rewrite(&mut self) {
        self.last = self.last.prev();
        self.prepare(1);
        self.batch.truncate_after = Some(self.last.prev());
    }

    /// Forms a group that purges the first entry and appends one.
    pub fn prepare_with_purge(&mut self) {
        let first = self.store.bounds().first();
        self.prepare(1);
        self.batch.purge_upto = Some(EntryId::new(TERM, first));
    }

    /// The log itself.
    pub fn into_store(self) -> Box<dyn Store> {
        self.store
    }

    /// What to purge with the next group, if the log is long enough.
    fn purge(&mut self) -> Option<EntryId> {
        let kept = KEPT_BYTES / PURGE_STEP_BYTES;
        let upto = (self.steps.len() as u64 > kept).then(|| self.steps.pop_front())?;
        upto.map(|index| EntryId::new(TERM, index))
    }
}

#[async_trait::async_trait]
impl Writer for StoreWriter {
    fn subject(&self) -> Subject {
        let info = self.store.info();
        Subject {
            role: Role::Store,
            name: self.backend.clone(),
            durability: info.durability.to_string(),
            sync_verb: info.sync_verb.into_owned(),
            members: 1,
        }
    }

    fn prepare(&mut self, entries: u64) {
        let first = self.last.get() + 1;
        let entry = |index| {
            let id = EntryId::new(TERM, LogIndex::new(index));
            Entry::new(id, EntryKind::Command, self.payload.clone())
        };
        let append = (first..first + entries).map(entry).collect();
        self.last = self.last.plus(entries);
        self.batch = WriteBatch { purge_upto: self.purge(), ..WriteBatch::of_entries(append) };
        // An entry without payload needs space, too.
        self.bytes_in_step += entries * (self.payload.len() as u64).max(64);
        if self.bytes_in_step >= PURGE_STEP_BYTES {
            self.bytes_in_step = 0;
            self.steps.push_back(self.last);
        }
    }

    async fn write(&mut self) -> Result<(), BenchError> {
        let batch = std::mem::take(&mut self.batch);
        let written = self.store.write(batch).await;
        written
            .map_err(|error| BenchError::failed(format!("writing the {} log", self.backend), error))
    }

    fn dir(&self) -> Option<PathBuf> {
        Some(self.dir.clone())
    }

    fn pending(&self) -> Option<Pending> {
        sqlite_wal::pending(&self.dir)
    }
}

#[cfg(all(test, feature = "memory"))]
mod tests {
    use std::time::Duration;

    use super::*;

    #[tokio::test]
    async fn a_log_is_kept_at_a_bounded_length() {
        let mut writer =
            StoreWriter::create("memory", Path::new("unused"), 1 << 20).expect("a log");
        for _ in 0..(KEPT_BYTES >> 19) {
            writer.prepare(1);
            writer.write().await.expect("written");
        }
        let (later, stop) = (Instant::now() + Duration::from_secs(3600), Stop::new());
        let filled = writer.fill(16 << 20, later, &stop).await.expect("filled");
        assert_eq!((filled, writer.payload.len()), (16 << 20, 1 << 20));
        let bounds = writer.store.bounds();
        let mut reader = writer.store.reader();
        let all = bounds.first()..bounds.last.index.next();
        let kept = reader.read(all, u64::MAX).await.expect("readable");
        let kept: u64 = kept.iter().map(Entry::size).sum();
        assert!((KEPT_BYTES..=KEPT_BYTES + 2 * PURGE_STEP_BYTES).contains(&kept), "{kept}");
    }

    #[tokio::test]
    async fn a_log_is_filled_until_the_deadline() {
        let mut writer = StoreWriter::create("memory", Path::new("unused"), 8).expect("a log");
        let (now, stop) = (Instant::now(), Stop::new());
        assert_eq!(writer.fill(1 << 40, now, &stop).await.ok(), Some(0));
        let soon = now + Duration::from_millis(50);
        let filled = writer.fill(1 << 40, soon, &stop).await.expect("filled");
        assert!(filled < 1 << 40 && writer.payload.len() == 8);
        stop.ask();
        let later = now + Duration::from_secs(3600);
        let stopped = writer.fill(1 << 40, later, &stop).await;
        assert!(matches!(stopped, Err(BenchError::Stopped)));
    }

    #[tokio::test]
    async fn the_last_entry_is_rewritten_and_the_first_purged() {
        let mut writer = StoreWriter::create("memory", Path::new("unused"), 8).expect("a log");
        for _ in 0..2 {
            writer.prepare(2);
            writer.write().await.expect("written");
        }
        writer.prepare_rewrite();
        writer.write().await.expect("written");
        writer.prepare_with_purge();
        writer.write().await.expect("written");
        let bounds = writer.into_store().bounds();
        assert_eq!((bounds.boundary.index.get(), bounds.last.index.get()), (1, 5));
    }
}
