//! A disk whose power can be cut: a file system in memory that any program can use, C libraries
//! included, and that notes down all that is done to it.
//!
//! [`Disk::mount`] gives a directory (FUSE, by the crate `fuser`). What is done in it is answered
//! from memory and noted in order, syncs included; the owner puts marks between. From such a record
//! [`crash`] makes what a power cut may have left at any moment. And operations can be made to fail
//! ([`Disk::inject`]), the n-th of a kind, once or from then on.
//!
//! | module | |
//! |---|---|
//! | `change` | one operation, as it is noted |
//! | `tree`, `content` | directories, names and bytes; what operations do to them |
//! | `state` | the disk at one moment; what operations do to it, and faults |
//! | `server` | what the kernel asks, and the answers |
//! | `keeper`, `owner`, `wire` | the process that serves, the one that uses, and their talk |
//! | `mount` | mounting and unmounting, so that nothing stays behind |
//! | `fault` | operations that fail |
//! | `history` | a record, what it begins on, and its words for people |
//! | [`crash`] | what a power cut leaves |
//! | `real` | beside all this: ext4 on a loop device, and a real cut |
//!
//! Which promises a file system makes about a power cut, and which it does not, is decided in
//! `docs/decisions/0100-what-a-power-cut-may-leave.md`.
//!
//! Absent: damage at rest, latency, limits of space other than injected ones.

#![cfg(target_os = "linux")]

mod change;
mod content;
pub mod crash;
mod fault;
mod history;
mod keeper;
mod mount;
mod owner;
mod real;
mod rng;
mod server;
mod state;
mod tree;
mod wire;

use std::fmt;
use std::io::Write;
use std::path::{Path, PathBuf};

pub use change::{Change, Ino, Kind, Name, ROOT};
pub use content::Content;
pub use fault::{Failure, Fault, OPERATIONS, Operation};
pub use history::History;
pub use real::RealDisk;
pub use real::cut;
pub use tree::{Node, Tree};

use wire::{Answer, DiskId, Request};

/// A file system in memory, mounted in a directory of its own until it is dropped.
pub struct Disk {
    id: DiskId,
    point: PathBuf,
    /// What the record begins on.
    base: Tree,
}

/// Why no disk can be mounted here.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Unavailable(String);

/// Mounts an empty disk for a test; where this machine cannot, says so on the standard error, past
/// the test runner's capture, and gives `None`.
///
/// # Panics
///
/// If it cannot be mounted and the variable `KONTIKI_REQUIRE` is `all`.
pub fn mount_or_skip() -> Option<Disk> {
    let why = match Disk::mount() {
        Ok(disk) => return Some(disk),
        Err(why) => why,
    };
    let required = std::env::var("KONTIKI_REQUIRE").is_ok_and(|what| what == "all");
    assert!(!required, "{why}, and KONTIKI_REQUIRE=all asks for it");
    // That the output is closed is no reason to fail.
    let _ = writeln!(std::io::stderr(), "skipped: {why}");
    None
}

impl Disk {
    /// Mounts an empty disk.
    ///
    /// # Errors
    ///
    /// If this machine has no `/dev/fuse`, or the process may not mount.
    pub fn mount() -> Result<Disk, Unavailable> {
        Disk::mount_after(History::default())
    }

    /// Mounts a disk on which all of this has happened already. What was not durable then is not
    /// durable yet.
    pub fn mount_after(history: History) -> Result<Disk, Unavailable> {
        let History { base, changes } = history;
        let request = Request::Mount { base: base.as_changes(), changes };
        match owner::ask(&request) {
            Ok(Answer::Mounted(id, point)) => Ok(Disk { id, point, base }),
            Ok(other) => Err(Unavailable(format!("a mount was answered with {other:?}"))),
            Err(error) => Err(Unavailable(error.to_string())),
        }
    }

    /// The directory where it is mounted; its contents are the disk's.
    pub fn dir(&self) -> &Path {
        &self.point
    }

    /// Puts a mark between what was done so far and what comes.
    pub fn mark(&self, mark: u64) {
        owner::number(&Request::Mark(self.id, mark));
    }

    /// How many changes were noted so far.
    pub fn changes(&self) -> usize {
        owner::number(&Request::Length(self.id)) as usize
    }

    /// What happened so far.
    pub fn history(&self) -> History {
        match owner::ask(&Request::Since(self.id, 0)) {
            Ok(Answer::Changes(changes)) => History { base: self.base.clone(), changes },
            other => panic!("the record of a disk was answered with {other:?}"),
        }
    }

    /// What the disk shows now.
    pub fn tree(&self) -> Tree {
        self.history().seen()
    }

    /// Lets an operation fail. Several faults may wait at once; of two that strike the same
    /// operation, the later one says how it fails.
    pub fn inject(&self, fault: Fault) {
        owner::number(&Request::Inject(self.id, fault));
    }

    /// Ends all faults. How many operations failed since the last time.
    pub fn heal(&self) -> u64 {
        owner::number(&Request::Heal(self.id))
    }

    /// How many operations failed since faults were last ended.
    pub fn struck(&self) -> u64 {
        owner::number(&Request::Struck(self.id))
    }

    /// Holds all syncs from now on: none is answered, and nothing is durable by one, until
    /// [`Disk::let_syncs_go`].
    pub fn hold_syncs(&self) {
        owner::number(&Request::Hold(self.id));
    }

    /// How many syncs are under way and held.
    pub fn held_syncs(&self) -> u64 {
        owner::number(&Request::Held(self.id))
    }

    /// Carries out the syncs that were held, and holds no more.
    pub fn let_syncs_go(&self) {
        owner::number(&Request::LetGo(self.id));
    }

    /// How many operations of a kind were asked for so far, those that failed included.
    pub fn count(&self, operation: Operation) -> u64 {
        owner::number(&Request::Count(self.id, operation))
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        // If the serving process is gone, so is the mount.
        let _ = owner::ask(&Request::Unmount(self.id));
    }
}

impl fmt::Display for Unavailable {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "no file system can be mounted through /dev/fuse: {}", self.0)
    }
}

/// The example of the README is compiled and run.
#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct Readme;
