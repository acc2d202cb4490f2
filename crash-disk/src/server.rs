//! The file system itself: what the kernel asks, answered from the tree and noted in the record.
//!
//! There is no writeback cache, so each `write` arrives at once and in order. A shared mapping's
//! pages arrive as writes when the kernel writes them back, which `msync` and `munmap` force. With
//! `O_SYNC`, `O_DSYNC` or `RWF_DSYNC` the kernel follows each write with a sync of its own, which
//! makes the range of that write durable and nothing else of the file. Locks are the kernel's
//! business, within this machine.
//!
//! While syncs are held ([`State::hold`]), none is answered: it stays under way until it is let go.
//!
//! Absent: `O_TMPFILE`, extended attributes, special files (each says that it is not supported),
//! and `syncfs`, which the kernel does not pass on: it makes nothing durable here.

use std::ffi::OsStr;
use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, SystemTime};

use bytes::Bytes;
use fuser::{
    BsdFileFlags, Errno, FileAttr, FileHandle, FileType, Filesystem, FopenFlags, Generation,
    INodeNo, LockOwner, OpenFlags, RenameFlags, ReplyAttr, ReplyCreate, ReplyData, ReplyDirectory,
    ReplyEmpty, ReplyEntry, ReplyOpen, ReplyStatfs, ReplyWrite, Request, TimeOrNow, WriteFlags,
};
use rustix::fs::OFlags;

use crate::change::{Change, Ino, Kind, Name};
use crate::fault::{Failure, Faults, Operation};
use crate::tree::{Node, Tree};

/// How long the kernel may cache an answer: this process alone changes the disk.
const KEEP: Duration = Duration::from_secs(60);

/// Of `fallocate`: leave the size as it is, make a hole, make zeros.
const KEEP_SIZE: i32 = 1;
const PUNCH_HOLE: i32 = 2;
const ZERO_RANGE: i32 = 16;

/// What a disk is at one moment.
#[derive(Debug, Default)]
pub(crate) struct State {
    pub(crate) tree: Tree,
    pub(crate) record: Vec<Change>,
    pub(crate) faults: Faults,
    /// The read that failed last.
    pub(crate) failed_read: Option<(Ino, u64)>,
    /// The ranges of writes that the kernel will follow with a sync of their own, oldest first.
    pub(crate) own_syncs: Vec<(Ino, u64, u64)>,
    /// The syncs under way, while they are held.
    pub(crate) held: Option<Vec<(Ino, ReplyEmpty)>>,
}

/// A disk's state, shared by its server and its owner.
pub(crate) type Shared = Arc<Mutex<State>>;

/// Answers the kernel.
pub(crate) struct Server {
    pub(crate) state: Shared,
    pub(crate) owner: (u32, u32),
}

type Answer<T> = Result<T, Errno>;

pub(crate) fn lock(state: &Shared) -> MutexGuard<'_, State> {
    state.lock().unwrap_or_else(PoisonError::into_inner)
}

impl State {
    /// Does an operation and notes it.
    fn change(&mut self, change: Change) {
        self.tree.apply(&change);
        self.record.push(change);
    }

    /// Meets the faults: the operation goes on, or fails.
    fn meet(&mut self, operation: Operation) -> Answer<()> {
        match self.faults.meet(operation) {
            None | Some(Failure::Lie) => Ok(()),
            Some(Failure::NoSpace) => Err(Errno::ENOSPC),
            Some(Failure::Io | Failure::Short) => Err(Errno::EIO),
        }
    }

    /// From now on syncs stay under way.
    pub(crate) fn hold(&mut self) {
        self.held.get_or_insert_default();
    }

    /// How many syncs are held.
    pub(crate) fn held(&self) -> u64 {
        self.held.as_ref().map_or(0, |held| held.len() as u64)
    }

    /// Carries out the syncs that were held, in their order, and holds no more.
    pub(crate) fn let_go(&mut self) {
        for (ino, reply) in self.held.take().unwrap_or_default() {
            let done = self.sync(ino);
            empty(done, reply);
        }
    }

    fn sync_or_hold(&mut self, ino: Ino, reply: ReplyEmpty) {
        match &mut self.held {
            Some(held) => held.push((ino, reply)),
            None => {
                let done = self.sync(ino);
                empty(done, reply);
            }
        }
    }

