//! A directory of one format: its names are known, it is locked, and unknown files are refused.
//!
//! An owner locks the directory, removes the unfinished files that a crash left, and then works
//! with its files by name. A reader shares the lock with other readers, and changes nothing. Both
//! refuse a directory that holds any other name, since it is probably not meant to be of this
//! format.
//!
//! Deliberately absent: the content of the files, and formats whose names are not a fixed list.

use std::fmt;
use std::fs::{self, File, OpenOptions};
use std::io;
use std::path::{Path, PathBuf};

use crate::{Lock, is_of_the_file_system, make, put_whole};

/// The name of the file that is locked.
const LOCK_NAME: &str = "lock";

/// The names that a format uses in its directory, beside `lock`.
#[derive(Clone, Copy, Debug)]
pub struct Names {
    /// The names of the format's files.
    pub known: &'static [&'static str],
    /// The names of unfinished files or directories, which a crash may leave. An owner removes
    /// them.
    pub unfinished: &'static [&'static str],
}

/// Why a directory cannot be used. Nothing was changed, except that the directory may have been
/// created.
#[derive(Debug)]
pub enum DirectoryError {
    /// Another owner or reader has the lock. It may be free later.
    InUse(PathBuf),
    /// It holds this file or directory, which is not of the format.
    ForeignFile(PathBuf),
    /// The operating system's error for this path.
    Io(PathBuf, io::Error),
}

/// A locked directory. Dropping it releases the lock.
#[derive(Debug)]
pub struct Directory {
    path: PathBuf,
    is_read_only: bool,
    /// A directory that is only read may have no lock file.
    _lock: Option<Lock>,
}

impl Directory {
    /// Creates the directory if it is missing, locks it, refuses one that holds unknown files, and
    /// removes the unfinished files that a crash left.
    pub fn own(path: &Path, names: Names) -> Result<Directory, DirectoryError> {
        let failed = |error| DirectoryError::Io(path.to_owned(), error);
        make(path).map_err(failed)?;
        let path = fs::canonicalize(path).map_err(failed)?;
        let lock = Lock::own(&path.join(LOCK_NAME)).map_err(|error| not_locked(&path, error))?;
        let directory = Directory { path, is_read_only: false, _lock: Some(lock) };
        for path in directory.unfinished(names)? {
            let removed =
                if path.is_dir() { fs::remove_dir_all(&path) } else { fs::remove_file(&path) };
            removed.map_err(|error| DirectoryError::Io(path, error))?;
        }
        Ok(directory)
    }

    /// Opens a directory that must not be changed. Its lock is taken only if the lock file exists,
    /// and is shared with other readers.
    pub fn look(path: &Path, names: Names) -> Result<Directory, DirectoryError> {
        let failed = |error| DirectoryError::Io(path.to_owned(), error);
        let path = fs::canonicalize(path).map_err(failed)?;
        let lock = Lock::share(&path.join(LOCK_NAME)).map_err(|error| not_locked(&path, error))?;
        let directory = Directory { path, is_read_only: true, _lock: lock };
        directory.unfinished(names)?;
        Ok(directory)
    }

    /// The unfinished files that a crash left. An unknown name is an error.
    fn unfinished(&self, names: Names) -> Result<Vec<PathBuf>, DirectoryError> {
        let failed = |error| DirectoryError::Io(self.path.clone(), error);
        let mut unfinished = Vec::new();
        for entry in fs::read_dir(&self.path).map_err(failed)? {
            let entry = entry.map_err(failed)?;
            let name = entry.file_name();
            let name = name.to_string_lossy();
            let is_known = names.known.contains(&&*name) || name == LOCK_NAME;
            if names.unfinished.contains(&&*name) {
                unfinished.push(entry.path());
            } else if !is_known && !is_of_the_file_system(&name) {
                return Err(DirectoryError::ForeignFile(entry.path()));
            }
        }
        Ok(unfinished)
    }

