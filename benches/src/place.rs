//! The directory that a measurement writes to. It is removed however the measurement ends.

use std::path::Path;
use std::sync::OnceLock;

use kontiki::LogConfig;
use tempfile::TempDir;

use crate::BenchError;
use crate::facts::Facts;
use crate::named_log::open;

/// The beginning of the directory's name, which identifies a directory that a killed process left.
const PREFIX: &str = "kontiki-bench-";

/// A directory on the disk that is measured.
#[derive(Debug)]
pub struct Place {
    dir: TempDir,
    file_log: OnceLock<Option<FileLog>>,
}

/// How the file log can be written on a disk.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FileLog {
    /// How a member writes without `--io`: `ring` or `thread`.
    pub auto: &'static str,
    /// Whether a ring works here at all.
    pub has_ring: bool,
}

impl Place {
    /// A new directory inside `parent`, or else inside the current directory. The system's
    /// directory for temporary files is not used, because it is often in memory.
    pub fn new(parent: Option<&Path>) -> Result<Place, BenchError> {
        let parent = parent.unwrap_or(Path::new("."));
        let made = tempfile::Builder::new().prefix(PREFIX).tempdir_in(parent);
        match made {
            Ok(dir) => Ok(Place { dir, file_log: OnceLock::new() }),
            Err(error) => Err(BenchError::options(
                format!("a directory in {} cannot be made: {error}", parent.display()),
                "name a directory that is there and may be written to, with --dir",
            )),
        }
    }

    /// The path of the directory.
    pub fn path(&self) -> &Path {
        self.dir.path()
    }

    /// A subdirectory for one workload. Its files are removed with it.
    pub fn work_dir(&self) -> Result<TempDir, BenchError> {
        let made = tempfile::tempdir_in(self.path());
        made.map_err(|error| BenchError::of_path("making a directory in", self.path(), error))
    }

    /// How the file log can be written here, found by opening it; `None` if this build has no file
    /// log.
    pub fn file_log(&self) -> Result<Option<FileLog>, BenchError> {
        if let Some(known) = self.file_log.get() {
            return Ok(*known);
        }
        let found = if LogConfig::compiled().contains(&"file") {
            let (auto, ring) = (self.is_on_ring("file")?, self.is_on_ring("file:ring")?);
            Some(FileLog { auto: if auto { "ring" } else { "thread" }, has_ring: ring })
        } else {
            None
        };
        Ok(*self.file_log.get_or_init(|| found))
    }

    /// Whether the log of this name writes through a ring, as the log itself reports.
    fn is_on_ring(&self, name: &str) -> Result<bool, BenchError> {
        let work_dir = self.work_dir()?;
        let log = open(name, work_dir.path().join("log"))?;
        Ok(log.info().sync_verb.starts_with("io_uring"))
    }

    /// The facts of the machine and of the disk that holds this directory.
    pub fn facts(&self) -> Facts {
        Facts::gather(self.path())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_is_left_behind() {
        let parent = tempfile::tempdir().expect("a directory");
        let place = Place::new(Some(parent.path())).expect("made");
        std::fs::write(place.work_dir().expect("made").path().join("file"), "text")
            .expect("written");
        drop(place);
        assert_eq!(std::fs::read_dir(parent.path()).expect("there").count(), 0);
    }

    #[cfg(feature = "file")]
    #[test]
    fn the_file_log_is_written_as_a_member_would_write_it() {
        let parent = tempfile::tempdir().expect("a directory");
        let place = Place::new(Some(parent.path())).expect("made");
        let found = place.file_log().expect("it opens").expect("it is in this build");
        let log = open("file", parent.path().join("log")).expect("it opens");
        let is_ring = log.info().sync_verb.starts_with("io_uring");
        assert_eq!(found.auto == "ring", is_ring);
        assert!(found.has_ring || found.auto == "thread");
        drop((log, place));
    }

    #[test]
    fn a_missing_directory_is_named() {
        let error = Place::new(Some(Path::new("no/such/place"))).expect_err("not there");
        assert!(error.to_string().contains("no/such/place") && error.advice().contains("--dir"));
    }
}
