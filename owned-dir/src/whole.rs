//! A small file that is replaced as a whole.

use std::fs::{self, File};
use std::io::{self, Write};
use std::path::Path;

/// The name under which [`put_whole`] writes a file before it gets its own name. A crash may leave
/// it; the owner of the directory may remove it, and the next [`put_whole`] replaces it.
pub fn whole_in_the_making(name: &str) -> String {
    format!("new.{name}")
}

/// Writes a file so that a crash or a power cut leaves the old content or the new one, never a
/// mixture and never a part. Durable when it returns `Ok`.
///
/// The bytes are written to [`whole_in_the_making`] and synced, then renamed, then the directory is
/// synced. There must be one writer at a time: the owner of the directory.
///
/// # Errors
/// What the operating system says. The file then holds the old content or the new one, and which
/// of them a power cut leaves is open. It may be tried again: each try writes a new file.
pub fn put_whole(dir: &Path, name: &str, bytes: &[u8]) -> io::Result<()> {
    let new = dir.join(whole_in_the_making(name));
    let mut file = File::create(&new)?;
    file.write_all(bytes)?;
    file.sync_all()?;
    fs::rename(&new, dir.join(name))?;
    File::open(dir)?.sync_all()
}
