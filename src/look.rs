//! Inspects the log of a member that is not running, for any backend.

use std::fs;
use std::io::Read;
use std::path::Path;

use raft_core::storage::Inspect;

use crate::open::{LogConfig, OpenError};

/// The beginnings of file names that identify a backend's directory.
const MARKS: [(&str, &str); 3] = [("seg-", "file"), ("spare-", "file"), ("log.db", "sqlite")];

/// The directory that holds the database of a RocksDB log.
const ROCKSDB_MARK: &str = "db";

/// The small file that backends keep beside the log, and its first bytes for each backend.
const DURABLE_MARK: &str = "proof";
const DURABLE_MARK_MAGICS: [(&[u8; 8], &str); 3] =
    [(b"KTKPROVE", "file"), (b"KTKPROOF", "sqlite"), (b"KTKRPROF", "rocksdb")];

impl LogConfig {
    /// The log whose files are in a directory, recognized by their names.
    pub fn detect(dir: impl AsRef<Path>) -> Result<LogConfig, OpenError> {
        let dir = dir.as_ref();
        match backend_in(dir) {
            Some(name) => LogConfig::from_name(name, dir),
            None => Err(OpenError::NotALog { dir: dir.to_owned() }),
        }
    }

    /// Opens the log for inspection without changing a byte of it. The log must not be in use, and
    /// stays locked until the inspection is dropped; damage is part of the result. May read much of
    /// the log, so call it where blocking is allowed.
    pub fn inspect(&self) -> Result<Box<dyn Inspect>, OpenError> {
        match *self {
            #[cfg(feature = "memory")]
            LogConfig::Memory => Err(OpenError::Volatile),
            #[cfg(feature = "file")]
            LogConfig::File { ref dir, .. } => Ok(log_file::FileLog::inspect(dir)?),
            #[cfg(feature = "sqlite")]
            LogConfig::Sqlite { ref dir } => Ok(log_sqlite::SqliteLog::inspect(dir)?),
            #[cfg(feature = "rocksdb")]
            LogConfig::RocksDb { ref dir } => Ok(log_rocksdb::RocksLog::inspect(dir)?),
        }
    }
}

fn backend_in(dir: &Path) -> Option<&'static str> {
    let names: Vec<String> = fs::read_dir(dir)
        .ok()?
        .filter_map(|entry| Some(entry.ok()?.file_name().to_string_lossy().into_owned()))
        .collect();
    let is_marked = |(mark, _): &&(&str, &str)| names.iter().any(|name| name.starts_with(mark));
    match MARKS.iter().find(is_marked) {
        Some((_, backend)) => Some(backend),
        None if dir.join(ROCKSDB_MARK).is_dir() => Some("rocksdb"),
        None => backend_of_durable_mark(&dir.join(DURABLE_MARK)),
    }
}

/// The backend of a log of which only the durable mark is left.
fn backend_of_durable_mark(durable_mark: &Path) -> Option<&'static str> {
    let mut front = [0; 8];
    fs::File::open(durable_mark).ok()?.read_exact(&mut front).ok()?;
    DURABLE_MARK_MAGICS.iter().find(|(mark, _)| **mark == front).map(|(_, backend)| *backend)
}
