//! The directory of a log: its names, its lock, its durable mark, and the calls that make names
//! durable.

use std::fs::{self, File, OpenOptions};
use std::hash::{BuildHasher, RandomState};
use std::io::{self, Read};
use std::path::{Path, PathBuf};

use owned_dir::{DirectoryError, Names};
use raft_core::storage::record::Unreadable;
use raft_core::storage::{LogError, LogErrorKind, LogOp};

use crate::durable_mark::{DurableMark, SealedFile};
use crate::state::FORMAT_VERSION;

/// The database.
pub(crate) const DATABASE_NAME: &str = "db";
/// A database that is being created.
pub(crate) const NEW_DATABASE_NAME: &str = "new";
/// How far the log is known to be synced.
pub(crate) const DURABLE_MARK_NAME: &str = "proof";

/// The file that names the manifest.
const CURRENT_NAME: &str = "CURRENT";
const MANIFEST_PREFIX: &str = "MANIFEST-";
const NAMES: Names = Names {
    known: &[DATABASE_NAME, DURABLE_MARK_NAME],
    unfinished: &[NEW_DATABASE_NAME, "new.proof"],
};
const WAL_SUFFIX: &str = ".log";
const TABLE_SUFFIX: &str = ".sst";
const COPY_BYTES: usize = 1 << 16;

/// A locked directory. Dropping it releases the lock.
#[derive(Debug)]
pub(crate) struct Directory(owned_dir::Directory);

impl Directory {
    /// Creates the directory if it is missing, locks it, refuses one that holds unknown files, and
    /// removes the unfinished files that a crash left.
    pub(crate) fn open(path: &Path) -> Result<Directory, LogError> {
        owned_dir::Directory::own(path, NAMES).map(Directory).map_err(not_ours)
    }

    /// Opens a directory that must not be changed. Its lock is taken only if the lock file exists,
    /// and is shared with other readers.
    pub(crate) fn look(path: &Path) -> Result<Directory, LogError> {
        let directory = owned_dir::Directory::look(path, NAMES).map(Directory).map_err(not_ours)?;
        if [DATABASE_NAME, DURABLE_MARK_NAME].iter().any(|name| directory.has(name)) {
            return Ok(directory);
        }
        let place = format!("{}: no RocksDB log is in it", directory.root().display());
        Err(LogError::new(LogOp::Open, LogErrorKind::Format).at(place))
    }

    pub(crate) fn root(&self) -> &Path {
        self.0.root()
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

    /// A file's path in the database.
    pub(crate) fn part(&self, name: &str) -> PathBuf {
        self.path(DATABASE_NAME).join(name)
    }

    /// Opens a file in the database for reading, and for writing if that is allowed.
    pub(crate) fn open_part(&self, name: &str) -> io::Result<File> {
        OpenOptions::new().read(true).write(!self.0.is_read_only()).open(self.part(name))
    }

    /// The name of the database's manifest. `None` if RocksDB will report what is wrong.
    pub(crate) fn manifest(&self) -> Option<String> {
        let name = fs::read_to_string(self.part(CURRENT_NAME)).ok()?.trim_end().to_owned();
        (name.starts_with(MANIFEST_PREFIX) && self.part(&name).is_file()).then_some(name)
    }

    pub(crate) fn part_place(&self, name: &str) -> String {
        self.part(name).display().to_string()
    }

    /// Makes created, renamed and removed names durable, in this directory and in a database.
    pub(crate) fn sync_names(&self, database: &str) -> Result<(), LogError> {
        for path in [self.path(database), self.root().to_owned()] {
            let synced = File::open(&path).and_then(|directory| directory.sync_all());
            synced
                .map_err(|error| LogError::io(LogOp::Open, error).at(path.display().to_string()))?;
        }
        Ok(())
    }

    /// Renames a new database to its final name.
    pub(crate) fn install_database(&self) -> Result<(), LogError> {
        self.sync_names(NEW_DATABASE_NAME)?;
        let renamed = fs::rename(self.path(NEW_DATABASE_NAME), self.path(DATABASE_NAME));
        renamed.map_err(|error| self.io(DATABASE_NAME, error))?;
        self.sync_names(DATABASE_NAME)
    }

    /// The durable mark that was written last, if one was.
    pub(crate) fn durable_mark(&self) -> Result<Option<DurableMark>, LogError> {
        let bytes = match fs::read(self.path(DURABLE_MARK_NAME)) {
            Ok(bytes) => bytes,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(self.io(DURABLE_MARK_NAME, error)),
        };
        match (DurableMark::decode(&bytes), DurableMark::version(&bytes)) {
            (Ok(durable_mark), _) => Ok(Some(durable_mark)),
            (Err(Unreadable::Newer(what)), _) => {
                let place =
                    format!("{}: {}", self.place(DURABLE_MARK_NAME), Unreadable::Newer(what));
                Err(LogError::new(LogOp::Open, LogErrorKind::Format).at(place))
            }
            (Err(Unreadable::Damaged), Some(version)) if version > FORMAT_VERSION => {
                let place = format!("{}: version {version}", self.place(DURABLE_MARK_NAME));
                Err(LogError::new(LogOp::Open, LogErrorKind::Format).at(place))
            }
            _ => Err(self.corrupt(format!("{}, offset 0", self.place(DURABLE_MARK_NAME)))),
        }
    }

    /// Writes a durable mark; durable when it returns `Ok`.
    pub(crate) fn write_durable_mark(&self, durable_mark: &DurableMark) -> Result<(), LogError> {
        let written = self.0.put_whole(DURABLE_MARK_NAME, &durable_mark.encode());
        written.map_err(|error| self.io(DURABLE_MARK_NAME, error))?;
        self.sync_names(DATABASE_NAME)
    }

    /// The names of the database's files that a seal covers, in order.
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

    /// Makes the bytes of the files that a seal covers durable.
    pub(crate) fn sync_parts(&self) -> Result<(), LogError> {
        for name in self.sealed_names()? {
            let synced = self.open_part(&name).and_then(|file| file.sync_all());
            synced.map_err(|error| LogError::io(LogOp::Open, error).at(self.part_place(&name)))?;
        }
        Ok(())
    }

    /// The seal of the files of a closed database, to write it or to compare it with the last one.
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

    /// The write-ahead logs of the database with their numbers, in order.
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
}

/// A number that no other log has.
pub(crate) fn random_number() -> u64 {
    RandomState::new().hash_one(std::time::SystemTime::now())
}

fn not_ours(error: DirectoryError) -> LogError {
    match error {
        DirectoryError::InUse(path) => {
            LogError::new(LogOp::Open, LogErrorKind::InUse).at(path.display().to_string())
        }
        DirectoryError::ForeignFile(path) => LogError::new(LogOp::Open, LogErrorKind::Format)
            .at(format!("{}, which is not part of a RocksDB log", path.display())),
        DirectoryError::Io(path, error) => {
            LogError::io(LogOp::Open, error).at(path.display().to_string())
        }
    }
}
