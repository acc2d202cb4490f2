//! Parses the directory of an argument: whether it is a log, a member with one, or a cluster of
//! members, and which backend the log has.

use std::path::{Path, PathBuf};

use kontiki::storage::{Inspect, LogErrorKind};
use kontiki::{DataDir, LogConfig, OpenError, SnapshotDir};

use crate::failure::{Failure, chain};
use crate::up::CLUSTER_FILE;

/// A directory from the command line, with the backend if the argument names one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Named {
    /// The part before the colon.
    pub backend: Option<String>,
    /// The directory.
    pub dir: PathBuf,
}

/// What a directory is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// The directory that holds the files of one backend.
    Log,
    /// A member's directory: `log/` and the files beside it.
    Member,
    /// A cluster's directory, as `kontiki up` creates it: `cluster.toml` and the members'
    /// directories.
    Cluster,
}

/// A log that is open for inspection. Its lock keeps members from starting on it.
pub struct Looked {
    /// The directory of its files.
    pub dir: PathBuf,
    /// The inspection.
    pub inspection: Box<dyn Inspect>,
    /// The snapshots beside it, if it is a member's.
    pub snapshots: Option<SnapshotDir>,
    _lock: Option<DataDir>,
}

impl Named {
    /// Splits an argument. If it is an existing path, the whole of it is the directory, colons
    /// included.
    pub fn parse(typed: &str) -> Named {
        let is_name = |text: &str| {
            !text.is_empty() && text.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-')
        };
        match typed.split_once(':').filter(|(name, _)| is_name(name)) {
            Some((name, dir)) if !Path::new(typed).exists() => {
                Named { backend: Some(name.to_owned()), dir: dir.into() }
            }
            _ => Named { backend: None, dir: typed.into() },
        }
    }

    /// The kind of the directory.
    pub fn kind(&self) -> Result<Kind, Failure> {
        self.check_backend()?;
        let has = |name: &str| self.dir.join(name).exists();
        if self.dir.as_os_str().is_empty() {
            return Err(Failure::new("no directory is named")
                .advise("name one after the colon, as in file:kontiki-data/1"));
        }
        if !self.dir.exists() {
            return Err(Failure::new(format!("{} does not exist", self.dir.display())));
        }
        if !self.dir.is_dir() {
            return Err(Failure::new(format!("{} is not a directory", self.dir.display()))
                .advise("name the directory that contains it"));
        }
        if has(CLUSTER_FILE) {
            Ok(Kind::Cluster)
        } else if has("log") {
            Ok(Kind::Member)
        } else {
            Ok(Kind::Log)
        }
    }

    /// Refuses a backend that is unknown, not in this build, or keeps no files.
    pub fn check_backend(&self) -> Result<(), Failure> {
        let Some(name) = &self.backend else { return Ok(()) };
        let config = LogConfig::from_name(name, &self.dir).map_err(|error| open_failure(&error))?;
        if config.is_durable() { Ok(()) } else { Err(open_failure(&OpenError::Volatile)) }
    }

    /// The names of the members' directories in a cluster's directory.
    pub fn members(&self) -> Result<Vec<String>, Failure> {
        let failed = |error| Failure::of(format!("{} cannot be read", self.dir.display()), &error);
        let mut members = Vec::new();
        for entry in std::fs::read_dir(&self.dir).map_err(failed)? {
            let entry = entry.map_err(failed)?;
            let name = entry.file_name().to_string_lossy().into_owned();
            if name.parse::<u64>().is_ok() && entry.path().is_dir() {
                members.push(name);
            }
        }
        members.sort();
        Ok(members)
    }

    /// Opens the log of the directory (a log's or a member's) for inspection.
    pub fn look(&self) -> Result<Looked, Failure> {
        let (dir, snapshots, lock) = match self.kind()? {
            Kind::Log => (self.dir.clone(), None, None),
            Kind::Member => {
                let lock = DataDir::look(&self.dir);
                let lock = lock.map_err(|error| Failure::new(chain(&error)))?;
                (lock.log(), Some(SnapshotDir::look(lock.snapshots())), Some(lock))
            }
            Kind::Cluster => return Err(self.name_a_member()),
        };
        let config = match &self.backend {
            Some(name) => LogConfig::from_name(name, &dir),
            None => LogConfig::detect(&dir),
        };
        let inspection = config.and_then(|config| config.inspect());
        let inspection = inspection.map_err(|error| open_failure(&error))?;
        Ok(Looked { dir, inspection, snapshots, _lock: lock })
    }

    fn name_a_member(&self) -> Failure {
        let dir = self.dir.display();
        let text = format!("{dir} is the directory of a cluster, not of one member");
        match self.members().unwrap_or_default().first() {
            Some(first) => Failure::new(text).advise(format!("name one of them, as {dir}/{first}")),
            None => Failure::new(text).advise("it has no members yet"),
        }
    }
}

/// The failure for a log that cannot be opened or inspected.
pub fn open_failure(error: &OpenError) -> Failure {
    let failure = Failure::new(chain(error));
    match error {
        OpenError::Store(store) => match store.kind {
            LogErrorKind::InUse => {
                failure.advise("a member or another command is using it: stop that first")
            }
            LogErrorKind::Format => failure.advise(
                "this is not a log of that backend, or its format is newer: name another \
                 directory, or the backend, as in sqlite:DIR",
            ),
            _ => failure.advise("check the directory: its permissions, its disk"),
        },
        OpenError::NotCompiledIn { name, .. } => failure.advise(format!(
            "for example: cargo run --release --package kontiki-cli --features {name} -- log"
        )),
        _ => failure,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_backend_is_named_before_a_colon() {
        let named = |backend: Option<&str>, dir: &str| Named {
            backend: backend.map(str::to_owned),
            dir: dir.into(),
        };
        assert_eq!(Named::parse("file:a/b"), named(Some("file"), "a/b"));
        assert_eq!(Named::parse("a/b"), named(None, "a/b"));
        assert_eq!(Named::parse("a/b:c"), named(None, "a/b:c"));
        assert_eq!(Named::parse("sqlite:a:b"), named(Some("sqlite"), "a:b"));
        let dir = tempfile::tempdir().expect("a directory");
        let odd = dir.path().join("file:x");
        std::fs::create_dir(&odd).expect("made");
        let typed = odd.display().to_string();
        assert_eq!(Named::parse(&typed), named(None, &typed));
    }
}
