//! The arguments of the commands that have no separate module.

use std::ffi::OsString;
use std::path::PathBuf;
use std::time::Duration;

use clap::Args;
use clap_complete::Shell;

/// Where `up` serves clients if no other addresses are given.
const DEFAULT_ENDPOINTS: &str = "127.0.0.1:2379,127.0.0.1:22379,127.0.0.1:32379";

/// The ways in which the file log is written.
const IO_WAYS: [&str; 3] = ["auto", "ring", "thread"];

/// Print a completion script.
#[derive(Debug, Args)]
pub struct Completions {
    /// The shell.
    pub shell: Shell,
}

/// Write man pages.
#[derive(Debug, Args)]
pub struct Man {
    /// The directory; it is created if it does not exist.
    #[arg(value_name = "DIR")]
    pub dir: PathBuf,
}

/// Start a cluster on this machine.
#[derive(Debug, Args)]
pub struct Up {
    /// The number of members, best an odd number [default: 3].
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..=9))]
    pub nodes: Option<u64>,
    /// The backend of the members' logs [default: file].
    #[arg(long, value_name = "NAME")]
    pub backend: Option<String>,
    /// How the file log is written: `ring` uses io_uring (Linux; if the machine forbids it, a
    /// thread is used and a warning is logged), `thread` uses a thread for each member, and `auto`
    /// uses io_uring where submitting a write does not block [default: auto].
    #[arg(long, value_name = "WAY", value_parser = IO_WAYS)]
    pub io: Option<String>,
    /// The directory of the members' data. A cluster that is started again on it continues.
    #[arg(long, value_name = "DIR", default_value = "kontiki-data")]
    pub dir: PathBuf,
    /// Accept clients that name the server by a URL, as `etcdctl endpoint status` of etcd 3.4 does
    /// when it is given endpoints as URLs.
    #[arg(long)]
    pub let_urls_in: bool,
    /// Serve clients at P, P+10, P+20...; each member's peer port is its client port plus one
    /// [default: 2379, 22379, 32379, 42379, 52379].
    #[arg(long, value_name = "P", value_parser = clap::value_parser!(u16).range(1..))]
    pub base_port: Option<u16>,
}

/// The members that a client talks to.
#[derive(Debug, Args)]
pub struct Endpoints {
    /// The members' client addresses; a member that does not answer is skipped.
    #[arg(
        long,
        value_name = "HOST:PORT,...",
        value_delimiter = ',',
        env = "KONTIKI_ENDPOINTS",
        default_value = DEFAULT_ENDPOINTS
    )]
    pub endpoints: Vec<String>,
    /// Give up after this many seconds.
    #[arg(long, value_name = "SECONDS", default_value_t = 5)]
    timeout: u32,
}

impl Endpoints {
    /// The time limit of a request.
    pub fn timeout(&self) -> Duration {
        Duration::from_secs(self.timeout.into())
    }
}

/// Set a key to a value.
#[derive(Debug, Args)]
pub struct Put {
    /// The key; any bytes.
    pub key: OsString,
    /// The value; any bytes; `-` reads it from the standard input.
    pub value: OsString,
    /// Print the outcome as a JSON object.
    #[arg(long)]
    pub json: bool,
    /// The members to ask.
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
    /// The members to ask.
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
    /// The members to ask.
    #[command(flatten)]
    pub to: Endpoints,
}

/// Let members take a snapshot now.
#[derive(Debug, Args)]
pub struct Snapshot {
    /// Print a JSON object with a list of snapshots.
    #[arg(long)]
    pub json: bool,
    /// The client addresses of the members, each of which takes a snapshot of its own.
    #[arg(
        long,
        value_name = "HOST:PORT,...",
        value_delimiter = ',',
        env = "KONTIKI_ENDPOINTS",
        default_value = DEFAULT_ENDPOINTS
    )]
    pub endpoints: Vec<String>,
    /// Wait for each member at most this many seconds; it writes its snapshot to the end in any
    /// case.
    #[arg(long, value_name = "SECONDS", default_value_t = 600)]
    timeout: u32,
}

impl Snapshot {
    /// How long to wait for each member.
    pub fn timeout(&self) -> Duration {
        Duration::from_secs(self.timeout.into())
    }
}

/// Show each member.
#[derive(Debug, Args)]
pub struct Status {
    /// Print a JSON object with a list of members.
    #[arg(long)]
    pub json: bool,
    /// The members to ask.
    #[command(flatten)]
    pub to: Endpoints,
}
