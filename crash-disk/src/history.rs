//! A record of operations and the state that it starts from.

use std::collections::BTreeMap;
use std::path::PathBuf;

use crate::change::{Change, Ino, Kind, Name, ROOT};
use crate::tree::{Node, Tree};

/// The operations on a disk.
#[derive(Clone, Debug, Default)]
pub struct History {
    /// The durable state before the first operation.
    pub base: Tree,
    /// The operations, in order.
    pub changes: Vec<Change>,
}

impl History {
    /// The state that programs see after all operations.
    pub fn seen(&self) -> Tree {
        let mut tree = self.base.clone();
        self.changes.iter().for_each(|change| tree.apply(change));
        tree
    }

    /// The history up to this number of changes.
    pub fn upto(&self, changes: usize) -> History {
        History { base: self.base.clone(), changes: self.changes[..changes].to_vec() }
    }

    /// The first path of each file, directory and link.
    pub fn paths(&self) -> BTreeMap<Ino, PathBuf> {
        let mut paths = BTreeMap::from([(ROOT, PathBuf::new())]);
        note_names(&self.base, ROOT, &mut paths);
        for change in &self.changes {
            if let Change::Create { ino, at, .. } = change {
                let path = path(at, &paths);
                paths.insert(*ino, path);
            }
        }
        paths
    }

    /// An operation as text.
    pub fn in_words(change: &Change, paths: &BTreeMap<Ino, PathBuf>) -> String {
        let of = |ino: &Ino| match paths.get(ino) {
            Some(path) if *ino != ROOT => path.display().to_string(),
            _ => "the directory".to_owned(),
        };
        let name = |at: &Name| path(at, paths).display().to_string();
        match change {
            Change::Create { kind: Kind::Directory, at, .. } => format!("mkdir {}", name(at)),
            Change::Create { at, .. } => format!("create {}", name(at)),
            Change::Link { ino, at } => format!("link {} to {}", name(at), of(ino)),
            Change::Unlink { at } => format!("remove {}", name(at)),
            Change::Rename { from, to, exchange: true } => {
                format!("exchange {} and {}", name(from), name(to))
            }
            Change::Rename { from, to, .. } => format!("rename {} to {}", name(from), name(to)),
            Change::Write { ino, at, bytes, .. } => {
                format!("write {} bytes at {at} of {}", bytes.len(), of(ino))
            }
            Change::Resize { ino, size } => format!("resize {} to {size} bytes", of(ino)),
            Change::Zero { ino, at, length } => format!("zero {length} at {at} of {}", of(ino)),
            Change::Sync { ino } => format!("sync {}", of(ino)),
            Change::SyncRange { ino, at, length } => {
                format!("sync {length} bytes at {at} of {}", of(ino))
            }
            Change::SyncFailed { ino } => format!("sync {}, which fails", of(ino)),
            Change::Mark(mark) => format!("mark {mark}"),
        }
    }
}

fn path(at: &Name, paths: &BTreeMap<Ino, PathBuf>) -> PathBuf {
    paths.get(&at.dir).cloned().unwrap_or_default().join(&at.name)
}

fn note_names(tree: &Tree, dir: Ino, paths: &mut BTreeMap<Ino, PathBuf>) {
    for (name, ino) in tree.names(dir).into_iter().flatten() {
        let path = paths.get(&dir).cloned().unwrap_or_default().join(name);
        paths.insert(*ino, path);
        if let Some(Node::Directory(_)) = tree.node(*ino) {
            note_names(tree, *ino, paths);
        }
    }
}
