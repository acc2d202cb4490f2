//! RocksDB: its settings, its column families, and the meaning of its errors.

use std::path::Path;
use std::sync::{RwLock, RwLockReadGuard};

use raft_core::storage::record::Unreadable;
use raft_core::storage::{LogError, LogErrorKind, LogOp};
use raft_core::types::LogIndex;
use rocksdb::{
    BlockBasedOptions, Cache, ColumnFamily, DB, DBCompressionType, DBRecoveryMode, ErrorKind,
    FlushOptions, InfoLogger, LogLevel, Options, WriteOptions, properties,
};

use crate::directory::{DATABASE_NAME, Directory, NEW_DATABASE_NAME, random_number};
use crate::framing::find_trap;
use crate::keys::STATE_KEY;
use crate::state::{FORMAT_VERSION, State};

/// The family of the state and of the marks; RocksDB requires a family of this name.
const META: &str = "default";
/// The family of the entries.
const LOG: &str = "log";
const BLOCK_CACHE_BYTES: usize = 8 << 20;
const BLOCK_BYTES: usize = 16 << 10;
/// A manifest that is longer than this is rewritten.
const MANIFEST_BYTES: usize = 4 << 20;
const MANIFEST_GROWTH_BYTES: usize = 64 << 10;
/// The first table format whose footers have a checksum.
const TABLE_FORMAT: i32 = 6;

/// A database that its store can close while readers still hold the handle.
pub(crate) struct Handle {
    database: RwLock<Option<DB>>,
    place: String,
}

impl Handle {
    /// A handle on an open database, or on one that is closed already.
    pub(crate) fn new(database: Option<DB>, place: String) -> Handle {
        Handle { database: RwLock::new(database), place }
    }

    pub(crate) fn is_open(&self) -> bool {
        self.lock().is_some()
    }

    pub(crate) fn place(&self) -> &str {
        &self.place
    }

    /// Calls a function with the database, which stays open meanwhile; an error if it is closed.
    pub(crate) fn with<T>(
        &self,
        op: LogOp,
        act: impl FnOnce(&DB) -> Result<T, LogError>,
    ) -> Result<T, LogError> {
        match &*self.lock() {
            Some(database) => act(database),
            None => Err(LogError::io(op, "the store was closed").at(self.place.clone())),
        }
    }

    /// Ends RocksDB's background work and starts no more of it. Reads continue.
    pub(crate) fn stop_background_work(&self, wait: bool) {
        if let Some(database) = &*self.lock() {
            database.cancel_all_background_work(wait);
        }
    }

    /// An error if any of RocksDB's background work has failed since the database was opened. No
    /// call reports that: the next write fails, and there may be none before the close.
    pub(crate) fn check_background_work(&self, op: LogOp) -> Result<(), LogError> {
        self.with(op, |database| {
            let count = database.property_int_value(properties::BACKGROUND_ERRORS);
            let count = count.map_err(|error| failed(op, &self.place, error))?;
            match count {
                Some(0) => Ok(()),
                _ => {
                    let why = "work in RocksDB's background has failed; its warning says why";
                    Err(LogError::io(op, why).at(self.place.clone()))
                }
            }
        })
    }

    /// Closes the database once no read uses it. Later reads get an error.
    pub(crate) fn close(&self) {
        self.database.write().expect("no reader panics").take();
    }

    fn lock(&self) -> RwLockReadGuard<'_, Option<DB>> {
        self.database.read().expect("no closer panics")
    }
}

/// The family of the state and of the marks.
pub(crate) fn meta(database: &DB) -> &ColumnFamily {
    database.cf_handle(META).expect("opened with it")
}

/// The family of the entries.
pub(crate) fn log(database: &DB) -> &ColumnFamily {
    database.cf_handle(LOG).expect("opened with it")
}

/// The options of every write.
pub(crate) fn synced() -> WriteOptions {
    let mut options = WriteOptions::default();
    options.set_sync(true);
    options
}

/// Creates a database without entries under another name, and renames it when it is complete.
pub(crate) fn create(directory: &Directory, memtable_bytes: usize) -> Result<(), LogError> {
    let make = || {
        let mut options = settings(memtable_bytes);
        options.create_if_missing(true);
        options.create_missing_column_families(true);
        let database = open(&options, &directory.path(NEW_DATABASE_NAME), memtable_bytes)?;
        let state = State::blank(random_number()).encode();
        database.put_cf_opt(meta(&database), STATE_KEY, state, &synced())?;
        flush(&database)
    };
    let made = make();
    made.map_err(|error| failed(LogOp::Open, &directory.place(NEW_DATABASE_NAME), error))?;
    directory.install_database()
}

/// The write-ahead logs that RocksDB sees when it opens a database for reading.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Wals {
    /// None: only the tables are read, which hold complete batches.
    Hidden,
    /// All, up to the first bad record.
    Shown,
}

