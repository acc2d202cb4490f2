//! What can be typed after `kontiki`.

use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, Parser, Subcommand};

use crate::bench::Bench;
use crate::log::arguments::Log;

/// Where `up` serves clients unless it is told otherwise.
const DEFAULT_ENDPOINTS: &str = "127.0.0.1:2379,127.0.0.1:22379,127.0.0.1:32379";

/// The ways in which the file log is written.
const IO_WAYS: [&str; 3] = ["auto", "ring", "thread"];

/// A replicated key-value store whose log you choose, speaking etcd's API.
#[derive(Debug, Parser)]
#[command(name = "kontiki", version)]
pub struct Arguments {
    /// Also log what is not a warning.
    #[arg(long, short, global = true)]
    pub verbose: bool,
    /// What to do.
    #[command(subcommand)]
    pub command: Command,
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
    /// there is one [default: auto].
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
    /// Read everything from this TOML file instead of the other flags.
    #[arg(
        long,
        value_name = "FILE",
        conflicts_with_all = ["id", "cluster", "backend", "io", "dir", "listen_client",
            "listen_peer", "members", "quota_bytes", "max_clients", "let_urls_in"]
    )]
    pub config: Option<PathBuf>,
    /// Which of the members this one is.
    #[arg(long, value_name = "N", required_unless_present = "config")]
    pub id: Option<u64>,
    /// The name of the cluster, the same for all of its members.
    #[arg(long, value_name = "NAME", required_unless_present = "config")]
    pub cluster: Option<String>,
    /// What the member keeps its log in.
    #[arg(long, value_name = "NAME", default_value = "file")]
    pub backend: String,
    /// How the file log is written: through a ring of the kernel's (Linux; where the machine
    /// forbids it, a thread and a warning), by a thread, or `auto`: a ring where there is one
    /// [default: auto].
    #[arg(long, value_name = "WAY", value_parser = IO_WAYS)]
    pub io: Option<String>,
    /// The member's own directory; not needed for a volatile backend.
    #[arg(long, value_name = "DIR")]
    pub dir: Option<PathBuf>,
    /// A member of the cluster, itself included: ID=PEER,CLIENT, two addresses of the form
    /// host:port. Once for each member, and the same for all of them.
    #[arg(long = "member", value_name = "ID=PEER,CLIENT", required_unless_present = "config")]
    pub members: Vec<String>,
    /// Listen for clients here instead of at the member's client address.
    #[arg(long, value_name = "HOST:PORT")]
    pub listen_client: Option<String>,
    /// Listen for peers here instead of at the member's peer address.
    #[arg(long, value_name = "HOST:PORT")]
    pub listen_peer: Option<String>,
    /// How large the key space may grow, its history included, in bytes; beyond that the alarm
    /// NOSPACE is raised, and puts are refused until it is disarmed [default: 2 GiB].
    #[arg(long, value_name = "BYTES")]
    pub quota_bytes: Option<u64>,
    /// How many clients may be connected; further ones wait [default: 10000].
    #[arg(long, value_name = "N")]
    pub max_clients: Option<usize>,
    /// Let clients in that name the server by a URL, as `etcdctl endpoint status` of etcd 3.4 does
    /// when it is given endpoints as URLs.
    #[arg(long)]
    pub let_urls_in: bool,
    /// Refuse to start on an empty log: this member has had one, and must not forget its votes.
    #[arg(long)]
    pub must_have_log: bool,
    /// Stop when the standard input ends, as it does when the parent process is gone.
    #[arg(long)]
    pub exit_with_parent: bool,
}

/// Whom a client talks to.
#[derive(Debug, Args)]
pub struct Endpoints {
    /// The members' client addresses; those that do not answer are passed over.
    #[arg(
        long,
        value_name = "HOST:PORT,...",
        value_delimiter = ',',
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
    /// The key.
    pub key: String,
    /// The value; `-` reads it from the standard input.
    pub value: String,
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
    /// The key, or the prefix.
    pub key: String,
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
    /// The key, or the prefix.
    pub key: String,
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
        assert!(parse("kontiki serve --id 1 --cluster c").is_err());
        assert!(parse("kontiki serve").is_err());
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
