//! The snapshot files of a member: `DIR/snapshots/`.
//!
//! A file is written under a temporary name, synced and renamed; then the directory is synced, and
//! then the older files are removed. So a power cut at any point leaves the old snapshot or the new
//! one under its name, whole.
//!
//! Deliberately absent: a lock. The directory is inside a member's directory, which is locked.

use std::fs::{self, File};
use std::io::{self, BufReader, Write};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use owned_dir::temporary_name;
use raft_core::types::{EntryId, Identity, LogIndex, Term};
use thiserror::Error;
use tracing::warn;

use super::format::{SnapshotHead, Unsound};
use super::reader::SnapshotReader;
use super::writer::SnapshotWriter;
use crate::engine_state::EngineState;

/// A new file is synced each time this many bytes were written to it, so that no single sync holds
/// up the log's syncs on the same disk for long.
pub(super) const SYNC_BYTES: u64 = 4 << 20;

/// The directory of a member's snapshots.
#[derive(Clone, Debug)]
pub struct SnapshotDir {
    path: PathBuf,
    /// Held while a file gets its name.
    naming: Arc<Mutex<()>>,
}

/// A snapshot in the directory, whole and sound.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StoredSnapshot {
    /// What it says about its content.
    pub head: SnapshotHead,
    /// The bytes of its file.
    pub file_bytes: u64,
    /// Its file.
    pub path: PathBuf,
}

impl StoredSnapshot {
    /// The engine's state at its last entry.
    pub fn engine(&self) -> EngineState {
        EngineState { level: self.head.feature_level, sessions: self.head.sessions.clone() }
    }
}

/// A file with the name of a snapshot that cannot be used.
#[derive(Debug, Error)]
#[error("the snapshot {} is {why}", .path.display())]
pub struct UnusableSnapshot {
    /// The file.
    pub path: PathBuf,
    /// The reason.
    pub why: Unsound,
}

/// A damaged snapshot: it is of no use, but it is known to have been whole and durable.
#[derive(Debug, Error)]
#[error("{unusable}")]
pub struct DamagedSnapshot {
    /// The last entry that it included, as its name says.
    pub last: EntryId,
    /// The member that took it; `None` if the head is damaged.
    pub writer: Option<Identity>,
    /// Its file, and the damage.
    pub unusable: UnusableSnapshot,
}

impl SnapshotDir {
    /// The directory at this path, which belongs to the caller alone. It is created if it is
    /// missing, and what unfinished snapshots left in it is removed.
    ///
    /// # Errors
    /// The operating system's error. The call may be repeated.
    pub fn own(path: impl Into<PathBuf>) -> io::Result<SnapshotDir> {
        let path = path.into();
        owned_dir::make(&path)?;
        let dir = SnapshotDir { path, naming: Arc::default() };
        for name in dir.names()?.into_iter().filter(|name| is_unfinished(name)) {
            fs::remove_file(dir.path.join(name))?;
        }
        Ok(dir)
    }

    /// The directory at this path, to be read only. It may be missing.
    pub fn look(path: impl Into<PathBuf>) -> SnapshotDir {
        SnapshotDir { path: path.into(), naming: Arc::default() }
    }

    /// The last entries of the snapshots whose files are here, the newest first. The files may be
    /// damaged.
    ///
    /// # Errors
    /// The operating system's error.
    pub fn list(&self) -> io::Result<Vec<EntryId>> {
        let names = match self.names() {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
            names => names?,
        };
        let mut ids: Vec<EntryId> = names.iter().filter_map(|name| id_of(name)).collect();
        ids.sort_unstable_by_key(|id| std::cmp::Reverse((id.index, id.term)));
        Ok(ids)
    }

    /// The newest sound snapshot, checked from its first byte to its last, and the newer files that
    /// are damaged.
    ///
    /// # Errors
    /// The directory or a file cannot be read, or a newer version of Kontiki wrote a file.
    pub fn newest(
        &self,
    ) -> Result<(Option<StoredSnapshot>, Vec<DamagedSnapshot>), UnusableSnapshot> {
        let listed = self.list().map_err(|error| {
            let (path, why) = (self.path.clone(), error.into());
            UnusableSnapshot { path, why }
        })?;
        let mut damaged = Vec::new();
        for last in listed {
            match self.check(last) {
                Ok(sound) => return Ok((Some(sound), damaged)),
                Err(unusable) if matches!(unusable.why, Unsound::Damaged { .. }) => {
                    let writer = self.open(last).ok().map(|reader| reader.head().writer);
                    damaged.push(DamagedSnapshot { last, writer, unusable });
                }
                Err(error) => return Err(error),
            }
        }
        Ok((None, damaged))
    }

