//! The settings of `kontiki serve`, from flags or from a TOML file; `docs/serve.md` lists every
//! field.
//!
//! One structure serves both, so that each flag is a field of the file and the other way round. A
//! missing setting has a default, or is read from the member's own store after its first start
//! ([`super::origin`]). Deliberately absent: `--bootstrap`, which creates a cluster and so must not
//! be a permanent setting.

use std::fs;
use std::path::{Path, PathBuf};
use std::str::FromStr;

use clap::Args;
use kontiki::{Limits, NodeId, Timing};
use kontiki_etcd::{MemberAddresses, ServerLimits};
use serde::Deserialize;

use crate::failure::Failure;

/// The unit of the protocol's times.
const TICK_MS: u32 = 10;

/// The ways in which the file log is written.
const IO_WAYS: [&str; 3] = ["auto", "ring", "thread"];

/// Run one member.
#[derive(Debug, Args)]
pub struct Serve {
    /// Read the settings from this TOML file instead of from flags.
    #[arg(long, value_name = "FILE", conflicts_with = "Settings")]
    pub config: Option<PathBuf>,
    /// Create a new cluster: for the first start of each of its members, and only then.
    #[arg(long)]
    pub bootstrap: bool,
    /// Join the running cluster of which these are members' client addresses, with an empty
    /// directory: the node gets an id, becomes a learner, and receives the log. Later starts do not
    /// need it.
    #[arg(
        long,
        value_name = "HOST:PORT,...",
        value_delimiter = ',',
        conflicts_with_all = ["bootstrap", "must_have_log"]
    )]
    pub join: Vec<String>,
    /// Use the members' addresses of the settings, although the membership has others: the whole
    /// cluster was moved while it was stopped.
    #[arg(long)]
    pub use_listed_addresses: bool,
    /// Stop when the standard input ends, which it does when the parent process ends.
    #[arg(long)]
    pub exit_with_parent: bool,
    /// The settings.
    #[command(flatten)]
    pub settings: Settings,
}

