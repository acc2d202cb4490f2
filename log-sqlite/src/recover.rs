//! Recovers a log from its files: which bytes are valid, and which must be made durable first.
//!
//! Everything here happens before SQLite opens the database. Nothing is changed before all checks
//! have passed, so that the evidence of damage is kept.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;

use raft_core::storage::{LogError, LogErrorKind, LogOp, Tail};
use tracing::warn;

use crate::database::newer;
use crate::directory::{DATABASE_NAME, DURABLE_MARK_NAME, Directory, WAL_NAME};
use crate::durable_mark::DurableMark;
use crate::state::{APPLICATION_ID, FORMAT_VERSION, State};
use crate::wal::{Front, PAGE_BYTES, STATE_PAGE, WalScan, frame_offset, scan, scan_nothing};

/// The first bytes of every database file of SQLite.
const SQLITE_MAGIC: &[u8; 16] = b"SQLite format 3\0";
const USER_VERSION_AT: usize = 60;
const APPLICATION_ID_AT: usize = 68;
const COPY_BYTES: usize = 1 << 18;

/// The content of the files, which is durable.
pub(crate) struct Recovery {
    /// The state that SQLite must show, too.
    pub(crate) state: State,
    pub(crate) tail: Tail,
    /// The last batch that the durable mark covers.
    pub(crate) proven_batch: u64,
}

/// Checks the files of an existing log, and makes durable what they show.
pub(crate) fn recover(directory: &Directory) -> Result<Recovery, LogError> {
    let database = check_header(directory)?;
    let wal = directory.file(WAL_NAME)?;
    let scan = scan_of(directory, wal.as_ref())?;
    let state = latest_state(directory, &scan, &database)?;
    let durable_mark = directory.durable_mark()?;
    check_wal(directory, &scan, &state)?;
    check_durable_mark(directory, &scan, &state, durable_mark.as_ref())?;
    if let Some(wal) = &wal {
        let from = proven_end(&scan, durable_mark.as_ref());
        make_durable(wal, from, scan.end()).map_err(|error| directory.io(WAL_NAME, error))?;
    }
    directory.sync_names()?;
    let proven_batch = prove_recovered(directory, durable_mark_of(&scan, &state), durable_mark)?;
    let place = format!("{}, offset {}", directory.place(WAL_NAME), scan.end());
    let tail = if scan.is_torn { Tail::TornDiscarded { place } } else { Tail::Clean };
    Ok(Recovery { state, tail, proven_batch })
}

/// Writes a durable mark of how far the files are synced; returns the last batch that it covers. On
/// a full disk the old durable mark stays, which is still true, because it is a lower bound.
fn prove_recovered(
    directory: &Directory,
    proven: DurableMark,
    before: Option<DurableMark>,
) -> Result<u64, LogError> {
    if before == Some(proven) {
        return Ok(proven.batch);
    }
    match directory.write_durable_mark(&proven) {
        Ok(()) => Ok(proven.batch),
        Err(error) if error.kind == LogErrorKind::NoSpace && before.is_some() => {
            warn!("the disk is full: the log's durable mark was not written in {}", error.place);
            Ok(before.map_or(0, |durable_mark| durable_mark.batch))
        }
        Err(error) => Err(error),
    }
}

/// The content of the files, read without changing them.
#[derive(Default)]
pub(crate) struct Survey {
    /// The state of the last whole transaction, if it can be determined.
    pub(crate) state: Option<State>,
    /// Whether the write-ahead log holds a whole transaction.
    pub(crate) has_wal: bool,
    /// How far the files are proven to be synced, as text for an operator.
    pub(crate) proven: String,
    /// What follows the proven end, as text for an operator.
    pub(crate) beyond: Vec<String>,
    pub(crate) torn: Option<String>,
    /// Why the log would not open.
    pub(crate) damage: Option<LogError>,
}

/// Checks the files as [`recover`] does, as far as they are sound, and changes nothing.
pub(crate) fn survey(directory: &Directory) -> Survey {
    let mut survey = Survey::default();
    if let Err(damage) = survey_into(directory, &mut survey) {
        survey.damage.get_or_insert(damage);
    }
    survey
}

