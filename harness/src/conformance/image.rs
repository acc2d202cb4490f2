//! The files of a store in its directory, and the same files with damage done to them.
//!
//! Blocks of zeros are not written, so that large prepared files do not make each run slow.

use std::collections::BTreeMap;
use std::fmt;
use std::fs::{self, File, OpenOptions};
use std::io;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

/// A run of zeros of this length is left out when a file is written.
const BLOCK: usize = 4096;

/// All files and directories under a directory, by their paths in it.
pub(crate) struct Image {
    files: BTreeMap<PathBuf, Vec<u8>>,
    directories: Vec<PathBuf>,
}

/// What happened to the files while the store was closed.
#[derive(Clone, Debug)]
pub(crate) enum Damage {
    /// No damage, as a control.
    None,
    /// These bytes of a file have other values; `how` describes the change.
    Bytes { file: PathBuf, at: usize, bytes: Vec<u8>, how: &'static str },
    /// A file is missing.
    Missing { file: PathBuf },
    /// A file is shorter.
    Truncated { file: PathBuf, length: usize },
    /// A file has additional bytes at its end.
    Tail { file: PathBuf, bytes: Vec<u8>, how: &'static str },
    /// There is a new file, or a file has other contents.
    Put { file: PathBuf, bytes: Vec<u8>, how: &'static str },
}

impl Image {
    /// Reads a directory.
    pub(crate) fn of(dir: &Path) -> io::Result<Image> {
        let mut image = Image { files: BTreeMap::new(), directories: Vec::new() };
        image.gather(dir, Path::new(""))?;
        Ok(image)
    }

    fn gather(&mut self, dir: &Path, under: &Path) -> io::Result<()> {
        for found in fs::read_dir(dir.join(under))? {
            let found = found?;
            let path = under.join(found.file_name());
            let kind = found.file_type()?;
            if kind.is_dir() {
                self.gather(dir, &path)?;
                self.directories.push(path);
            } else if kind.is_file() {
                // A store with its own threads may rename a file in the meantime.
                match fs::read(found.path()) {
                    Ok(bytes) => drop(self.files.insert(path, bytes)),
                    Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                    Err(error) => return Err(error),
                }
            }
        }
        Ok(())
    }

    /// Makes the directory hold exactly this image, with damage done to it.
    pub(crate) fn put(&self, dir: &Path, damage: &Damage) -> io::Result<()> {
        for found in fs::read_dir(dir)? {
            let found = found?;
            if found.file_type()?.is_dir() {
                fs::remove_dir_all(found.path())?
            } else {
                fs::remove_file(found.path())?
            }
        }
        for directory in &self.directories {
            fs::create_dir_all(dir.join(directory))?;
        }
        for (path, bytes) in &self.files {
            write(&dir.join(path), bytes)?;
        }
        damage.do_to(dir)
    }

    /// The files that are not empty, with their bytes.
    pub(crate) fn files(&self) -> impl Iterator<Item = (&Path, &[u8])> {
        let files = self.files.iter().filter(|(_, bytes)| !bytes.is_empty());
        files.map(|(path, bytes)| (path.as_path(), bytes.as_slice()))
    }

    /// The bytes of a file, if there is such a file.
    pub(crate) fn bytes(&self, file: &Path) -> Option<&[u8]> {
        self.files.get(file).map(Vec::as_slice)
    }
}

impl Damage {
    /// One byte of a file, changed by a mask.
    pub(crate) fn flip(file: &Path, at: usize, byte: u8, mask: u8) -> Damage {
        let bytes = vec![byte ^ mask];
        Damage::Bytes { file: file.to_owned(), at, bytes, how: "flipped bits" }
    }

    fn do_to(&self, dir: &Path) -> io::Result<()> {
        let to_write = |file: &Path| OpenOptions::new().write(true).open(dir.join(file));
        match self {
            Damage::None => Ok(()),
            Damage::Bytes { file, at, bytes, .. } => {
                to_write(file)?.write_all_at(bytes, *at as u64)
            }
            Damage::Missing { file } => fs::remove_file(dir.join(file)),
            Damage::Truncated { file, length } => to_write(file)?.set_len(*length as u64),
            Damage::Tail { file, bytes, .. } => {
                let file = to_write(file)?;
                file.write_all_at(bytes, file.metadata()?.len())
            }
            Damage::Put { file, bytes, .. } => fs::write(dir.join(file), bytes),
        }
    }
}

impl fmt::Display for Damage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Damage::None => f.write_str("nothing happened to the files"),
            Damage::Bytes { file, at, bytes, how } => {
                let count = bytes.len();
                write!(f, "{how}: {count} bytes at offset {at} of {}", file.display())
            }
            Damage::Missing { file } => write!(f, "{} is missing", file.display()),
            Damage::Truncated { file, length } => {
                write!(f, "{} is truncated to {length} bytes", file.display())
            }
            Damage::Tail { file, bytes, how } => {
                write!(f, "{how}: {} bytes after the end of {}", bytes.len(), file.display())
            }
            Damage::Put { file, how, .. } => write!(f, "{}: {how}", file.display()),
        }
    }
}

fn write(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let file = File::create(path)?;
    file.set_len(bytes.len() as u64)?;
    for (number, block) in bytes.chunks(BLOCK).enumerate() {
        if block.iter().any(|byte| *byte != 0) {
            file.write_all_at(block, (number * BLOCK) as u64)?;
        }
    }
    Ok(())
}
