//! The command line: the commands and the arguments that all of them share.

use clap::{Parser, Subcommand};

use crate::arguments::{Completions, Del, Get, Man, Put, Snapshot, Status, Up};
use crate::bench::Bench;
use crate::events::Events;
use crate::log::arguments::Log;
use crate::log_lines::Logging;
use crate::member::arguments::MemberCommand;
use crate::recover::Recover;
use crate::serve::Serve;
use crate::transfer::Transfer;

/// A replicated key-value store whose log you choose, with etcd's API.
#[derive(Debug, Parser)]
#[command(name = "kontiki", version)]
pub struct Arguments {
    /// What to do.
    #[command(subcommand)]
    pub command: Command,
    /// What is logged.
    #[command(flatten)]
    pub logging: Logging,
}

/// The commands.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Start a cluster on this machine and watch it; Ctrl-C stops all of it.
    Up(Up),
    /// Run one member, from flags or from a TOML file.
    Serve(Box<Serve>),
    /// Measure the logs on this machine, or a server.
    Bench(Bench),
    /// Set a key to a value.
    Put(Put),
    /// Print the value of a key, or all keys with a prefix.
    Get(Get),
    /// Remove a key, or all keys with a prefix.
    Del(Del),
    /// Show each member (role, term, commit index, backend, process id), and what is wrong.
    Status(Status),
    /// Let the leader hand its leadership over, and wait for the outcome.
    Transfer(Transfer),
    /// Show what happens to members, as it happens: elections, changes, snapshots.
    Events(Events),
    /// Let members take a snapshot of their state now; print its last entry, size and duration.
    Snapshot(Snapshot),
    /// Show or change the members of a running cluster.
    #[command(subcommand)]
    Member(MemberCommand),
    /// Inspect, check or copy the log of a member that is not running.
    #[command(subcommand)]
    Log(Log),
    /// Make a new cluster out of a surviving member's directory, when a majority is lost for good.
    Recover(Recover),
    /// Print a script that completes commands and flags in a shell.
    Completions(Completions),
    /// Write a man page for each command into a directory.
    Man(Man),
    /// Print the version and the log backends of this build.
    Version,
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;

    fn parse(line: &str) -> Result<Arguments, clap::Error> {
        Arguments::try_parse_from(line.split_whitespace())
    }

    #[test]
    fn the_argument_definitions_are_consistent() {
        Arguments::command().debug_assert();
    }

    #[test]
    fn serve_takes_a_file_or_flags_but_not_both() {
        assert!(parse("kontiki serve --config a.toml").is_ok());
        assert!(parse("kontiki serve --id 1 --cluster c --member 1=a:1,b:2").is_ok());
        assert!(parse("kontiki serve --config a.toml --id 1").is_err());
        assert!(parse("kontiki serve --config a.toml --backend file").is_err());
        assert!(parse("kontiki serve --config a.toml --io ring").is_err());
        assert!(parse("kontiki serve --config a.toml --let-urls-in").is_err());
        assert!(parse("kontiki serve --config a.toml --bootstrap").is_ok());
        assert!(parse("kontiki serve --dir a").is_ok());
    }

    #[test]
    fn an_unknown_way_of_io_is_refused() {
        assert!(parse("kontiki up --io ring").is_ok());
        assert!(parse("kontiki up --io rings").is_err());
    }

    #[test]
    fn endpoints_are_a_list() {
        let parsed = parse("kontiki status --endpoints a:1,b:2").expect("it parses");
        let Command::Status(status) = parsed.command else { panic!("it is status") };
        assert_eq!(status.to.endpoints, ["a:1", "b:2"]);
    }
}
