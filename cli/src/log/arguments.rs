//! The arguments of `kontiki log`.

use clap::{Args, Subcommand};

/// The number of entries of a page unless `--count` is given.
const PAGE: u64 = 20;

/// The commands for logs.
#[derive(Debug, Subcommand)]
pub enum Log {
    /// Show what a log holds: identity, term and vote, bounds, members, a page of entries.
    Show(Show),
    /// Check every checksum of a log; if something is damaged, print where, with exit status 1.
    Verify(Verify),
    /// Copy a log, a member or a cluster to another backend or another place, and verify the copy.
    Copy(Copy),
}

/// Show what a log holds.
#[derive(Debug, Args)]
pub struct Show {
    /// A member's directory or a log's; `file:DIR` also names the backend.
    #[arg(value_name = "[BACKEND:]DIR")]
    pub dir: String,
    /// Begin the page at this entry [default: the first].
    #[arg(long, value_name = "INDEX")]
    pub from: Option<u64>,
    /// Show this many entries.
    #[arg(long, value_name = "N", default_value_t = PAGE)]
    pub count: u64,
    /// Print a JSON object.
    #[arg(long)]
    pub json: bool,
}

/// Check every checksum of a log.
#[derive(Debug, Args)]
pub struct Verify {
    /// A member's directory or a log's; `file:DIR` also names the backend.
    #[arg(value_name = "[BACKEND:]DIR")]
    pub dir: String,
    /// Print a JSON object.
    #[arg(long)]
    pub json: bool,
}

/// Copy a log, a member or a cluster.
#[derive(Debug, Args)]
pub struct Copy {
    /// What to copy: the directory of a cluster, a member or a log. It is not changed.
    #[arg(long, value_name = "[BACKEND:]DIR")]
    pub from: String,
    /// The target directory and the backend of the copy. The directory must be missing or empty.
    #[arg(long, value_name = "BACKEND:DIR")]
    pub to: String,
}
