//! The plan of a cluster on this machine: the members' ports and directories, and the file beside
//! the data that records the plan, so that the cluster can continue later.

use std::collections::BTreeSet;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::time::{SystemTime, UNIX_EPOCH};

use kontiki::LogConfig;
use serde::{Deserialize, Serialize};

use crate::arguments::Up;
use crate::failure::{Failure, chain};

/// Where the members serve clients unless a base port is given.
const DEFAULT_PORTS: [u16; 5] = [2379, 22379, 32379, 42379, 52379];

/// The distance between the client ports of two members, from a base port on.
const PORT_STEP: u16 = 10;

/// The number of members if none is given.
const DEFAULT_NODES: u64 = 3;

/// The file in the cluster's directory that records the plan.
pub const FILE_NAME: &str = "cluster.toml";

/// A cluster on this machine.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Plan {
    /// The cluster's name, which no other cluster has.
    pub cluster: String,
    /// The backend's name.
    pub backend: String,
    /// How the log is written, if given. It may differ at each start.
    pub io: Option<String>,
    /// The arguments that make the members log as this process does.
    pub logging: Vec<String>,
    /// Whether clients may name the members by URLs where HTTP/2 requires an authority.
    pub let_urls_in: bool,
    /// Whether a member that dies can be restarted as the same member.
    pub durable: bool,
    /// The directory of all members.
    pub dir: PathBuf,
    /// The members.
    pub members: Vec<MemberPlan>,
    /// The members that have served with their own log, in this run or an earlier one.
    pub begun: BTreeSet<u64>,
    base_port: Option<u16>,
}

/// One of its members.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MemberPlan {
    /// Its id.
    pub id: u64,
    /// Where it serves clients.
    pub client_port: u16,
    /// Where it listens for peers.
    pub peer_port: u16,
}

/// The properties of a durable cluster. Starting it with other arguments does not change them.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Saved {
    cluster: String,
    nodes: u64,
    backend: String,
    base_port: Option<u16>,
    /// The members that must have a log. A member without one has lost it, and must not vote, since
    /// its earlier votes are lost too.
    #[serde(default)]
    begun: BTreeSet<u64>,
}

impl Plan {
    /// The plan for these arguments and the directory's content. Changes nothing.
    pub fn from_arguments(up: &Up) -> Result<Plan, Failure> {
        Plan::new(up, Saved::read(&up.dir)?)
    }

    fn new(up: &Up, saved: Option<Saved>) -> Result<Plan, Failure> {
        let saved_backend = saved.as_ref().map(|saved| saved.backend.clone());
        let wanted = up.backend.clone().or(saved_backend).unwrap_or_else(|| "file".to_owned());
        let log = LogConfig::from_name(&wanted, &up.dir).map_err(|e| unavailable(&wanted, &e))?;
        let log = match &up.io {
            Some(io) => log.with_io(io).map_err(|error| {
                Failure::new(chain(&error)).advise("leave out --io, or choose --backend file")
            })?,
            None => log,
        };
        let chosen = match saved.filter(|_| log.is_durable()) {
            Some(saved) => saved.continued(up)?,
            None => Saved {
                cluster: new_name(),
                nodes: up.nodes.unwrap_or(DEFAULT_NODES),
                backend: wanted,
                base_port: up.base_port,
                begun: BTreeSet::new(),
            },
        };
        Ok(Plan {
            begun: chosen.begun,
            base_port: chosen.base_port,
            members: members(chosen.nodes, chosen.base_port)?,
            cluster: chosen.cluster,
            backend: chosen.backend,
            io: up.io.clone(),
            logging: Vec::new(),
            let_urls_in: up.let_urls_in,
            durable: log.is_durable(),
            dir: up.dir.clone(),
        })
    }

    /// Saves the plan in the cluster's directory: before any member has written there, and each
    /// time that a member has first served.
    pub fn save(&self) -> Result<(), Failure> {
        let path = self.dir.join(FILE_NAME);
        if !self.durable {
            return Ok(());
        }
        let saved = Saved {
            cluster: self.cluster.clone(),
            nodes: self.members.len() as u64,
            backend: self.backend.clone(),
            base_port: self.base_port,
            begun: self.begun.clone(),
        };
        let text = toml::to_string(&saved).expect("strings and numbers are TOML");
        if fs::read_to_string(&path).is_ok_and(|there| there == text) {
            return Ok(()); // nothing changed, so a full disk does not matter
        }
        owned_dir::put_whole(&self.dir, FILE_NAME, text.as_bytes()).map_err(|error| {
            Failure::of(format!("{} cannot be written", path.display()), &error)
                .advise("check the disk: its space, its permissions, its health")
        })
    }

    /// Records that a member serves with its own log.
    pub fn has_begun(&mut self, member: u64) -> Result<(), Failure> {
        if self.durable && self.begun.insert(member) { self.save() } else { Ok(()) }
    }