/// A member's settings, as they are written. An unknown field in the file is an error.
#[derive(Clone, Debug, Default, PartialEq, Eq, Args, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Settings {
    /// The id of this member; known to its store after the first start.
    #[arg(long, value_name = "N")]
    pub id: Option<u64>,
    /// The name of the cluster, the same for all of its members; known to the store after the first
    /// start.
    #[arg(long, value_name = "NAME")]
    pub cluster: Option<String>,
    /// The backend of the member's log [default: that of the files in its directory, else file].
    #[arg(long, value_name = "NAME")]
    pub backend: Option<String>,
    /// How the file log is written: `ring` uses io_uring (Linux; if the machine forbids it, a
    /// thread is used and a warning is logged), `thread` uses a thread, and `auto` uses io_uring
    /// where submitting a write does not block [default: auto].
    #[arg(long, value_name = "WAY", value_parser = IO_WAYS)]
    pub io: Option<String>,
    /// The member's own directory; not needed for a volatile backend.
    #[arg(long, value_name = "DIR")]
    pub dir: Option<PathBuf>,
    /// A member of the cluster, including this one: ID=PEER,CLIENT, two addresses of the form
    /// host:port. Give one for each member. Needed at the first start of a new cluster; later,
    /// `kontiki member set-address` changes them.
    #[arg(long = "member", value_name = "ID=PEER,CLIENT")]
    #[serde(default)]
    pub members: Vec<MemberTable>,
    /// Listen for clients here instead of at the member's client address.
    #[arg(long, value_name = "HOST:PORT")]
    pub listen_client: Option<String>,
    /// Listen for peers here instead of at the member's peer address.
    #[arg(long, value_name = "HOST:PORT")]
    pub listen_peer: Option<String>,
    /// The name of a node that joins [default: n and its id].
    #[arg(long, value_name = "NAME")]
    pub name: Option<String>,
    /// The address at which clients reach a node that joins, if it is not --listen-client.
    #[arg(long, value_name = "HOST:PORT")]
    pub advertise_client: Option<String>,
    /// The address at which the other members reach a node that joins, if it is not --listen-peer.
    #[arg(long, value_name = "HOST:PORT")]
    pub advertise_peer: Option<String>,
    /// Refuse to start on an empty log, even with --bootstrap: this member has had a log, and must
    /// not forget its votes.
    #[arg(long)]
    #[serde(default)]
    pub must_have_log: bool,
    /// The largest size of the key space with its history, in bytes; beyond that the alarm NOSPACE
    /// is raised, and puts are refused until it is disarmed [default: 2 GiB].
    #[arg(long, value_name = "BYTES")]
    pub quota_bytes: Option<u64>,
    /// The largest number of connected clients; further ones wait [default: 10000].
    #[arg(long, value_name = "N")]
    pub max_clients: Option<usize>,
    /// Accept clients that name the server by a URL, as `etcdctl endpoint status` of etcd 3.4 does
    /// when it is given endpoints as URLs.
    #[arg(long)]
    #[serde(default)]
    pub let_urls_in: bool,
    /// Take a snapshot after this many entries of the log, unless the last one is larger than
    /// --snapshot-bytes [default: 1000000].
    #[arg(long, value_name = "N")]
    pub snapshot_entries: Option<u64>,
    /// Take a snapshot after this many bytes of commands, or after half the size of the last
    /// snapshot if that is more [default: 64 MiB].
    #[arg(long, value_name = "BYTES")]
    pub snapshot_bytes: Option<u64>,
    /// Keep this many entries before the end of the newest snapshot in the log, so that a member
    /// that lags behind a little needs no snapshot [default: 10000].
    #[arg(long, value_name = "N")]
    pub kept_entries: Option<u64>,
    /// A leader keeps at most this many bytes of entries for members that still need them or that
    /// receive a snapshot [default: 1 GiB].
    #[arg(long, value_name = "BYTES")]
    pub held_back_bytes: Option<u64>,
    /// Send at most this many bytes of snapshots in a second [default: 64 MiB].
    #[arg(long, value_name = "BYTES")]
    pub snapshot_bytes_per_second: Option<u64>,
    /// The time between two heartbeats of a leader, in milliseconds [default: 60].
    #[arg(long, value_name = "MS")]
    pub heartbeat_ms: Option<u32>,
    /// The shortest time without a leader after which a member starts an election [default: 300].
    #[arg(long, value_name = "MS")]
    pub election_min_ms: Option<u32>,
    /// The longest such time [default: 600].
    #[arg(long, value_name = "MS")]
    pub election_max_ms: Option<u32>,
    /// A leader whose disk completes no write for this time steps down [default: 1000].
    #[arg(long, value_name = "MS")]
    pub stall_ms: Option<u32>,
}

/// One member in the settings: `[[members]]` of the file, or the flag `--member`.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct MemberTable {
    id: u64,
    name: Option<String>,
    peer: String,
    client: String,
}

impl FromStr for MemberTable {
    type Err = String;

    fn from_str(text: &str) -> Result<MemberTable, String> {
        let parts = text.split_once('=').and_then(|(id, addresses)| {
            let (peer, client) = addresses.split_once(',')?;
            Some((id.parse().ok()?, peer.to_owned(), client.to_owned()))
        });
        let (id, peer, client) = parts.ok_or(
            "it is not of the form ID=PEER,CLIENT; for example: 1=127.0.0.1:2380,127.0.0.1:2379",
        )?;
        Ok(MemberTable { id, name: None, peer, client })
    }
}

impl MemberTable {
    /// The member's id and addresses.
    ///
    /// # Errors
    ///
    /// If the id is 0, or an address has no port.
    pub fn checked(&self) -> Result<(NodeId, MemberAddresses), Failure> {
        check_address(&self.peer)?;
        check_address(&self.client)?;
        let addresses = MemberAddresses {
            name: self.name.clone().unwrap_or_else(|| format!("n{}", self.id)),
            peer_url: format!("http://{}", self.peer),
            client_url: format!("http://{}", self.client),
            votes_soon: false,
        };
        Ok((node_id(self.id)?, addresses))
    }
}

