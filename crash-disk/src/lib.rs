//! A disk whose power can be cut: a file system in memory that any program can use, including C
//! libraries, and that records all operations on it.
//!
//! [`Disk::mount`] mounts it in a directory (FUSE, by the crate `fuser`). Operations are answered
//! from memory and recorded in order, including syncs; the owner places marks between them. From
//! such a record [`crash`] computes what a power cut at any moment may leave. Operations can also
//! be made to fail ([`Disk::inject`]): the n-th of a kind, once or from then on.
//!
//! | module | |
//! |---|---|
//! | `change` | one recorded operation |
//! | `tree`, `content` | directories, names and bytes, and the effect of operations on them |
//! | `state` | the disk at one moment, the effect of operations on it, and faults |
//! | `server` | the kernel's requests, and the answers |
//! | `keeper`, `owner`, `wire` | the process that serves, the process that uses, their messages |
//! | `mount` | mounting and unmounting, so that no mount is left behind |
//! | `fault` | operations that fail |
//! | `history` | a record, its initial state, and its text form |
//! | [`crash`] | what a power cut leaves |
//! | `real` | independent of the others: ext4 on a loop device, and a real cut |
//!
//! The promises of a file system about a power cut are specified in
//! `docs/decisions/0100-what-a-power-cut-may-leave.md`.
//!
//! Deliberately absent: damage at rest, latency, and limits of space other than injected ones.

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

/// A file system in memory, mounted in its own directory until it is dropped.
pub struct Disk {
    id: DiskId,
    point: PathBuf,
    /// The state before the first recorded operation.
    base: Tree,
}

/// Why no disk can be mounted here.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Unavailable(String);

/// Mounts an empty disk for a test; on a machine that cannot mount one, prints the reason to the
/// standard error, past the test runner's capture, and returns `None`.
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
    assert!(!required, "{why}, and KONTIKI_REQUIRE=all requires it");
    // A closed output is not a reason to fail.
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

    /// Mounts a disk after this history. Changes that were not durable in it are not durable on the
    /// new disk either.
    pub fn mount_after(history: History) -> Result<Disk, Unavailable> {
        let History { base, changes } = history;
        let request = Request::Mount { base: base.as_changes(), changes };
        match owner::ask(&request) {
            Ok(Answer::Mounted(id, point)) => Ok(Disk { id, point, base }),
            Ok(other) => Err(Unavailable(format!("a mount was answered with {other:?}"))),
            Err(error) => Err(Unavailable(error.to_string())),
        }
    }

    /// The directory where it is mounted.
    pub fn dir(&self) -> &Path {
        &self.point
    }

    /// Places a mark after the operations so far.
    pub fn mark(&self, mark: u64) {
        owner::number(&Request::Mark(self.id, mark));
    }

    /// How many changes were recorded so far.
    pub fn changes(&self) -> usize {
        owner::number(&Request::Length(self.id)) as usize
    }

    /// The operations so far.
    pub fn history(&self) -> History {
        match owner::ask(&Request::Since(self.id, 0)) {
            Ok(Answer::Changes(changes)) => History { base: self.base.clone(), changes },
            other => panic!("the record of a disk was answered with {other:?}"),
        }
    }

    /// The disk's present content.
    pub fn tree(&self) -> Tree {
        self.history().seen()
    }

    /// Injects a fault. Several faults may be pending at once; if two apply to the same operation,
    /// the later one decides how it fails.
    pub fn inject(&self, fault: Fault) {
        owner::number(&Request::Inject(self.id, fault, None));
    }

    /// Injects a fault into the operations on files whose names contain this text; no other
    /// operations count. A file that is renamed has its old name until then.
    pub fn inject_into(&self, part_of_name: &str, fault: Fault) {
        owner::number(&Request::Inject(self.id, fault, Some(part_of_name.to_owned())));
    }

    /// Removes all faults. Returns how many operations failed since faults were last removed.
    pub fn clear_faults(&self) -> u64 {
        owner::number(&Request::ClearFaults(self.id))
    }

    /// How many operations failed since faults were last removed.
    pub fn failures(&self) -> u64 {
        owner::number(&Request::Failures(self.id))
    }

    /// Holds all syncs from now on: no sync returns or makes anything durable until
    /// [`Disk::release_syncs`].
    pub fn hold_syncs(&self) {
        owner::number(&Request::Hold(self.id, None, 0));
    }

    /// Holds syncs as [`Disk::hold_syncs`] does, but only those of files whose names contain this
    /// text, and of these only the n-th, counted from 1, and all later ones.
    pub fn hold_syncs_of(&self, part_of_name: &str, nth: u64) {
        let passing = nth.saturating_sub(1);
        owner::number(&Request::Hold(self.id, Some(part_of_name.to_owned()), passing));
    }

    /// How many syncs are held.
    pub fn held_syncs(&self) -> u64 {
        owner::number(&Request::Held(self.id))
    }

    /// Carries out the held syncs, and holds no later one.
    pub fn release_syncs(&self) {
        owner::number(&Request::Release(self.id));
    }

    /// How many operations of a kind were requested so far, including those that failed.
    pub fn count(&self, operation: Operation) -> u64 {
        owner::number(&Request::Count(self.id, operation))
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        // If the serving process has ended, its mount is removed already.
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
