//! The directory of a log: its names, its lock, its proof, and the calls that make names durable.

use std::fs::{self, File, OpenOptions};
use std::hash::{BuildHasher, RandomState};
use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};

use owned_dir::Lock;
use raft_core::storage::record::Unreadable;
use raft_core::storage::{LogError, LogErrorKind, LogOp};

use crate::proof::{Proof, SealedFile};
use crate::state::FORMAT_VERSION;

/// The database.
pub(crate) const DATABASE_NAME: &str = "db";
/// A database that is being made.
pub(crate) const NEW_DATABASE_NAME: &str = "new";
/// How far the log is known to be synced.
pub(crate) const PROOF_NAME: &str = "proof";

/// Names the manifest.
const CURRENT_NAME: &str = "CURRENT";
const MANIFEST_PREFIX: &str = "MANIFEST-";
const NEW_PROOF_NAME: &str = "new.proof";
const LOCK_NAME: &str = "lock";
const KEPT_NAMES: [&str; 3] = [DATABASE_NAME, PROOF_NAME, LOCK_NAME];
/// What a crash may leave of something that was being made.
const PASSING_NAMES: [&str; 2] = [NEW_DATABASE_NAME, NEW_PROOF_NAME];
const WAL_SUFFIX: &str = ".log";
const TABLE_SUFFIX: &str = ".sst";
const COPY_BYTES: usize = 1 << 16;

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
        let path = &fs::canonicalize(path).map_err(failed)?;
        let lock = Lock::own(&path.join(LOCK_NAME)).map_err(|error| not_locked(path, error))?;
        let directory = Directory { path: path.clone(), is_read_only: false, _lock: Some(lock) };
        for name in directory.passing_names()? {
            let removed = match name {
                NEW_DATABASE_NAME => fs::remove_dir_all(path.join(name)),
                _ => fs::remove_file(path.join(name)),
            };
            removed.map_err(|error| directory.io(name, error))?;
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
        directory.passing_names()?;
        match [DATABASE_NAME, PROOF_NAME].iter().any(|name| directory.has(name)) {
            true => Ok(directory),
            false => Err(LogError::new(LogOp::Open, LogErrorKind::Format)
                .at(format!("{}: no RocksDB log is in it", directory.path.display()))),
        }
    }

    /// What a crash left of something that was being made. A strange name is an error.
    fn passing_names(&self) -> Result<Vec<&'static str>, LogError> {
        let failed = |error| LogError::io(LogOp::Open, error).at(self.path.display().to_string());
        let mut passing = Vec::new();
        for entry in fs::read_dir(&self.path).map_err(failed)? {
            let name = entry.map_err(failed)?.file_name().to_string_lossy().into_owned();
            match PASSING_NAMES.into_iter().find(|known| *known == name) {
                Some(known) => passing.push(known),
                None if KEPT_NAMES.contains(&name.as_str()) => {}
                None if owned_dir::is_of_the_file_system(&name) => {}
                None => return Err(self.strange(&name)),
            }
        }
        Ok(passing)
    }

    pub(crate) fn root(&self) -> &Path {
        &self.path
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

    /// A file's path in the database.
    pub(crate) fn part(&self, name: &str) -> PathBuf {
        self.path(DATABASE_NAME).join(name)
    }

    /// Opens a file in the database, for reading, and for writing if that is allowed.
    pub(crate) fn open_part(&self, name: &str) -> io::Result<File> {
        OpenOptions::new().read(true).write(!self.is_read_only).open(self.part(name))
    }

    /// The name of the database's manifest. None where RocksDB will say what is wrong.
    pub(crate) fn manifest(&self) -> Option<String> {
        let name = fs::read_to_string(self.part(CURRENT_NAME)).ok()?.trim_end().to_owned();
        (name.starts_with(MANIFEST_PREFIX) && self.part(&name).is_file()).then_some(name)
    }

    pub(crate) fn part_place(&self, name: &str) -> String {
        self.part(name).display().to_string()
    }

    /// Makes creations, renamings and removals durable, in this directory and in a database.
    pub(crate) fn sync_names(&self, database: &str) -> Result<(), LogError> {
        for path in [self.path(database), self.path.clone()] {
            let synced = File::open(&path).and_then(|directory| directory.sync_all());
            synced
                .map_err(|error| LogError::io(LogOp::Open, error).at(path.display().to_string()))?;
        }
        Ok(())
    }

    /// Gives a database that was made its name.
    pub(crate) fn install_database(&self) -> Result<(), LogError> {
        self.sync_names(NEW_DATABASE_NAME)?;
        let renamed = fs::rename(self.path(NEW_DATABASE_NAME), self.path(DATABASE_NAME));
        renamed.map_err(|error| self.io(DATABASE_NAME, error))?;
        self.sync_names(DATABASE_NAME)
    }

    /// The proof that was written last, if one was.
    pub(crate) fn proof(&self) -> Result<Option<Proof>, LogError> {
        let bytes = match fs::read(self.path(PROOF_NAME)) {
            Ok(bytes) => bytes,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(self.io(PROOF_NAME, error)),
        };
        match (Proof::decode(&bytes), Proof::version(&bytes)) {
            (Ok(proof), _) => Ok(Some(proof)),
            (Err(Unreadable::Newer(what)), _) => {
                let place = format!("{}: {}", self.place(PROOF_NAME), Unreadable::Newer(what));
                Err(LogError::new(LogOp::Open, LogErrorKind::Format).at(place))
            }
            (Err(Unreadable::Damaged), Some(version)) if version > FORMAT_VERSION => {
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
            file.sync_all()?;
            fs::rename(self.path(NEW_PROOF_NAME), self.path(PROOF_NAME))
        };
        write().map_err(|error| self.io(NEW_PROOF_NAME, error))?;
        self.sync_names(DATABASE_NAME)
    }

    /// The names in the database that a seal covers, in order.
    fn sealed_names(&self) -> Result<Vec<String>, LogError> {
        let mut names = Vec::new();
        for entry in self.list()? {
            let is_sealed = entry == "CURRENT"
                || entry.starts_with("MANIFEST-")
                || entry.ends_with(WAL_SUFFIX)
                || entry.ends_with(TABLE_SUFFIX);
            names.extend(is_sealed.then_some(entry));
        }
        names.sort_unstable();
        Ok(names)
    }

    /// The files of a closed database, to be sealed or compared with a seal.
    pub(crate) fn seal(&self) -> Result<Vec<SealedFile>, LogError> {
        let seal = |name: String| {
            let sealed = self.seal_of(&name);
            let (length, checksum) = sealed
                .map_err(|error| LogError::io(LogOp::Open, error).at(self.part_place(&name)))?;
            Ok(SealedFile { name, length, checksum })
        };
        self.sealed_names()?.into_iter().map(seal).collect()
    }

    fn seal_of(&self, name: &str) -> io::Result<(u64, u32)> {
        let mut file = File::open(self.part(name))?;
        let length = file.metadata()?.len();
        let (mut bytes, mut checksum) = (vec![0; COPY_BYTES], 0);
        while !name.ends_with(TABLE_SUFFIX) {
            match file.read(&mut bytes)? {
                0 => break,
                read => checksum = crc32c::crc32c_append(checksum, &bytes[..read]),
            }
        }
        Ok((length, checksum))
    }

    /// The write-ahead logs of the database, by their numbers.
    pub(crate) fn wals(&self) -> Result<Vec<(u64, String)>, LogError> {
        let number = |name: &String| name.strip_suffix(WAL_SUFFIX)?.parse().ok();
        let names = self.list()?.into_iter();
        let mut wals: Vec<_> = names.filter_map(|name| Some((number(&name)?, name))).collect();
        wals.sort_unstable();
        Ok(wals)
    }

    fn list(&self) -> Result<Vec<String>, LogError> {
        let list = || -> io::Result<Vec<String>> {
            let entries = fs::read_dir(self.path(DATABASE_NAME))?;
            entries.map(|entry| Ok(entry?.file_name().to_string_lossy().into_owned())).collect()
        };
        list().map_err(|error| self.io(DATABASE_NAME, error))
    }

    pub(crate) fn corrupt(&self, place: String) -> LogError {
        LogError::new(LogOp::Open, LogErrorKind::Corrupt { index: None }).at(place)
    }

    pub(crate) fn io(&self, name: &str, error: io::Error) -> LogError {
        LogError::io(LogOp::Open, error).at(self.place(name))
    }

    fn strange(&self, name: &str) -> LogError {
        let place = format!("{}, which is no part of a RocksDB log", self.place(name));
        LogError::new(LogOp::Open, LogErrorKind::Format).at(place)
    }
}

/// A number that no other log has.
pub(crate) fn random_number() -> u64 {
    RandomState::new().hash_one(std::time::SystemTime::now())
}

fn not_locked(path: &Path, error: io::Error) -> LogError {
    let failed = match error.kind() {
        io::ErrorKind::WouldBlock => LogError::new(LogOp::Open, LogErrorKind::InUse),
        _ => LogError::io(LogOp::Open, error),
    };
    failed.at(path.join(LOCK_NAME).display().to_string())
}