impl Settings {
    /// Reads a file of settings.
    ///
    /// # Errors
    ///
    /// If it cannot be read, or holds an unknown field.
    pub fn from_file(path: &Path) -> Result<Settings, Failure> {
        let text = fs::read_to_string(path)
            .map_err(|error| Failure::of(format!("{} cannot be read", path.display()), &error))?;
        Settings::parse(path, &text)
    }

    fn parse(path: &Path, text: &str) -> Result<Settings, Failure> {
        toml::from_str(text)
            .map_err(|error| Failure::of(format!("{} is not understood", path.display()), &error))
    }

    /// Refuses settings that no member can be started with, before anything is opened.
    ///
    /// # Errors
    ///
    /// An address without a port, times that do not fit together, a limit of 0.
    pub fn check(&self) -> Result<(), Failure> {
        let listen = self.listen_client.iter().chain(&self.listen_peer);
        for address in listen.chain(&self.advertise_client).chain(&self.advertise_peer) {
            check_address(address)?;
        }
        self.timing()?;
        let limits = self.member_limits().check();
        limits.map_err(|error| Failure::new(format!("the settings cannot work: {error}")))?;
        if self.max_clients == Some(0) {
            return Err(Failure::new("max_clients cannot be 0: the member would serve no client"));
        }
        self.id.map_or(Ok(()), |id| node_id(id).map(|_| ()))
    }

    /// The times of the protocol.
    ///
    /// # Errors
    ///
    /// If one is not a multiple of 10 ms, or if they are not in ascending order.
    pub fn timing(&self) -> Result<Timing, Failure> {
        let ticks = |name: &str, given: Option<u32>, ticks: u32| match given {
            None => Ok(ticks),
            Some(ms) if ms > 0 && ms % TICK_MS == 0 => Ok(ms / TICK_MS),
            Some(ms) => Err(Failure::new(format!(
                "{name} is {ms}, but must be a multiple of {TICK_MS} above 0"
            ))),
        };
        let usual = Timing::default();
        let timing = Timing {
            heartbeat_ticks: ticks("heartbeat_ms", self.heartbeat_ms, usual.heartbeat_ticks)?,
            election_ticks_min: ticks(
                "election_min_ms",
                self.election_min_ms,
                usual.election_ticks_min,
            )?,
            election_ticks_max: ticks(
                "election_max_ms",
                self.election_max_ms,
                usual.election_ticks_max,
            )?,
            stall_ticks: ticks("stall_ms", self.stall_ms, usual.stall_ticks)?,
            lease_drift: None,
        };
        let rise = timing.heartbeat_ticks < timing.election_ticks_min
            && timing.election_ticks_min < timing.election_ticks_max;
        if rise {
            return Ok(timing);
        }
        let text = format!(
            "the times do not fit together: heartbeat_ms {} < election_min_ms {} < election_max_ms \
             {} has to hold",
            timing.heartbeat_ticks * TICK_MS,
            timing.election_ticks_min * TICK_MS,
            timing.election_ticks_max * TICK_MS,
        );
        Err(Failure::new(text)
            .advise("set all three; an election timeout of ten heartbeats is a good start"))
    }

    /// The limits of the member.
    pub fn member_limits(&self) -> Limits {
        let usual = Limits::default();
        Limits {
            snapshot_entries: self.snapshot_entries.unwrap_or(usual.snapshot_entries),
            snapshot_bytes: self.snapshot_bytes.unwrap_or(usual.snapshot_bytes),
            kept_entries: self.kept_entries.unwrap_or(usual.kept_entries),
            held_back_bytes: self.held_back_bytes.unwrap_or(usual.held_back_bytes),
            snapshot_bytes_per_second: self
                .snapshot_bytes_per_second
                .unwrap_or(usual.snapshot_bytes_per_second),
            ..usual
        }
    }

