//! A second opener in a separate process: the test is started again, and that process only opens
//! the store that the first process has open.
//!
//! A store that only keeps a list of open directories in its process refuses a second handle there,
//! but not one in another process. The exit status of the second process is the result.

use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio, exit};

use raft_core::storage::LogErrorKind;

use super::place::Place;
use super::test_name::Rerun;

/// The variable that holds the directory that a second opener is to open.
const ASKED: &str = "KONTIKI_OPEN_IN";

/// The result of an opening in another process.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Opened {
    /// It opened.
    Open,
    /// It reported that the store is in use.
    InUse,
    /// It failed in another way.
    Failed,
}

/// The exit status for each result. A test runner returns none of these.
const STATUSES: [(Opened, i32); 3] =
    [(Opened::Open, 61), (Opened::InUse, 62), (Opened::Failed, 63)];

/// Opens the store of a directory in another process, which runs the same test. `None` if the
/// process could not be started, or did not reach the opening.
pub(crate) fn open(rerun: &Rerun, dir: &Path) -> Option<Opened> {
    let mut command = Command::new(std::env::current_exe().ok()?);
    command.args([OsString::from("--exact"), rerun.path().into(), "--nocapture".into()]);
    command.env(ASKED, dir).stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    let status = command.status().ok()?.code()?;
    STATUSES.iter().find(|(_, known)| *known == status).map(|(opened, _)| *opened)
}

/// The directory in which this process is to open a store, if it was started for that.
pub(crate) fn asked() -> Option<PathBuf> {
    std::env::var_os(ASKED).map(PathBuf::from)
}

/// Opens the store there, and ends the process.
pub(crate) fn open_and_exit(place: &mut dyn Place, dir: &Path) -> ! {
    let mut runtime = tokio::runtime::Builder::new_multi_thread();
    let opened = match runtime
        .worker_threads(1)
        .enable_all()
        .build()
        .map(|runtime| runtime.block_on(place.open_in(dir)))
    {
        Ok(Some(Ok(_))) => Opened::Open,
        Ok(Some(Err(error))) if error.kind == LogErrorKind::InUse => Opened::InUse,
        _ => Opened::Failed,
    };
    let status = STATUSES.iter().find(|(known, _)| *known == opened);
    exit(status.map_or(1, |(_, status)| *status))
}
