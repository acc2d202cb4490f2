//! `kontiki recover`: makes a new cluster out of the directory of a member whose cluster has lost a
//! majority of its voters for good.
//!
//! Without `--to` it only shows what each directory holds, and which one is the best. With `--to`
//! it builds the new member's directory beside the target (`log::partial`), and moves it there once
//! everything in it was written, synced and compared. No byte of the survivors' directories is
//! changed, and their locks are held meanwhile. What the new cluster is, and why, is in
//! `raft-node/src/recover.rs`.

mod build;
mod survivors;

use std::process::ExitCode;

use clap::Args;

use crate::ask::ask;
use crate::failure::Failure;
use crate::output::{print, print_json};

use survivors::Survivors;

/// Make a new cluster out of a surviving member's directory.
///
/// Use it only if a majority of the voters is lost for good: writes that only the lost members hold
/// are lost with them. As long as a majority can be started again, start it instead.
#[derive(Debug, Args)]
pub struct Recover {
    /// The directories of the members that survived; `file:DIR` also names the backend of the log.
    /// The new cluster continues with the first one. It is refused if another one
    /// holds more.
    #[arg(value_name = "[BACKEND:]DIR", required = true)]
    pub survivors: Vec<String>,
    /// Build the directory of the new cluster's first member here. It must be missing or empty.
    /// Without this, only show what the survivors hold.
    #[arg(long, value_name = "DIR")]
    pub to: Option<std::path::PathBuf>,
    /// Do not ask before the directory is built.
    #[arg(long, requires = "to")]
    pub yes: bool,
    /// Print a JSON object.
    #[arg(long)]
    pub json: bool,
}

/// Runs the command.
///
/// # Errors
///
/// A directory cannot be read, or is not one to continue with; or the new one cannot be written.
/// Nothing was changed, and the command may be repeated.
pub async fn run(recover: &Recover) -> Result<ExitCode, Failure> {
    let survivors = Survivors::look(&recover.survivors)?;
    let Some(to) = &recover.to else {
        if recover.json {
            print_json(&survivors.shown())?;
        } else {
            print(&survivors.table())?;
        }
        return Ok(ExitCode::SUCCESS);
    };
    survivors.check_first_is_best()?;
    if !recover.json {
        print(&survivors.table())?;
    }
    if !recover.yes {
        confirm(&survivors.warning())?;
    }
    let record = build::build(&survivors, to).await?;
    if recover.json {
        print_json(&record)?
    } else {
        print(&record.text(to))?
    }
    Ok(ExitCode::SUCCESS)
}

/// Asks on a terminal.
fn confirm(warning: &str) -> Result<(), Failure> {
    let refused = |why: &str| {
        let failure = Failure::new(format!("no cluster was made: {why}"));
        failure.advise(format!("{warning}. Give --yes if that is what you want"))
    };
    match ask(&format!("{warning}.\nType \"recover\" to go on:"))?.as_deref() {
        Some("recover") => Ok(()),
        Some(_) => Err(refused("it was not confirmed")),
        None => Err(refused("there is no terminal to ask on")),
    }
}
