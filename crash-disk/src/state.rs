//! The state of a disk and the effect of operations on it: each is recorded, or fails if a fault is
//! pending for it.
//!
//! While syncs are held ([`State::hold`]), no sync returns until [`State::release`].

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use bytes::Bytes;
use fuser::{Errno, RenameFlags, ReplyEmpty};
use rustix::fs::OFlags;

use crate::change::{Change, Ino, Kind, Name};
use crate::fault::{Failure, Faults, Operation, is_within};
use crate::tree::Tree;

/// Flags of `fallocate`: keep the size, make a hole, write zeros.
const KEEP_SIZE: i32 = 1;
const PUNCH_HOLE: i32 = 2;
const ZERO_RANGE: i32 = 16;

/// The state of a disk.
#[derive(Debug, Default)]
pub(crate) struct State {
    pub(crate) tree: Tree,
    pub(crate) record: Vec<Change>,
    pub(crate) faults: Faults,
    /// The read that failed last.
    pub(crate) failed_read: Option<(Ino, u64)>,
    /// The ranges of writes that the kernel will follow with a sync of their own, oldest first.
    pub(crate) own_syncs: Vec<(Ino, u64, u64)>,
    /// The syncs that are held, if syncs are being held.
    pub(crate) held: Option<Held>,
}

/// Syncs that do not return.
#[derive(Debug)]
pub(crate) struct Held {
    /// Only syncs of files whose names contain this are held.
    within: Option<String>,
    /// How many such syncs are still carried out.
    passing: u64,
    syncs: Vec<(Ino, ReplyEmpty)>,
}

/// A disk's state, shared by its server and its owner.
pub(crate) type Shared = Arc<Mutex<State>>;

pub(crate) type Answer<T> = Result<T, Errno>;

pub(crate) fn lock(state: &Shared) -> MutexGuard<'_, State> {
    state.lock().unwrap_or_else(PoisonError::into_inner)
}

/// The error of an operation that fails in this way.
fn errno(failure: Failure) -> Errno {
    match failure {
        Failure::NoSpace => Errno::ENOSPC,
        Failure::Quota => Errno::EDQUOT,
        Failure::Io | Failure::Short | Failure::Lie => Errno::EIO,
    }
}

impl State {
    /// Applies an operation and records it.
    fn change(&mut self, change: Change) {
        self.tree.apply(&change);
        self.record.push(change);
    }

    /// Checks the faults: the operation on this file may proceed, or fails.
    fn meet(&mut self, operation: Operation, ino: Ino) -> Answer<()> {
        let failure = self.faults.meet(operation, || self.tree.name_of(ino));
        Self::answer(failure)
    }

    /// The same for an operation on a name.
    fn meet_name(&mut self, operation: Operation, at: &Name) -> Answer<()> {
        Self::answer(self.faults.meet(operation, || Some(&at.name)))
    }

    fn answer(failure: Option<Failure>) -> Answer<()> {
        match failure {
            None | Some(Failure::Lie) => Ok(()),
            Some(failure) => Err(errno(failure)),
        }
    }

    /// Holds syncs from now on, after as many as `passing`: all, or only those of files whose names
    /// contain the text. The syncs that are held already stay so.
    pub(crate) fn hold(&mut self, within: Option<String>, passing: u64) {
        let syncs = self.held.take().map_or_else(Vec::new, |held| held.syncs);
        self.held = Some(Held { within, passing, syncs });
    }

    /// How many syncs are held.
    pub(crate) fn held(&self) -> u64 {
        self.held.as_ref().map_or(0, |held| held.syncs.len() as u64)
    }

    /// Carries out the held syncs in their order, and holds no later one.
    pub(crate) fn release(&mut self) {
        for (ino, reply) in self.held.take().map_or_else(Vec::new, |held| held.syncs) {
            let done = self.sync(ino);
            empty(done, reply);
        }
    }

    pub(crate) fn sync_or_hold(&mut self, ino: Ino, reply: ReplyEmpty) {
        let name = self.tree.name_of(ino);
        match self.held.as_mut().filter(|held| is_within(held.within.as_deref(), name)) {
            Some(Held { passing: 0, syncs, .. }) => return syncs.push((ino, reply)),
            Some(held) => held.passing -= 1,
            None => {}
        }
        let done = self.sync(ino);
        empty(done, reply);
    }

    pub(crate) fn write(&mut self, ino: Ino, at: u64, bytes: &[u8], flags: i32) -> Answer<u32> {
        let taken = match self.faults.meet(Operation::Write, || self.tree.name_of(ino)) {
            None | Some(Failure::Lie) => bytes,
            Some(Failure::Short) => &bytes[..bytes.len().div_ceil(2)],
            Some(failure) => return Err(errno(failure)),
        };
        self.content(ino)?;
        let is_direct = flags & OFlags::DIRECT.bits() as i32 != 0;
        // `O_SYNC` includes the bit of `O_DSYNC`.
        if flags & OFlags::DSYNC.bits() as i32 != 0 {
            self.own_syncs.push((ino, at, taken.len() as u64));
        }
        let bytes = Bytes::copy_from_slice(taken);
        self.change(Change::Write { ino, at, bytes, is_direct });
        Ok(taken.len() as u32)
    }

