//! A real file system whose power is really cut: ext4 in an image file on a loop device.
//!
//! The kernel shuts the file system down on request, without writing its journal: changes that were
//! not durable are lost when it is mounted again, as after a power cut. This shows only one file
//! system's order, and allows only a few cuts a second; its value is that it shares no mistake with
//! the model.

use std::ffi::OsStr;
use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use rustix::ioctl::{Setter, ioctl, opcode};
use rustix::mount::{UnmountFlags, unmount};
use tempfile::TempDir;

/// The size of the file system; the image holds only the blocks that are written.
const IMAGE_BYTES: u64 = 1 << 30;

/// `FS_IOC_SHUTDOWN`, and its flag for no flush of the journal.
const SHUTDOWN: u32 = opcode::read::<u32>(b'X', 125);
const NO_LOG_FLUSH: u32 = 2;

/// How long to wait for open files when the file system is unmounted.
const RELEASE_TRIES: u32 = 40;
const RELEASE_PAUSE: Duration = Duration::from_millis(50);

/// A mounted image; dropping it unmounts the image.
pub struct RealDisk {
    image: PathBuf,
    point: PathBuf,
    _dir: TempDir,
}

impl RealDisk {
    /// Creates an empty file system and mounts it. Needs `mkfs.ext4`, loop devices and the
    /// privilege to mount.
    pub fn mount() -> io::Result<RealDisk> {
        let dir = tempfile::tempdir()?;
        let image = dir.path().join("ext4.image");
        File::create(&image)?.set_len(IMAGE_BYTES)?;
        run("mkfs.ext4", &[OsStr::new("-q"), OsStr::new("-F"), image.as_os_str()])?;
        let point = crate::mount::point()?;
        let disk = RealDisk { image, point, _dir: dir };
        disk.attach()?;
        Ok(disk)
    }

    /// The directory for the store's files.
    pub fn dir(&self) -> PathBuf {
        self.point.join("store")
    }

    /// Cuts the power. Every operation fails from now on, until [`RealDisk::power_on`].
    pub fn cut(&self) -> io::Result<()> {
        cut(&self.point)
    }

    /// Mounts what the cut left. A file that is still open can no longer be read or written.
    pub fn power_on(&self) -> io::Result<()> {
        let mut tries = 0;
        while unmount(&self.point, UnmountFlags::empty()).is_err() {
            tries += 1;
            if tries == RELEASE_TRIES {
                unmount(&self.point, UnmountFlags::DETACH)?;
                break;
            }
            std::thread::sleep(RELEASE_PAUSE);
        }
        self.attach()
    }

    fn attach(&self) -> io::Result<()> {
        let options = [OsStr::new("-o"), OsStr::new("loop"), self.image.as_os_str()];
        run("mount", &[&options[..], &[self.point.as_os_str()]].concat())?;
        fs::create_dir_all(self.dir())?;
        File::open(&self.point)?.sync_all()
    }
}

impl Drop for RealDisk {
    fn drop(&mut self) {
        // An error here cannot be handled; the next process removes the mount.
        let _ = unmount(&self.point, UnmountFlags::DETACH);
        let _ = fs::remove_dir(&self.point);
    }
}

/// Cuts the power of the ext4 file system at this mount point.
///
/// # Errors
///
/// If it is not such a file system, or the process has no permission. Then nothing was cut.
pub fn cut(point: &Path) -> io::Result<()> {
    let dir = File::open(point)?;
    shut_down(&dir)
}

/// The request takes a number by reference and does not keep the reference.
#[allow(unsafe_code)]
fn shut_down(dir: &File) -> io::Result<()> {
    // SAFETY: the kernel reads one `u32` for this code, which is what the setter points to.
    let done = unsafe { ioctl(dir, Setter::<SHUTDOWN, u32>::new(NO_LOG_FLUSH)) };
    Ok(done?)
}

fn run(program: &str, arguments: &[&OsStr]) -> io::Result<()> {
    let mut command = Command::new(program);
    let output = command.args(arguments).stdin(Stdio::null()).output();
    let output = output.map_err(|error| io::Error::other(format!("{program}: {error}")))?;
    if output.status.success() {
        return Ok(());
    }
    let said = String::from_utf8_lossy(&output.stderr);
    Err(io::Error::other(format!("{program}: {}", said.trim())))
}
