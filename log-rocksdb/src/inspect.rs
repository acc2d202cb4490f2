//! Inspects a RocksDB log without changing a file, and checks all of its checksums.
//!
//! The files are checked as in `recover`. Then RocksDB opens the database for reading, and keeps
//! the content of the write-ahead logs in memory. Damage ends the inspection where it is, and is
//! reported.

use std::path::Path;
use std::sync::{Arc, RwLock};

use raft_core::storage::{
    Inspect, Inspection, LogBounds, LogError, LogErrorKind, LogOp, LogReader, LogSummary,
    Recovered, Tail,
};
use rocksdb::{DB, IteratorMode};

use crate::config::DEFAULT_MEMTABLE_BYTES;
use crate::database::{Handle, Wals, failed, load_state, meta, open_looker};
use crate::directory::{DATABASE_NAME, Directory};
use crate::load::load_sound_part;
use crate::log::{RocksLog, store_info};
use crate::reader::RocksReader;
use crate::recover::{Survey, survey};
use crate::state::State;

/// How many bytes of entries are read at once.
const READ_BYTES: u64 = 1 << 20;

/// A RocksDB log under inspection.
struct RocksInspection {
    handle: Arc<Handle>,
    summary: Arc<RwLock<LogSummary>>,
    inspection: Inspection,
    /// The log's bounds if none of its marks were damaged.
    bounds: LogBounds,
    _directory: Directory,
}

impl RocksLog {
    /// Inspects the log in a directory without changing it. Fails if there is none, or if it is in
    /// use; damage is part of the result.
    pub fn inspect(dir: impl AsRef<Path>) -> Result<Box<dyn Inspect>, LogError> {
        let directory = Directory::look(dir.as_ref())?;
        let mut survey = survey(&directory, DEFAULT_MEMTABLE_BYTES);
        let place = directory.place(DATABASE_NAME);
        let mut state = State::blank(0);
        let (mut summary, mut database) = (LogSummary::with_bounds(state.bounds), None);
        match survey.state.map(|wanted| open_sound_part(&directory, &wanted)) {
            Some(Ok((opened, shown))) => {
                let (seen, damage) = load_sound_part(&opened, &shown, &place);
                if survey.state != Some(shown) {
                    let unseen = format!("{place}: RocksDB does not see what was synced");
                    survey.damage.get_or_insert_with(|| directory.corrupt(unseen));
                }
                survey.damage = survey.damage.or(damage);
                (summary, database, state) = (seen, Some(opened), shown);
            }
            Some(Err(error)) => {
                survey.damage.get_or_insert(error);
            }
            None => {}
        }
        let inspection = inspection_of(&summary, &state, survey);
        Ok(Box::new(RocksInspection {
            handle: Arc::new(Handle::new(database, place)),
            summary: Arc::new(summary.into()),
            inspection,
            bounds: state.bounds,
            _directory: directory,
        }))
    }
}

/// The database up to this state, or only its tables if the write-ahead logs do not lead RocksDB to
/// this state; and the state that the database then has.
fn open_sound_part(directory: &Directory, wanted: &State) -> Result<(DB, State), LogError> {
    let place = directory.place(DATABASE_NAME);
    let open = |wals| {
        let database = open_looker(directory, DEFAULT_MEMTABLE_BYTES, wals)?;
        let state = load_state(&database, &place)?;
        Ok((database, state))
    };
    match open(Wals::Shown) {
        Ok((database, state)) if state == *wanted => Ok((database, state)),
        _ => open(Wals::Hidden),
    }
}

fn inspection_of(summary: &LogSummary, state: &State, survey: Survey) -> Inspection {
    let Survey { proven, beyond, torn, mut damage, .. } = survey;
    let tail = torn.map_or(Tail::Clean, |place| Tail::TornDiscarded { place });
    let found = summary.recovered(state.hard_state, state.commit_hint, tail);
    let found = found.map_err(|error| damage.get_or_insert(error));
    Inspection {
        info: store_info(),
        identity: state.identity,
        recovered: found.unwrap_or_else(|_| Recovered::nothing_but(state.hard_state)),
        proven,
        beyond,
        damage,
    }
}

impl Inspect for RocksInspection {
    fn result(&self) -> &Inspection {
        &self.inspection
    }

    fn reader(&self) -> Box<dyn LogReader> {
        Box::new(RocksReader::new(self.handle.clone(), self.summary.clone()))
    }

    fn verify(&mut self, progress: &mut dyn FnMut(u64, u64)) -> Vec<LogError> {
        let mut findings = Vec::new();
        if let Some(damage) = &self.inspection.damage {
            findings.push(copy_of(damage));
        }
        if self.handle.is_open() {
            findings.extend(self.meta_fault());
            self.read_entries(&mut findings, progress);
        }
        findings
    }
}

impl RocksInspection {
    /// The first unreadable record beside the entries. The readable ones were checked before.
    fn meta_fault(&self) -> Option<LogError> {
        let read = |database: &DB| {
            let mut records = database.iterator_cf(meta(database), IteratorMode::Start);
            let fault = records.find_map(Result::err);
            fault.map_or(Ok(()), |error| Err(failed(LogOp::Read, self.handle.place(), error)))
        };
        let fault = self.handle.with(LogOp::Read, read).err();
        fault.filter(|_| self.inspection.damage.is_none())
    }

    /// Reads every entry. A place that was reported already is not reported again, since many
    /// entries may be in one damaged block.
    fn read_entries(&self, findings: &mut Vec<LogError>, progress: &mut dyn FnMut(u64, u64)) {
        let reader = RocksReader::new(self.handle.clone(), self.summary.clone());
        let LogBounds { boundary, last } = self.bounds;
        let (all, end) = (last.index.since(boundary.index), last.index.next());
        let mut at = boundary.index.next();
        while at < end {
            progress(at.prev().since(boundary.index), all);
            match reader.stored(&(at..end), READ_BYTES) {
                Ok(entries) => at = entries.last().map_or(end, |entry| entry.id.index.next()),
                Err(error) => {
                    at = match error.kind {
                        LogErrorKind::Corrupt { index: Some(index) } => index.next(),
                        _ => end,
                    };
                    let is_known = findings.iter().any(|it| it.place == error.place);
                    findings.extend((!is_known).then_some(error));
                }
            }
        }
        progress(all, all);
    }
}

/// A copy of the error, with its cause as text.
fn copy_of(damage: &LogError) -> LogError {
    let again = LogError::new(damage.op, damage.kind.clone()).at(damage.place.clone());
    match &damage.source {
        Some(source) => again.because(source.to_string()),
        None => again,
    }
}
