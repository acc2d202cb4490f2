//! Where a measurement writes: a directory of its own, which goes with it, however it ends.

use std::path::Path;

use tempfile::TempDir;

use crate::BenchError;
use crate::facts::Facts;

/// How the directory's name begins, so that one that a killed process left is known.
const PREFIX: &str = "kontiki-bench-";

/// A directory on the disk that is measured.
#[derive(Debug)]
pub struct Place {
    dir: TempDir,
}

impl Place {
    /// A new directory inside `parent`, or inside the current directory: the place for temporary
    /// files is often in memory, and then no disk at all.
    pub fn new(parent: Option<&Path>) -> Result<Place, BenchError> {
        let parent = parent.unwrap_or(Path::new("."));
        let made = tempfile::Builder::new().prefix(PREFIX).tempdir_in(parent);
        match made {
            Ok(dir) => Ok(Place { dir }),
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

    #[test]
    fn a_place_that_is_not_there_is_named() {
        let error = Place::new(Some(Path::new("no/such/place"))).expect_err("not there");
        assert!(error.to_string().contains("no/such/place") && error.advice().contains("--dir"));
    }
}