    /// When a read-ahead fails, the kernel requests the first page again before it reports the
    /// error, so a failing read fails twice.
    pub(crate) fn read(&mut self, ino: Ino, at: u64, length: u64) -> Answer<Vec<u8>> {
        let again = self.failed_read.take() == Some((ino, at));
        if again {
            return Err(Errno::EIO);
        }
        let met = self.meet(Operation::Read, ino);
        self.failed_read = met.is_err().then_some((ino, at));
        met?;
        let content = self.tree.content(ino).ok_or(Errno::ENOENT)?;
        Ok(content.read(at, length))
    }

    fn sync(&mut self, ino: Ino) -> Answer<()> {
        let own = self.own_sync(ino);
        match self.faults.meet(Operation::Sync, || self.tree.name_of(ino)) {
            None => self.record.push(match own {
                Some((ino, at, length)) => Change::SyncRange { ino, at, length },
                None => Change::Sync { ino },
            }),
            Some(Failure::Lie) => {}
            Some(failure) => {
                self.record.push(Change::SyncFailed { ino });
                return Err(errno(failure));
            }
        }
        Ok(())
    }

    /// The range of the write that a sync belongs to, if it belongs to one. The kernel splits a
    /// write at page boundaries, and follows all parts with one sync.
    fn own_sync(&mut self, ino: Ino) -> Option<(Ino, u64, u64)> {
        let first = self.own_syncs.iter().position(|(of, ..)| *of == ino)?;
        let (_, at, mut length) = self.own_syncs.remove(first);
        let is_next = |(of, next, _): &(Ino, u64, u64), end| *of == ino && *next == end;
        while let Some(place) = self.own_syncs.iter().position(|it| is_next(it, at + length)) {
            length += self.own_syncs.remove(place).2;
        }
        Some((ino, at, length))
    }

    pub(crate) fn resize(&mut self, ino: Ino, size: u64) -> Answer<()> {
        self.meet(Operation::Truncate, ino)?;
        self.content(ino)?;
        self.change(Change::Resize { ino, size });
        Ok(())
    }

    pub(crate) fn allocate(&mut self, ino: Ino, at: u64, length: u64, mode: i32) -> Answer<()> {
        self.meet(Operation::Truncate, ino)?;
        let size = self.content(ino)?;
        let end = at.checked_add(length).ok_or(Errno::EFBIG)?;
        if mode & (PUNCH_HOLE | ZERO_RANGE) != 0 && at < size {
            self.change(Change::Zero { ino, at, length: end.min(size) - at });
        }
        if mode & KEEP_SIZE == 0 && end > size {
            self.change(Change::Resize { ino, size: end });
        }
        Ok(())
    }

    pub(crate) fn create(&mut self, kind: Kind, at: Name) -> Answer<Ino> {
        self.meet_name(Operation::Create, &at)?;
        self.must_be_free(&at)?;
        let ino = self.tree.unused();
        self.change(Change::Create { ino, kind, at });
        Ok(ino)
    }

    pub(crate) fn link(&mut self, ino: Ino, at: Name) -> Answer<()> {
        self.meet_name(Operation::Create, &at)?;
        self.must_be_free(&at)?;
        self.change(Change::Link { ino, at });
        Ok(())
    }

    pub(crate) fn unlink(&mut self, at: Name) -> Answer<()> {
        self.meet_name(Operation::Unlink, &at)?;
        let ino = self.tree.find(at.dir, &at.name).ok_or(Errno::ENOENT)?;
        self.must_be_empty(ino)?;
        self.change(Change::Unlink { at });
        Ok(())
    }

    pub(crate) fn rename(&mut self, from: Name, to: Name, flags: RenameFlags) -> Answer<()> {
        self.meet_name(Operation::Rename, &from)?;
        self.tree.find(from.dir, &from.name).ok_or(Errno::ENOENT)?;
        let exchange = flags.contains(RenameFlags::RENAME_EXCHANGE);
        match self.tree.find(to.dir, &to.name) {
            None if exchange => return Err(Errno::ENOENT),
            Some(_) if flags.contains(RenameFlags::RENAME_NOREPLACE) => return Err(Errno::EEXIST),
            Some(replaced) if !exchange => self.must_be_empty(replaced)?,
            _ => {}
        }
        self.change(Change::Rename { from, to, exchange });
        Ok(())
    }

    pub(crate) fn content(&self, ino: Ino) -> Answer<u64> {
        self.tree.content(ino).map(|content| content.size()).ok_or(Errno::ENOENT)
    }

    fn must_be_free(&self, at: &Name) -> Answer<()> {
        match self.tree.find(at.dir, &at.name) {
            None => Ok(()),
            Some(_) => Err(Errno::EEXIST),
        }
    }

    fn must_be_empty(&self, ino: Ino) -> Answer<()> {
        match self.tree.names(ino) {
            Some(names) if !names.is_empty() => Err(Errno::ENOTEMPTY),
            _ => Ok(()),
        }
    }
}

pub(crate) fn empty(done: Answer<()>, reply: ReplyEmpty) {
    match done {
        Ok(()) => reply.ok(),
        Err(error) => reply.error(error),
    }
}
