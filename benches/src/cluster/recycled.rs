//! A file log as one that has been in use finds its directory: with emptied segments to write to.
//!
//! Members do not purge their logs yet, so a cluster that is measured for seconds would only ever
//! write to new segments, each of which is filled with zeros first. What a cluster's log does for
//! most of its life is to write over segments that came round.

use std::fs::{self, File};
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use kontiki::storage::Store;
use log_file::{FileLog, FileLogConfig, Io};
use rustix::fs::{Advice, fadvise};

use crate::BenchError;

/// How many there are: as much as a cluster writes before a new one takes its place, and a turn.
const SEGMENTS: usize = 8;

/// How much is written at a time.
const STEP_BYTES: usize = 64 << 10;

/// Opens a new log in `dir`, with segments that were written before. They go with the directory,
/// which is the caller's.
pub fn open_recycled(dir: PathBuf, io: Io) -> Result<Box<dyn Store>, BenchError> {
    open_of(FileLogConfig { spare_segments: SEGMENTS, io, ..FileLogConfig::new(dir) })
}

fn open_of(config: FileLogConfig) -> Result<Box<dyn Store>, BenchError> {
    let dir = &config.dir;
    fs::create_dir(dir).map_err(|error| BenchError::of_path("making", dir, error))?;
    for number in 1..=config.spare_segments {
        // The names of emptied segments: docs/formats/log-file.md.
        let path = dir.join(format!("spare-{number:016x}"));
        let filled = fill(&path, config.segment_bytes);
        filled.map_err(|error| BenchError::of_path("writing", &path, error))?;
    }
    let opening = format!("opening the file log in {}", dir.display());
    let log = FileLog::open(config).map_err(|error| BenchError::failed(opening, error))?;
    Ok(Box::new(log))
}

fn fill(path: &Path, bytes: u64) -> io::Result<()> {
    let mut file = File::create_new(path)?;
    for _ in 0..bytes / STEP_BYTES as u64 {
        file.write_all(&[0; STEP_BYTES])?;
    }
    file.sync_all()?;
    // A log's own writes went past the page cache, and left nothing there.
    fadvise(&file, 0, None, Advice::DontNeed)?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn small(dir: &Path) -> FileLogConfig {
        FileLogConfig { segment_bytes: 1 << 20, spare_segments: 3, ..FileLogConfig::new(dir) }
    }

    fn names(dir: &Path) -> Vec<String> {
        let files = fs::read_dir(dir).expect("there");
        let name = |file: io::Result<fs::DirEntry>| {
            file.expect("readable").file_name().to_string_lossy().into_owned()
        };
        files.map(name).collect()
    }

    #[test]
    fn a_new_log_finds_segments_that_it_can_write_over() {
        let parent = tempfile::tempdir().expect("a directory");
        let dir = parent.path().join("1");
        let log = open_of(small(&dir)).expect("it opens");
        drop(log);
        let spares = names(&dir).iter().filter(|name| name.starts_with("spare-")).count();
        let used = names(&dir).iter().filter(|name| name.starts_with("seg-")).count();
        assert!(used >= 1 && spares + used == 3, "none was made new: {:?}", names(&dir));
    }

    #[test]
    fn an_error_names_the_path() {
        let parent = tempfile::tempdir().expect("a directory");
        let dir = parent.path().join("no/such/place");
        let error = open_of(small(&dir)).err().expect("nothing is there").to_string();
        assert!(error.contains("no/such/place"), "{error}");
        let dir = parent.path().join("2");
        let wrong = FileLogConfig { segment_bytes: 1 << 12, ..small(&dir) };
        let error = open_of(wrong).err().expect("too small").to_string();
        assert!(error.contains(&dir.display().to_string()), "{error}");
        let file = parent.path().join("file");
        fill(&file, 1 << 16).expect("there is room");
        assert!(fill(&file, 1 << 16).is_err(), "what is there is not written over");
    }
}
