//! A directory of the operating system. Linux and other Unix systems; `sync_data` is `fdatasync`
//! where there is one.

use std::any::Any;
use std::fs::{File, OpenOptions, read_dir, remove_file, rename};
use std::hash::{BuildHasher, RandomState};
use std::io;
use std::ops::Range;
use std::os::unix::fs::FileExt;
use std::path::PathBuf;
use std::sync::{Arc, OnceLock};

use owned_dir::Lock;
#[cfg(target_os = "linux")]
use rustix::io::Errno;

use crate::config::{FileLogConfig, Io, WriteVerb};
use crate::disk::{Disk, DiskFile, FrameFile, WritePath};
use crate::names::LOCK_NAME;
use crate::route::Route;
use crate::zero_fill::write_zeros;

/// A directory of the operating system.
#[derive(Debug)]
pub struct RealDisk {
    dir: PathBuf,
    access: Access,
    io: Io,
    write_verb: WriteVerb,
    /// The route that was chosen, once it was tried.
    route: OnceLock<Route>,
}

/// The kind of access to the directory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Access {
    Any,
    /// Nothing is created, renamed or removed, and files are opened for reading.
    Read,
}

impl RealDisk {
    /// The directory, which is created if it does not exist. Frames are written in the default way.
    pub fn new(dir: impl Into<PathBuf>) -> io::Result<RealDisk> {
        RealDisk::of(&FileLogConfig::new(dir))
    }

    /// The directory of a configuration, and its way of writing frames.
    pub fn of(config: &FileLogConfig) -> io::Result<RealDisk> {
        let FileLogConfig { ref dir, io, write_verb, .. } = *config;
        let dir = dir.clone();
        owned_dir::make(&dir)?;
        Ok(RealDisk { dir, access: Access::Any, io, write_verb, route: OnceLock::new() })
    }

    /// A directory that must not be changed. Its lock is taken only if there is one, and shared
    /// with other readers.
    pub fn read_only(dir: impl Into<PathBuf>) -> RealDisk {
        let FileLogConfig { dir, io, write_verb, .. } = FileLogConfig::new(dir);
        RealDisk { dir, access: Access::Read, io, write_verb, route: OnceLock::new() }
    }

    fn check_writable(&self) -> io::Result<()> {
        match self.access {
            Access::Any => Ok(()),
            Access::Read => Err(io::ErrorKind::PermissionDenied.into()),
        }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.dir.join(name)
    }
}

impl Disk for RealDisk {
    fn create(&self, name: &str) -> io::Result<Arc<dyn DiskFile>> {
        self.check_writable()?;
        let mut options = OpenOptions::new();
        options.read(true).write(true).create(true).truncate(true);
        Ok(Arc::new(RealFile(options.open(self.path(name))?)))
    }

    fn open(&self, name: &str) -> io::Result<Arc<dyn DiskFile>> {
        let is_written = self.access == Access::Any;
        let file = OpenOptions::new().read(true).write(is_written).open(self.path(name))?;
        Ok(Arc::new(RealFile(file)))
    }

    fn rename(&self, from: &str, to: &str) -> io::Result<()> {
        self.check_writable()?;
        rename(self.path(from), self.path(to))
    }

    fn unlink(&self, name: &str) -> io::Result<()> {
        self.check_writable()?;
        remove_file(self.path(name))
    }

    fn sync_names(&self) -> io::Result<()> {
        File::open(&self.dir)?.sync_all()
    }

    fn list(&self) -> io::Result<Vec<String>> {
        let name_of = |entry: io::Result<std::fs::DirEntry>| {
            entry.map(|entry| entry.file_name().to_string_lossy().into_owned())
        };
        read_dir(&self.dir)?.map(name_of).collect()
    }

    fn lock(&self) -> io::Result<Box<dyn Any + Send + Sync>> {
        let path = self.path(LOCK_NAME);
        match self.access {
            Access::Any => Ok(Box::new(Lock::own(&path)?)),
            Access::Read => Ok(Box::new(Lock::share(&path)?)),
        }
    }

    /// The keys of a hash map are drawn from the system's randomness once per thread and then
    /// incremented; hashed together with the time they differ on every call and every start.
    fn random(&self) -> io::Result<u64> {
        Ok(RandomState::new().hash_one(std::time::SystemTime::now()))
    }

