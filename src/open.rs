//! Chooses a log at start-up from a name.
//!
//! It is a convenience: every constructor of a member also takes a boxed store of any other kind.

use std::path::Path;

use raft_core::storage::{LogError, Store};
use thiserror::Error;

/// The backends of this version; a feature of the same name compiles each of them in.
const KNOWN: [&str; 4] = ["memory", "file", "sqlite", "rocksdb"];

/// A log to open.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum LogConfig {
    /// In memory: the log ends with the process.
    #[cfg(feature = "memory")]
    Memory,
    /// In flat files in this directory, which is created if it is missing.
    #[cfg(feature = "file")]
    File {
        /// The directory of the log's files.
        dir: std::path::PathBuf,
        /// What writes the files: io_uring or a thread.
        io: log_file::Io,
    },
    /// In an SQLite database in this directory, which is created if it is missing.
    #[cfg(feature = "sqlite")]
    Sqlite {
        /// The directory of the database.
        dir: std::path::PathBuf,
    },
    /// In a RocksDB database in this directory, which is created if it is missing.
    #[cfg(feature = "rocksdb")]
    RocksDb {
        /// The directory of the database.
        dir: std::path::PathBuf,
    },
}

/// Why a log could not be opened.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum OpenError {
    /// No backend has this name.
    #[error("there is no log backend '{name}'; this build has: {}", .compiled.join(", "))]
    Unknown {
        /// The name.
        name: String,
        /// The backends of this build.
        compiled: Vec<&'static str>,
    },
    /// The backend exists, but was not compiled in.
    #[error(
        "the log backend '{name}' is not in this build: build with `--features {name}`; this build \
         has: {}",
        .compiled.join(", ")
    )]
    NotCompiledIn {
        /// The name of the backend and of its feature.
        name: String,
        /// The backends of this build.
        compiled: Vec<&'static str>,
    },
    /// There is no such way to write a log.
    #[error("'{name}' is not a way to write a log: choose auto, ring or thread")]
    UnknownIo {
        /// The requested way.
        name: String,
    },
    /// Only the file log has a choice of how it is written.
    #[error("only the file log can be written by '{name}'")]
    NoIo {
        /// The requested way.
        name: String,
    },
    /// The directory contains no log.
    #[error(
        "no log is in {}: name a member's directory or its log/, and the backend, as in file:DIR",
        .dir.display()
    )]
    NotALog {
        /// The directory.
        dir: std::path::PathBuf,
    },
    /// The backend keeps no data beyond its process.
    #[error("the memory log keeps nothing on a disk: there is nothing to inspect or to copy")]
    Volatile,
    /// The store could not be opened.
    #[error(transparent)]
    Store(#[from] LogError),
}

impl LogConfig {
    /// The backends of this build.
    pub fn compiled() -> Vec<&'static str> {
        let memory = cfg!(feature = "memory").then_some("memory");
        let file = cfg!(feature = "file").then_some("file");
        let sqlite = cfg!(feature = "sqlite").then_some("sqlite");
        let rocksdb = cfg!(feature = "rocksdb").then_some("rocksdb");
        memory.into_iter().chain(file).chain(sqlite).chain(rocksdb).collect()
    }

    /// The log of the backend with this name; its files, if it has any, are in `dir`.
    #[cfg_attr(
        not(any(feature = "file", feature = "sqlite", feature = "rocksdb")),
        expect(unused_variables, reason = "no backend of this build has files")
    )]
    pub fn from_name(name: &str, dir: impl AsRef<Path>) -> Result<LogConfig, OpenError> {
        match name {
            #[cfg(feature = "memory")]
            "memory" => Ok(LogConfig::Memory),
            #[cfg(feature = "file")]
            "file" => Ok(LogConfig::File { dir: dir.as_ref().to_owned(), io: log_file::Io::Auto }),
            #[cfg(feature = "sqlite")]
            "sqlite" => Ok(LogConfig::Sqlite { dir: dir.as_ref().to_owned() }),
            #[cfg(feature = "rocksdb")]
            "rocksdb" => Ok(LogConfig::RocksDb { dir: dir.as_ref().to_owned() }),
            _ => Err(unavailable(name)),
        }
    }

    /// The same log, written by a `thread` for each member or through io_uring (`ring`); `auto`
    /// uses io_uring where submitting a write does not block. Only the file log has this choice.
    pub fn with_io(self, name: &str) -> Result<LogConfig, OpenError> {
        if !["auto", "ring", "thread"].contains(&name) {
            return Err(OpenError::UnknownIo { name: name.to_owned() });
        }
        match self {
            #[cfg(feature = "file")]
            LogConfig::File { dir, .. } => {
                let io = match name {
                    "ring" => log_file::Io::Ring,
                    "thread" => log_file::Io::Thread,
                    _ => log_file::Io::Auto,
                };
                Ok(LogConfig::File { dir, io })
            }
            // Without other backends in this build, the pattern is unreachable.
            #[allow(unreachable_patterns)]
            _ => Err(OpenError::NoIo { name: name.to_owned() }),
        }
    }

    /// The backend's name, as [`LogConfig::from_name`] takes it.
    pub fn name(&self) -> &'static str {
        match *self {
            #[cfg(feature = "memory")]
            LogConfig::Memory => "memory",
            #[cfg(feature = "file")]
            LogConfig::File { .. } => "file",
            #[cfg(feature = "sqlite")]
            LogConfig::Sqlite { .. } => "sqlite",
            #[cfg(feature = "rocksdb")]
            LogConfig::RocksDb { .. } => "rocksdb",
        }
    }

    /// Whether the log outlives its process.
    pub fn is_durable(&self) -> bool {
        // Without a backend the type has no values, and only a match on the place itself, not on a
        // reference to it, may be empty.
        match *self {
            #[cfg(feature = "memory")]
            LogConfig::Memory => false,
            #[cfg(feature = "file")]
            LogConfig::File { .. } => true,
            #[cfg(feature = "sqlite")]
            LogConfig::Sqlite { .. } => true,
            #[cfg(feature = "rocksdb")]
            LogConfig::RocksDb { .. } => true,
        }
    }

    /// Opens the log. May read much of it, so call it where blocking is allowed.
    pub fn open(&self) -> Result<Box<dyn Store>, OpenError> {
        match *self {
            #[cfg(feature = "memory")]
            LogConfig::Memory => Ok(Box::new(log_memory::MemoryLog::new())),
            #[cfg(feature = "file")]
            LogConfig::File { ref dir, io } => {
                let config = log_file::FileLogConfig { io, ..log_file::FileLogConfig::new(dir) };
                Ok(Box::new(log_file::FileLog::open(config)?))
            }
            #[cfg(feature = "sqlite")]
            LogConfig::Sqlite { ref dir } => {
                let config = log_sqlite::SqliteLogConfig::new(dir);
                Ok(Box::new(log_sqlite::SqliteLog::open(config)?))
            }
            #[cfg(feature = "rocksdb")]
            LogConfig::RocksDb { ref dir } => {
                let config = log_rocksdb::RocksLogConfig::new(dir);
                Ok(Box::new(log_rocksdb::RocksLog::open(config)?))
            }
        }
    }
}

/// The error for a name that no log of this build has.
fn unavailable(name: &str) -> OpenError {
    let (compiled, owned) = (LogConfig::compiled(), name.to_owned());
    match name {
        _ if KNOWN.contains(&name) => OpenError::NotCompiledIn { name: owned, compiled },
        _ => OpenError::Unknown { name: owned, compiled },
    }
}
