//! Mounts and unmounts disks so that no mount is left behind: not when a test panics, and not
//! beyond the next test when its process is killed.

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

/// The prefix of mount points' names; the process id follows.
const PREFIX: &str = "kontiki-disk-";

/// A mounted disk. Dropping it unmounts even while files on it are open: those stay usable until
/// they are closed.
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
        // If detaching needs a privilege that this process lacks, the end of the session asks
        // `fusermount` for it.
        drop(self.session.take());
        let _ = fs::remove_dir(&self.point);
    }
}

/// A new directory to mount on. The first call also removes what killed processes left.
pub(crate) fn point() -> io::Result<PathBuf> {
    static SWEEP: Once = Once::new();
    SWEEP.call_once(sweep);
    let prefix = format!("{PREFIX}{}-", std::process::id());
    Ok(tempfile::Builder::new().prefix(&prefix).tempdir()?.keep())
}

/// Takes the mount out of the tree at once. An error is ignored here: either there is no mount, or
/// another way is needed.
fn detach(point: &Path) {
    let _ = unmount(point, UnmountFlags::DETACH);
}

/// Removes the mounts that killed processes left.
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

/// The process id in the name of one of this crate's mount points.
fn owner_of(name: &str) -> Option<&str> {
    let (process, _) = name.strip_prefix(PREFIX)?.split_once('-')?;
    process.bytes().all(|byte| byte.is_ascii_digit()).then_some(process)
}