    fn place(&self, name: &str) -> String {
        self.path(name).display().to_string()
    }

    fn place_to_free(&self) -> String {
        owned_dir::place_to_free(&self.dir)
    }

    fn open_for_frames(
        &self,
        name: &str,
        file: Arc<dyn DiskFile>,
        is_written: bool,
    ) -> io::Result<Arc<dyn FrameFile>> {
        let route = self.route.get_or_init(|| Route::find(&self.dir, self.io, self.write_verb));
        route.open(&self.path(name), file, is_written)
    }

    fn write_path(&self) -> WritePath {
        self.route.get().map(Route::write_path).unwrap_or_default()
    }

    fn blocks_here(&self) -> bool {
        self.route.get().is_none_or(Route::blocks_here)
    }

    fn settle(&self) {
        self.route.get().into_iter().for_each(Route::settle);
    }
}

struct RealFile(File);

impl DiskFile for RealFile {
    fn len(&self) -> io::Result<u64> {
        Ok(self.0.metadata()?.len())
    }

    fn read_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<usize> {
        self.0.read_at(buffer, offset)
    }

    fn write_at(&self, bytes: &[u8], offset: u64) -> io::Result<usize> {
        self.0.write_at(bytes, offset)
    }

    /// Writes past the page cache if the file system allows it: in the cache, the zeros would evict
    /// pages that are read, and each direct write of a frame would have to search for them.
    fn fill(&self, range: Range<u64>) -> io::Result<()> {
        match fill_directly(&self.0, range.clone()) {
            Err(error) if error.kind() == io::ErrorKind::InvalidInput => write_zeros(self, range),
            filled => filled,
        }
    }

    fn sync_data(&self) -> io::Result<()> {
        self.0.sync_data()
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        self.0.set_len(len)
    }
}

#[cfg(target_os = "linux")]
fn fill_directly(file: &File, range: Range<u64>) -> io::Result<()> {
    use std::io::IoSlice;

    use rustix::fs::{OFlags, fcntl_getfl, fcntl_setfl};
    use rustix::io::pwritev;

    /// Zeros that direct writes may be made from.
    #[repr(align(4096))]
    struct Zeros([u8; 64 << 10]);
    static ZEROS: Zeros = Zeros([0; 64 << 10]);

    let flags = fcntl_getfl(file)?;
    fcntl_setfl(file, flags | OFlags::DIRECT)?;
    let mut at = range.start;
    let filled = loop {
        let pieces = (at..range.end).step_by(ZEROS.0.len()).take(16);
        let zeros = pieces.map(|start| {
            IoSlice::new(&ZEROS.0[..(range.end - start).min(ZEROS.0.len() as u64) as usize])
        });
        let zeros: Vec<IoSlice<'_>> = zeros.collect();
        if zeros.is_empty() {
            break Ok(());
        }
        match pwritev(file, &zeros, at) {
            Ok(0) => break Err(io::ErrorKind::WriteZero.into()),
            // A direct write continues at the front of a block.
            Ok(count) if at + count as u64 == range.end => at = range.end,
            Ok(count) if count >= 4096 => at += count as u64 / 4096 * 4096,
            Ok(_) => break Err(io::ErrorKind::InvalidInput.into()),
            Err(Errno::INTR) => {}
            Err(error) => break Err(error.into()),
        }
    };
    fcntl_setfl(file, flags)?;
    filled
}

#[cfg(not(target_os = "linux"))]
fn fill_directly(_file: &File, _range: Range<u64>) -> io::Result<()> {
    Err(io::ErrorKind::InvalidInput.into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_part_of_a_file_is_filled_with_zeros_and_nothing_else_is_touched() {
        let dir = tempfile::tempdir().expect("a directory");
        let path = dir.path().join("file");
        std::fs::write(&path, vec![7; 3 << 20]).expect("written");
        let file = OpenOptions::new().read(true).write(true).open(&path).expect("opens");
        let file = RealFile(file);
        // More than one call, and an end inside a piece.
        let range = 8192..(2 << 20) + 12_288;
        file.fill(range.clone()).expect("filled");
        file.write_at(&[1], 5).expect("written at any place again");
        let mut wanted = vec![7; 3 << 20];
        wanted[range.start as usize..range.end as usize].fill(0);
        wanted[5] = 1;
        assert!(std::fs::read(&path).expect("readable") == wanted);
    }
}