    /// The arguments of `kontiki serve` for a member.
    pub fn serve_arguments(&self, member: &MemberPlan) -> Vec<String> {
        let mut arguments = vec!["serve".to_owned(), "--exit-with-parent".to_owned()];
        let mut push = |name: &str, value: String| arguments.extend([name.to_owned(), value]);
        push("--id", member.id.to_string());
        push("--cluster", self.cluster.clone());
        push("--backend", self.backend.clone());
        if let Some(io) = &self.io {
            push("--io", io.clone());
        }
        if self.durable {
            push("--dir", self.dir.join(member.id.to_string()).display().to_string());
        }
        arguments.extend(self.logging.iter().cloned());
        if self.let_urls_in {
            arguments.push("--let-urls-in".to_owned());
        }
        // The ports of this start may differ from those of the first one.
        arguments.push("--use-listed-addresses".to_owned());
        let has_log = self.begun.contains(&member.id);
        arguments.push(if has_log { "--must-have-log" } else { "--bootstrap" }.to_owned());
        for MemberPlan { id, client_port, peer_port } in &self.members {
            let addresses = format!("{id}=127.0.0.1:{peer_port},127.0.0.1:{client_port}");
            arguments.extend(["--member".to_owned(), addresses]);
        }
        arguments
    }

    /// The members' client addresses, in the form of `--endpoints`.
    pub fn endpoints(&self) -> String {
        let endpoints: Vec<String> = self.members.iter().map(MemberPlan::endpoint).collect();
        endpoints.join(",")
    }
}

impl MemberPlan {
    /// Where it serves clients.
    pub fn endpoint(&self) -> String {
        format!("127.0.0.1:{}", self.client_port)
    }
}

impl Saved {
    /// Reads the plan that is saved in this directory, if there is one.
    fn read(dir: &Path) -> Result<Option<Saved>, Failure> {
        let path = dir.join(FILE_NAME);
        let text = match fs::read_to_string(&path) {
            Ok(text) => text,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return not_a_member(dir),
            Err(error) => {
                let what = format!("{} cannot be read", path.display());
                return Err(Failure::of(what, &error).advise("choose another one with --dir"));
            }
        };
        let saved = toml::from_str(&text);
        saved.map(Some).map_err(|error| {
            Failure::of(format!("{} is damaged", path.display()), &error).advise(
                "it names the cluster whose members' logs lie beside it: restore it from a \
                 copy, or choose another directory with --dir",
            )
        })
    }

    /// The same cluster, unless the arguments ask for a different one.
    fn continued(self, up: &Up) -> Result<Saved, Failure> {
        let differs = |what: &str, saved: String, asked: String| {
            let dir = up.dir.display();
            Failure::new(format!("the cluster in {dir} has {what} {saved}, not {asked}")).advise(
                format!("leave out the flag to continue it, or choose another --dir than {dir}"),
            )
        };
        if let Some(asked) = up.nodes.filter(|asked| *asked != self.nodes) {
            return Err(differs(
                "the number of members",
                self.nodes.to_string(),
                asked.to_string(),
            ));
        }
        if let Some(asked) = up.backend.as_ref().filter(|asked| **asked != self.backend) {
            return Err(differs("the backend", self.backend, asked.clone()));
        }
        // Ports are not part of the cluster's identity: each member takes its peers' from the
        // settings.
        Ok(Saved { base_port: up.base_port.or(self.base_port), ..self })
    }
}

/// The text of `cluster.toml` for the cluster in a directory once its logs have this backend.
pub fn on_backend(dir: &Path, backend: &str) -> Result<String, Failure> {
    let saved = Saved::read(dir)?.map(|saved| Saved { backend: backend.to_owned(), ..saved });
    match saved {
        Some(saved) => Ok(toml::to_string(&saved).expect("strings and numbers are TOML")),
        None => Err(Failure::new(format!("{} is not a cluster's directory", dir.display()))),
    }
}

/// Allows a directory without a cluster to become one, unless it is that of a single member.
fn not_a_member(dir: &Path) -> Result<Option<Saved>, Failure> {
    if !dir.join("log").exists() {
        return Ok(None);
    }
    let text = format!("{} is the directory of a single member, not of a cluster", dir.display());
    Err(Failure::new(text).advise(
        "choose the cluster's directory, which holds cluster.toml, or another one, with --dir; \
         `kontiki serve` runs a single member",
    ))
}

fn unavailable(name: &str, error: &kontiki::OpenError) -> Failure {
    let failure = Failure::new(chain(error));
    match error {
        kontiki::OpenError::NotCompiledIn { .. } => failure.advise(format!(
            "for example: cargo run --release --features {name} -- up --backend {name}"
        )),
        _ => failure.advise("choose one of these with --backend"),
    }
}

fn members(nodes: u64, base_port: Option<u16>) -> Result<Vec<MemberPlan>, Failure> {
    (1..=nodes)
        .map(|id| {
            let client_port = client_port(id, base_port)?;
            let peer_port = client_port.checked_add(1).ok_or_else(no_ports)?;
            Ok(MemberPlan { id, client_port, peer_port })
        })
        .collect()
}

fn client_port(id: u64, base_port: Option<u16>) -> Result<u16, Failure> {
    let place = id as u16 - 1;
    match base_port {
        Some(base) => base.checked_add(place * PORT_STEP).ok_or_else(no_ports),
        None => DEFAULT_PORTS.get(usize::from(place)).copied().ok_or_else(|| {
            Failure::new("more than five members have no default ports")
                .advise("name the first port with --base-port P; the others follow in steps of ten")
        }),
    }
}

