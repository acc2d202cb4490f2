//! Turns files back into a log: checks which content is valid, and what must be made durable first.
//!
//! RocksDB opens the database for writing only if all checks of the files pass, and nothing is
//! changed before that, so that the evidence of damage stays in place.

use std::fs::File;
use std::io;

use raft_core::storage::{LogError, LogOp, Tail};
use rocksdb::DB;

use crate::database::{load_state, newer, open_writer, read_base};
use crate::directory::{DATABASE_NAME, DURABLE_MARK_NAME, Directory};
use crate::durable_mark::{DurableMark, SealedFile};
use crate::state::State;
use crate::wal::{WalScan, scan};

/// An opened database, all of whose content is durable.
pub(crate) struct Recovery {
    pub(crate) database: DB,
    pub(crate) state: State,
    pub(crate) tail: Tail,
}

/// A write-ahead log, and the result of its scan.
struct Wal {
    number: u64,
    name: String,
    file: File,
    scan: WalScan,
}

/// Opens the database of an existing log, if its files hold everything that they are known to have
/// held.
pub(crate) fn recover(directory: &Directory, memtable_bytes: usize) -> Result<Recovery, LogError> {
    let durable_mark = directory.durable_mark()?;
    check_database(directory)?;
    check_seal(directory, durable_mark.as_ref())?;
    let base = read_base(directory, memtable_bytes)?;
    check_owner(directory, &base, durable_mark.as_ref())?;
    let wals = read_wals(directory, base.directory)?;
    let mut state = base;
    check_batches(directory, &wals, &mut state)?;
    check_durable_mark(directory, &state, &wals, durable_mark.as_ref())?;
    let tail = cut_torn(directory, &wals)?;
    drop(wals);
    match durable_mark.filter(|mark| mark.wal != 0 || !mark.seal.is_empty()) {
        Some(durable_mark) => directory.write_durable_mark(&DurableMark {
            wal: 0,
            seal: Vec::new(),
            ..durable_mark
        })?,
        // The removal of the seal may be in the page cache alone, if an opening was just killed.
        None => directory.sync_names(DATABASE_NAME)?,
    }
    let database = open_writer(directory, memtable_bytes)?;
    let place = directory.place(DATABASE_NAME);
    if load_state(&database, &place)? != state {
        return Err(directory.corrupt(format!("{place}: RocksDB does not see what was synced")));
    }
    directory.sync_names(DATABASE_NAME)?;
    let newest = directory.wals()?.last().map_or(0, |(number, _)| *number);
    directory.write_durable_mark(&durable_mark_of(&state, newest))?;
    Ok(Recovery { database, state, tail })
}

/// The content of the files, read without changing them.
#[derive(Default)]
pub(crate) struct Survey {
    /// The state after the last complete batch before the damage, if it can be determined.
    pub(crate) state: Option<State>,
    /// How far the files are proven to be synced, as text for an operator.
    pub(crate) proven: String,
    /// The content after that, as text for an operator.
    pub(crate) beyond: Vec<String>,
    pub(crate) torn: Option<String>,
    /// Why the log would not open.
    pub(crate) damage: Option<LogError>,
}

impl Survey {
    fn note(&mut self, checked: Result<(), LogError>) {
        if let Err(error) = checked {
            self.damage.get_or_insert(error);
        }
    }
}

/// Checks the files as [`recover`] does, as far as they are sound, and changes nothing.
pub(crate) fn survey(directory: &Directory, memtable_bytes: usize) -> Survey {
    let mut survey = Survey::default();
    let surveyed = survey_into(directory, memtable_bytes, &mut survey);
    survey.note(surveyed);
    survey
}

fn survey_into(
    directory: &Directory,
    memtable_bytes: usize,
    survey: &mut Survey,
) -> Result<(), LogError> {
    let durable_mark = directory.durable_mark();
    let durable_mark = durable_mark.map_err(|error| survey.note(Err(error))).ok().flatten();
    check_database(directory)?;
    survey.note(check_seal(directory, durable_mark.as_ref()));
    let base = read_base(directory, memtable_bytes)?;
    survey.state = Some(base);
    if survey.damage.is_none() {
        survey.note(check_owner(directory, &base, durable_mark.as_ref()));
    }
    let wals = read_wals(directory, base.directory)?;
    let mut state = base;
    survey.note(check_batches(directory, &wals, &mut state));
    survey.state = Some(state);
    if survey.damage.is_none() {
        survey.note(check_durable_mark(directory, &state, &wals, durable_mark.as_ref()));
    }
    describe_proven(directory, &wals, durable_mark.as_ref(), survey);
    Ok(())
}

