//! `kontiki log`: inspects, checks and copies the logs of members that are not running.
//!
//! `show` and `verify` change no byte; `copy` writes only to its target, which must be empty. All
//! three refuse a log that is in use. Modules: `place` (what kind of directory an argument names,
//! and its backend), `show`, `verify`, `snapshots` (those beside a member's log), `copy` with
//! `transfer` (copies one log into another) and `partial` (a target that appears complete or not at
//! all), `progress`.

pub mod arguments;
pub mod copy;
pub mod partial;
pub mod place;
mod progress;
mod show;
mod snapshots;
pub mod transfer;
mod verify;

use std::process::ExitCode;

use kontiki::storage::{LogError, LogErrorKind};
use serde::Serialize;

use crate::failure::{Failure, chain};
use arguments::Log;

/// Runs one of the commands.
pub async fn run(log: Log) -> Result<ExitCode, Failure> {
    match log {
        Log::Show(show) => show::run(show).await,
        Log::Verify(verify) => verify::run(&verify),
        Log::Copy(copy) => copy::run(&copy).await,
    }
}

/// A damaged place in the output.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Damage {
    /// The file and the offset, or the table and the key, and what is wrong there.
    pub place: String,
    /// The first entry that the damage affects, if the format shows it.
    pub entry: Option<u64>,
    /// The whole message.
    pub message: String,
}

impl Damage {
    /// The damage that an error of a store reports.
    pub fn of(error: &LogError) -> Damage {
        let entry = match error.kind {
            LogErrorKind::Corrupt { index } => index.map(|index| index.get()),
            _ => None,
        };
        Damage { place: error.place.clone(), entry, message: chain(error) }
    }
}
