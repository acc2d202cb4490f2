//! Libraries alone: the same bytes in one synced write, without a log on top. A log that stores its
//! entries in such a library cannot be faster, and should be only a little slower.

use std::path::Path;

use super::Writer;
use crate::BenchError;
#[cfg(any(feature = "rocksdb", feature = "sqlite"))]
use crate::lane::{POWER_LOSS, Role, Subject};

/// The libraries of this build that belong to these backends, new and empty, in `dir`.
pub fn libraries_of(
    backends: &[String],
    dir: &Path,
    size: usize,
) -> Result<Vec<Box<dyn Writer>>, BenchError> {
    let library = |backend: &String| create(backend, dir, size).transpose();
    backends.iter().filter_map(library).collect()
}

/// The library of this backend, if it has one.
fn create(backend: &str, dir: &Path, size: usize) -> Result<Option<Box<dyn Writer>>, BenchError> {
    match (backend, dir, size) {
        #[cfg(feature = "sqlite")]
        ("sqlite", ..) => Ok(Some(Box::new(sqlite::PlainSqlite::create(dir, size)?))),
        #[cfg(feature = "rocksdb")]
        ("rocksdb", ..) => Ok(Some(Box::new(rocksdb::PlainRocksDb::create(dir, size)?))),
        _ => Ok(None),
    }
}

#[cfg(any(feature = "rocksdb", feature = "sqlite"))]
fn subject(name: &str, sync_verb: &str) -> Subject {
    Subject {
        role: Role::Library,
        name: name.to_owned(),
        durability: POWER_LOSS.to_owned(),
        sync_verb: sync_verb.to_owned(),
        members: 1,
    }
}

/// SQLite with a write-ahead log and `synchronous = FULL`, which syncs at each commit.
#[cfg(feature = "sqlite")]
pub mod sqlite {
    use std::path::{Path, PathBuf};

    use rusqlite::Connection;

    use super::{Subject, Writer, subject};
    use crate::BenchError;
    use crate::lane::Pending;
    use crate::log::{KEPT_BYTES, sqlite_wal};
    use crate::workload::incompressible;

    const SETTINGS: &str = "PRAGMA journal_mode = WAL; PRAGMA synchronous = FULL;
         CREATE TABLE plain (id INTEGER PRIMARY KEY, payload BLOB NOT NULL);";
    const INSERT: &str = "INSERT INTO plain VALUES (?1, ?2)";
    const DELETE: &str = "DELETE FROM plain WHERE id <= ?1";

    /// A table of payloads.
    pub struct PlainSqlite {
        database: Connection,
        dir: PathBuf,
        payload: Vec<u8>,
        last: i64,
        entries: u64,
    }

    impl PlainSqlite {
        /// A new database in `dir`.
        pub fn create(dir: &Path, size: usize) -> Result<PlainSqlite, BenchError> {
            let dir = dir.join("plain-sqlite");
            let made = std::fs::create_dir(&dir);
            made.map_err(|error| BenchError::of_path("making", &dir, error))?;
            let database = Connection::open(dir.join("plain.db")).map_err(failed)?;
            database.execute_batch(SETTINGS).map_err(failed)?;
            Ok(PlainSqlite { database, dir, payload: incompressible(size), last: 0, entries: 0 })
        }

        fn insert(&mut self) -> rusqlite::Result<()> {
            let transaction = self.database.transaction()?;
            {
                let mut insert = transaction.prepare_cached(INSERT)?;
                for _ in 0..self.entries {
                    self.last += 1;
                    insert.execute((self.last, &self.payload))?;
                }
            }
            // The same number of entries as the logs that it is compared with.
            let kept = (KEPT_BYTES / (self.payload.len() as u64).max(64)) as i64;
            if self.last > kept {
                transaction.prepare_cached(DELETE)?.execute([self.last - kept])?;
            }
            transaction.commit()
        }
    }

    #[async_trait::async_trait]
    impl Writer for PlainSqlite {
        fn subject(&self) -> Subject {
            subject("plain sqlite insert", "synchronous=FULL")
        }

        fn prepare(&mut self, entries: u64) {
            self.entries = entries;
        }

