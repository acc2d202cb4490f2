//! The lock of a planted store of files, with planted bugs in the lock.

use std::collections::BTreeSet;
use std::fs::{self, File, OpenOptions};
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::sync::{Mutex, PoisonError};

use raft_core::storage::{LogError, LogErrorKind, LogOp};

use crate::bug::Bug;

/// A directory, identified by its device and inode number.
type Directory = (u64, u64);

/// The directories that are open in this process, for the bug that checks no other process.
static OPEN: Mutex<BTreeSet<Directory>> = Mutex::new(BTreeSet::new());

/// A lock on a directory until it is dropped.
pub enum Lock {
    /// A lock on a file in the directory, which the system releases with the file.
    File(#[expect(dead_code, reason = "it is held, not read")] File),
    /// An element of the list of this process.
    Process(Directory),
}

impl Lock {
    pub fn take(dir: &Path, bug: Option<Bug>) -> Result<Lock, LogError> {
        let in_use = || LogError::new(LogOp::Open, LogErrorKind::InUse);
        let failed = |error| LogError::io(LogOp::Open, error);
        if bug == Some(Bug::LockIsByProcess) {
            let metadata = fs::metadata(dir).map_err(failed)?;
            let directory = (metadata.dev(), metadata.ino());
            let mut open = OPEN.lock().unwrap_or_else(PoisonError::into_inner);
            return if open.insert(directory) {
                Ok(Lock::Process(directory))
            } else {
                Err(in_use())
            };
        }
        let name = match bug {
            // The path identifies the directory, so another path is another lock.
            Some(Bug::LockIsByPath) => dir.to_string_lossy().replace('/', "_"),
            _ => "lock".to_owned(),
        };
        let mut options = OpenOptions::new();
        options.read(true).write(true).create(true).truncate(false);
        let lock = options.open(dir.join(name)).map_err(failed)?;
        lock.try_lock().map_err(|_| in_use())?;
        Ok(Lock::File(lock))
    }
}

impl Drop for Lock {
    fn drop(&mut self) {
        if let Lock::Process(directory) = self {
            OPEN.lock().unwrap_or_else(PoisonError::into_inner).remove(directory);
        }
    }
}