fn survey_into(directory: &Directory, survey: &mut Survey) -> Result<(), LogError> {
    let durable_mark = directory.durable_mark();
    let durable_mark = durable_mark.map_err(|error| survey.damage = Some(error)).ok().flatten();
    let database = check_header(directory)?;
    let wal = directory.file(WAL_NAME)?;
    let scan = scan_of(directory, wal.as_ref())?;
    survey.has_wal = scan.committed_frames > 0;
    let state = latest_state(directory, &scan, &database)?;
    survey.state = Some(state);
    check_wal(directory, &scan, &state)?;
    let place = format!("{}, offset", directory.place(WAL_NAME));
    let proven = proven_end(&scan, durable_mark.as_ref());
    if let Some(durable_mark) = &durable_mark {
        survey.proven = format!("batch {}; {place} {proven}", durable_mark.batch);
    }
    if proven < scan.end() {
        let batches = format!("{place} {proven}: whole batches up to {}", state.batch);
        survey.beyond.push(format!("{batches}, which an opening keeps"));
    }
    if scan.is_torn {
        let torn = format!("{place} {}", scan.end());
        survey.beyond.push(format!("{torn}: a torn write, which an opening drops"));
        survey.torn = Some(torn);
    }
    match survey.damage {
        Some(_) => Ok(()),
        None => check_durable_mark(directory, &scan, &state, durable_mark.as_ref()),
    }
}

/// Writes a durable mark that everything in the files is synced. The caller must have made sure
/// that it is.
pub(crate) fn prove(directory: &Directory, state: &State) -> Result<(), LogError> {
    let scan = scan_of(directory, directory.file(WAL_NAME)?.as_ref())?;
    directory.write_durable_mark(&durable_mark_of(&scan, state))
}

fn durable_mark_of(scan: &WalScan, state: &State) -> DurableMark {
    let State { directory, batch, .. } = *state;
    DurableMark { directory, batch, salt: scan.salt().unwrap_or(0), frames: scan.committed_frames }
}

fn scan_of(directory: &Directory, wal: Option<&File>) -> Result<WalScan, LogError> {
    match wal {
        Some(wal) => scan(wal).map_err(|error| directory.io(WAL_NAME, error)),
        None => Ok(scan_nothing()),
    }
}

/// Checks that the database is an SQLite log of this version. The fields of the header that this
/// reads never change.
fn check_header(directory: &Directory) -> Result<File, LogError> {
    let place = directory.place(DATABASE_NAME);
    let Some(file) = directory.file(DATABASE_NAME)? else {
        return Err(directory.corrupt(format!("{place}, which is missing")));
    };
    let mut header = [0; 100];
    let read = file.read_exact_at(&mut header, 0);
    let number = |at: usize| u32::from_be_bytes(header[at..at + 4].try_into().expect("4 bytes"));
    let is_ours = header.starts_with(SQLITE_MAGIC)
        && number(APPLICATION_ID_AT) == APPLICATION_ID as u32
        && header[16..18] == (PAGE_BYTES as u16).to_be_bytes();
    let format = LogError::new(LogOp::Open, LogErrorKind::Format);
    match read {
        Err(error) if error.kind() != io::ErrorKind::UnexpectedEof => {
            Err(directory.io(DATABASE_NAME, error))
        }
        Ok(()) if is_ours && number(USER_VERSION_AT) == FORMAT_VERSION => Ok(file),
        Ok(()) if is_ours => {
            Err(format.at(format!("{place}: version {}", number(USER_VERSION_AT))))
        }
        _ if directory.has(DURABLE_MARK_NAME) => {
            Err(directory.corrupt(format!("{place}, offset 0")))
        }
        _ => Err(format.at(place)),
    }
}

