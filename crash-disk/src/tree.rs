//! Directories, names and files in memory: the content of a disk, or of the image after a cut.

use std::collections::BTreeMap;
use std::ffi::{OsStr, OsString};
use std::fs::{self, OpenOptions};
use std::io;
use std::os::unix::fs::{FileExt, symlink};
use std::path::{Path, PathBuf};

use bytes::Bytes;

use crate::change::{Change, Ino, Kind, Name, ROOT};
use crate::content::Content;

/// A file, a directory or a symbolic link.
#[derive(Clone, Debug)]
pub enum Node {
    /// A file and its bytes.
    File(Content),
    /// A directory and the names in it.
    Directory(BTreeMap<OsString, Ino>),
    /// A symbolic link and its target.
    Symlink(PathBuf),
}

/// The content of a disk. A file that lost its last name stays, because it may be open.
#[derive(Clone, Debug)]
pub struct Tree {
    nodes: BTreeMap<Ino, Node>,
}

impl Default for Tree {
    fn default() -> Tree {
        Tree { nodes: BTreeMap::from([(ROOT, Node::Directory(BTreeMap::new()))]) }
    }
}

impl Tree {
    /// The file, directory or link with this number.
    pub fn node(&self, ino: Ino) -> Option<&Node> {
        self.nodes.get(&ino)
    }

    /// A number that was never used.
    pub fn unused(&self) -> Ino {
        self.nodes.last_key_value().map_or(ROOT, |(last, _)| *last) + 1
    }

    /// The file with a name in a directory.
    pub fn find(&self, dir: Ino, name: &OsStr) -> Option<Ino> {
        self.names(dir)?.get(name).copied()
    }

    /// The names in a directory.
    pub fn names(&self, dir: Ino) -> Option<&BTreeMap<OsString, Ino>> {
        match self.nodes.get(&dir) {
            Some(Node::Directory(names)) => Some(names),
            _ => None,
        }
    }

    /// The name of a file, the first one if it has several.
    pub(crate) fn name_of(&self, ino: Ino) -> Option<&OsStr> {
        let directories = self.nodes.values().filter_map(|node| match node {
            Node::Directory(names) => Some(names),
            Node::File(_) | Node::Symlink(_) => None,
        });
        let mut names = directories.flatten();
        names.find(|(_, found)| **found == ino).map(|(name, _)| name.as_os_str())
    }

    /// The bytes of a file.
    pub fn content(&self, ino: Ino) -> Option<&Content> {
        match self.nodes.get(&ino) {
            Some(Node::File(content)) => Some(content),
            _ => None,
        }
    }

    /// How many names a file has.
    pub fn links(&self, ino: Ino) -> u32 {
        match self.nodes.get(&ino) {
            Some(Node::Directory(_)) => 2,
            _ => {
                let names = self.nodes.values().filter_map(|node| match node {
                    Node::Directory(names) => Some(names.values()),
                    _ => None,
                });
                names.flatten().filter(|found| **found == ino).count() as u32
            }
        }
    }

    /// Applies an operation. Names and bytes of files that do not exist are ignored, because the
    /// cut may have removed the file.
    pub fn apply(&mut self, change: &Change) {
        match change {
            Change::Create { ino, kind, at } => {
                self.create_node(*ino, kind);
                self.link(at, *ino);
            }
            Change::Link { ino, at } => self.link(at, *ino),
            Change::Unlink { at } => {
                self.unlink(at);
            }
            Change::Rename { from, to, exchange } => self.rename(from, to, *exchange),
            Change::Write { ino, at, bytes, .. } => self.with(*ino, |file| file.write(*at, bytes)),
            Change::Resize { ino, size } => self.with(*ino, |file| file.resize(*size)),
            Change::Zero { ino, at, length } => self.with(*ino, |file| file.zero(*at, *length)),
            Change::Sync { .. }
            | Change::SyncRange { .. }
            | Change::SyncFailed { .. }
            | Change::Mark(_) => {}
        }
    }