        async fn write(&mut self) -> Result<(), BenchError> {
            self.insert().map_err(failed)
        }

        fn dir(&self) -> Option<PathBuf> {
            Some(self.dir.clone())
        }

        fn pending(&self) -> Option<Pending> {
            sqlite_wal::pending(&self.dir)
        }
    }

    fn failed(error: rusqlite::Error) -> BenchError {
        BenchError::failed("using SQLite itself", error)
    }
}

/// RocksDB with one synced write batch for each group.
#[cfg(feature = "rocksdb")]
pub mod rocksdb {
    use std::path::{Path, PathBuf};

    use rocksdb::properties::{
        COMPACTION_PENDING, ESTIMATE_PENDING_COMPACTION_BYTES, MEM_TABLE_FLUSH_PENDING,
        NUM_RUNNING_COMPACTIONS, NUM_RUNNING_FLUSHES, SIZE_ALL_MEM_TABLES,
    };
    use rocksdb::{DB, Options, WriteBatch, WriteOptions};

    use super::{Subject, Writer, subject};
    use crate::BenchError;
    use crate::lane::Pending;
    use crate::log::{KEPT_BYTES, PURGE_STEP_BYTES};
    use crate::workload::incompressible;

    /// A database of payloads.
    pub struct PlainRocksDb {
        database: DB,
        dir: PathBuf,
        synced: WriteOptions,
        payload: Vec<u8>,
        last: u64,
        purged: u64,
        entries: u64,
    }

    impl PlainRocksDb {
        /// A new database in `dir`.
        pub fn create(dir: &Path, size: usize) -> Result<PlainRocksDb, BenchError> {
            let mut options = Options::default();
            options.create_if_missing(true);
            let dir = dir.join("plain-rocksdb");
            let database = DB::open(&options, &dir).map_err(failed)?;
            let mut synced = WriteOptions::default();
            synced.set_sync(true);
            let payload = incompressible(size);
            Ok(PlainRocksDb { database, dir, synced, payload, last: 0, purged: 0, entries: 0 })
        }

        fn put(&mut self) -> Result<(), rocksdb::Error> {
            let mut batch = WriteBatch::default();
            for _ in 0..self.entries {
                self.last += 1;
                batch.put(self.last.to_be_bytes(), &self.payload);
            }
            // The same number of entries as the logs that it is compared with, purged in steps of
            // the same size.
            let size = (self.payload.len() as u64).max(64);
            if self.last - self.purged > (KEPT_BYTES + PURGE_STEP_BYTES) / size {
                let upto = self.last - KEPT_BYTES / size;
                batch.delete_range(self.purged.to_be_bytes(), upto.to_be_bytes());
                self.purged = upto;
            }
            self.database.write_opt(batch, &self.synced)
        }
    }

    #[async_trait::async_trait]
    impl Writer for PlainRocksDb {
        fn subject(&self) -> Subject {
            subject("plain rocksdb put", "sync=true")
        }

        fn prepare(&mut self, entries: u64) {
            self.entries = entries;
        }

        async fn write(&mut self) -> Result<(), BenchError> {
            self.put().map_err(failed)
        }

        fn dir(&self) -> Option<PathBuf> {
            Some(self.dir.clone())
        }

        /// Tables that are being flushed or compacted, or that wait for it.
        fn pending(&self) -> Option<Pending> {
            let value = |name| self.database.property_int_value(name).ok().flatten().unwrap_or(0);
            let mut bytes = value(ESTIMATE_PENDING_COMPACTION_BYTES);
            let is_flushing = value(MEM_TABLE_FLUSH_PENDING) + value(NUM_RUNNING_FLUSHES) > 0;
            if is_flushing {
                bytes += value(SIZE_ALL_MEM_TABLES);
            }
            let is_compacting = value(COMPACTION_PENDING) + value(NUM_RUNNING_COMPACTIONS) > 0;
            let is_pending = is_flushing || is_compacting;
            is_pending
                .then_some(Pending { what: "tables that wait to be flushed or compacted", bytes })
        }
    }

    fn failed(error: rocksdb::Error) -> BenchError {
        BenchError::failed("using RocksDB itself", error)
    }
}
