//! The disk alone: one write and one `fdatasync` into a file whose blocks were written before.

use std::fs::File;
use std::io::{self, Write};
use std::os::unix::fs::FileExt;

use tempfile::TempDir;

/// How large the file is; writes begin at its start again when they reach its end.
const FILE_BYTES: u64 = 16 << 20;

/// How much is written at a time when the file is made.
const STEP_BYTES: usize = 64 << 10;

/// A file in a directory of its own.
pub struct PrewrittenFile {
    file: File,
    at: u64,
    _dir: TempDir,
}

impl PrewrittenFile {
    /// Writes a whole file once.
    pub fn new() -> io::Result<PrewrittenFile> {
        let dir = tempfile::tempdir()?;
        let mut file = File::create(dir.path().join("floor"))?;
        for _ in 0..FILE_BYTES / STEP_BYTES as u64 {
            file.write_all(&[0; STEP_BYTES])?;
        }
        file.sync_all()?;
        Ok(PrewrittenFile { file, at: 0, _dir: dir })
    }

    /// Writes `bytes` after the last ones, and waits until the disk has them.
    pub fn write_and_sync(&mut self, bytes: &[u8]) -> io::Result<()> {
        if self.at + bytes.len() as u64 > FILE_BYTES {
            self.at = 0;
        }
        self.file.write_all_at(bytes, self.at)?;
        self.at += bytes.len() as u64;
        self.file.sync_data()
    }
}
