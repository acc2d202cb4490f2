//! Where a measurement writes: a directory of its own, which goes with it, however it ends.

use std::path::Path;
use std::sync::OnceLock;

use kontiki::LogConfig;
use tempfile::TempDir;

use crate::BenchError;
use crate::facts::Facts;
use crate::log::open;

/// How the directory's name begins, so that one that a killed process left is known.
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
    /// What a member takes without `--io`: `ring` or `thread`.
    pub auto: &'static str,
    /// Whether a ring works at all.
    pub has_ring: bool,
}

impl Place {
    /// A new directory inside `parent`, or inside the current directory: the place for temporary
    /// files is often in memory, and then no disk at all.
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

    /// The directory itself.
    pub fn path(&self) -> &Path {
        self.dir.path()
    }

    /// A room inside for one workload; its files go with it.
    pub fn room(&self) -> Result<TempDir, BenchError> {
        let made = tempfile::tempdir_in(self.path());
        made.map_err(|error| BenchError::of_path("making a directory in", self.path(), error))
    }

    /// How the file log can be written here, by opening it; `None` where this build has none.
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

    /// Whether the log of this name is written through a ring, as the log itself says.
    fn is_on_ring(&self, name: &str) -> Result<bool, BenchError> {
        let room = self.room()?;
        let log = open(name, room.path().join("log"))?;
        Ok(log.info().sync_verb.starts_with("io_uring"))
    }

    /// The machine, and the disk that this is on.
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
        std::fs::write(place.room().expect("made").path().join("file"), "text").expect("written");
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
    fn a_place_that_is_not_there_is_named() {
        let error = Place::new(Some(Path::new("no/such/place"))).expect_err("not there");
        assert!(error.to_string().contains("no/such/place") && error.advice().contains("--dir"));
    }
}
