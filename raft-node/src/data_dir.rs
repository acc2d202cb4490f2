//! A member's directory: `DIR/{lock, log/, peers, snapshots/}`.
//!
//! The lock keeps two processes from running as the same member; the operating system releases it
//! when the process ends, however it ends. The member's identity is in its store alone.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use owned_dir::Lock;
use thiserror::Error;

use crate::member::admission::PeerRecord;
use crate::peers_file::PeersFile;

const LOCK: &str = "lock";
const LOG: &str = "log";
const SNAPSHOTS: &str = "snapshots";

/// A member's directory, locked until this value is dropped.
#[derive(Debug)]
pub struct DataDir {
    path: PathBuf,
    /// `None` for a directory that is only inspected and has no lock file.
    _lock: Option<Lock>,
}

/// Why a directory cannot be used. Nothing in it was changed; the directory and its lock file may
/// have been created.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum DataDirError {
    /// Another process has locked it.
    #[error(
        "{} is in use by another process (its lock is {}): stop that one first, or choose another \
         directory",
        .0.display(), .0.join(LOCK).display()
    )]
    InUse(PathBuf),
    /// The operating system reported an error.
    #[error("{} cannot be used as a data directory: {source}", .path.display())]
    Io {
        /// The directory or the file in it.
        path: PathBuf,
        /// The operating system's error.
        source: io::Error,
    },
}

impl DataDir {
    /// Opens or creates a member's directory, and locks it.
    pub fn open(path: impl Into<PathBuf>) -> Result<DataDir, DataDirError> {
        let path = path.into();
        owned_dir::make(&path).map_err(|error| failed(&path, error))?;
        match Lock::own(&path.join(LOCK)) {
            Ok(lock) => Ok(DataDir { path, _lock: Some(lock) }),
            Err(error) => Err(not_locked(path, error)),
        }
    }

    /// Locks an existing directory against members, to inspect it: nothing is created or changed.
    /// Others may inspect it at the same time.
    pub fn look(path: impl Into<PathBuf>) -> Result<DataDir, DataDirError> {
        let path = path.into();
        fs::read_dir(&path).map_err(|error| failed(&path, error))?;
        match Lock::share(&path.join(LOCK)) {
            Ok(lock) => Ok(DataDir { path, _lock: lock }),
            Err(error) => Err(not_locked(path, error)),
        }
    }

    /// The directory itself.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The record of the peers' stores, for [`NodeConfig::peers`](crate::NodeConfig). Only for a
    /// member whose own store survives a restart: the peers of a member with a volatile store have
    /// volatile stores, too, and would be refused after each of their restarts.
    pub fn peers(&self) -> Arc<dyn PeerRecord> {
        Arc::new(PeersFile::in_dir(&self.path))
    }

    /// The path of the snapshots, for [`NodeConfig::snapshots`](crate::NodeConfig).
    pub fn snapshots(&self) -> PathBuf {
        self.path.join(SNAPSHOTS)
    }

    /// The path of the log.
    pub fn log(&self) -> PathBuf {
        self.path.join(LOG)
    }
}

fn not_locked(path: PathBuf, error: io::Error) -> DataDirError {
    match error.kind() {
        io::ErrorKind::WouldBlock => DataDirError::InUse(path),
        _ => failed(&path.join(LOCK), error),
    }
}

fn failed(path: &Path, source: io::Error) -> DataDirError {
    DataDirError::Io { path: path.to_owned(), source }
}
