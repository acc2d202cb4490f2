//! A member's directory: `DIR/{lock, log/, snapshots/}`.
//!
//! The lock keeps two processes from one member's memory; the operating system lets go of it when
//! the process ends, however it ends. Who the member is stands in its store alone. `snapshots/` is
//! made once there are any.

use std::fs::{self, File, TryLockError};
use std::io;
use std::path::{Path, PathBuf};

use thiserror::Error;

const LOCK: &str = "lock";
const LOG: &str = "log";

/// A member's directory, locked while this lives.
#[derive(Debug)]
pub struct DataDir {
    path: PathBuf,
    /// A directory that is only looked at may be without.
    _lock: Option<File>,
}

/// Why a directory cannot be a member's. Nothing was changed but, perhaps, created.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum DataDirError {
    /// Another process has it.
    #[error(
        "{} is in use by another process (its lock is {}): stop that one first, or choose another \
         directory",
        .0.display(), .0.join(LOCK).display()
    )]
    InUse(PathBuf),
    /// The operating system refuses.
    #[error("{} cannot be used as a data directory: {source}", .path.display())]
    Io {
        /// The directory or the file in it.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
}

impl DataDir {
    /// Opens or makes a member's directory, and locks it.
    pub fn open(path: impl Into<PathBuf>) -> Result<DataDir, DataDirError> {
        let path = path.into();
        let failed = |path: &Path, source| DataDirError::Io { path: path.to_owned(), source };
        make_durable(&path).map_err(|error| failed(&path, error))?;
        let lock_path = path.join(LOCK);
        let lock = File::options().create(true).append(true).open(&lock_path);
        let lock = lock.map_err(|error| failed(&lock_path, error))?;
        match lock.try_lock() {
            Ok(()) => Ok(DataDir { path, _lock: Some(lock) }),
            Err(TryLockError::WouldBlock) => Err(DataDirError::InUse(path)),
            Err(TryLockError::Error(error)) => Err(failed(&lock_path, error)),
        }
    }

    /// Keeps members away from a directory that is there, to look at it: nothing is made or
    /// changed. Others may look at the same time.
    pub fn look(path: impl Into<PathBuf>) -> Result<DataDir, DataDirError> {
        let path = path.into();
        let failed = |path: &Path, source| DataDirError::Io { path: path.to_owned(), source };
        fs::read_dir(&path).map_err(|error| failed(&path, error))?;
        let lock_path = path.join(LOCK);
        let lock = match File::open(&lock_path) {
            Ok(lock) => lock,
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                return Ok(DataDir { path, _lock: None });
            }
            Err(error) => return Err(failed(&lock_path, error)),
        };
        match lock.try_lock_shared() {
            Ok(()) => Ok(DataDir { path, _lock: Some(lock) }),
            Err(TryLockError::WouldBlock) => Err(DataDirError::InUse(path)),
            Err(TryLockError::Error(error)) => Err(failed(&lock_path, error)),
        }
    }

    /// The directory itself.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Where the log belongs.
    pub fn log(&self) -> PathBuf {
        self.path.join(LOG)
    }
}

/// Makes a directory, each missing part of the way to it durable: a log below it syncs no more than
/// its own name.
fn make_durable(dir: &Path) -> io::Result<()> {
    let parent = match dir.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent,
        _ => Path::new("."),
    };
    if dir.is_dir() {
        // Who made it may have ended before it was durable. A directory that may not be read is
        // not that of who makes members in it.
        return File::open(parent).map_or(Ok(()), |parent| parent.sync_all());
    }
    make_durable(parent)?;
    match fs::create_dir(dir) {
        Err(error) if error.kind() != io::ErrorKind::AlreadyExists => Err(error),
        _ => File::open(parent)?.sync_all(),
    }
}
