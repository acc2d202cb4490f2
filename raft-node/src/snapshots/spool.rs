//! A snapshot file on its way from one member to another: read in parts there, put together here.
//!
//! The bytes are those of the file, from its head to its end record, so the receiver checks what it
//! has put together like any other file before the file gets its name.
//!
//! Deliberately absent: what is asked for and when.

use std::fs::File;
use std::io::{self, Write};
use std::os::unix::fs::FileExt;

use raft_core::types::{ClusterId, EntryId};

use super::dir::{SYNC_BYTES, SnapshotDir, StoredSnapshot, Temporary, check_file};
use super::format::Unsound;
use super::reader::SnapshotReader;

impl SnapshotDir {
    /// Opens the file of the snapshot that ends at this entry, to be sent.
    ///
    /// # Errors
    /// There is no such file, or it has another salt, or the operating system's error.
    pub fn open_to_send(&self, last: EntryId, salt: u64) -> io::Result<SentFile> {
        let file = File::open(self.path_of(last))?;
        let head = match SnapshotReader::new(&file) {
            Ok(reader) => reader.head().clone(),
            Err(Unsound::Io(error)) => return Err(error),
            Err(damaged) => return Err(io::Error::new(io::ErrorKind::NotFound, damaged)),
        };
        if (head.last, head.salt) != (last, salt) {
            return Err(io::Error::new(
                io::ErrorKind::NotFound,
                "another file has taken its place",
            ));
        }
        Ok(SentFile { file })
    }

    /// Begins to receive a file. It is not in the directory before `ReceivedFile::keep`.
    ///
    /// # Errors
    /// The operating system's error; a full disk is one.
    pub fn receive(&self, last: EntryId, salt: u64) -> io::Result<ReceivedFile> {
        let (file, temporary) = self.temporary(last, salt)?;
        let dir = self.clone();
        Ok(ReceivedFile { dir, last, salt, file, temporary, bytes: 0, unsynced: 0 })
    }
}

/// A file that is sent in parts. It stays readable if a newer snapshot replaces it.
#[derive(Debug)]
pub struct SentFile {
    file: File,
}

impl SentFile {
    /// At most `most` bytes from `offset` on; none beyond the end.
    ///
    /// # Errors
    /// The operating system's error. The call may be repeated.
    pub fn read(&self, offset: u64, most: u32) -> io::Result<Vec<u8>> {
        let left = self.file.metadata()?.len().saturating_sub(offset);
        let mut bytes = vec![0; left.min(most.into()) as usize];
        self.file.read_exact_at(&mut bytes, offset)?;
        Ok(bytes)
    }
}

/// A file that is received in parts. Dropping it removes the file.
#[derive(Debug)]
pub struct ReceivedFile {
    dir: SnapshotDir,
    last: EntryId,
    salt: u64,
    file: File,
    temporary: Temporary,
    bytes: u64,
    unsynced: u64,
}

impl ReceivedFile {
    /// The last entry and the salt of the file.
    pub fn id(&self) -> (EntryId, u64) {
        (self.last, self.salt)
    }

    /// How many bytes were received.
    pub fn bytes(&self) -> u64 {
        self.bytes
    }

    /// Adds the next bytes.
    ///
    /// # Errors
    /// The operating system's error; a full disk is one. The file cannot be continued.
    pub fn add(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.file.write_all(bytes)?;
        self.bytes += bytes.len() as u64;
        self.unsynced += bytes.len() as u64;
        if self.unsynced >= SYNC_BYTES {
            self.file.sync_data()?;
            self.unsynced = 0;
        }
        Ok(())
    }

    /// Checks the file from its first byte to its last, as long as `goes_on`, makes it durable
    /// under its name, and
    /// removes the older snapshots. Returns what is in the directory now, as
    /// [`NewSnapshot::keep`](super::NewSnapshot::keep).
    ///
    /// # Errors
    /// The file is not sound, or not the one that was asked for, or is of another cluster, or the
    /// operating system's error. The older snapshots were not removed.
    pub fn keep(
        self,
        cluster: ClusterId,
        goes_on: impl Fn() -> bool,
    ) -> Result<StoredSnapshot, Unsound> {
        self.file.sync_all()?;
        let checked = check_file(self.temporary.0.clone(), self.last, goes_on);
        let stored = checked.map_err(|error| error.why)?;
        if (stored.head.salt, stored.head.writer.cluster) != (self.salt, cluster) {
            return Err(Unsound::damaged(0, "it is not the file that was announced"));
        }
        Ok(self.dir.name(&self.temporary, stored)?)
    }
}