/// The state of the last whole transaction: in the write-ahead log, or else in the database. The
/// database's state may be torn while the write-ahead log has a later one.
fn latest_state(directory: &Directory, scan: &WalScan, database: &File) -> Result<State, LogError> {
    let mut page = vec![0; PAGE_BYTES];
    let offset = u64::from(STATE_PAGE - 1) * PAGE_BYTES as u64;
    let read = database.read_exact_at(&mut page, offset);
    if let Some(error) = read.err().filter(|it| it.kind() != io::ErrorKind::UnexpectedEof) {
        return Err(directory.io(DATABASE_NAME, error));
    }
    let place = directory.place(DATABASE_NAME);
    if let Some(what) = scan.newer.or(State::find_newer(&page)) {
        return Err(newer(LogOp::Open, &format!("{place}, page {STATE_PAGE}"), what));
    }
    match (State::find(&page), scan.state) {
        (Some(beneath), Some(above)) if beneath.directory != above.directory => {
            let place = format!("{place}: it belongs to another log than {WAL_NAME}");
            Err(directory.corrupt(place))
        }
        (beneath, above) => {
            above.or(beneath).ok_or_else(|| directory.corrupt(format!("{place}, offset {offset}")))
        }
    }
}

/// Checks whether the bytes after the last whole transaction prove that the bad frame was once
/// whole.
///
/// A batch starts when the one before is synced, and the header of a write-ahead log is synced
/// before its first frame is written.
fn check_wal(directory: &Directory, scan: &WalScan, state: &State) -> Result<(), LogError> {
    let place = directory.place(WAL_NAME);
    if let Some(later) = scan.later_transaction {
        let place = format!(
            "{place}, offset {}: a later transaction, at offset {later}, proves that it was synced",
            scan.broken_at
        );
        return Err(directory.corrupt(place));
    }
    let proving = state.batch + if scan.front == Front::Bad { 1 } else { 2 };
    match scan.newest_beyond {
        Some(newest) if newest >= proving => Err(directory.corrupt(format!(
            "{place}, offset {}: batch {} was synced, since batch {newest} follows",
            scan.broken_at,
            state.batch + 1,
        ))),
        _ => Ok(()),
    }
}

fn check_durable_mark(
    directory: &Directory,
    scan: &WalScan,
    state: &State,
    durable_mark: Option<&DurableMark>,
) -> Result<(), LogError> {
    let place = directory.place(DURABLE_MARK_NAME);
    let Some(durable_mark) = durable_mark else {
        // A new log is complete before its first durable mark is written.
        return match state.batch {
            0 => Ok(()),
            _ => Err(directory.corrupt(format!("{place}, which is missing"))),
        };
    };
    if durable_mark.directory != state.directory {
        let place = format!("{place}: it belongs to another log than the database");
        return Err(directory.corrupt(place));
    }
    let is_same_life = scan.salt() == Some(durable_mark.salt);
    if state.batch < durable_mark.batch
        || (is_same_life && scan.committed_frames < durable_mark.frames)
    {
        return Err(directory.corrupt(format!(
            "{}, offset {}: batch {} is the last, but batch {} was synced",
            directory.place(WAL_NAME),
            scan.broken_at,
            state.batch,
            durable_mark.batch,
        )));
    }
    Ok(())
}

/// The offset up to which the write-ahead log is known to be on the disk.
fn proven_end(scan: &WalScan, durable_mark: Option<&DurableMark>) -> u64 {
    match durable_mark {
        Some(durable_mark) if scan.salt() == Some(durable_mark.salt) => {
            frame_offset(durable_mark.frames)
        }
        _ => 0,
    }
}

/// Writes the unproven part again, byte for byte, truncates what is not part of the log, and syncs.
/// After a failed sync the pages may be marked clean though the disk does not have them; only a new
/// write helps.
fn make_durable(wal: &File, from: u64, end: u64) -> io::Result<()> {
    let mut bytes = vec![0; COPY_BYTES];
    let mut at = from;
    while at < end {
        let part = &mut bytes[..COPY_BYTES.min((end - at) as usize)];
        wal.read_exact_at(part, at)?;
        wal.write_all_at(part, at)?;
        at += part.len() as u64;
    }
    wal.set_len(end)?;
    wal.sync_all()
}
