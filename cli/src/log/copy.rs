//! `kontiki log copy`: copies a log, a member's directory or a whole cluster's directory to another
//! place and another backend.
//!
//! The source is not changed, and its locks are held until the copy is at its target. The copy
//! keeps the member's identity: it is the same member, and the two must never both run. All other
//! files beside a log are copied byte for byte, except locks.

use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use kontiki::{DataDir, LogConfig};

use super::arguments::Copy;
use super::partial::{Partial, check_free};
use super::place::{Kind, Looked, Named, open_failure};
use super::transfer::{Owner, transfer};
use crate::failure::{Failure, chain};
use crate::output::print;
use crate::up::{CLUSTER_FILE, cluster_on_backend};

/// A file that belongs to the running process, not to the data.
const LOCK: &str = "lock";
const LOG: &str = "log";

/// Runs the command.
pub async fn run(copy: &Copy) -> Result<ExitCode, Failure> {
    let built = build(copy).await?;
    print(&built.finish()?)?;
    Ok(ExitCode::SUCCESS)
}

/// Builds the copy beside its target.
async fn build(copy: &Copy) -> Result<Built, Failure> {
    let (from, to) = (Named::parse(&copy.from), Named::parse(&copy.to));
    let Some(backend) = to.backend.clone() else {
        let text = format!("--to {} does not name the backend of the copy", copy.to);
        return Err(Failure::new(text).advise(format!("for example --to sqlite:{}", copy.to)));
    };
    let kind = from.kind()?;
    to.check_backend()?;
    check_free(&to.dir)?;
    check_apart(&from.dir, &to.dir)?;
    let job = Job { from: &from, backend: &backend };
    let cluster = match kind {
        Kind::Cluster => Some(look(&from.dir)?),
        Kind::Member | Kind::Log => None,
    };
    let partial = Partial::begin(&to.dir)?;
    let copied = match kind {
        Kind::Log => vec![job.log(from.look()?, &partial.path(), "the log").await?],
        Kind::Member => {
            vec![job.member(from.look()?, &from.dir, &partial.path(), "the member").await?]
        }
        Kind::Cluster => job.cluster(&partial.path()).await?,
    };
    Ok(Built { partial, copied, target: to.dir, _cluster: cluster })
}

/// A copy that is not at its target yet. Until it is, no member may run on the source: a member
/// that ran in the meantime would have made promises that are missing from the copy.
struct Built {
    partial: Partial,
    copied: Vec<Copied>,
    target: PathBuf,
    _cluster: Option<DataDir>,
}

impl Built {
    /// Renames the copy to its target, then releases the source. Returns what to print.
    fn finish(self) -> Result<String, Failure> {
        self.partial.finish()?;
        let lines: String = self.copied.iter().map(|copied| format!("{}\n", copied.line)).collect();
        Ok(format!("{lines}copied to {} and verified; never run both\n", self.target.display()))
    }
}

/// A log that was copied: the line to print about it, and the inspection that keeps it locked.
struct Copied {
    line: String,
    _looked: Looked,
}

/// Refuses a target inside the source.
fn check_apart(from: &Path, to: &Path) -> Result<(), Failure> {
    let failed = |error| Failure::of(format!("{} cannot be read", from.display()), &error);
    let from = fs::canonicalize(from).map_err(failed)?;
    let absolute = std::path::absolute(to).map_err(failed)?;
    let mut above = absolute.ancestors().filter_map(|dir| fs::canonicalize(dir).ok());
    if above.any(|dir| dir == from) {
        Err(Failure::new(format!("{} lies in the directory that is copied", to.display()))
            .advise("choose a directory outside of it"))
    } else {
        Ok(())
    }
}

fn look(dir: &Path) -> Result<DataDir, Failure> {
    DataDir::look(dir).map_err(|error| Failure::new(chain(&error)))
}

/// The parameters of one run of the command.
struct Job<'a> {
    from: &'a Named,
    backend: &'a str,
}

impl Job<'_> {
    /// Copies all members, and the file that `kontiki up` keeps beside them. All are locked before
    /// the first is copied, so that no member runs while another is copied.
    async fn cluster(&self, target: &Path) -> Result<Vec<Copied>, Failure> {
        let text = cluster_on_backend(&self.from.dir, self.backend)?;
        let members = self.from.members()?;
        let looks = members.iter().map(|name| self.member_of_cluster(name).look());
        let looks: Vec<Looked> = looks.collect::<Result<_, _>>()?;
        let mut copied = Vec::new();
        for (name, looked) in members.iter().zip(looks) {
            let (from, to) = (self.from.dir.join(name), target.join(name));
            fs::create_dir(&to).map_err(|error| copy_failure(&to, &error))?;
            copied.push(self.member(looked, &from, &to, &format!("member {name}")).await?);
        }
        let is_beside = |name: &str| name != CLUSTER_FILE && !members.iter().any(|it| it == name);
        copy_others(&self.from.dir, target, is_beside)?;
        let path = target.join(CLUSTER_FILE);
        fs::write(&path, text).map_err(|error| copy_failure(&path, &error))?;
        Ok(copied)
    }

    fn member_of_cluster(&self, name: &str) -> Named {
        Named { backend: self.from.backend.clone(), dir: self.from.dir.join(name) }
    }

    /// Copies a member: its log, and the other files of its directory.
    async fn member(
        &self,
        looked: Looked,
        from: &Path,
        target: &Path,
        what: &str,
    ) -> Result<Copied, Failure> {
        let copied = self.log(looked, &target.join(LOG), what).await?;
        copy_others(from, target, |name| name != LOG)?;
        Ok(copied)
    }

    /// Copies a log.
    async fn log(&self, looked: Looked, target: &Path, what: &str) -> Result<Copied, Failure> {
        check_sound(&looked)?;
        let inspection = looked.inspection.as_ref();
        let config = LogConfig::from_name(self.backend, target);
        let config = config.map_err(|error| open_failure(&error))?;
        transfer(inspection, Owner::of(inspection), &config, what).await?;
        let inspection = inspection.result();
        let bounds = inspection.recovered.bounds;
        let count = bounds.last.index.since(bounds.boundary.index);
        let (dir, backend) = (looked.dir.display(), &inspection.info.backend);
        let line = format!("{what}: {count} entries, {dir} ({backend}) to {}", self.backend);
        Ok(Copied { line, _looked: looked })
    }
}

