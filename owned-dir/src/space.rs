//! Whether an error says that a disk is full, and which file system that is.

use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

/// Whether an error says that a file system, or a user's share of it, has no space left.
pub fn is_no_space(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded)
}

/// A directory in words, for a message that asks for space in it: its path, and the mount point of
/// the file system that holds it.
pub fn place_to_free(dir: &Path) -> String {
    match mount_point(dir) {
        Ok(mount) => format!("{}, on the file system at {}", dir.display(), mount.display()),
        Err(_) => dir.display().to_string(),
    }
}

/// The highest directory above this one on the same file system.
fn mount_point(dir: &Path) -> io::Result<PathBuf> {
    let dir = std::fs::canonicalize(dir)?;
    let device = dir.metadata()?.dev();
    let is_same = |above: &&Path| above.metadata().is_ok_and(|found| found.dev() == device);
    let highest = dir.ancestors().take_while(is_same).last();
    Ok(highest.unwrap_or(&dir).to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_file_system_of_a_directory_is_named() {
        let dir = tempfile::tempdir().expect("a directory");
        let said = place_to_free(dir.path());
        let (path, mount) = said.split_once(", on the file system at ").expect("both are named");
        assert_eq!(path, dir.path().display().to_string());
        assert!(dir.path().canonicalize().expect("it is there").starts_with(mount), "{said}");
        assert_eq!(place_to_free(Path::new("/")), "/, on the file system at /");
        assert_eq!(place_to_free(Path::new("/no/such")), "/no/such");
    }

    #[test]
    fn a_full_disk_is_distinguished_from_other_errors() {
        assert!(is_no_space(&io::ErrorKind::StorageFull.into()));
        assert!(is_no_space(&io::ErrorKind::QuotaExceeded.into()));
        assert!(!is_no_space(&io::Error::other("broken")));
    }
}