/// The state in the tables of a database. Changes no file.
pub(crate) fn read_base(directory: &Directory, memtable_bytes: usize) -> Result<State, LogError> {
    let database = open_looker(directory, memtable_bytes, Wals::Hidden)?;
    load_state(&database, &directory.place(DATABASE_NAME))
}

/// Opens a database for reading. Changes no file: data from write-ahead logs stays in memory.
pub(crate) fn open_looker(
    directory: &Directory,
    memtable_bytes: usize,
    wals: Wals,
) -> Result<DB, LogError> {
    check_frames(directory, wals)?;
    let mut options = settings(memtable_bytes);
    match wals {
        // The directory around the database contains no write-ahead log.
        Wals::Hidden => options.set_wal_dir(directory.root()),
        Wals::Shown => options.set_wal_recovery_mode(DBRecoveryMode::PointInTime),
    }
    let families = [META, LOG].map(|name| (name, family(memtable_bytes)));
    let path = directory.path(DATABASE_NAME);
    let opened = DB::open_cf_with_opts_for_read_only(&options, &path, families, false);
    opened.map_err(|error| failed(LogOp::Open, &directory.place(DATABASE_NAME), error))
}

/// Refuses files that RocksDB would read in an endless loop.
fn check_frames(directory: &Directory, wals: Wals) -> Result<(), LogError> {
    let logs = match wals {
        Wals::Hidden => Vec::new(),
        Wals::Shown => directory.wals()?.into_iter().map(|(_, name)| name).collect(),
    };
    for name in directory.manifest().into_iter().chain(logs) {
        let place = directory.part_place(&name);
        let found = directory.open_part(&name).and_then(|file| find_trap(&file));
        let found = found.map_err(|error| LogError::io(LogOp::Open, error).at(place.clone()))?;
        if let Some(at) = found {
            let what = "a record of a kind that is never written there";
            return Err(directory.corrupt(format!("{place}, offset {at}: {what}")));
        }
    }
    Ok(())
}

/// Opens a database for writing: RocksDB replays all of its write-ahead logs and writes the result
/// into tables.
pub(crate) fn open_writer(directory: &Directory, memtable_bytes: usize) -> Result<DB, LogError> {
    let opened = open(&settings(memtable_bytes), &directory.path(DATABASE_NAME), memtable_bytes);
    opened.map_err(|error| failed(LogOp::Open, &directory.place(DATABASE_NAME), error))
}

fn open(options: &Options, path: &Path, memtable_bytes: usize) -> Result<DB, rocksdb::Error> {
    let families = [META, LOG].map(|name| (name, family(memtable_bytes)));
    DB::open_cf_with_opts(options, path, families)
}

/// Writes all data in memory into tables.
pub(crate) fn flush(database: &DB) -> Result<(), rocksdb::Error> {
    database.flush_cfs_opt(&[&meta(database), &log(database)], &FlushOptions::default())
}

fn settings(memtable_bytes: usize) -> Options {
    let mut options = Options::default();
    options.set_paranoid_checks(true);
    options.set_wal_recovery_mode(DBRecoveryMode::AbsoluteConsistency);
    // Both families' tables must hold the same batches, or the base would not be of one moment.
    options.set_atomic_flush(true);
    options.set_recycle_log_file_num(0);
    options.set_use_fsync(false);
    options.set_allow_concurrent_memtable_write(false);
    options.set_enable_write_thread_adaptive_yield(false);
    options.set_max_total_wal_size(4 * memtable_bytes as u64);
    options.set_max_manifest_file_size(MANIFEST_BYTES);
    options.set_manifest_preallocation_size(MANIFEST_GROWTH_BYTES);
    options.set_stats_dump_period_sec(0);
    options.set_stats_persist_period_sec(0);
    options.set_info_logger(InfoLogger::new_callback_logger(LogLevel::Warn, log_warning));
    options
}

/// Logs RocksDB's warnings. Its messages about its own start come at any level; a message about
/// work that a close ended early is not a warning.
fn log_warning(level: LogLevel, text: &str) {
    let is_warning = matches!(level, LogLevel::Warn | LogLevel::Error | LogLevel::Fatal);
    if is_warning && !text.contains("Shutdown in progress") {
        tracing::warn!("RocksDB: {}", text.trim_end());
    }
}

fn family(memtable_bytes: usize) -> Options {
    let mut tables = BlockBasedOptions::default();
    tables.set_block_cache(&Cache::new_lru_cache(BLOCK_CACHE_BYTES));
    tables.set_block_size(BLOCK_BYTES);
    tables.set_format_version(TABLE_FORMAT);
    let mut options = Options::default();
    options.set_block_based_table_factory(&tables);
    options.set_compression_type(DBCompressionType::None);
    options.set_write_buffer_size(memtable_bytes);
    options.set_max_write_buffer_number(3);
    options.set_target_file_size_base(memtable_bytes as u64);
    options.set_max_bytes_for_level_base(4 * memtable_bytes as u64);
    options
}

