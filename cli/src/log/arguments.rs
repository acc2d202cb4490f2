//! What can be typed after `kontiki log`.

use clap::{Args, Subcommand};

/// How many entries a page has unless told otherwise.
const PAGE: u64 = 20;

/// The commands for logs.
#[derive(Debug, Subcommand)]
pub enum Log {
    /// Show what a log holds: whose it is, term and vote, bounds, members, a page of entries.
    Show(Show),
    /// Check every checksum of a log; status 1 and the exact place if something is damaged.
    Verify(Verify),
    /// Copy a log, a member or a cluster to another backend or another place, verified.
    Copy(Copy),
}

/// Show what a log holds.
#[derive(Debug, Args)]
pub struct Show {
    /// A member's directory or a log's; `file:DIR` also says what it is kept in.
    #[arg(value_name = "[BACKEND:]DIR")]
    pub dir: String,
    /// Begin the page at this entry [default: the first].
    #[arg(long, value_name = "INDEX")]
    pub from: Option<u64>,
    /// Show so many entries.
    #[arg(long, value_name = "N", default_value_t = PAGE)]
    pub count: u64,
    /// Print a JSON object.
    #[arg(long)]
    pub json: bool,
}

/// Check every checksum of a log.
#[derive(Debug, Args)]
pub struct Verify {
    /// A member's directory or a log's; `file:DIR` also says what it is kept in.
    #[arg(value_name = "[BACKEND:]DIR")]
    pub dir: String,
    /// Print a JSON object.
    #[arg(long)]
    pub json: bool,
}

/// Copy a log, a member or a cluster.
#[derive(Debug, Args)]
pub struct Copy {
    /// What to copy: a cluster's directory, a member's or a log's. It is not changed.
    #[arg(long, value_name = "[BACKEND:]DIR")]
    pub from: String,
    /// Where to, and what it shall be kept in there. Nothing may be there yet.
    #[arg(long, value_name = "BACKEND:DIR")]
    pub to: String,
}