    /// Checks a snapshot from its first byte to its last.
    ///
    /// # Errors
    /// The file is not sound, or cannot be read.
    pub fn check(&self, last: EntryId) -> Result<StoredSnapshot, UnusableSnapshot> {
        check_file(self.path_of(last), last, || true)
    }

    /// Opens the snapshot that ends at this entry.
    ///
    /// # Errors
    /// The head is not sound, or is not of the snapshot that the file's name says; or the file
    /// cannot be read.
    pub fn open(&self, last: EntryId) -> Result<SnapshotReader<impl io::Read>, UnusableSnapshot> {
        let path = self.path_of(last);
        open_file(&path, last).map_err(|why| UnusableSnapshot { path, why })
    }

    /// Begins a new snapshot. It is not in the directory before [`NewSnapshot::keep`].
    ///
    /// # Errors
    /// The operating system's error; a full disk is one.
    pub fn create(&self, head: SnapshotHead) -> io::Result<NewSnapshot> {
        let (file, temporary) = self.temporary(head.last, head.salt)?;
        let out = Synced { file, unsynced: 0, bytes: 0 };
        let out = SnapshotWriter::new(out, head.clone())?;
        Ok(NewSnapshot { dir: self.clone(), head, temporary, out })
    }

    /// A new file under a temporary name, for the snapshot with this salt.
    pub(super) fn temporary(&self, last: EntryId, salt: u64) -> io::Result<(File, Temporary)> {
        // The salt is part of the name: two snapshots that end at one entry share no file.
        let name = temporary_name(&format!("{}-{salt:016x}", name_of(last)));
        let path = self.path.join(name);
        let file = File::options().write(true).create_new(true).open(&path)?;
        Ok((file, Temporary(path)))
    }

    /// Gives a synced file its name, durably, and removes the older snapshots. If a sound snapshot
    /// has that name already, it stays, since a peer may be receiving it; then the new file is
    /// removed. Returns the snapshot that has the name.
    pub(super) fn name(
        &self,
        temporary: &Temporary,
        new: StoredSnapshot,
    ) -> io::Result<StoredSnapshot> {
        let last = new.head.last;
        let path = self.path_of(last);
        let _alone = self.naming.lock().unwrap_or_else(PoisonError::into_inner);
        if path.exists()
            && let Ok(there) = self.check(last)
        {
            return Ok(there);
        }
        fs::rename(&temporary.0, &path)?;
        File::open(&self.path)?.sync_all()?;
        // An older snapshot that is left is removed after the next one.
        if let Err(error) = self.remove_below(last) {
            warn!(%error, "an older snapshot could not be removed");
        }
        Ok(StoredSnapshot { path, ..new })
    }

    /// Removes the snapshots that end before this entry, sound or not.
    ///
    /// # Errors
    /// The operating system's error; some may have been removed.
    fn remove_below(&self, last: EntryId) -> io::Result<()> {
        let older = |id: &EntryId| (id.index, id.term) < (last.index, last.term);
        let older = self.list()?.into_iter().filter(older);
        older.map(|id| fs::remove_file(self.path_of(id))).fold(Ok(()), io::Result::and)
    }

    /// Removes all snapshots.
    ///
    /// # Errors
    /// The operating system's error; some may have been removed.
    pub fn clear(&self) -> io::Result<()> {
        self.list()?.into_iter().try_for_each(|id| fs::remove_file(self.path_of(id)))
    }

    /// The file of the snapshot that ends at this entry.
    pub fn path_of(&self, last: EntryId) -> PathBuf {
        self.path.join(name_of(last))
    }