/// The state record.
pub(crate) fn load_state(database: &DB, place: &str) -> Result<State, LogError> {
    let found = database.get_pinned_cf(meta(database), STATE_KEY);
    let found = found.map_err(|error| failed(LogOp::Open, place, error))?;
    decode_state(LogOp::Open, found.as_deref(), place)
}

/// The state in the record that was read.
pub(crate) fn decode_state(
    op: LogOp,
    found: Option<&[u8]>,
    place: &str,
) -> Result<State, LogError> {
    let bytes = found.unwrap_or_default();
    match (State::decode(bytes), State::version(bytes)) {
        (Ok(state), _) => Ok(state),
        (Err(Unreadable::Newer(what)), _) => Err(newer(op, &format!("{place}, key state"), what)),
        // A later version's record may have another length, with its checksum at another place.
        (Err(Unreadable::Damaged), Some(version)) if version > FORMAT_VERSION => {
            let place = format!("{place}: version {version}");
            Err(LogError::new(op, LogErrorKind::Format).at(place))
        }
        _ => Err(corrupt(op, None, format!("{place}, key state"))),
    }
}

/// The log's error for an error of RocksDB.
pub(crate) fn failed(op: LogOp, place: &str, error: rocksdb::Error) -> LogError {
    let text = error.to_string();
    let is_lock = ["IO error: While lock file", "IO error: lock hold by"];
    let kind = match error.kind() {
        ErrorKind::Corruption => LogErrorKind::Corrupt { index: None },
        // These files were sound before: another program's database, or damage, is not our format.
        ErrorKind::InvalidArgument | ErrorKind::NotSupported if op == LogOp::Open => {
            LogErrorKind::Format
        }
        ErrorKind::IOError if is_lock.iter().any(|start| text.starts_with(start)) => {
            LogErrorKind::InUse
        }
        // A file is missing that another file refers to.
        ErrorKind::IOError if text.contains("No such file or directory") => {
            LogErrorKind::Corrupt { index: None }
        }
        _ => LogErrorKind::Io,
    };
    let damaged_at = block_in(&text).filter(|_| matches!(kind, LogErrorKind::Corrupt { .. }));
    LogError::new(op, kind).because(error).at(damaged_at.unwrap_or_else(|| place.to_owned()))
}

/// The damaged block that an error of RocksDB names, as a file and an offset.
fn block_in(text: &str) -> Option<String> {
    let (_, block) = text.rsplit_once(" in /")?;
    let (path, rest) = block.split_once(" offset ")?;
    let offset: u64 = rest.split_whitespace().next()?.parse().ok()?;
    Some(format!("/{path}, offset {offset}"))
}

/// The error for data of a newer version with a valid checksum.
pub(crate) fn newer(op: LogOp, place: &str, what: &'static str) -> LogError {
    let place = format!("{place}: {}", Unreadable::Newer(what));
    LogError::new(op, LogErrorKind::Format).at(place)
}

/// The error for an entry that is missing, differs from what was stored, or is of a newer version.
pub(crate) fn not_an_entry(op: LogOp, index: LogIndex, place: &str, fault: Unreadable) -> LogError {
    let place = format!("{place}, family log, index {index}");
    match fault {
        Unreadable::Damaged => corrupt(op, Some(index), place),
        Unreadable::Newer(what) => newer(op, &place, what),
    }
}

/// The error for an entry that RocksDB cannot read.
pub(crate) fn unreadable(
    op: LogOp,
    index: LogIndex,
    place: &str,
    error: rocksdb::Error,
) -> LogError {
    let read = failed(op, place, error);
    match read.kind {
        LogErrorKind::Corrupt { .. } => {
            LogError { kind: LogErrorKind::Corrupt { index: Some(index) }, ..read }
        }
        _ => read,
    }
}

pub(crate) fn corrupt(op: LogOp, index: Option<LogIndex>, place: String) -> LogError {
    LogError::new(op, LogErrorKind::Corrupt { index }).at(place)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_damaged_block_is_found_in_rocksdbs_message() {
        let said = "Corruption: block checksum mismatch: stored = 1, computed = 2, type = 4  in \
                    /a b in /c/db/000026.sst offset 4069 size 511";
        assert_eq!(block_in(said).as_deref(), Some("/c/db/000026.sst, offset 4069"));
        assert_eq!(block_in("Corruption: bad block type in /db/1.sst"), None);
        assert_eq!(block_in("Corruption: in /db/1.sst offset none"), None);
    }
}
