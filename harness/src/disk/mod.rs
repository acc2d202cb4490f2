//! A disk whose power can be cut: a file system in memory that any program can use, C libraries
//! included, and that notes down all that is done to it.
//!
//! [`Disk::mount`] gives a directory (FUSE, by the crate `fuser`). What is done in it is answered
//! from memory and noted in order, syncs included; the owner puts marks between. From such a record
//! [`crash`] makes what a power cut may have left at any moment. And operations can be made to fail
//! ([`Disk::inject`]), the n-th of a kind, once or from then on.
//!
//! | room | |
//! |---|---|
//! | `change` | one operation, as it is noted |
//! | `tree`, `content` | directories, names and bytes; what operations do to them |
//! | `server` | what the kernel asks, and the answers |
//! | `mount` | mounting and unmounting, so that nothing stays behind |
//! | `fault` | operations that fail |
//! | `history` | a record, what it begins on, and its words for people |
//! | [`crash`] | what a power cut leaves |
//!
//! Which promises a file system makes about a power cut, and which it does not, is decided in
//! `docs/decisions/0100-what-a-power-cut-may-leave.md`.
//!
//! Absent: damage at rest, latency, limits of space other than injected ones.

mod change;
mod content;
pub mod crash;
mod fault;
mod history;
mod mount;
mod server;
mod tree;

use std::fmt;
use std::path::Path;
use std::sync::{Arc, Mutex};

pub use change::{Change, Ino, Kind, Name, ROOT};
pub use content::Content;
pub use fault::{Failure, Fault, OPERATIONS, Operation};
pub use history::History;
pub use tree::{Node, Tree};

use mount::Mounted;
use server::{Shared, State, lock};

/// A file system in memory, mounted in a directory of its own until it is dropped.
pub struct Disk {
    state: Shared,
    mounted: Mounted,
    /// What the record begins on.
    base: Tree,
}

/// Why no disk can be mounted here.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Unavailable(String);

impl Disk {
    /// Mounts an empty disk.
    pub fn mount() -> Result<Disk, Unavailable> {
        Disk::mount_after(History::default())
    }

    /// Mounts a disk on which all of this has happened already. What was not durable then is not
    /// durable yet.
    pub fn mount_after(history: History) -> Result<Disk, Unavailable> {
        let tree = history.seen();
        let History { base, changes } = history;
        let state = State { tree, record: changes, ..State::default() };
        let state = Arc::new(Mutex::new(state));
        let mounted = Mounted::new(state.clone());
        let mounted = mounted.map_err(|error| Unavailable(error.to_string()))?;
        Ok(Disk { state, mounted, base })
    }

    /// The directory where it is mounted; its contents are the disk's.
    pub fn dir(&self) -> &Path {
        self.mounted.point()
    }

    /// Puts a mark between what was done so far and what comes.
    pub fn mark(&self, mark: u64) {
        lock(&self.state).record.push(Change::Mark(mark));
    }

    /// How many changes were noted so far.
    pub fn changes(&self) -> usize {
        lock(&self.state).record.len()
    }

    /// What happened so far. Bytes are shared, not copied.
    pub fn history(&self) -> History {
        History { base: self.base.clone(), changes: lock(&self.state).record.clone() }
    }

    /// What the disk shows now.
    pub fn tree(&self) -> Tree {
        lock(&self.state).tree.clone()
    }

    /// Lets an operation fail. Several faults may wait at once; of two that strike the same
    /// operation, the later one says how it fails.
    pub fn inject(&self, fault: Fault) {
        lock(&self.state).faults.add(fault);
    }

    /// Ends all faults. How many operations failed since the last time.
    pub fn heal(&self) -> u64 {
        lock(&self.state).faults.heal()
    }

    /// How many operations failed since faults were last ended.
    pub fn struck(&self) -> u64 {
        lock(&self.state).faults.struck()
    }

    /// How many operations of a kind were asked for so far, those that failed included.
    pub fn count(&self, operation: Operation) -> u64 {
        lock(&self.state).faults.count(operation)
    }
}

impl fmt::Display for Unavailable {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "no file system can be mounted through /dev/fuse: {}", self.0)
    }
}
