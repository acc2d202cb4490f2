//! Inspects an SQLite log without changing a file, and verifies all of its checksums.
//!
//! The files are checked as `recover` checks them, without SQLite, but nothing is made durable.
//! Then a connection that can change nothing reads the rows. The inspection ends at the first
//! damage and reports it.

use std::path::Path;
use std::sync::{Arc, RwLock};

use raft_core::storage::{
    Inspect, Inspection, LogBounds, LogError, LogErrorKind, LogOp, LogReader, LogSummary,
    Recovered, Tail,
};
use rusqlite::Connection;

use crate::database::{failed, open_looker, shows, unseen};
use crate::directory::{DATABASE_NAME, Directory};
use crate::load::load_sound_part;
use crate::log::{SqliteLog, store_info};
use crate::reader::{ReadConnection, SqliteReader};
use crate::recover::{Survey, survey};
use crate::state::State;

/// An SQLite log that is being inspected.
struct SqliteInspection {
    connection: Arc<ReadConnection>,
    summary: Arc<RwLock<LogSummary>>,
    inspection: Inspection,
    /// The end that the log would have if nothing were damaged.
    bounds: LogBounds,
    place: String,
    _directory: Directory,
}

impl SqliteLog {
    /// Inspects the log in a directory without changing it. Fails if there is none, or if it is in
    /// use. Damage is not an error here: the result reports it.
    pub fn inspect(dir: impl AsRef<Path>) -> Result<Box<dyn Inspect>, LogError> {
        let directory = Directory::look(dir.as_ref())?;
        let mut survey = survey(&directory);
        let (path, place) = (directory.path(DATABASE_NAME), directory.place(DATABASE_NAME));
        let state = survey.state.unwrap_or(State::blank(0));
        let mut found = (LogSummary::empty(state.bounds.boundary), None, None);
        if survey.state.is_some() {
            found = rows(&directory, &place, &state, survey.has_wal);
        }
        let (summary, connection, damage) = found;
        survey.damage = survey.damage.or(damage);
        let inspection = inspection_of(&summary, &state, survey);
        let connection = match connection {
            Some(connection) => ReadConnection::over(path, connection),
            None => ReadConnection::closed(path),
        };
        Ok(Box::new(SqliteInspection {
            connection: Arc::new(connection),
            summary: Arc::new(summary.into()),
            inspection,
            bounds: state.bounds,
            place,
            _directory: directory,
        }))
    }
}

/// The rows of the log, as SQLite shows them.
fn rows(
    directory: &Directory,
    place: &str,
    state: &State,
    has_wal: bool,
) -> (LogSummary, Option<Connection>, Option<LogError>) {
    let open = || {
        let database = open_looker(&directory.path(DATABASE_NAME), has_wal)?;
        let is_seen = shows(&database, state)?;
        Ok((database, is_seen))
    };
    let nothing = LogSummary::empty(state.bounds.boundary);
    match open() {
        Ok((database, true)) => {
            let (summary, damage) = load_sound_part(&database, state, place);
            (summary, Some(database), damage)
        }
        Ok((_, false)) => (nothing, None, Some(directory.corrupt(unseen(place)))),
        Err(error) => (nothing, None, Some(failed(LogOp::Open, place, error))),
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

impl Inspect for SqliteInspection {
    fn result(&self) -> &Inspection {
        &self.inspection
    }

    fn reader(&self) -> Box<dyn LogReader> {
        Box::new(SqliteReader::new(self.connection.clone(), self.summary.clone()))
    }

    fn verify(&mut self, progress: &mut dyn FnMut(u64, u64)) -> Vec<LogError> {
        let mut findings = Vec::new();
        if let Some(damage) = &self.inspection.damage {
            findings.push(LogError::new(damage.op, damage.kind.clone()).at(damage.place.clone()));
        }
        let named = self.inspection.damage.as_ref().map(|damage| damage.place.as_str());
        let LogBounds { boundary, last } = self.bounds;
        let all = last.index.since(boundary.index) + 1;
        progress(0, all);
        match self.connection.integrity_faults() {
            Ok(faults) => findings.extend(faults.iter().map(|fault| self.fault(fault))),
            Err(error) => findings.push(error),
        }
        let mut at = boundary.index.next();
        while at <= last.index && self.connection.is_open() {
            progress(at.since(boundary.index), all);
            let fault = self.connection.read(&(at..at.next()), 0).err();
            findings.extend(fault.filter(|fault| named != Some(fault.place.as_str())));
            at = at.next();
        }
        progress(all, all);
        findings
    }
}

impl SqliteInspection {
    fn fault(&self, named: &str) -> LogError {
        let kind = LogErrorKind::Corrupt { index: None };
        LogError::new(LogOp::Read, kind).at(format!("{}: {named}", self.place))
    }
}
