//! The directory of a log: its names, its lock, and the calls that make names durable.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};

use owned_dir::Lock;
use raft_core::storage::{LogError, LogErrorKind, LogOp};

use crate::proof::Proof;
use crate::state::FORMAT_VERSION;

/// The database.
pub(crate) const DATABASE_NAME: &str = "log.db";
/// Its write-ahead log; SQLite chooses the name.
pub(crate) const WAL_NAME: &str = "log.db-wal";
/// A database that is being made.
pub(crate) const NEW_DATABASE_NAME: &str = "new.db";
/// How far the log is known to be synced.
pub(crate) const PROOF_NAME: &str = "proof";

const SHARED_MEMORY_NAME: &str = "log.db-shm";
const NEW_PROOF_NAME: &str = "new.proof";
const LOCK_NAME: &str = "lock";
const KEPT_NAMES: [&str; 5] = [DATABASE_NAME, WAL_NAME, SHARED_MEMORY_NAME, PROOF_NAME, LOCK_NAME];
/// What a crash may leave of something that was being made.
const PASSING_NAMES: [&str; 5] =
    [NEW_DATABASE_NAME, "new.db-wal", "new.db-shm", "new.db-journal", NEW_PROOF_NAME];

/// A locked directory. The lock goes with the value.
#[derive(Debug)]
pub(crate) struct Directory {
    path: PathBuf,
    /// Nothing is made, renamed or removed, and files are opened for reading.
    is_read_only: bool,
    /// A directory that is only read may be without a lock.
    _lock: Option<Lock>,
}

impl Directory {
    /// Makes the directory if it is missing, locks it, refuses one that holds strange files, and
    /// removes what a crash left unfinished.
    pub(crate) fn open(path: &Path) -> Result<Directory, LogError> {
        let failed = |error| LogError::io(LogOp::Open, error).at(path.display().to_string());
        owned_dir::make(path).map_err(failed)?;
        // An absolute path is never taken for a URI, whatever the directory is called.
        let path = &fs::canonicalize(path).map_err(failed)?;
        let lock = Lock::own(&path.join(LOCK_NAME)).map_err(|error| not_locked(path, error))?;
        let directory = Directory { path: path.clone(), is_read_only: false, _lock: Some(lock) };
        for name in directory.passing_files()? {
            fs::remove_file(path.join(&name)).map_err(|error| directory.io(&name, error))?;
        }
        Ok(directory)
    }

    /// A directory that must not be changed. Its lock is taken only if there is one, and shared
    /// with others who read.
    pub(crate) fn look(path: &Path) -> Result<Directory, LogError> {
        let failed = |error| LogError::io(LogOp::Open, error).at(path.display().to_string());
        let path = fs::canonicalize(path).map_err(failed)?;
        let lock = Lock::share(&path.join(LOCK_NAME)).map_err(|error| not_locked(&path, error))?;
        let directory = Directory { path, is_read_only: true, _lock: lock };
        directory.passing_files()?;
        match [DATABASE_NAME, WAL_NAME, PROOF_NAME].iter().any(|name| directory.has(name)) {
            true => Ok(directory),
            false => Err(LogError::new(LogOp::Open, LogErrorKind::Format)
                .at(format!("{}: no SQLite log is in it", directory.path.display()))),
        }
    }

    /// What a crash left of something that was being made. A strange file is an error.
    fn passing_files(&self) -> Result<Vec<String>, LogError> {
        let failed = |error| LogError::io(LogOp::Open, error).at(self.path.display().to_string());
        let mut passing = Vec::new();
        for entry in fs::read_dir(&self.path).map_err(failed)? {
            let name = entry.map_err(failed)?.file_name().to_string_lossy().into_owned();
            if PASSING_NAMES.contains(&name.as_str()) {
                passing.push(name);
            } else if !KEPT_NAMES.contains(&name.as_str())
                && !owned_dir::is_of_the_file_system(&name)
            {
                return Err(LogError::new(LogOp::Open, LogErrorKind::Format)
                    .at(format!("{}, which is no file of an SQLite log", self.place(&name))));
            }
        }
        Ok(passing)
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.path.join(name)
    }

    pub(crate) fn place(&self, name: &str) -> String {
        self.path(name).display().to_string()
    }

    pub(crate) fn has(&self, name: &str) -> bool {
        self.path(name).exists()
    }

    /// A file, for reading, and for writing if that is allowed; `None` if it is not there.
    pub(crate) fn file(&self, name: &str) -> Result<Option<File>, LogError> {
        match OpenOptions::new().read(true).write(!self.is_read_only).open(self.path(name)) {
            Ok(file) => Ok(Some(file)),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(self.io(name, error)),
        }
    }

    /// Makes creations and renamings durable.
    pub(crate) fn sync_names(&self) -> Result<(), LogError> {
        let synced = File::open(&self.path).and_then(|directory| directory.sync_all());
        synced.map_err(|error| self.io("", error))
    }

    pub(crate) fn rename(&self, from: &str, to: &str) -> Result<(), LogError> {
        let renamed = fs::rename(self.path(from), self.path(to));
        renamed.map_err(|error| self.io(to, error))?;
        self.sync_names()
    }

    /// The proof that was written last, if one was.
    pub(crate) fn proof(&self) -> Result<Option<Proof>, LogError> {
        let Some(mut file) = self.file(PROOF_NAME)? else { return Ok(None) };
        let mut bytes = Vec::new();
        file.read_to_end(&mut bytes).map_err(|error| self.io(PROOF_NAME, error))?;
        match (Proof::decode(&bytes), Proof::version(&bytes)) {
            (Some(proof), _) => Ok(Some(proof)),
            (None, Some(version)) if version > FORMAT_VERSION => {
                let place = format!("{}: version {version}", self.place(PROOF_NAME));
                Err(LogError::new(LogOp::Open, LogErrorKind::Format).at(place))
            }
            _ => Err(self.corrupt(format!("{}, offset 0", self.place(PROOF_NAME)))),
        }
    }

    /// Writes a proof; durable when it returns `Ok`.
    pub(crate) fn write_proof(&self, proof: &Proof) -> Result<(), LogError> {
        let write = || {
            let mut file = File::create(self.path(NEW_PROOF_NAME))?;
            file.write_all(&proof.encode())?;
            file.sync_all()
        };
        write().map_err(|error| self.io(NEW_PROOF_NAME, error))?;
        self.rename(NEW_PROOF_NAME, PROOF_NAME)
    }

    pub(crate) fn corrupt(&self, place: String) -> LogError {
        LogError::new(LogOp::Open, LogErrorKind::Corrupt { index: None }).at(place)
    }

    pub(crate) fn io(&self, name: &str, error: io::Error) -> LogError {
        LogError::io(LogOp::Open, error).at(self.place(name))
    }
}

fn not_locked(path: &Path, error: io::Error) -> LogError {
    let failed = match error.kind() {
        io::ErrorKind::WouldBlock => LogError::new(LogOp::Open, LogErrorKind::InUse),
        _ => LogError::io(LogOp::Open, error),
    };
    failed.at(path.join(LOCK_NAME).display().to_string())
}
