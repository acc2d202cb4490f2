//! Mounting and unmounting, so that no mount stays behind: neither when a test panics, nor, for
//! longer than until the next test, when its process is killed.

use std::ffi::OsStr;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Once;

use fuser::{BackgroundSession, Config, MountOption};
use rustix::mount::{UnmountFlags, unmount};
use rustix::process::{getgid, getuid};

use crate::server::Server;
use crate::state::Shared;

/// The names of mount points begin so; the number of the process follows.
const PREFIX: &str = "kontiki-disk-";

/// A mounted disk. Dropping it unmounts, also while files on it are open: those live on until they
/// are closed.
pub(crate) struct Mounted {
    point: PathBuf,
    session: Option<BackgroundSession>,
}

impl Mounted {
    pub(crate) fn new(state: Shared) -> io::Result<Mounted> {
        let point = point()?;
        let owner = (getuid().as_raw(), getgid().as_raw());
        let mut config = Config::default();
        let name = "kontiki-disk".to_owned();
        config.mount_options = vec![MountOption::FSName(name), MountOption::NoAtime];
        match fuser::spawn_mount(Server { state, owner }, &point, &config) {
            Ok(session) => Ok(Mounted { point, session: Some(session) }),
            Err(error) => {
                let _ = fs::remove_dir(&point);
                Err(error)
            }
        }
    }

    pub(crate) fn point(&self) -> &Path {
        &self.point
    }
}

impl Drop for Mounted {
    fn drop(&mut self) {
        detach(&self.point);
        // Where detaching needs a privilege that this process lacks, the session's own end asks
        // `fusermount` for it.
        drop(self.session.take());
        let _ = fs::remove_dir(&self.point);
    }
}

/// A new directory to mount something on. The first time, what killed processes left is removed.
pub(crate) fn point() -> io::Result<PathBuf> {
    static SWEEP: Once = Once::new();
    SWEEP.call_once(sweep);
    let prefix = format!("{PREFIX}{}-", std::process::id());
    Ok(tempfile::Builder::new().prefix(&prefix).tempdir()?.keep())
}

/// Takes the mount out of the tree at once. An error is no matter here: it says that there is
/// nothing to take, or that another way is needed.
fn detach(point: &Path) {
    let _ = unmount(point, UnmountFlags::DETACH);
}

/// Removes what processes left behind that were killed.
fn sweep() {
    let Ok(mounts) = fs::read_to_string("/proc/self/mounts") else { return };
    for point in mounts.lines().filter_map(|line| line.split(' ').nth(1)).map(Path::new) {
        let process = point.file_name().and_then(OsStr::to_str).and_then(owner_of);
        if process.is_some_and(|process| !Path::new("/proc").join(process).exists()) {
            detach(point);
            let _ = fs::remove_dir(point);
        }
    }
}

/// The process in the name of a mount point of ours.
fn owner_of(name: &str) -> Option<&str> {
    let (process, _) = name.strip_prefix(PREFIX)?.split_once('-')?;
    process.bytes().all(|byte| byte.is_ascii_digit()).then_some(process)
}
