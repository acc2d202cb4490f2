//! The errors of a measurement: what went wrong, and what the user can do about it.

use std::error::Error;
use std::path::Path;

use thiserror::Error;

/// Why there are no figures.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum BenchError {
    /// The requested measurement is not possible.
    #[error("{message}")]
    Options {
        /// What is wrong.
        message: String,
        /// What to write instead.
        advice: String,
    },
    /// The disk, the network or a process failed during the measurement.
    #[error("{what}: {source}")]
    Failed {
        /// The operation that failed.
        what: String,
        /// The cause.
        source: Box<dyn Error + Send + Sync>,
    },
    /// The measurement was stopped before there was a figure.
    #[error("stopped before there was a figure")]
    Stopped,
}

impl BenchError {
    /// An error for options that cannot work, with advice on what to write instead.
    pub fn options(message: impl Into<String>, advice: impl Into<String>) -> BenchError {
        BenchError::Options { message: message.into(), advice: advice.into() }
    }

    /// An error of the operation `what`.
    pub fn failed(
        what: impl Into<String>,
        source: impl Into<Box<dyn Error + Send + Sync>>,
    ) -> BenchError {
        BenchError::Failed { what: what.into(), source: source.into() }
    }

    /// An error of an operation on a file or a directory.
    pub fn of_path(what: &str, path: &Path, source: std::io::Error) -> BenchError {
        BenchError::failed(format!("{what} {}", path.display()), source)
    }

    /// What the user can do; empty if no advice is known.
    pub fn advice(&self) -> &str {
        match self {
            BenchError::Options { advice, .. } => advice,
            BenchError::Failed { .. } => "",
            BenchError::Stopped => "let it run for a few seconds more",
        }
    }
}
