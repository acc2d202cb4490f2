//! SQLite: the tables, the settings, and what its errors mean.

use std::io;
use std::path::Path;
use std::time::Duration;

use bytes::Bytes;
use owned_dir::place_to_free;
use raft_core::storage::record::Unreadable;
use raft_core::storage::{LogError, LogErrorKind, LogOp};
use raft_core::types::{Entry, EntryId, EntryKind, LogIndex, Term};
use rusqlite::config::DbConfig;
use rusqlite::{Connection, ErrorCode, OpenFlags, Row};
use xxhash_rust::xxh3::xxh3_64;

use crate::directory::{DATABASE_NAME, Directory, NEW_DATABASE_NAME};
use crate::full_disk::{counting_quotas, is_disk_full};
use crate::state::{APPLICATION_ID, FORMAT_VERSION, State};
use crate::wal::PAGE_BYTES;

/// The tables, in the order of their root pages: the state's is page 2.
const TABLES: [&str; 2] = [
    "CREATE TABLE state (one INTEGER PRIMARY KEY, record BLOB NOT NULL) STRICT",
    "CREATE TABLE log (idx INTEGER PRIMARY KEY, term INTEGER NOT NULL, kind INTEGER NOT NULL, \
     hash INTEGER NOT NULL, head INTEGER NOT NULL, payload BLOB NOT NULL) STRICT",
];
/// How long to wait for another connection, which can only belong to an operator's tool.
const PATIENCE: Duration = Duration::from_secs(5);
/// A write-ahead log that a very large batch made longer than this is truncated when it starts
/// again.
const WAL_BYTES_KEPT: i64 = 64 << 20;

/// A row of the log: an entry and its checksums.
pub(crate) struct StoredRow {
    pub(crate) id: EntryId,
    kind: i64,
    hash: u64,
    head: i64,
    pub(crate) payload_bytes: u64,
}

impl StoredRow {
    /// The row of an entry, without its payload.
    pub(crate) fn of(entry: &Entry, directory: u64) -> StoredRow {
        let mut row = StoredRow {
            id: entry.id,
            kind: i64::from(entry.kind.number()),
            hash: xxh3_64(&entry.payload),
            head: 0,
            payload_bytes: entry.size(),
        };
        row.head = row.checksum(directory);
        row
    }

    /// Reads the first columns: idx, term, kind, hash, head. The payload's length is given.
    pub(crate) fn read(row: &Row<'_>, payload_bytes: u64) -> rusqlite::Result<StoredRow> {
        let number = |column| row.get::<_, i64>(column).map(|number| number as u64);
        let id = EntryId::new(Term::new(number(1)?), LogIndex::new(number(0)?));
        let (kind, hash, head) = (row.get(2)?, number(3)?, row.get(4)?);
        Ok(StoredRow { id, kind, hash, head, payload_bytes })
    }

    /// The five numbers that are stored.
    pub(crate) fn columns(&self) -> [i64; 5] {
        let EntryId { term, index } = self.id;
        [index.get() as i64, term.get() as i64, self.kind, self.hash as i64, self.head]
    }

    /// The entry's kind, if the row's numbers are those that were stored.
    pub(crate) fn checked_kind(&self, directory: u64) -> Result<EntryKind, Unreadable> {
        if self.head != self.checksum(directory) {
            return Err(Unreadable::Damaged);
        }
        let kind = u8::try_from(self.kind).ok().and_then(EntryKind::from_number);
        kind.ok_or(Unreadable::Newer("an entry of an unknown kind"))
    }

    /// The entry, if row and payload are those that were stored.
    pub(crate) fn checked_entry(
        &self,
        directory: u64,
        payload: &[u8],
    ) -> Result<Entry, Unreadable> {
        let kind = self.checked_kind(directory)?;
        if xxh3_64(payload) != self.hash {
            return Err(Unreadable::Damaged);
        }
        Ok(Entry::new(self.id, kind, Bytes::copy_from_slice(payload)))
    }

    fn checksum(&self, directory: u64) -> i64 {
        let EntryId { term, index } = self.id;
        let numbers =
            [directory, index.get(), term.get(), self.kind as u64, self.payload_bytes, self.hash];
        let add = |sum, number: u64| crc32c::crc32c_append(sum, &number.to_le_bytes());
        i64::from(numbers.into_iter().fold(0, add))
    }
}