    /// The changes that create this tree from an empty one, with the same numbers.
    pub fn as_changes(&self) -> Vec<Change> {
        let mut changes = Vec::new();
        self.list(ROOT, &mut changes);
        changes
    }

    fn list(&self, dir: Ino, changes: &mut Vec<Change>) {
        for (name, ino) in self.names(dir).into_iter().flatten() {
            let (ino, at) = (*ino, Name { dir, name: name.clone() });
            let is_known = |change: &Change| {
                matches!(change, Change::Create { ino: known, .. }
                if *known == ino)
            };
            match self.nodes.get(&ino) {
                Some(_) if changes.iter().any(is_known) => changes.push(Change::Link { ino, at }),
                Some(Node::File(content)) => {
                    changes.push(Change::Create { ino, kind: Kind::File, at });
                    let bytes = content.stretches();
                    changes.extend(bytes.map(|(at, bytes)| {
                        let bytes = Bytes::from(bytes);
                        Change::Write { ino, at, bytes, is_direct: false }
                    }));
                    changes.push(Change::Resize { ino, size: content.size() });
                }
                Some(Node::Directory(_)) => {
                    changes.push(Change::Create { ino, kind: Kind::Directory, at });
                    self.list(ino, changes);
                }
                Some(Node::Symlink(target)) => {
                    let kind = Kind::Symlink(target.clone());
                    changes.push(Change::Create { ino, kind, at });
                }
                None => {}
            }
        }
    }

    /// Creates a file without a name.
    pub fn create_node(&mut self, ino: Ino, kind: &Kind) {
        let node = match kind {
            Kind::File => Node::File(Content::default()),
            Kind::Directory => Node::Directory(BTreeMap::new()),
            Kind::Symlink(target) => Node::Symlink(target.clone()),
        };
        self.nodes.insert(ino, node);
    }

    /// Changes the bytes of a file.
    pub fn with(&mut self, ino: Ino, change: impl FnOnce(&mut Content)) {
        if let Some(Node::File(content)) = self.nodes.get_mut(&ino) {
            change(content);
        }
    }

    /// Writes every file that has a name into a directory of a real file system.
    pub fn write_into(&self, dir: &Path) -> io::Result<()> {
        self.write_directory(ROOT, dir)
    }

    fn write_directory(&self, ino: Ino, dir: &Path) -> io::Result<()> {
        let names = self.names(ino).into_iter().flatten();
        for (name, ino) in names {
            let path = dir.join(name);
            match self.nodes.get(ino) {
                Some(Node::File(content)) => write_file(content, &path)?,
                Some(Node::Directory(_)) => {
                    fs::create_dir(&path)?;
                    self.write_directory(*ino, &path)?;
                }
                Some(Node::Symlink(target)) => symlink(target, &path)?,
                None => {}
            }
        }
        Ok(())
    }

    fn link(&mut self, at: &Name, ino: Ino) {
        if let Some(Node::Directory(names)) = self.nodes.get_mut(&at.dir) {
            names.insert(at.name.clone(), ino);
        }
    }

    fn unlink(&mut self, at: &Name) -> Option<Ino> {
        match self.nodes.get_mut(&at.dir) {
            Some(Node::Directory(names)) => names.remove(&at.name),
            _ => None,
        }
    }

    fn rename(&mut self, from: &Name, to: &Name, exchange: bool) {
        let Some(moved) = self.unlink(from) else { return };
        let replaced = self.unlink(to);
        self.link(to, moved);
        if let (true, Some(replaced)) = (exchange, replaced) {
            self.link(from, replaced);
        }
    }
}

fn write_file(content: &Content, path: &Path) -> io::Result<()> {
    let file = OpenOptions::new().write(true).create_new(true).open(path)?;
    file.set_len(content.size())?;
    for (at, bytes) in content.stretches() {
        file.write_all_at(&bytes, at)?;
    }
    Ok(())
}