    /// The directory itself.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The names of the files. Anything else with the name of a snapshot, such as a directory, is
    /// not of this member.
    fn names(&self) -> io::Result<Vec<String>> {
        let mut names = Vec::new();
        for entry in fs::read_dir(&self.path)? {
            let entry = entry?;
            if entry.file_type()?.is_file() {
                names.push(entry.file_name().to_string_lossy().into_owned());
            }
        }
        Ok(names)
    }
}

/// Checks a file that ends at this entry from its first byte to its last, as long as `goes_on`.
pub(super) fn check_file(
    path: PathBuf,
    last: EntryId,
    goes_on: impl Fn() -> bool,
) -> Result<StoredSnapshot, UnusableSnapshot> {
    let checked = open_file(&path, last).and_then(|mut reader| {
        let head = reader.head().clone();
        while goes_on() && reader.skip_chunk() {}
        if !goes_on() {
            return Err(io::Error::other("the member ends").into());
        }
        let file_bytes = reader.checked_bytes();
        reader.finish().map(|_| (head, file_bytes))
    });
    match checked {
        Ok((head, file_bytes)) => Ok(StoredSnapshot { head, file_bytes, path }),
        Err(why) => Err(UnusableSnapshot { path, why }),
    }
}

fn open_file(path: &Path, last: EntryId) -> Result<SnapshotReader<impl io::Read + use<>>, Unsound> {
    let reader = SnapshotReader::new(BufReader::new(File::open(path)?))?;
    if reader.head().last == last {
        Ok(reader)
    } else {
        Err(Unsound::damaged(0, "it ends at another entry than its name says"))
    }
}

fn name_of(last: EntryId) -> String {
    format!("snap-{:016x}-{:016x}", last.index.get(), last.term.get())
}

/// The entry at which the snapshot with this name ends; `None` for any other name.
fn id_of(name: &str) -> Option<EntryId> {
    let (index, term) = name.strip_prefix("snap-")?.split_once('-')?;
    let [index, term] = [index, term].map(|digits| u64::from_str_radix(digits, 16).ok());
    let id = EntryId::new(Term::new(term?), LogIndex::new(index?));
    (name_of(id) == name).then_some(id)
}

/// Whether this is the temporary name of a snapshot.
fn is_unfinished(name: &str) -> bool {
    let name = name.strip_prefix(&temporary_name("")).and_then(|name| name.rsplit_once('-'));
    name.is_some_and(|(of, salt)| {
        let salted = u64::from_str_radix(salt, 16).is_ok_and(|it| format!("{it:016x}") == salt);
        salted && id_of(of).is_some()
    })
}

/// A snapshot that is being written. What is written to it are the application's bytes. Dropping it
/// removes its file.
#[derive(Debug)]
pub struct NewSnapshot {
    dir: SnapshotDir,
    head: SnapshotHead,
    out: SnapshotWriter<Synced>,
    temporary: Temporary,
}

/// A file that is removed when this value is dropped, unless it was renamed before.
#[derive(Debug)]
pub(super) struct Temporary(pub(super) PathBuf);

impl Drop for Temporary {
    fn drop(&mut self) {
        // A file that is left is removed when the member starts.
        let _ = fs::remove_file(&self.0);
    }
}

impl NewSnapshot {
    /// Makes the snapshot durable under its name, and removes the older ones. Returns what is in
    /// the directory now: another snapshot, if there was a sound one that ends at the same entry.
    ///
    /// # Errors
    /// The operating system's error. The snapshot may be in the directory or not; the older ones
    /// were not removed.
    pub fn keep(self) -> io::Result<StoredSnapshot> {
        let Synced { file, bytes, .. } = self.out.finish()?;
        file.sync_all()?;
        let path = self.temporary.0.clone();
        let new = StoredSnapshot { head: self.head, file_bytes: bytes, path };
        self.dir.name(&self.temporary, new)
    }
}

impl Write for NewSnapshot {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.out.write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// A file that is synced again and again while it is written.
#[derive(Debug)]
struct Synced {
    file: File,
    unsynced: u64,
    bytes: u64,
}

impl Write for Synced {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let written = self.file.write(bytes)?;
        self.bytes += written as u64;
        self.unsynced += written as u64;
        if self.unsynced >= SYNC_BYTES {
            self.file.sync_data()?;
            self.unsynced = 0;
        }
        Ok(written)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.file.flush()
    }
}