/// Makes a database without entries under another name, and renames it when it is complete.
pub(crate) fn create(directory: &Directory) -> Result<(), LogError> {
    let path = directory.path(NEW_DATABASE_NAME);
    let make = || {
        let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_CREATE;
        let database = Connection::open_with_flags(&path, flags)?;
        counting_quotas(&database, fill(&database))?;
        // A close would also copy all pages into the database and sync it, but would not report a
        // failure (`sqlite3PagerClose`).
        let is_whole = checkpoint(&database)?;
        database.close().map_err(|(_, error)| error)?;
        Ok(is_whole)
    };
    let is_whole = make();
    let place = directory.place(NEW_DATABASE_NAME);
    if !is_whole.map_err(|error| failed(LogOp::Open, &place, error))? {
        let error = io::Error::other("SQLite wrote only a part of the new database");
        return Err(LogError::io(LogOp::Open, error).at(place));
    }
    directory.rename(NEW_DATABASE_NAME, DATABASE_NAME)
}

/// Writes the tables and the first state to a new database.
fn fill(database: &Connection) -> rusqlite::Result<()> {
    database.pragma_update(None, "page_size", PAGE_BYTES as i64)?;
    database.pragma_update(None, "auto_vacuum", "NONE")?;
    database.pragma_update(None, "application_id", APPLICATION_ID)?;
    database.pragma_update(None, "user_version", FORMAT_VERSION)?;
    configure_writer(database)?;
    let random: [u8; 8] = database.query_row("SELECT randomblob(8)", [], |row| row.get(0))?;
    let state = State::blank(u64::from_le_bytes(random));
    for table in TABLES {
        database.execute(table, [])?;
    }
    database.execute("INSERT INTO state VALUES (1, ?1)", [state.encode()]).map(|_| ())
}

/// Opens the writer's connection, and checks that SQLite sees the state that the files hold.
pub(crate) fn open_writer(directory: &Directory, state: &State) -> Result<Connection, LogError> {
    let place = directory.place(DATABASE_NAME);
    let open = || {
        let path = directory.path(DATABASE_NAME);
        let database = connect(&path, OpenFlags::SQLITE_OPEN_READ_WRITE)?;
        configure_writer(&database)?;
        let is_seen = shows(&database, state)?;
        Ok((database, is_seen))
    };
    let (database, is_seen) = open().map_err(|error| failed(LogOp::Open, &place, error))?;
    if is_seen { Ok(database) } else { Err(directory.corrupt(unseen(&place))) }
}

pub(crate) fn unseen(place: &str) -> String {
    format!("{place}: SQLite does not see what was synced")
}

/// Opens a connection for reads in parallel with the writer.
pub(crate) fn open_reader(path: &Path) -> rusqlite::Result<Connection> {
    let database = connect(path, OpenFlags::SQLITE_OPEN_READ_ONLY)?;
    database.pragma_update(None, "mmap_size", 0)?;
    Ok(database)
}

/// Opens a connection that changes no file: neither the database nor its write-ahead log. It needs
/// no shared memory, because it is exclusive. The caller's lock keeps other processes out.
pub(crate) fn open_looker(path: &Path, has_wal: bool) -> rusqlite::Result<Connection> {
    let flags = OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let database = if has_wal {
        // This VFS of SQLite takes no locks, which would need write permission.
        Connection::open_with_flags_and_vfs(path, flags, c"unix-none")?
    } else {
        // Without a write-ahead log SQLite would create one, except for an immutable file.
        let address = format!("file:{}?immutable=1", percent_encoded(path));
        Connection::open_with_flags(address, flags | OpenFlags::SQLITE_OPEN_URI)?
    };
    database.set_db_config(DbConfig::SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, true)?;
    database.pragma_update_and_check(None, "locking_mode", "EXCLUSIVE", |row| {
        row.get::<_, String>(0)
    })?;
    database.pragma_update(None, "cell_size_check", true)?;
    database.pragma_update(None, "mmap_size", 0)?;
    Ok(database)
}

/// A path as a part of a URI.
fn percent_encoded(path: &Path) -> String {
    use std::os::unix::ffi::OsStrExt;
    let encode = |byte: &u8| match byte {
        b'/' | b'-' | b'_' | b'.' | b'0'..=b'9' | b'a'..=b'z' | b'A'..=b'Z' => {
            char::from(*byte).to_string()
        }
        byte => format!("%{byte:02x}"),
    };
    path.as_os_str().as_bytes().iter().map(encode).collect()
}

/// The faults that SQLite's own check of the whole database finds.
pub(crate) fn integrity_faults(database: &Connection) -> rusqlite::Result<Vec<String>> {
    let mut check = database.prepare("PRAGMA integrity_check")?;
    let lines: rusqlite::Result<Vec<String>> = check.query_map([], |row| row.get(0))?.collect();
    Ok(lines?.into_iter().filter(|line| line != "ok").collect())
}