    fn write(&mut self, ino: Ino, at: u64, bytes: &[u8], flags: i32) -> Answer<u32> {
        let taken = match self.faults.meet(Operation::Write) {
            None | Some(Failure::Lie) => bytes,
            Some(Failure::Short) => &bytes[..bytes.len().div_ceil(2)],
            Some(Failure::NoSpace) => return Err(Errno::ENOSPC),
            Some(Failure::Io) => return Err(Errno::EIO),
        };
        self.content(ino)?;
        let is_direct = flags & OFlags::DIRECT.bits() as i32 != 0;
        // `O_SYNC` holds the bit of `O_DSYNC`.
        if flags & OFlags::DSYNC.bits() as i32 != 0 {
            self.own_syncs.push((ino, at, taken.len() as u64));
        }
        let bytes = Bytes::copy_from_slice(taken);
        self.change(Change::Write { ino, at, bytes, is_direct });
        Ok(taken.len() as u32)
    }

    /// When reading ahead fails, the kernel asks for the first page once more before it tells
    /// anyone; so a read that fails does so twice.
    fn read(&mut self, ino: Ino, at: u64, length: u64) -> Answer<Vec<u8>> {
        let again = self.failed_read.take() == Some((ino, at));
        if again {
            return Err(Errno::EIO);
        }
        let met = self.meet(Operation::Read);
        self.failed_read = met.is_err().then_some((ino, at));
        met?;
        let content = self.tree.content(ino).ok_or(Errno::ENOENT)?;
        Ok(content.read(at, length))
    }

    fn sync(&mut self, ino: Ino) -> Answer<()> {
        let own = self.own_sync(ino);
        match self.faults.meet(Operation::Sync) {
            None => self.record.push(match own {
                Some((ino, at, length)) => Change::SyncRange { ino, at, length },
                None => Change::Sync { ino },
            }),
            Some(Failure::Lie) => {}
            Some(failure) => {
                self.record.push(Change::SyncFailed { ino });
                let no_space = failure == Failure::NoSpace;
                return Err(if no_space { Errno::ENOSPC } else { Errno::EIO });
            }
        }
        Ok(())
    }

    /// The range of the write that a sync belongs to, if it is one of those. The kernel hands a
    /// write on in pieces, at the edges of pages, and follows all of them with one sync.
    fn own_sync(&mut self, ino: Ino) -> Option<(Ino, u64, u64)> {
        let first = self.own_syncs.iter().position(|(of, ..)| *of == ino)?;
        let (_, at, mut length) = self.own_syncs.remove(first);
        let is_next = |(of, next, _): &(Ino, u64, u64), end| *of == ino && *next == end;
        while let Some(place) = self.own_syncs.iter().position(|it| is_next(it, at + length)) {
            length += self.own_syncs.remove(place).2;
        }
        Some((ino, at, length))
    }

    fn resize(&mut self, ino: Ino, size: u64) -> Answer<()> {
        self.meet(Operation::Truncate)?;
        self.content(ino)?;
        self.change(Change::Resize { ino, size });
        Ok(())
    }

