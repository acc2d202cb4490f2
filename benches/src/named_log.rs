//! The logs of this project, opened by their names.

use std::path::{Path, PathBuf};

use kontiki::storage::Store;
use kontiki::{LogConfig, OpenError};

use crate::BenchError;

/// The log of this name: a backend, or `file:ring` and `file:thread` for the file log that is
/// written in that way.
pub fn log_by_name(name: &str, dir: impl AsRef<Path>) -> Result<LogConfig, OpenError> {
    match name.split_once(':') {
        Some((backend, io)) => LogConfig::from_name(backend, dir)?.with_io(io),
        None => LogConfig::from_name(name, dir),
    }
}

/// Opens a log by the name of its backend; see [`log_by_name`].
pub fn open(backend: &str, dir: PathBuf) -> Result<Box<dyn Store>, BenchError> {
    let opened = log_by_name(backend, dir).and_then(|log| log.open());
    opened.map_err(|error| match &error {
        OpenError::Store(_) => BenchError::failed(format!("opening the {backend} log"), error),
        _ => BenchError::options(
            error.to_string(),
            "choose the backends with --backend a,b or all; others with --features",
        ),
    })
}

#[cfg(all(test, feature = "memory"))]
mod tests {
    use super::*;

    #[cfg(feature = "file")]
    #[test]
    fn a_name_selects_how_the_file_log_is_written() {
        let ring = LogConfig::from_name("file", "dir").and_then(|log| log.with_io("ring"));
        assert_eq!(log_by_name("file:ring", "dir").expect("known"), ring.expect("known"));
        for wrong in ["file:rings", "memory:ring", "files:ring"] {
            assert!(log_by_name(wrong, "dir").is_err(), "{wrong}");
        }
    }

    #[test]
    fn an_unknown_backend_is_named() {
        let error = open("rockdb", PathBuf::from("unused")).err().expect("no such backend");
        assert!(error.to_string().contains("'rockdb'") && error.advice().contains("--backend"));
    }
}