    /// The directory itself: an absolute path without symbolic links.
    pub fn root(&self) -> &Path {
        &self.path
    }

    /// The path of a name in it.
    pub fn path(&self, name: &str) -> PathBuf {
        self.path.join(name)
    }

    /// Whether the directory must not be changed; its files are then opened for reading only.
    pub fn is_read_only(&self) -> bool {
        self.is_read_only
    }

    /// Whether the directory holds this name.
    pub fn has(&self, name: &str) -> bool {
        self.path(name).exists()
    }

    /// Opens a file for reading, and for writing if this is the owner; `None` if it is missing.
    pub fn file(&self, name: &str) -> io::Result<Option<File>> {
        let mut options = OpenOptions::new();
        match options.read(true).write(!self.is_read_only).open(self.path(name)) {
            Ok(file) => Ok(Some(file)),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Makes created, renamed and removed names in the directory durable.
    pub fn sync_names(&self) -> io::Result<()> {
        File::open(&self.path)?.sync_all()
    }

    /// Renames a file, durably; a file that had the new name is replaced.
    pub fn rename(&self, from: &str, to: &str) -> io::Result<()> {
        fs::rename(self.path(from), self.path(to))?;
        self.sync_names()
    }

    /// Replaces a small file completely: [`put_whole`].
    pub fn put_whole(&self, name: &str, bytes: &[u8]) -> io::Result<()> {
        put_whole(&self.path, name, bytes)
    }
}

fn not_locked(dir: &Path, error: io::Error) -> DirectoryError {
    let path = dir.join(LOCK_NAME);
    if error.kind() == io::ErrorKind::WouldBlock {
        DirectoryError::InUse(path)
    } else {
        DirectoryError::Io(path, error)
    }
}

impl fmt::Display for DirectoryError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            DirectoryError::InUse(path) => write!(f, "{} is in use elsewhere", path.display()),
            DirectoryError::ForeignFile(path) => {
                write!(f, "{} does not belong here", path.display())
            }
            DirectoryError::Io(path, error) => write!(f, "{}: {error}", path.display()),
        }
    }
}

impl std::error::Error for DirectoryError {}

#[cfg(test)]
mod tests {
    use super::*;

    const NAMES: Names = Names { known: &["log"], unfinished: &["new.log", "new"] };

    #[test]
    fn an_owner_removes_unfinished_files_and_refuses_unknown_ones() {
        let dir = tempfile::tempdir().expect("a directory");
        let at = |name: &str| dir.path().join(name);
        for name in ["log", "new.log"] {
            fs::write(at(name), name).expect("written");
        }
        fs::create_dir_all(at("new/sub")).expect("made");
        fs::create_dir(at("lost+found")).expect("made");
        drop(Directory::look(dir.path(), NAMES).expect("all names are known"));
        assert!(at("new.log").exists(), "a reader removes nothing");
        let owned = Directory::own(dir.path(), NAMES).expect("free");
        assert!(!at("new.log").exists() && !at("new").exists() && owned.has("log"));
        let taken = Directory::own(dir.path(), NAMES).expect_err("owned");
        assert!(matches!(taken, DirectoryError::InUse(path) if path.ends_with("lock")));
        drop(owned);
        fs::write(at("photo"), "").expect("written");
        let unknown = Directory::own(dir.path(), NAMES).expect_err("unknown");
        assert!(matches!(unknown, DirectoryError::ForeignFile(path) if path.ends_with("photo")));
    }

    #[test]
    fn a_reader_cannot_write() {
        let dir = tempfile::tempdir().expect("a directory");
        let owned = Directory::own(dir.path(), NAMES).expect("free");
        owned.put_whole("log", b"bytes").expect("written");
        assert!(owned.file("other").expect("looks").is_none());
        drop(owned);
        let reader = Directory::look(dir.path(), NAMES).expect("free");
        let file = reader.file("log").expect("opens").expect("there");
        assert!(file.set_len(1).is_err(), "it is open for reading only");
    }
}