/// Describes how far the log is proven to be synced, and the content after that.
fn describe_proven(
    directory: &Directory,
    wals: &[Wal],
    durable_mark: Option<&DurableMark>,
    survey: &mut Survey,
) {
    let proven = durable_mark.map_or(0, |mark| mark.batch);
    if let Some(durable_mark) = durable_mark {
        let how = if durable_mark.seal.is_empty() { "" } else { ", all files of a clean close" };
        survey.proven = format!("batch {proven}{how}");
    }
    if let Some(state) = survey.state.filter(|state| state.batch > proven) {
        let batches =
            format!("{}: whole batches up to {}", directory.place(DATABASE_NAME), state.batch);
        survey.beyond.push(format!("{batches}, which an opening keeps"));
    }
    if survey.damage.is_some() {
        return;
    }
    for Wal { name, scan, .. } in wals.iter().filter(|wal| wal.scan.is_torn()) {
        let torn = format!("{}, offset {}", directory.part_place(name), scan.end);
        survey.beyond.push(format!("{torn}: a torn write, which an opening drops"));
        survey.torn = Some(torn);
    }
}

/// Seals the files of a database that was flushed and closed, in whose background nothing failed.
///
/// RocksDB has synced every file that it needs, but not one that it wrote in part and could not
/// remove.
pub(crate) fn seal(directory: &Directory, state: &State) -> Result<(), LogError> {
    directory.sync_parts()?;
    directory.sync_names(DATABASE_NAME)?;
    let seal = directory.seal()?;
    directory.write_durable_mark(&DurableMark { seal, ..durable_mark_of(state, 0) })
}

fn durable_mark_of(state: &State, wal: u64) -> DurableMark {
    let State { directory, batch, .. } = *state;
    DurableMark { directory, batch, wal, seal: Vec::new() }
}

fn check_database(directory: &Directory) -> Result<(), LogError> {
    if directory.has(DATABASE_NAME) {
        Ok(())
    } else {
        let place = format!("{}, which is missing", directory.place(DATABASE_NAME));
        Err(directory.corrupt(place))
    }
}

/// After a clean close only the next opening changes the files.
fn check_seal(directory: &Directory, durable_mark: Option<&DurableMark>) -> Result<(), LogError> {
    let sealed = durable_mark.map_or(&[][..], |durable_mark| &durable_mark.seal);
    if sealed.is_empty() {
        return Ok(());
    }
    let found = directory.seal()?;
    let differing = |one: &[SealedFile], other: &[SealedFile]| {
        one.iter().find(|file| !other.contains(file)).map(|file| file.name.clone())
    };
    let Some(name) = differing(sealed, &found).or_else(|| differing(&found, sealed)) else {
        return Ok(());
    };
    let place = directory.part_place(&name);
    let of = |files: &[SealedFile]| files.iter().find(|file| file.name == name).cloned();
    Err(directory.corrupt(match (of(sealed), of(&found)) {
        (Some(_), None) => format!("{place}, which is missing"),
        (None, _) => format!("{place}, which the last close did not leave"),
        (Some(was), Some(is)) if was.length != is.length => {
            format!("{place}, offset {}: the last close left {} bytes", is.length, was.length)
        }
        _ => format!("{place}: its bytes are not those that the last close left"),
    }))
}

fn check_owner(
    directory: &Directory,
    base: &State,
    durable_mark: Option<&DurableMark>,
) -> Result<(), LogError> {
    let place = directory.place(DURABLE_MARK_NAME);
    match durable_mark {
        Some(durable_mark) if durable_mark.directory != base.directory => {
            Err(directory.corrupt(format!("{place}: it belongs to another log than the database")))
        }
        // A new log is complete before its first durable mark is written.
        None if base.batch != 0 => Err(directory.corrupt(format!("{place}, which is missing"))),
        _ => Ok(()),
    }
}

