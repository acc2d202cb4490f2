//! A directory that one process owns and that survives a power cut: what every log in files, and
//! the member around it, needs before its own format begins.
//!
//! [`make`] creates the directory so that it survives a power cut. [`Lock`] keeps out a second
//! opener, in this process or another, by `flock` on a file in the directory; the operating system
//! releases it when the process ends for any reason. [`put_whole`] replaces a small file so that a
//! crash leaves the old content or the new one. [`is_no_space`] distinguishes a full disk from
//! other errors, and [`place_to_free`] names it.
//!
//! Deliberately absent: the content of the directory. Each format names, writes and syncs its own
//! files.

mod directory;
mod lock;
mod space;
mod whole;

use std::fs::{self, File};
use std::io;
use std::path::Path;

pub use directory::{Directory, DirectoryError, Names};
pub use lock::Lock;
pub use space::{is_no_space, place_to_free};
pub use whole::{put_whole, temporary_name};

/// Creates a directory if it is missing, and makes each missing part of the path to it durable. A
/// process that then creates names in the directory needs to sync only the directory itself.
///
/// # Errors
/// The operating system's error; a part of the path may have been created. The call may be
/// repeated.
pub fn make(dir: &Path) -> io::Result<()> {
    let parent = match dir.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent,
        _ => Path::new("."),
    };
    if dir.is_dir() {
        // The process that created it may have ended before the name was durable. A parent that
        // this user may not read was not written by this user, so there is nothing to make durable.
        return File::open(parent).map_or(Ok(()), |parent| parent.sync_all());
    }
    make(parent)?;
    match fs::create_dir(dir) {
        Err(error) if error.kind() != io::ErrorKind::AlreadyExists => Err(error),
        _ => File::open(parent)?.sync_all(),
    }
}

/// Whether a name in a directory is the file system's own: `lost+found`, which is in the root of a
/// mounted file system. A log may be in such a directory.
pub fn is_of_the_file_system(name: &str) -> bool {
    name == "lost+found"
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_directory_is_created_with_the_path_to_it() {
        let dir = tempfile::tempdir().expect("a directory");
        let deep = dir.path().join("a/b/c");
        make(&deep).expect("made");
        make(&deep).expect("there");
        assert!(deep.is_dir());
        fs::write(deep.join("file"), "").expect("written");
        assert!(make(&deep.join("file/d")).is_err(), "the parent is a file");
    }
}
