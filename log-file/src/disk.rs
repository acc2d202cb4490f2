//! The disk as this log sees it: one directory of files, and the few calls it needs of them.
//!
//! All input and output goes through these two traits, so that a simulated disk ([`SimDisk`]) can
//! lose, tear and refuse what a real one ([`RealDisk`]) would only lose on the worst of days.
//!
//! [`SimDisk`]: crate::SimDisk
//! [`RealDisk`]: crate::RealDisk

use std::any::Any;
use std::io;
use std::sync::Arc;

use crate::format::Position;
use crate::names::segment_name;

/// One directory, and the files in it by name.
pub trait Disk: Send + Sync {
    /// Creates an empty file, open for reading and writing. Its name is durable only after
    /// [`Disk::sync_names`].
    fn create(&self, name: &str) -> io::Result<Arc<dyn DiskFile>>;

    /// Opens a file for reading and writing.
    fn open(&self, name: &str) -> io::Result<Arc<dyn DiskFile>>;

    /// Gives a file another name, atomically; a file that had that name is gone.
    fn rename(&self, from: &str, to: &str) -> io::Result<()>;

    /// Removes a file.
    fn unlink(&self, name: &str) -> io::Result<()>;

    /// Makes all names durable.
    fn sync_names(&self) -> io::Result<()>;

    /// The names of all files, in any order.
    fn list(&self) -> io::Result<Vec<String>>;

    /// Takes the directory for one store, until the token is dropped. `WouldBlock` if it is taken.
    fn lock(&self) -> io::Result<Box<dyn Any + Send + Sync>>;

    /// A random number, different on every call.
    fn random(&self) -> io::Result<u64>;

    /// The name of a file for people, with the directory.
    fn place(&self, name: &str) -> String;
}

/// One open file.
pub trait DiskFile: Send + Sync {
    /// How long the file is.
    fn len(&self) -> io::Result<u64>;

    /// Whether the file has no bytes.
    fn is_empty(&self) -> io::Result<bool> {
        Ok(self.len()? == 0)
    }

    /// Reads at an offset; as many bytes as there are, 0 at the end.
    fn read_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<usize>;

    /// Writes at an offset; may write fewer bytes than given.
    fn write_at(&self, bytes: &[u8], offset: u64) -> io::Result<usize>;

    /// Makes the bytes, and the length that is needed to read them, durable.
    fn sync_data(&self) -> io::Result<()>;

    /// Cuts or extends the file.
    fn set_len(&self, len: u64) -> io::Result<()>;
}

impl Position {
    /// The position for people.
    pub(crate) fn place(self, disk: &dyn Disk) -> String {
        format!("{}, offset {}", disk.place(&segment_name(self.segment)), self.offset)
    }
}

/// Reads until the buffer is full or the file ends; how many bytes were read.
pub(crate) fn read_up_to(file: &dyn DiskFile, buffer: &mut [u8], offset: u64) -> io::Result<usize> {
    let mut done = 0;
    while done < buffer.len() {
        match file.read_at(&mut buffer[done..], offset + done as u64) {
            Ok(0) => break,
            Ok(count) => done += count,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(done)
}

/// Writes all bytes, or fails.
pub(crate) fn write_all(file: &dyn DiskFile, bytes: &[u8], offset: u64) -> io::Result<()> {
    let mut done = 0;
    while done < bytes.len() {
        match file.write_at(&bytes[done..], offset + done as u64) {
            Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
            Ok(count) => done += count,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(())
}
