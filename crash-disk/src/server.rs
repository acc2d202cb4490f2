//! The file system itself: answers the kernel's requests from the tree and records the changes.
//!
//! There is no writeback cache, so each `write` arrives at once and in order. A shared mapping's
//! pages arrive as writes when the kernel writes them back, which `msync` and `munmap` force. With
//! `O_SYNC`, `O_DSYNC` or `RWF_DSYNC` the kernel follows each write with a sync of its own, which
//! makes only the range of that write durable. The kernel handles locks, within this machine.
//!
//! Deliberately absent: `O_TMPFILE`, extended attributes, special files (each reports that it is
//! not supported), and `syncfs`, which the kernel does not forward: it makes nothing durable here.

use std::ffi::OsStr;
use std::path::Path;
use std::time::{Duration, SystemTime};

use fuser::{
    BsdFileFlags, Errno, FileAttr, FileHandle, FileType, Filesystem, FopenFlags, Generation,
    INodeNo, LockOwner, OpenFlags, RenameFlags, ReplyAttr, ReplyCreate, ReplyData, ReplyDirectory,
    ReplyEmpty, ReplyEntry, ReplyOpen, ReplyStatfs, ReplyWrite, Request, TimeOrNow, WriteFlags,
};

use crate::change::{Ino, Kind, Name};
use crate::state::{Answer, Shared, State, empty, lock};
use crate::tree::Node;

/// How long the kernel may cache an answer: only this process changes the disk.
const KEEP: Duration = Duration::from_secs(60);

/// Answers the kernel's requests.
pub(crate) struct Server {
    pub(crate) state: Shared,
    pub(crate) owner: (u32, u32),
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

    /// Only the size has a meaning here; the other attributes do not change.
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
        // An offset must not move while other names are removed, so it is the file's number.
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
