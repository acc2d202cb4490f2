//! The directory of a log: its names, its lock, and the calls that make names durable.

use std::fs::File;
use std::io::{self, Read};
use std::path::{Path, PathBuf};

use owned_dir::{DirectoryError, Names, is_no_space, place_to_free};
use raft_core::storage::{LogError, LogErrorKind, LogOp};

use crate::durable_mark::DurableMark;
use crate::state::FORMAT_VERSION;

/// The database.
pub(crate) const DATABASE_NAME: &str = "log.db";
/// Its write-ahead log; SQLite chooses the name.
pub(crate) const WAL_NAME: &str = "log.db-wal";
/// A database that is being created.
pub(crate) const NEW_DATABASE_NAME: &str = "new.db";
/// How far the log is known to be synced.
pub(crate) const DURABLE_MARK_NAME: &str = "proof";

const NAMES: Names = Names {
    known: &[DATABASE_NAME, WAL_NAME, "log.db-shm", DURABLE_MARK_NAME],
    unfinished: &[NEW_DATABASE_NAME, "new.db-wal", "new.db-shm", "new.db-journal", "new.proof"],
};

/// A locked directory. Dropping the value releases the lock.
#[derive(Debug)]
pub(crate) struct Directory(owned_dir::Directory);

impl Directory {
    /// Creates the directory if it is missing, locks it, refuses one that holds unknown files, and
    /// removes files that a crash left unfinished. Its path is absolute, so that SQLite never takes
    /// it for a URI.
    pub(crate) fn open(path: &Path) -> Result<Directory, LogError> {
        owned_dir::Directory::own(path, NAMES).map(Directory).map_err(not_ours)
    }

    /// A directory that must not be changed. Its lock is taken only if the lock file exists, and
    /// shared with other readers.
    pub(crate) fn look(path: &Path) -> Result<Directory, LogError> {
        let directory = owned_dir::Directory::look(path, NAMES).map(Directory).map_err(not_ours)?;
        if [DATABASE_NAME, WAL_NAME, DURABLE_MARK_NAME].iter().any(|name| directory.has(name)) {
            return Ok(directory);
        }
        let place = format!("{}: no SQLite log is in it", directory.0.root().display());
        Err(LogError::new(LogOp::Open, LogErrorKind::Format).at(place))
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.0.path(name)
    }

    pub(crate) fn place(&self, name: &str) -> String {
        self.path(name).display().to_string()
    }

    pub(crate) fn has(&self, name: &str) -> bool {
        self.0.has(name)
    }

    /// A file, for reading, and for writing if that is allowed; `None` if it does not exist.
    pub(crate) fn file(&self, name: &str) -> Result<Option<File>, LogError> {
        self.0.file(name).map_err(|error| self.io(name, error))
    }

    /// Makes created and renamed files durable.
    pub(crate) fn sync_names(&self) -> Result<(), LogError> {
        self.0.sync_names().map_err(|error| self.io("", error))
    }

    pub(crate) fn rename(&self, from: &str, to: &str) -> Result<(), LogError> {
        self.0.rename(from, to).map_err(|error| self.io(to, error))
    }

    /// The durable mark that was written last, if one was.
    pub(crate) fn durable_mark(&self) -> Result<Option<DurableMark>, LogError> {
        let Some(mut file) = self.file(DURABLE_MARK_NAME)? else { return Ok(None) };
        let mut bytes = Vec::new();
        file.read_to_end(&mut bytes).map_err(|error| self.io(DURABLE_MARK_NAME, error))?;
        match (DurableMark::decode(&bytes), DurableMark::version(&bytes)) {
            (Some(durable_mark), _) => Ok(Some(durable_mark)),
            (None, Some(version)) if version > FORMAT_VERSION => {
                let place = format!("{}: version {version}", self.place(DURABLE_MARK_NAME));
                Err(LogError::new(LogOp::Open, LogErrorKind::Format).at(place))
            }
            _ => Err(self.corrupt(format!("{}, offset 0", self.place(DURABLE_MARK_NAME)))),
        }
    }

    /// Writes a durable mark, which is durable when this returns `Ok`. Returns `NoSpace` if the
    /// disk is full; an older durable mark then stays unchanged.
    pub(crate) fn write_durable_mark(&self, durable_mark: &DurableMark) -> Result<(), LogError> {
        let written = self.0.put_whole(DURABLE_MARK_NAME, &durable_mark.encode());
        written.map_err(|error| {
            if is_no_space(&error) {
                LogError::new(LogOp::Open, LogErrorKind::NoSpace)
                    .because(error)
                    .at(place_to_free(self.0.root()))
            } else {
                self.io(DURABLE_MARK_NAME, error)
            }
        })
    }

    pub(crate) fn corrupt(&self, place: String) -> LogError {
        LogError::new(LogOp::Open, LogErrorKind::Corrupt { index: None }).at(place)
    }

    pub(crate) fn io(&self, name: &str, error: io::Error) -> LogError {
        LogError::io(LogOp::Open, error).at(self.place(name))
    }
}

fn not_ours(error: DirectoryError) -> LogError {
    match error {
        DirectoryError::InUse(path) => {
            LogError::new(LogOp::Open, LogErrorKind::InUse).at(path.display().to_string())
        }
        DirectoryError::ForeignFile(path) => LogError::new(LogOp::Open, LogErrorKind::Format)
            .at(format!("{}, which is no file of an SQLite log", path.display())),
        DirectoryError::Io(path, error) => {
            LogError::io(LogOp::Open, error).at(path.display().to_string())
        }
    }
}
