//! Why a measurement was not taken: what went wrong, and what to do about it.

use std::error::Error;
use std::path::Path;

use thiserror::Error;

/// Why there are no figures.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum BenchError {
    /// What was asked for cannot be measured.
    #[error("{message}")]
    Options {
        /// What is wrong.
        message: String,
        /// What to write instead.
        advice: String,
    },
    /// The disk, the network or a process failed while it was measured.
    #[error("{what}: {source}")]
    Failed {
        /// What was being done.
        what: String,
        /// How it failed.
        source: Box<dyn Error + Send + Sync>,
    },
    /// Somebody asked for an end before there was anything to show.
    #[error("stopped before there was a figure")]
    Stopped,
}

impl BenchError {
    /// Options that cannot work, and what to write instead.
    pub fn options(message: impl Into<String>, advice: impl Into<String>) -> BenchError {
        BenchError::Options { message: message.into(), advice: advice.into() }
    }

    /// Something failed while doing `what`.
    pub fn failed(
        what: impl Into<String>,
        source: impl Into<Box<dyn Error + Send + Sync>>,
    ) -> BenchError {
        BenchError::Failed { what: what.into(), source: source.into() }
    }

    /// Something failed with a file or a directory.
    pub fn of_path(what: &str, path: &Path, source: std::io::Error) -> BenchError {
        BenchError::failed(format!("{what} {}", path.display()), source)
    }

    /// What the user can do; empty where nobody knows.
    pub fn advice(&self) -> &str {
        match self {
            BenchError::Options { advice, .. } => advice,
            BenchError::Failed { .. } => "",
            BenchError::Stopped => "give it a few seconds more",
        }
    }
}