    fn allocate(&mut self, ino: Ino, at: u64, length: u64, mode: i32) -> Answer<()> {
        self.meet(Operation::Truncate)?;
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

    fn create(&mut self, kind: Kind, at: Name) -> Answer<Ino> {
        self.meet(Operation::Create)?;
        self.must_be_free(&at)?;
        let ino = self.tree.unused();
        self.change(Change::Create { ino, kind, at });
        Ok(ino)
    }

    fn link(&mut self, ino: Ino, at: Name) -> Answer<()> {
        self.meet(Operation::Create)?;
        self.must_be_free(&at)?;
        self.change(Change::Link { ino, at });
        Ok(())
    }

    fn unlink(&mut self, at: Name) -> Answer<()> {
        self.meet(Operation::Unlink)?;
        let ino = self.tree.find(at.dir, &at.name).ok_or(Errno::ENOENT)?;
        self.must_be_empty(ino)?;
        self.change(Change::Unlink { at });
        Ok(())
    }

    fn rename(&mut self, from: Name, to: Name, flags: RenameFlags) -> Answer<()> {
        self.meet(Operation::Rename)?;
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

    fn content(&self, ino: Ino) -> Answer<u64> {
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

impl Server {
    fn attributes(&self, state: &State, ino: Ino) -> Answer<FileAttr> {
        let node = state.tree.node(ino).ok_or(Errno::ENOENT)?;
        let (kind, perm, size, kept) = match node {
            Node::File(content) => (FileType::RegularFile, 0o644, content.size(), content.kept()),
            Node::Directory(_) => (FileType::Directory, 0o755, 4096, 4096),
            Node::Symlink(to) => (FileType::Symlink, 0o777, to.as_os_str().len() as u64, 0),
        };
        let time = SystemTime::UNIX_EPOCH + Duration::from_secs(state.record.len() as u64);
        Ok(FileAttr {
            ino: INodeNo(ino),
            size,
            blocks: kept / 512,
            atime: time,
            mtime: time,
            ctime: time,
            crtime: time,
            kind,
            perm,
            nlink: state.tree.links(ino),
            uid: self.owner.0,
            gid: self.owner.1,
            rdev: 0,
            blksize: 4096,
            flags: 0,
        })
    }

    fn entry(&self, found: Answer<Ino>, state: &State, reply: ReplyEntry) {
        match found.and_then(|ino| self.attributes(state, ino)) {
            Ok(attributes) => reply.entry(&KEEP, &attributes, Generation(0)),
            Err(error) => reply.error(error),
        }
    }
}

fn name(dir: INodeNo, name: &OsStr) -> Name {
    Name { dir: dir.0, name: name.to_owned() }
}

fn empty(done: Answer<()>, reply: ReplyEmpty) {
    match done {
        Ok(()) => reply.ok(),
        Err(error) => reply.error(error),
    }
}

impl Filesystem for Server {
    fn lookup(&self, _: &Request, parent: INodeNo, name: &OsStr, reply: ReplyEntry) {
        let state = lock(&self.state);
        self.entry(state.tree.find(parent.0, name).ok_or(Errno::ENOENT), &state, reply);
    }

    fn getattr(&self, _: &Request, ino: INodeNo, _: Option<FileHandle>, reply: ReplyAttr) {
        match self.attributes(&lock(&self.state), ino.0) {
            Ok(attributes) => reply.attr(&KEEP, &attributes),
            Err(error) => reply.error(error),
        }
    }

    /// Of all attributes only the size means something here; the others stay as they are.
    fn setattr(
        &self,
        _: &Request,
        ino: INodeNo,
        _mode: Option<u32>,
        _uid: Option<u32>,
        _gid: Option<u32>,
        size: Option<u64>,
        _atime: Option<TimeOrNow>,
        _mtime: Option<TimeOrNow>,
        _ctime: Option<SystemTime>,
        _fh: Option<FileHandle>,
        _crtime: Option<SystemTime>,
        _chgtime: Option<SystemTime>,
        _bkuptime: Option<SystemTime>,
        _flags: Option<BsdFileFlags>,
        reply: ReplyAttr,
    ) {
        let mut state = lock(&self.state);
        let done = size.map_or(Ok(()), |size| state.resize(ino.0, size));
        match done.and_then(|()| self.attributes(&state, ino.0)) {
            Ok(attributes) => reply.attr(&KEEP, &attributes),
            Err(error) => reply.error(error),
        }
    }

    fn readlink(&self, _: &Request, ino: INodeNo, reply: ReplyData) {
        match lock(&self.state).tree.node(ino.0) {
            Some(Node::Symlink(target)) => reply.data(target.as_os_str().as_encoded_bytes()),
            _ => reply.error(Errno::EINVAL),
        }
    }

    fn mkdir(&self, _: &Request, dir: INodeNo, called: &OsStr, _: u32, _: u32, reply: ReplyEntry) {
        let mut state = lock(&self.state);
        let made = state.create(Kind::Directory, name(dir, called));
        self.entry(made, &state, reply);
    }

    fn symlink(&self, _: &Request, dir: INodeNo, called: &OsStr, target: &Path, reply: ReplyEntry) {
        let mut state = lock(&self.state);
        let made = state.create(Kind::Symlink(target.to_owned()), name(dir, called));
        self.entry(made, &state, reply);
    }

    fn link(&self, _: &Request, ino: INodeNo, dir: INodeNo, called: &OsStr, reply: ReplyEntry) {
        let mut state = lock(&self.state);
        let linked = state.link(ino.0, name(dir, called)).map(|()| ino.0);
        self.entry(linked, &state, reply);
    }

    fn unlink(&self, _: &Request, dir: INodeNo, called: &OsStr, reply: ReplyEmpty) {
        empty(lock(&self.state).unlink(name(dir, called)), reply);
    }

    fn rmdir(&self, _: &Request, dir: INodeNo, called: &OsStr, reply: ReplyEmpty) {
        empty(lock(&self.state).unlink(name(dir, called)), reply);
    }

    fn rename(
        &self,
        _: &Request,
        dir: INodeNo,
        called: &OsStr,
        new_dir: INodeNo,
        new_name: &OsStr,
        flags: RenameFlags,
        reply: ReplyEmpty,
    ) {
        let (from, to) = (name(dir, called), name(new_dir, new_name));
        empty(lock(&self.state).rename(from, to, flags), reply);
    }

    fn create(
        &self,
        _: &Request,
        dir: INodeNo,
        called: &OsStr,
        _mode: u32,
        _umask: u32,
        _flags: i32,
        reply: ReplyCreate,
    ) {
        let mut state = lock(&self.state);
        let made = state.create(Kind::File, name(dir, called));
        match made.and_then(|ino| self.attributes(&state, ino)) {
            Ok(attributes) => {
                let (generation, handle) = (Generation(0), FileHandle(0));
                reply.created(&KEEP, &attributes, generation, handle, FopenFlags::empty());
            }
            Err(error) => reply.error(error),
        }
    }

    fn open(&self, _: &Request, ino: INodeNo, _: OpenFlags, reply: ReplyOpen) {
        match lock(&self.state).content(ino.0) {
            Ok(_) => reply.opened(FileHandle(0), FopenFlags::empty()),
            Err(error) => reply.error(error),
        }
    }

    fn read(
        &self,
        _: &Request,
        ino: INodeNo,
        _: FileHandle,
        offset: u64,
        size: u32,
        _: OpenFlags,
        _: Option<LockOwner>,
        reply: ReplyData,
    ) {
        match lock(&self.state).read(ino.0, offset, u64::from(size)) {
            Ok(bytes) => reply.data(&bytes),
            Err(error) => reply.error(error),
        }
    }

    fn write(
        &self,
        _: &Request,
        ino: INodeNo,
        _: FileHandle,
        offset: u64,
        data: &[u8],
        _: WriteFlags,
        flags: OpenFlags,
        _: Option<LockOwner>,
        reply: ReplyWrite,
    ) {
        match lock(&self.state).write(ino.0, offset, data, flags.0) {
            Ok(written) => reply.written(written),
            Err(error) => reply.error(error),
        }
    }

    fn flush(&self, _: &Request, _: INodeNo, _: FileHandle, _: LockOwner, reply: ReplyEmpty) {
        reply.ok();
    }

    fn fsync(&self, _: &Request, ino: INodeNo, _: FileHandle, _data: bool, reply: ReplyEmpty) {
        lock(&self.state).sync_or_hold(ino.0, reply);
    }

    fn fsyncdir(&self, _: &Request, ino: INodeNo, _: FileHandle, _data: bool, reply: ReplyEmpty) {
        lock(&self.state).sync_or_hold(ino.0, reply);
    }

    fn readdir(
        &self,
        _: &Request,
        ino: INodeNo,
        _: FileHandle,
        offset: u64,
        mut reply: ReplyDirectory,
    ) {
        let state = lock(&self.state);
        let Some(names) = state.tree.names(ino.0) else { return reply.error(Errno::ENOTDIR) };
        let own = [(1, OsStr::new("."), ino.0), (2, OsStr::new(".."), ino.0)];
        // A place of a name must not move while others are removed, so it goes by the number.
        let names = names.iter().map(|(name, ino)| (ino + 2, name.as_os_str(), *ino));
        let mut entries: Vec<_> = own.into_iter().chain(names).collect();
        entries.sort_unstable();
        for (place, name, ino) in entries.into_iter().filter(|(place, ..)| *place > offset) {
            let kind = match state.tree.node(ino) {
                Some(Node::Directory(_)) => FileType::Directory,
                Some(Node::Symlink(_)) => FileType::Symlink,
                _ => FileType::RegularFile,
            };
            if reply.add(INodeNo(ino), place, kind, name) {
                break;
            }
        }
        reply.ok();
    }

    fn statfs(&self, _: &Request, _: INodeNo, reply: ReplyStatfs) {
        let blocks = 1 << 24;
        reply.statfs(blocks, blocks, blocks, blocks, blocks, 4096, 255, 4096);
    }

    fn fallocate(
        &self,
        _: &Request,
        ino: INodeNo,
        _: FileHandle,
        offset: u64,
        length: u64,
        mode: i32,
        reply: ReplyEmpty,
    ) {
        empty(lock(&self.state).allocate(ino.0, offset, length, mode), reply);
    }
}
