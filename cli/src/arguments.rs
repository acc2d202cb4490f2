//! What can be typed after `kontiki`.

use std::ffi::OsString;
use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, Parser, Subcommand};
use clap_complete::Shell;

use crate::bench::Bench;
use crate::log::arguments::Log;
use crate::log_lines::Logging;
use crate::serve::Settings;

/// Where `up` serves clients unless it is told otherwise.
const DEFAULT_ENDPOINTS: &str = "127.0.0.1:2379,127.0.0.1:22379,127.0.0.1:32379";

/// The ways in which the file log is written.
const IO_WAYS: [&str; 3] = ["auto", "ring", "thread"];

/// A replicated key-value store whose log you choose, speaking etcd's API.
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
    Serve(Serve),
    /// Measure which log suits this machine, or what a server answers.
    Bench(Bench),
    /// Set a key to a value.
    Put(Put),
    /// Print the value of a key, or all keys with a prefix.
    Get(Get),
    /// Remove a key, or all keys with a prefix.
    Del(Del),
    /// Show each member: role, term, commit index, backend, process id.
    Status(Status),
    /// Look at the log of a member that does not run, check it, or copy it.
    #[command(subcommand)]
    Log(Log),
    /// Print a script that completes commands and flags in a shell.
    Completions(Completions),
    /// Write a man page for each command into a directory.
    Man(Man),
    /// Print the version and what this build can do.
    Version,
}

/// Print a completion script.
#[derive(Debug, Args)]
pub struct Completions {
    /// The shell.
    pub shell: Shell,
}

/// Write man pages.
#[derive(Debug, Args)]
pub struct Man {
    /// Where; it is made if it is missing.
    #[arg(value_name = "DIR")]
    pub dir: PathBuf,
}

/// Start a cluster on this machine.
#[derive(Debug, Args)]
pub struct Up {
    /// How many members; an odd number makes the best use of them [default: 3].
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..=9))]
    pub nodes: Option<u64>,
    /// What the members keep their logs in [default: file].
    #[arg(long, value_name = "NAME")]
    pub backend: Option<String>,
    /// How the file log is written: through a ring of the kernel's (Linux; where the machine
    /// forbids it, a thread and a warning), by a thread for each member, or `auto`: a ring where
    /// handing a write over does not block [default: auto].
    #[arg(long, value_name = "WAY", value_parser = IO_WAYS)]
    pub io: Option<String>,
    /// The directory of the members' data. Started again on it, the cluster goes on.
    #[arg(long, value_name = "DIR", default_value = "kontiki-data")]
    pub dir: PathBuf,
    /// Let clients in that name the server by a URL, as `etcdctl endpoint status` of etcd 3.4 does
    /// when it is given endpoints as URLs.
    #[arg(long)]
    pub let_urls_in: bool,
    /// Serve clients at P, P+10, P+20...; each member's peer port is one above
    /// [default: 2379, 22379, 32379, 42379, 52379].
    #[arg(long, value_name = "P", value_parser = clap::value_parser!(u16).range(1..))]
    pub base_port: Option<u16>,
}

/// Run one member.
#[derive(Debug, Args)]
pub struct Serve {
    /// Read the settings from this TOML file instead of from flags.
    #[arg(long, value_name = "FILE", conflicts_with = "Settings")]
    pub config: Option<PathBuf>,
    /// Found a new cluster: for the first start of each of its members, and only then.
    #[arg(long)]
    pub bootstrap: bool,
    /// Stop when the standard input ends, as it does when the parent process is gone.
    #[arg(long)]
    pub exit_with_parent: bool,
    /// The settings.
    #[command(flatten)]
    pub settings: Settings,
}

/// Whom a client talks to.
#[derive(Debug, Args)]
pub struct Endpoints {
    /// The members' client addresses; those that do not answer are passed over.
    #[arg(
        long,
        value_name = "HOST:PORT,...",
        value_delimiter = ',',
        env = "KONTIKI_ENDPOINTS",
        default_value = DEFAULT_ENDPOINTS
    )]
    pub endpoints: Vec<String>,
    /// Give up after so many seconds.
    #[arg(long, value_name = "SECONDS", default_value_t = 5)]
    timeout: u32,
}

impl Endpoints {
    /// How long a request may take.
    pub fn timeout(&self) -> Duration {
        Duration::from_secs(self.timeout.into())
    }
}

/// Set a key to a value.
#[derive(Debug, Args)]
pub struct Put {
    /// The key; any bytes.
    pub key: OsString,
    /// The value; any bytes, and `-` reads it from the standard input.
    pub value: OsString,
    /// Print the outcome as a JSON object.
    #[arg(long)]
    pub json: bool,
    /// Whom to ask.
    #[command(flatten)]
    pub to: Endpoints,
}

/// Print the value of a key.
#[derive(Debug, Args)]
pub struct Get {
    /// The key, or the prefix; any bytes.
    pub key: OsString,
    /// Print all keys that begin with the key, each with its value.
    #[arg(long)]
    pub prefix: bool,
    /// Print the outcome as a JSON object.
    #[arg(long)]
    pub json: bool,
    /// Whom to ask.
    #[command(flatten)]
    pub to: Endpoints,
}

/// Remove a key.
#[derive(Debug, Args)]
pub struct Del {
    /// The key, or the prefix; any bytes.
    pub key: OsString,
    /// Remove all keys that begin with the key.
    #[arg(long)]
    pub prefix: bool,
    /// Print the outcome as a JSON object.
    #[arg(long)]
    pub json: bool,
    /// Whom to ask.
    #[command(flatten)]
    pub to: Endpoints,
}

/// Show each member.
#[derive(Debug, Args)]
pub struct Status {
    /// Print a JSON object with a list of members.
    #[arg(long)]
    pub json: bool,
    /// Whom to ask.
    #[command(flatten)]
    pub to: Endpoints,
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;

    fn parse(line: &str) -> Result<Arguments, clap::Error> {
        Arguments::try_parse_from(line.split_whitespace())
    }

    #[test]
    fn the_arguments_contradict_nothing() {
        Arguments::command().debug_assert();
    }

    #[test]
    fn serve_takes_a_file_or_flags_and_not_both() {
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
    fn io_is_one_of_three() {
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