fn no_ports() -> Failure {
    Failure::new("the members' ports would be above 65535").advise("choose a lower --base-port")
}

/// A name that no other cluster has, so that members of two clusters never accept each other's
/// messages.
fn new_name() -> String {
    let now = SystemTime::now().duration_since(UNIX_EPOCH);
    let nanos = now.map_or(0, |since| since.as_nanos());
    format!("up-{nanos:x}-{}", std::process::id())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn up(dir: &Path) -> Up {
        let (nodes, backend, io, base_port) = (None, None, None, None);
        Up { nodes, backend, io, dir: dir.to_owned(), let_urls_in: false, base_port }
    }

    #[test]
    fn ports_are_as_in_the_help() {
        let members =
            |nodes, base| members(nodes, base).map(|m| (m[1].client_port, m[2].peer_port));
        assert_eq!(members(3, None), Ok((22379, 32380)));
        assert_eq!(members(3, Some(7000)), Ok((7010, 7021)));
        assert!(members(6, None).is_err());
        assert!(members(3, Some(65530)).is_err());
        assert!(members(3, Some(65515)).is_err());
    }

    #[test]
    fn a_cluster_continues_with_its_saved_plan() {
        let dir = tempfile::tempdir().expect("a temporary directory");
        assert_eq!(Saved::read(dir.path()), Ok(None));
        let five = Up { nodes: Some(5), base_port: Some(7000), ..up(dir.path()) };
        let mut plan = Plan {
            cluster: "c".to_owned(),
            backend: "file".to_owned(),
            io: None,
            logging: Vec::new(),
            let_urls_in: false,
            durable: true,
            dir: dir.path().to_owned(),
            members: members(5, five.base_port).expect("ports"),
            begun: BTreeSet::new(),
            base_port: five.base_port,
        };
        plan.save().expect("saved");
        let one = &plan.members[0].clone();
        let starts_with =
            |plan: &Plan, flag: &str| plan.serve_arguments(one).contains(&flag.to_owned());
        assert!(starts_with(&plan, "--bootstrap") && !starts_with(&plan, "--must-have-log"));
        plan.has_begun(1).expect("saved");
        assert!(!starts_with(&plan, "--bootstrap") && starts_with(&plan, "--must-have-log"));
        let saved = Saved::read(dir.path()).expect("readable").expect("there");
        assert_eq!((saved.nodes, saved.base_port, &*saved.cluster), (5, Some(7000), "c"));
        assert_eq!(saved.begun, BTreeSet::from([1]));
        for same in [&up(dir.path()), &five] {
            assert_eq!(saved.clone().continued(same), Ok(saved.clone()));
        }
        for other in [
            Up { nodes: Some(3), ..up(dir.path()) },
            Up { backend: Some("memory".to_owned()), ..up(dir.path()) },
        ] {
            let failure = saved.clone().continued(&other).expect_err("another cluster");
            assert!(failure.to_string().contains("leave out the flag"), "{failure}");
        }
        let moved = Up { base_port: Some(8000), ..up(dir.path()) };
        let moved = saved.clone().continued(&moved).map(|saved| saved.base_port);
        assert_eq!(moved, Ok(Some(8000)));
        fs::write(dir.path().join(FILE_NAME), "cluster = 5").expect("written");
        assert!(Saved::read(dir.path()).is_err_and(|e| e.to_string().contains("is damaged")));
    }

    #[cfg(feature = "memory")]
    #[test]
    fn a_volatile_cluster_is_always_new_and_leaves_no_file() {
        let dir = tempfile::tempdir().expect("a temporary directory");
        let memory = Up { backend: Some("memory".to_owned()), ..up(dir.path()) };
        let first = Plan::from_arguments(&memory).expect("a plan");
        first.save().expect("nothing to save");
        assert_eq!(fs::read_dir(dir.path()).expect("it is there").count(), 0);
        let second = Plan::from_arguments(&memory).expect("a plan");
        assert_ne!(second.cluster, first.cluster);
    }

    #[test]
    fn a_members_directory_does_not_become_a_cluster() {
        let dir = tempfile::tempdir().expect("a temporary directory");
        fs::create_dir(dir.path().join("log")).expect("made");
        let failure = Saved::read(dir.path()).expect_err("a member's").to_string();
        assert!(failure.contains("of a single member") && failure.contains("--dir"), "{failure}");
    }

    #[test]
    fn a_missing_backend_is_named() {
        let dir = Path::new("nowhere");
        let with = |name: &str| Up { backend: Some(name.to_owned()), ..up(dir) };
        let unknown = Plan::from_arguments(&with("rockdb")).expect_err("unknown").to_string();
        assert!(unknown.contains("'rockdb'"), "{unknown}");
        if !cfg!(feature = "rocksdb") {
            let absent = Plan::from_arguments(&with("rocksdb")).expect_err("absent").to_string();
            assert!(absent.contains("--features rocksdb"), "{absent}");
        }
    }
}
