//! Opens a member's directory and log, and advises what to do for each way in which that fails.

use std::collections::BTreeMap;
use std::path::Path;
use std::time::Duration;

use kontiki::storage::{LogError, LogErrorKind, Store};
use kontiki::types::Identity;
use kontiki::{
    DataDir, DataDirError, LogConfig, Membership, NodeId, OpenError, RestoreError, StartError,
    Unsound,
};
use kontiki_etcd::MemberAddresses;
use tokio::time::{Instant, sleep};

use crate::failure::{Failure, chain};

use super::joining::lost_log_advice;
use super::origin::OriginError;
use super::settings::{self, Settings};

/// How long to wait until another process releases the directory. A process that was told to stop
/// a moment ago may still be closing its log.
const LOCK_PATIENCE: Duration = Duration::from_secs(2);

/// The backend of a new member's log if none is given.
const DEFAULT_BACKEND: &str = "file";

/// A member's opened log.
pub struct Opened {
    /// The lock on the member's directory, if it has one.
    pub dir: Option<DataDir>,
    /// The log.
    pub log: Box<dyn Store>,
    /// Its backend.
    pub backend: String,
}

/// Opens the member's log, and locks its directory if it has one.
///
/// # Errors
///
/// If there is no such backend, no directory for it, or one of them is in use, damaged or unusable.
pub async fn open(settings: &Settings) -> Result<Opened, Failure> {
    let backend = backend(settings)?;
    let nowhere = log_in(settings, &backend, Path::new(""))?;
    if !nowhere.is_durable() {
        let log = nowhere.open().map_err(|error| open_failure(settings, &error))?;
        return Ok(Opened { dir: None, log, backend });
    }
    let Some(dir) = &settings.dir else {
        return Err(Failure::new(format!("the {backend} log needs a directory"))
            .advise("name one with --dir DIR, or `dir` in the file"));
    };
    let dir = lock(dir).await?;
    let log = log_in(settings, &backend, &dir.log())?;
    let log = log.open().map_err(|error| open_failure(settings, &error))?;
    Ok(Opened { dir: Some(dir), log, backend })
}

/// The backend that the settings name, or else the one whose files are in the member's directory,
/// or else the default.
fn backend(settings: &Settings) -> Result<String, Failure> {
    if let Some(backend) = &settings.backend {
        return Ok(backend.clone());
    }
    let Some(dir) = &settings.dir else { return Ok(DEFAULT_BACKEND.to_owned()) };
    match LogConfig::detect(dir.join("log")) {
        Ok(log) => Ok(log.name().to_owned()),
        Err(OpenError::NotALog { .. }) => Ok(DEFAULT_BACKEND.to_owned()),
        Err(error) => Err(open_failure(settings, &error)),
    }
}

async fn lock(dir: &Path) -> Result<DataDir, Failure> {
    let deadline = Instant::now() + LOCK_PATIENCE;
    loop {
        match DataDir::open(dir) {
            Err(DataDirError::InUse(_)) if Instant::now() < deadline => {
                sleep(LOCK_PATIENCE / 40).await;
            }
            other => return other.map_err(|error| Failure::new(chain(&error))),
        }
    }
}

/// The configuration of the log that the settings name, in this directory.
fn log_in(settings: &Settings, backend: &str, dir: &Path) -> Result<LogConfig, Failure> {
    let log = LogConfig::from_name(backend, dir);
    let log = log.and_then(|log| match &settings.io {
        Some(io) => log.with_io(io),
        None => Ok(log),
    });
    log.map_err(|error| open_failure(settings, &error))
}

/// Initializes a blank log as the log of a member of a new cluster.
///
/// # Errors
///
/// If `--bootstrap` was not given, if the settings lack something that is needed, or if the store
/// fails.
pub async fn initialize(
    settings: &Settings,
    is_asked_for: bool,
    log: &mut dyn Store,
) -> Result<Identity, Failure> {
    let place = place(settings);
    if settings.must_have_log {
        let text = format!("{place} is empty, though this member has had a log");
        return Err(Failure::new(text)
            .advise(lost_log_advice(&settings.id.map_or("ID".to_owned(), |id| id.to_string()))));
    }
    if !is_asked_for {
        return Err(Failure::new(format!("{place} is empty: no cluster was created")).advise(
            "a new cluster is created by starting each of its members once with --bootstrap, and \
             `--join ENDPOINT` joins a running one. If this member has run before, restore its \
             directory: without it, the member's votes are lost, and another one has to replace \
             it (`kontiki member replace`)",
        ));
    }
    let missing = |what: &str| {
        Failure::new(format!("{place} is empty, and {what} is not given"))
            .advise("the first start needs --id, --cluster and each --member, or a file with them")
    };
    let id = settings::node_id(settings.id.ok_or_else(|| missing("--id"))?)?;
    let cluster = settings.cluster.as_ref().ok_or_else(|| missing("--cluster"))?;
    if settings.members.is_empty() {
        return Err(missing("a --member"));
    }
    let members = listed(settings)?;
    if !members.contains_key(&id) {
        return Err(Failure::new(format!("member {id} is not among the listed members"))
            .advise("list all members, including this one, identically on each of them"));
    }
    let voters = members.iter().map(|(id, addresses)| (*id, addresses.encode()));
    let membership = Membership::of_voters(voters)
        .map_err(|error| Failure::of("these members cannot form a cluster", &error))?;
    let identity = kontiki::bootstrap(log, cluster, id, &membership).await;
    identity.map_err(|error| Failure::of(place, &error))
}