    /// The limits of the client port.
    pub fn server_limits(&self) -> ServerLimits {
        let usual = ServerLimits::default();
        ServerLimits {
            quota_bytes: self.quota_bytes.unwrap_or(usual.quota_bytes),
            connections: self.max_clients.unwrap_or(usual.connections),
            ..usual
        }
    }
}

/// A member's id.
///
/// # Errors
///
/// If it is 0.
pub fn node_id(number: u64) -> Result<NodeId, Failure> {
    NodeId::new(number).ok_or_else(|| Failure::new("a member's id cannot be 0: ids begin at 1"))
}

fn check_address(text: &str) -> Result<(), Failure> {
    let parts = text.rsplit_once(':');
    match parts.map(|(host, port)| (host.is_empty(), port.parse::<u16>())) {
        Some((false, Ok(1..))) => Ok(()),
        _ => Err(Failure::new(format!("{text:?} is not an address of the form host:port"))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const GUIDE: &str = include_str!("../../../docs/serve.md");

    fn read(text: &str) -> Result<Settings, String> {
        let settings = Settings::parse(Path::new("a.toml"), text);
        let settings = settings.and_then(|settings| settings.check().map(|()| settings));
        settings.map_err(|failure| failure.to_string())
    }

    /// The example in the guide.
    fn example() -> &'static str {
        let begin = GUIDE.split_once("```toml\n").expect("there is an example").1;
        begin.split_once("```").expect("it ends").0
    }

    #[test]
    fn the_example_of_the_guide_sets_every_field() {
        let settings = read(example()).expect("it is understood");
        let message = read("no_such_field = 1").expect_err("there is none");
        let fields = message.split_once("expected one of ").expect("fields are listed").1;
        let fields: Vec<&str> = fields.split('`').skip(1).step_by(2).collect();
        assert!(fields.len() >= 16, "{message}");
        for field in fields {
            assert!(GUIDE.contains(&format!("| `{field}` |")), "{field} is not in the table");
            let is_set = example()
                .lines()
                .any(|line| line.trim_start_matches("[[").split([' ', ']']).next() == Some(field));
            assert!(is_set, "{field} is not in the example");
        }
        assert_eq!(settings.members.len(), 3);
        let (id, addresses) = settings.members[1].checked().expect("sound");
        assert_eq!((id.get(), &*addresses.name), (2, "second"));
        assert_eq!(addresses.client_address(), "two:2379");
    }

    #[test]
    fn an_error_names_the_wrong_field() {
        let wrong = |from: &str, to: &str| read(&example().replacen(from, to, 1)).expect_err("it");
        assert!(wrong("dir =", "dri =").contains("unknown field `dri`"));
        assert!(wrong("name =", "nmae =").contains("unknown field `nmae`"));
        assert!(wrong("id = 2", "id = 0").contains("cannot be 0"));
        assert!(wrong("\"0.0.0.0:2380\"", "\"0.0.0.0:0\"").contains("is not an address"));
        assert!(wrong("heartbeat_ms = 60", "heartbeat_ms = 65").contains("multiple of 10"));
        assert!(wrong("heartbeat_ms = 60", "heartbeat_ms = 300").contains("do not fit together"));
        assert!(wrong("max_clients = 10000", "max_clients = 0").contains("max_clients"));
        let no_entries = wrong("snapshot_entries = 1000000", "snapshot_entries = 0");
        assert!(no_entries.contains("snapshot_entries must be at least 1"), "{no_entries}");
    }

    #[test]
    fn a_malformed_member_flag_is_refused() {
        assert!("1=a:1,b:2".parse::<MemberTable>().is_ok());
        for wrong in ["1", "x=a:1,b:2", "1=a:1", "a:1,b:2"] {
            assert!(wrong.parse::<MemberTable>().is_err(), "{wrong}");
        }
        let no_port = "1=a:1,b".parse::<MemberTable>().expect("of the form").checked();
        assert!(no_port.expect_err("no port").to_string().contains("\"b\" is not an address"));
    }
}
