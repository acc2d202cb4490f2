//! A member's directory and log, opened; and for each way in which that fails, what to do.

use std::path::Path;
use std::time::Duration;

use kontiki::storage::{LogErrorKind, Store};
use kontiki::{BootstrapError, DataDir, DataDirError, LogConfig, OpenError, StartError};
use tokio::time::{Instant, sleep};

use super::config::MemberConfig;
use crate::failure::{Failure, chain};

/// How long to wait for the process before this one to let go of the directory. One that was told
/// to stop a moment ago may still be closing its log.
const LOCK_PATIENCE: Duration = Duration::from_secs(2);

/// Opens the member's log, and locks its directory if it has one.
pub async fn open(config: &MemberConfig) -> Result<(Option<DataDir>, Box<dyn Store>), Failure> {
    let nowhere = log_in(config, Path::new(""))?;
    if !nowhere.is_durable() {
        return Ok((None, nowhere.open().map_err(|error| open_failure(config, &error))?));
    }
    let Some(dir) = &config.dir else {
        return Err(Failure::new(format!("the {} log needs a directory", config.backend))
            .advise("name one with --dir DIR, or `dir` in the file"));
    };
    let deadline = Instant::now() + LOCK_PATIENCE;
    let lock = loop {
        match DataDir::open(dir) {
            Err(DataDirError::InUse(_)) if Instant::now() < deadline => {
                sleep(LOCK_PATIENCE / 40).await;
            }
            other => break other.map_err(|error| Failure::new(chain(&error)))?,
        }
    };
    let log = log_in(config, &lock.log())?.open().map_err(|error| open_failure(config, &error))?;
    Ok((Some(lock), log))
}

/// The log that the settings mean, in this directory.
fn log_in(config: &MemberConfig, dir: &Path) -> Result<LogConfig, Failure> {
    let log = LogConfig::from_name(&config.backend, dir);
    let log = log.and_then(|log| match &config.io {
        Some(io) => log.with_io(io),
        None => Ok(log),
    });
    log.map_err(|error| open_failure(config, &error))
}

/// Refuses a log that nobody has written to.
pub async fn check_not_blank(config: &MemberConfig, log: &mut dyn Store) -> Result<(), Failure> {
    let identity = log.load_identity().await;
    match identity.map_err(|error| store_failure(config, &error))? {
        Some(_) => Ok(()),
        None => {
            let text = format!("{} is empty, though this member has had one", place(config));
            Err(Failure::new(text).advise(
                "bring its directory back. On an empty log it would have forgotten its votes and \
                 what it acknowledged, so that the cluster could lose what it promised to keep",
            ))
        }
    }
}

/// Makes a blank log the log of this member.
pub async fn bootstrap(config: &MemberConfig, log: &mut dyn Store) -> Result<(), Failure> {
    let membership = config.membership()?;
    match kontiki::bootstrap(log, &config.cluster, config.id, &membership).await {
        Ok(identity) => {
            tracing::info!(%identity, "the log is this member's");
            Ok(())
        }
        Err(error @ BootstrapError::OtherIdentity { .. }) => {
            Err(Failure::of(place(config), &error).advise(
                "the directory is another member's or another cluster's: choose this member's own, \
                 or start with the id, the cluster name and the members that it was made with",
            ))
        }
        Err(error) => Err(Failure::of(place(config), &error)),
    }
}

/// What a member that does not start says.
pub fn start_failure(config: &MemberConfig, error: &StartError) -> Failure {
    match error {
        StartError::Store(store) => store_failure(config, store),
        other => Failure::of(place(config), other),
    }
}

fn open_failure(config: &MemberConfig, error: &OpenError) -> Failure {
    match error {
        OpenError::Store(store) => store_failure(config, store),
        OpenError::NotCompiledIn { name, .. } => Failure::new(chain(error)).advise(format!(
            "for example: cargo run --release --features {name} -- serve --backend {name}"
        )),
        OpenError::NoIo { .. } | OpenError::UnknownIo { .. } => {
            Failure::new(chain(error)).advise("leave out `io`, or choose the file log")
        }
        other => Failure::new(chain(other)).advise("choose one of these with --backend"),
    }
}

fn store_failure(config: &MemberConfig, error: &kontiki::storage::LogError) -> Failure {
    let failure = Failure::of(place(config), error);
    match error.kind {
        LogErrorKind::Corrupt { .. } => failure.damaged(),
        LogErrorKind::InUse => {
            failure.advise("stop the other process, or choose another directory")
        }
        LogErrorKind::Format => failure.advise(
            "the directory was written by another program or by another version: choose another \
             directory, or the program that wrote it",
        ),
        _ => failure.advise("check the disk: its space, its permissions, its health"),
    }
}

fn place(config: &MemberConfig) -> String {
    match &config.dir {
        Some(dir) => format!("the log of member {} in {}", config.id, dir.display()),
        None => format!("the log of member {}", config.id),
    }
}