/// The members that the settings list.
///
/// # Errors
///
/// If one is listed twice, or has a wrong id or address.
pub fn listed(settings: &Settings) -> Result<BTreeMap<NodeId, MemberAddresses>, Failure> {
    let mut members = BTreeMap::new();
    for member in &settings.members {
        let (id, addresses) = member.checked()?;
        if members.insert(id, addresses).is_some() {
            return Err(Failure::new(format!("member {id} is listed twice")));
        }
    }
    Ok(members)
}

/// The failure for a member that does not start.
pub fn start_failure(settings: &Settings, error: &StartError) -> Failure {
    match error {
        StartError::Store(store) => store_failure(settings, store),
        StartError::Snapshots(RestoreError::Store(store)) => store_failure(settings, store),
        StartError::Snapshots(snapshots) => snapshots_failure(snapshots),
        StartError::MissingPrefix { .. } => Failure::of(place(settings), error).damaged(),
        other => Failure::of(place(settings), other),
    }
}

fn snapshots_failure(error: &RestoreError) -> Failure {
    let failure = Failure::new(chain(error));
    match error {
        RestoreError::Directory { .. } => {
            failure.advise("check the disk: its space, its permissions, its health")
        }
        RestoreError::Unusable(unusable) => match unusable.why {
            Unsound::Newer(_) => failure.advise("start the member with the version that wrote it"),
            Unsound::Io(_) => failure.advise("check the disk: its permissions, its health"),
            _ => failure.damaged(),
        },
        RestoreError::StateMachine { .. } => failure.advise(
            "if a newer version wrote the snapshot, start the member with that version; else the \
             file was not written by this program: keep a copy of it",
        ),
        RestoreError::OtherCluster { .. } => {
            failure.advise("the file was copied here from another cluster: move it away")
        }
        // What the member knew is lost or contradicts itself.
        _ => failure.damaged(),
    }
}

/// The failure for a member whose origin cannot be determined.
pub fn origin_failure(settings: &Settings, error: OriginError) -> Failure {
    match error {
        OriginError::Store(error) => store_failure(settings, &error),
        OriginError::File(failure) => failure,
    }
}

fn open_failure(settings: &Settings, error: &OpenError) -> Failure {
    match error {
        OpenError::Store(store) => store_failure(settings, store),
        OpenError::NotCompiledIn { name, .. } => Failure::new(chain(error)).advise(format!(
            "for example: cargo run --release --features {name} -- serve --backend {name}"
        )),
        OpenError::NoIo { .. } | OpenError::UnknownIo { .. } => {
            Failure::new(chain(error)).advise("leave out `io`, or choose the file log")
        }
        other => Failure::new(chain(other)).advise("choose one of these with --backend"),
    }
}

fn store_failure(settings: &Settings, error: &LogError) -> Failure {
    let failure = Failure::of(place(settings), error);
    match error.kind {
        LogErrorKind::Corrupt { .. } => failure.damaged(),
        LogErrorKind::InUse => {
            failure.advise("stop the other process, or choose another directory")
        }
        LogErrorKind::Format => failure.advise(
            "the directory was written by another program or by another version: choose another \
             directory, or the program that wrote it",
        ),
        LogErrorKind::NoSpace => failure.advise(
            "remove other files from this file system, or enlarge it, and start the member again",
        ),
        _ => failure.advise("check the disk: its space, its permissions, its health"),
    }
}

fn place(settings: &Settings) -> String {
    let member = settings.id.map_or("this member".to_owned(), |id| format!("member {id}"));
    match &settings.dir {
        Some(dir) => format!("the log of {member} in {}", dir.display()),
        None => format!("the log of {member}"),
    }
}

#[cfg(test)]
mod tests {
    use std::io;

    use kontiki::types::EntryId;
    use kontiki::{RestoreError, UnusableSnapshot};

    use super::*;

    /// The exit status says whether starting the member again can help.
    #[test]
    fn only_lost_data_counts_as_damage() {
        let (path, zero) = (std::path::PathBuf::from("snap"), EntryId::ZERO);
        let unusable = |why| UnusableSnapshot { path: path.clone(), why };
        let newer = RestoreError::Unusable(unusable(Unsound::Newer("version 2".to_owned())));
        let cut = Unsound::Damaged { at: 7, what: "the checksum of a chunk" };
        let damaged = unusable(cut);
        let cases = [
            (newer, "start the member with the version", 1),
            (RestoreError::Unusable(unusable(io::Error::other("it").into())), "check the disk", 1),
            (RestoreError::Lost { damaged, boundary: zero }, "damaged at byte 7", 3),
            (RestoreError::LogLost { last: zero, path, includes: zero }, "lost entries", 3),
        ];
        for (error, expected, status) in cases {
            let failure = start_failure(&Settings::default(), &StartError::Snapshots(error));
            let said = failure.to_string();
            assert!(said.contains(expected), "{said}");
            assert_eq!(failure.exit_status(), status, "{said}");
        }
    }
}
