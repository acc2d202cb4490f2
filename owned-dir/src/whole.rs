//! Replaces a small file completely.

use std::fs::{self, File};
use std::io::{self, Write};
use std::path::Path;

/// The name under which [`put_whole`] writes a file before it renames it. A crash may leave this
/// file; the owner of the directory may remove it, and the next [`put_whole`] replaces it.
pub fn temporary_name(name: &str) -> String {
    format!("new.{name}")
}

/// Writes a file so that a crash or a power cut leaves the old content or the new one, never a
/// mixture or a part. The file is durable when this returns `Ok`.
///
/// The bytes are written under the [`temporary_name`] and synced, then the file is renamed, then
/// the directory is synced. There must be one writer at a time: the owner of the directory.
///
/// # Errors
/// The operating system's error. The file then holds the old content or the new one, and a power
/// cut may leave either. The call may be repeated: each call writes a new file.
pub fn put_whole(dir: &Path, name: &str, bytes: &[u8]) -> io::Result<()> {
    let new = dir.join(temporary_name(name));
    let mut file = File::create(&new)?;
    file.write_all(bytes)?;
    file.sync_all()?;
    fs::rename(&new, dir.join(name))?;
    File::open(dir)?.sync_all()
}
