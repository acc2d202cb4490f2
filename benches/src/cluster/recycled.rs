//! A file log as one that has been in use finds its directory: with emptied segments to write to.
//!
//! Members do not purge their logs yet, so a cluster that is measured for seconds would only ever
//! write to new segments, each of which is filled with zeros first. What a cluster's log does for
//! most of its life is to write over segments that came round.

use std::fs::{self, File};
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use kontiki::storage::Store;
use log_file::{FileLog, FileLogConfig};
use rustix::fs::{Advice, fadvise};

use crate::BenchError;

/// How many there are: as much as a cluster writes before a new one takes its place, and a turn.
const SEGMENTS: usize = 8;

/// How much is written at a time.
const STEP_BYTES: usize = 64 << 10;

/// Opens a new log in `dir`, with segments that were written before.
pub fn open_recycled(dir: PathBuf) -> Result<Box<dyn Store>, BenchError> {
    let config = FileLogConfig { spare_segments: SEGMENTS, ..FileLogConfig::new(&dir) };
    let filled = fs::create_dir(&dir).and_then(|()| {
        // The names of emptied segments: docs/formats/log-file.md.
        let names = (1..=SEGMENTS).map(|number| dir.join(format!("spare-{number:016x}")));
        names.into_iter().try_for_each(|name| fill(&name, config.segment_bytes))
    });
    filled.map_err(|error| BenchError::of_path("writing in", &dir, error))?;
    let log = FileLog::open(config);
    let log = log.map_err(|error| BenchError::failed("opening the file log", error))?;
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