fn connect(path: &Path, flags: OpenFlags) -> rusqlite::Result<Connection> {
    let database = Connection::open_with_flags(path, flags | OpenFlags::SQLITE_OPEN_NO_MUTEX)?;
    // The write-ahead log is kept unchanged at a close: it is evidence, and its blocks are reused.
    database.set_db_config(DbConfig::SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, true)?;
    database.busy_timeout(PATIENCE)?;
    database.pragma_update(None, "cell_size_check", true)?;
    Ok(database)
}

fn configure_writer(database: &Connection) -> rusqlite::Result<()> {
    database.pragma_update_and_check(None, "journal_mode", "WAL", |row| row.get::<_, String>(0))?;
    database.pragma_update(None, "synchronous", "FULL")?;
    database.pragma_update(None, "fullfsync", true)?;
    database.pragma_update(None, "checkpoint_fullfsync", true)?;
    let number = |row: &Row<'_>| row.get::<_, i64>(0);
    // A checkpoint inside a commit would hide its errors, so the store runs checkpoints itself.
    database.pragma_update_and_check(None, "wal_autocheckpoint", 0, number)?;
    database.pragma_update_and_check(None, "journal_size_limit", WAL_BYTES_KEPT, number)?;
    database.pragma_update(None, "temp_store", "MEMORY")?;
    database.pragma_update(None, "mmap_size", 0)
}

/// Whether SQLite shows the two tables, and this state in them.
pub(crate) fn shows(database: &Connection, state: &State) -> rusqlite::Result<bool> {
    Ok(tables(database)? == TABLES && load_state(database)? == Some(*state))
}

fn tables(database: &Connection) -> rusqlite::Result<Vec<String>> {
    let mut query = database.prepare("SELECT sql FROM sqlite_schema ORDER BY rootpage")?;
    query.query_map([], |row| row.get(0))?.collect()
}

/// The state record, if it is sound.
pub(crate) fn load_state(database: &Connection) -> rusqlite::Result<Option<State>> {
    let mut query = database.prepare_cached("SELECT record FROM state WHERE one = 1")?;
    query.query_row([], |row| Ok(State::decode(row.get_ref(0)?.as_blob().unwrap_or_default()).ok()))
}

/// Copies the pages of the write-ahead log into the database, as far as no reader prevents it.
/// Returns whether all were copied.
pub(crate) fn checkpoint(database: &Connection) -> rusqlite::Result<bool> {
    let mut checkpoint = database.prepare_cached("PRAGMA wal_checkpoint(PASSIVE)")?;
    let copied = checkpoint.query_row([], |row| {
        let [busy, frames, copied] = [row.get(0)?, row.get(1)?, row.get::<_, i64>(2)?];
        Ok(busy == 0 && frames == copied)
    });
    counting_quotas(database, copied)
}

/// The error for bytes that a newer version wrote, under a correct checksum.
pub(crate) fn newer(op: LogOp, place: &str, what: &'static str) -> LogError {
    let place = format!("{place}: {}", Unreadable::Newer(what));
    LogError::new(op, LogErrorKind::Format).at(place)
}

/// The error for a row that cannot be read.
pub(crate) fn unreadable(op: LogOp, index: LogIndex, place: &str, fault: Unreadable) -> LogError {
    let place = format!("{place}, table log, idx {index}");
    match fault {
        Unreadable::Damaged => LogError::new(op, fault.kind(Some(index))).at(place),
        Unreadable::Newer(what) => newer(op, &place, what),
    }
}

/// The log's error for an error of SQLite. On a full disk, the caller makes sure that nothing has
/// changed.
pub(crate) fn failed(op: LogOp, place: &str, error: rusqlite::Error) -> LogError {
    if is_disk_full(&error) {
        let dir = Path::new(place).parent().unwrap_or(Path::new(place));
        let full = LogError::new(op, LogErrorKind::NoSpace).because(error);
        return full.at(place_to_free(dir));
    }
    let kind = match error.sqlite_error_code() {
        Some(ErrorCode::DatabaseCorrupt | ErrorCode::NotADatabase) => corrupt(None),
        Some(ErrorCode::DatabaseBusy | ErrorCode::DatabaseLocked) if op == LogOp::Open => {
            LogErrorKind::InUse
        }
        // A schema or a format that SQLite does not understand, in a file that was sound once.
        Some(ErrorCode::Unknown) if matches!(op, LogOp::Open | LogOp::Read) => corrupt(None),
        Some(_) => LogErrorKind::Io,
        // A value of another type than the stored one, or no value.
        None => corrupt(None),
    };
    LogError::new(op, kind).because(error).at(place)
}

fn corrupt(index: Option<LogIndex>) -> LogErrorKind {
    LogErrorKind::Corrupt { index }
}
