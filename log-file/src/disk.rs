//! The log's interface to the disk: one directory of files, and the few calls that the log needs.
//!
//! All input and output goes through these two traits, so that a simulated disk ([`SimDisk`]) can
//! lose, tear and refuse what a real one ([`RealDisk`]) loses only in rare failures.
//!
//! [`SimDisk`]: crate::SimDisk
//! [`RealDisk`]: crate::RealDisk

use std::any::Any;
use std::borrow::Cow;
use std::io;
use std::ops::Range;
use std::pin::Pin;
use std::sync::Arc;

use raft_core::storage::LogOp;

use crate::format::Position;
use crate::names::segment_name;
use crate::write_buffer::WriteBuffer;

/// One directory, and the files in it by name.
pub trait Disk: Send + Sync {
    /// Creates an empty file, open for reading and writing. Its name is durable only after
    /// [`Disk::sync_names`].
    fn create(&self, name: &str) -> io::Result<Arc<dyn DiskFile>>;

    /// Opens a file for reading and writing.
    fn open(&self, name: &str) -> io::Result<Arc<dyn DiskFile>>;

    /// Gives a file another name, atomically; a file that had that name is removed.
    fn rename(&self, from: &str, to: &str) -> io::Result<()>;

    /// Removes a file.
    fn unlink(&self, name: &str) -> io::Result<()>;

    /// Makes all names durable.
    fn sync_names(&self) -> io::Result<()>;

    /// The names of all files, in any order.
    fn list(&self) -> io::Result<Vec<String>>;

    /// Locks the directory for one store, until the token is dropped. `WouldBlock` if it is locked.
    fn lock(&self) -> io::Result<Box<dyn Any + Send + Sync>>;

    /// A random number, different on every call.
    fn random(&self) -> io::Result<u64>;

    /// The path of a file, as text for operators.
    fn place(&self, name: &str) -> String;

    /// The directory as text, for a message that asks for space in it.
    fn place_to_free(&self) -> String {
        self.place("")
    }

    /// Opens a segment, which is open as `file` already, for frames. `is_written`: all of its bytes
    /// were written and synced before, so that no write has to allocate space for them.
    fn open_for_frames(
        &self,
        name: &str,
        file: Arc<dyn DiskFile>,
        is_written: bool,
    ) -> io::Result<Arc<dyn FrameFile>> {
        let _ = (name, is_written);
        Ok(Arc::new(WriteThenSync(file)))
    }

    /// How frames are written. Called after the first segment was opened for them.
    fn write_path(&self) -> WritePath {
        WritePath::default()
    }

    /// Whether a write that is polled on this thread now blocks it. Outside of a runtime it always
    /// does, even on a disk that does not block otherwise, since nothing would wake the task.
    fn blocks_here(&self) -> bool {
        self.write_path().may_block
    }

    /// Waits until no frame is being written, including one whose future was dropped.
    fn settle(&self) {}
}

/// How a disk writes frames.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WritePath {
    /// The calls that make a frame durable, as text for operators.
    pub sync_verb: Cow<'static, str>,
    /// Whether writing a frame blocks the thread.
    pub may_block: bool,
}

impl Default for WritePath {
    fn default() -> WritePath {
        WritePath { sync_verb: "fdatasync".into(), may_block: true }
    }
}

/// A segment that frames are written to, one after another.
pub trait FrameFile: Send + Sync {
    /// Each write begins and ends at a multiple of this: a power of two, 4096 at most.
    fn block_bytes(&self) -> u64 {
        1
    }

    /// Writes whole blocks and makes them durable. No other write to the segment may be under way.
    fn put(&self, buffer: WriteBuffer, offset: u64) -> Put;
}

/// A write that was started.
pub enum Put {
    /// The write has ended.
    Done(Written),
    /// The write continues, whether or not this future is polled, and polling does not block.
    /// Dropping the future loses the buffer and the result; the write continues.
    Started(Pin<Box<dyn Future<Output = Written> + Send>>),
}

/// How a write ended.
pub struct Written {
    /// The buffer, for the next frame.
    pub buffer: WriteBuffer,
    /// On success everything is durable; on an error it is not known how much is.
    pub result: Result<(), PutError>,
}

/// Why a frame may not be durable.
#[derive(Debug)]
pub struct PutError {
    /// The step that failed: the write or the sync.
    pub op: LogOp,
    /// The cause.
    pub error: io::Error,
}

/// Writes each frame and then syncs the whole file.
pub(crate) struct WriteThenSync(pub(crate) Arc<dyn DiskFile>);

impl FrameFile for WriteThenSync {
    fn put(&self, buffer: WriteBuffer, offset: u64) -> Put {
        let file = self.0.as_ref();
        let failed = |op| move |error| PutError { op, error };
        let result = write_all(file, &buffer, offset)
            .map_err(failed(LogOp::Write))
            .and_then(|()| file.sync_data().map_err(failed(LogOp::Sync)));
        Put::Done(Written { buffer, result })
    }
}

/// One open file.
pub trait DiskFile: Send + Sync {
    /// The length of the file, in bytes.
    fn len(&self) -> io::Result<u64>;

    /// Whether the file has no bytes.
    fn is_empty(&self) -> io::Result<bool> {
        Ok(self.len()? == 0)
    }

    /// Reads at an offset; as many bytes as there are, 0 at the end.
    fn read_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<usize>;

    /// Writes at an offset; may write fewer bytes than given.
    fn write_at(&self, bytes: &[u8], offset: u64) -> io::Result<usize>;

    /// Writes zeros to a part of a file that is not open anywhere else yet, at multiples of 4096;
    /// on an error it may have written some of them.
    fn fill(&self, range: Range<u64>) -> io::Result<()>;

    /// Makes the bytes durable, and the length that is needed to read them.
    fn sync_data(&self) -> io::Result<()>;

    /// Truncates or extends the file.
    fn set_len(&self, len: u64) -> io::Result<()>;
}

impl Position {
    /// The position, as text for operators.
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