/// Refuses a damaged log.
pub fn check_sound(looked: &Looked) -> Result<(), Failure> {
    match &looked.inspection.result().damage {
        None => Ok(()),
        Some(damage) => {
            let text = format!("{} is damaged: {}", looked.dir.display(), chain(damage));
            Err(Failure::new(text).advise(
                "a damaged log is not copied: the copy would look complete. `kontiki log verify` \
                 finds all of the damage",
            ))
        }
    }
}

/// Copies the files beside a log byte for byte, and reads them back.
fn copy_others(from: &Path, to: &Path, is_wanted: impl Fn(&str) -> bool) -> Result<(), Failure> {
    let entries = fs::read_dir(from).map_err(|error| copy_failure(from, &error))?;
    for entry in entries {
        let entry = entry.map_err(|error| copy_failure(from, &error))?;
        let name = entry.file_name();
        let plain = name.to_string_lossy();
        if plain == LOCK || !is_wanted(&plain) {
            continue;
        }
        copy_tree(&entry.path(), &to.join(&name))?;
    }
    Ok(())
}

fn copy_tree(from: &Path, to: &Path) -> Result<(), Failure> {
    let failed = |error| copy_failure(from, &error);
    let what = fs::symlink_metadata(from).map_err(failed)?;
    if what.is_dir() {
        fs::create_dir(to).map_err(|error| copy_failure(to, &error))?;
        for entry in fs::read_dir(from).map_err(failed)? {
            let name = entry.map_err(failed)?.file_name();
            copy_tree(&from.join(&name), &to.join(&name))?;
        }
        Ok(())
    } else if what.is_file() {
        fs::copy(from, to).map_err(|error| copy_failure(to, &error))?;
        if same_bytes(from, to).map_err(failed)? {
            Ok(())
        } else {
            Err(Failure::new(format!("{} was not copied completely", from.display())))
        }
    } else {
        Err(Failure::new(format!("{} is neither a file nor a directory", from.display()))
            .advise("it cannot be copied: move it away"))
    }
}

fn same_bytes(one: &Path, other: &Path) -> io::Result<bool> {
    use io::Read;
    let (mut one, mut other) = (File::open(one)?, File::open(other)?);
    let (mut ours, mut theirs) = (vec![0; 1 << 16], vec![0; 1 << 16]);
    loop {
        let count = one.read(&mut ours)?;
        if count == 0 {
            return Ok(other.read(&mut theirs)? == 0);
        }
        let same =
            other.read_exact(&mut theirs[..count]).map(|()| ours[..count] == theirs[..count]);
        match same {
            Ok(true) => {}
            Ok(false) => return Ok(false),
            Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => return Ok(false),
            Err(error) => return Err(error),
        }
    }
}

fn copy_failure(path: &Path, error: &io::Error) -> Failure {
    Failure::of(format!("{} cannot be copied", path.display()), error)
        .advise("check the directory: its permissions, the space of its disk")
}

#[cfg(all(test, feature = "file"))]
mod tests {
    use super::*;
    use kontiki::storage::WriteBatch;
    use kontiki::types::{HardState, Term};

    async fn a_member(dir: &Path) {
        let lock = DataDir::open(dir).expect("a new directory");
        let config = LogConfig::from_name("file", lock.log()).expect("compiled in");
        let mut log = config.open().expect("a new log");
        let hard_state = Some(HardState { term: Term::new(1), vote: None });
        log.write(WriteBatch { hard_state, ..WriteBatch::default() }).await.expect("sound");
        log.close().await.expect("closes");
    }

    #[tokio::test]
    async fn no_member_runs_on_the_source_until_the_copy_is_at_its_target() {
        let dir = tempfile::tempdir().expect("a directory");
        let cluster = dir.path().join("cluster");
        let members = ["1", "2", "3"].map(|name| cluster.join(name));
        for member in &members {
            a_member(member).await;
        }
        let text = "cluster = \"c\"\nnodes = 3\nbackend = \"file\"\nbegun = [1, 2, 3]\n";
        fs::write(cluster.join(CLUSTER_FILE), text).expect("written");
        for (what, from) in [
            ("cluster", cluster.clone()),
            ("member", members[0].clone()),
            ("log", members[0].join(LOG)),
        ] {
            let (is_cluster, is_log) = (what == "cluster", what == "log");
            let target = dir.path().join(format!("copy-of-{what}"));
            let (from, to) = (from.display().to_string(), format!("file:{}", target.display()));
            let built = build(&Copy { from, to }).await.expect("sound");
            assert!(!target.exists(), "{what}: the target does not exist yet");
            for member in if is_cluster { &members[..] } else { &members[..1] } {
                assert_eq!(DataDir::open(member).is_ok(), is_log, "{what}: {}", member.display());
                let log = LogConfig::from_name("file", member.join(LOG)).expect("compiled in");
                assert!(log.open().is_err(), "{what}: {}", member.display());
            }
            built.finish().expect("it is renamed");
            assert!(
                target.exists() && DataDir::open(&members[0]).is_ok(),
                "{what}: the lock is released"
            );
        }
    }
}