fn read_wals(directory: &Directory, number: u64) -> Result<Vec<Wal>, LogError> {
    let read = |(wal, name): (u64, String)| {
        let place = directory.part(&name);
        let opened = directory.open_part(&name).and_then(|file| {
            let scan = scan(&file, number)?;
            Ok((file, scan))
        });
        let failed = |error| LogError::io(LogOp::Open, error).at(place.display().to_string());
        let (file, scan) = opened.map_err(failed)?;
        Ok(Wal { number: wal, name, file, scan })
    };
    directory.wals()?.into_iter().map(read).collect()
}

/// Goes from the state in the tables to that of the last complete batch, which may be in
/// write-ahead logs. An error if a batch is missing, or if damaged data is known to have been
/// synced; the state is then that of the last batch before the error.
///
/// Write-ahead logs whose batches are all in the base may reappear after a power cut, since nothing
/// waits until their removal is durable; so batches that repeat the base prove nothing.
fn check_batches(directory: &Directory, wals: &[Wal], state: &mut State) -> Result<(), LogError> {
    let mut bad_place = None;
    for wal in wals {
        let Wal { name, scan, .. } = wal;
        let place = |offset| format!("{}, offset {offset}", directory.part_place(name));
        if let Some(first) = scan.first.filter(|first| *first > state.batch + 1) {
            let place = bad_place.unwrap_or_else(|| place(0));
            return Err(directory.corrupt(format!(
                "{place}: batch {} was synced, since batch {first} follows",
                state.batch + 1,
            )));
        }
        if let (Some(offset), Some(what)) = (scan.strange_at, scan.newer) {
            return Err(newer(LogOp::Open, &place(offset), what));
        }
        if let Some(offset) = scan.strange_at {
            let place = format!("{}: a batch that does not follow there", place(offset));
            return Err(directory.corrupt(place));
        }
        if let Some(latest) = scan.latest.filter(|latest| latest.batch > state.batch) {
            *state = latest;
        }
        if let Some(newest) = scan.newest_beyond.filter(|newest| *newest >= state.batch + 2) {
            return Err(directory.corrupt(format!(
                "{}: batch {} was synced, since batch {newest} follows",
                place(scan.end),
                state.batch + 1,
            )));
        }
        bad_place = bad_place.or(scan.is_torn().then(|| place(scan.end)));
    }
    Ok(())
}

fn check_durable_mark(
    directory: &Directory,
    state: &State,
    wals: &[Wal],
    durable_mark: Option<&DurableMark>,
) -> Result<(), LogError> {
    let Some(durable_mark) = durable_mark else { return Ok(()) };
    let newest = wals.last();
    if newest.map_or(0, |wal| wal.number) < durable_mark.wal {
        let place = directory.part_place(&format!("{:06}.log", durable_mark.wal));
        return Err(directory.corrupt(format!("{place}, which is missing")));
    }
    if state.batch >= durable_mark.batch {
        return Ok(());
    }
    let place = match newest {
        Some(wal) => format!("{}, offset {}", directory.part_place(&wal.name), wal.scan.end),
        None => directory.place(DATABASE_NAME),
    };
    Err(directory.corrupt(format!(
        "{place}: batch {} is there, batch {} was synced",
        state.batch, durable_mark.batch,
    )))
}

/// Removes the torn write at the end, so that RocksDB finds only complete batches.
fn cut_torn(directory: &Directory, wals: &[Wal]) -> Result<Tail, LogError> {
    let mut tail = Tail::Clean;
    for Wal { name, file, scan, .. } in wals.iter().filter(|wal| wal.scan.is_torn()) {
        let cut = || -> io::Result<()> {
            file.set_len(scan.end)?;
            file.sync_all()
        };
        let place = directory.part_place(name);
        cut().map_err(|error| LogError::io(LogOp::Open, error).at(place.clone()))?;
        tail = Tail::TornDiscarded { place: format!("{place}, offset {}", scan.end) };
    }
    Ok(tail)
}
