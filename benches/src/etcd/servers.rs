//! Three servers on this machine, started to be measured: ours, or a real etcd.
//!
//! Each has its own directory and ports. They are ended when this value is dropped, each by
//! its process id.

use std::fs::File;
use std::io;
use std::net::TcpListener;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};
use tempfile::TempDir;

use super::{EtcdLane, connect, status};
use crate::cluster::runtime;
use crate::{BenchError, Place, Stop, Workload};

/// The number of servers.
const SERVERS: usize = 3;

/// How long they may take to elect a leader.
const PATIENCE: Duration = Duration::from_secs(20);

/// How long a server may take to end after a signal, before it is killed.
const STOP_PATIENCE: Duration = Duration::from_secs(5);

/// How often starting the servers is tried. Another process may take a free port.
const TRIES: usize = 3;

/// The kind of server to start.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Kind {
    /// This project's tool, with its members on this backend.
    Kontiki {
        /// The path of the program.
        program: PathBuf,
        /// The name of the backend.
        backend: String,
    },
    /// A real etcd.
    Etcd {
        /// The path of the program.
        program: PathBuf,
    },
}

/// Running servers.
#[derive(Debug)]
pub struct Servers {
    children: Vec<Child>,
    endpoints: Vec<String>,
    leader: String,
    /// The name for ours; other servers report their own.
    name: Option<String>,
    _files: TempDir,
}

/// The addresses of one server.
#[derive(Clone, Copy, Debug)]
struct Ports {
    client: u16,
    peer: u16,
}

impl Servers {
    /// Starts three servers, and waits until one leads.
    pub fn start(kind: &Kind, place: &Place, stop: &Stop) -> Result<Servers, BenchError> {
        let mut failure = None;
        for _ in 0..TRIES {
            match Servers::try_start(kind, place, stop) {
                Ok(servers) => return Ok(servers),
                Err(BenchError::Stopped) => return Err(BenchError::Stopped),
                Err(error) => failure = Some(error),
            }
        }
        Err(failure.unwrap_or(BenchError::Stopped))
    }

    fn try_start(kind: &Kind, place: &Place, stop: &Stop) -> Result<Servers, BenchError> {
        let files = place.work_dir()?;
        let ports = free_ports().map_err(|error| BenchError::failed("finding ports", error))?;
        let endpoints = ports.iter().map(|ports| format!("127.0.0.1:{}", ports.client)).collect();
        let name = match kind {
            Kind::Kontiki { backend, .. } => Some(format!("kontiki, {backend} log")),
            Kind::Etcd { .. } => None,
        };
        let (children, leader) = (Vec::new(), String::new());
        let mut servers = Servers { children, endpoints, leader, name, _files: files };
        for member in 0..SERVERS {
            let child = kind.spawn(member, &ports, servers._files.path());
            let starting = format!("starting {}", kind.program().display());
            servers.children.push(child.map_err(|error| BenchError::failed(starting, error))?);
        }
        servers.leader = servers.wait_for_leader(stop)?;
        Ok(servers)
    }

    /// A lane that sends puts to the leader, over this many connections.
    pub fn lane(&self, connections: usize, workload: &Workload) -> Result<EtcdLane, BenchError> {
        let lane = EtcdLane::connect(std::slice::from_ref(&self.leader), connections, workload)?;
        Ok(lane.of_servers(self.name.clone(), self.children.iter().map(Child::id).collect()))
    }

    fn wait_for_leader(&mut self, stop: &Stop) -> Result<String, BenchError> {
        let runtime = runtime(1)?;
        let began = Instant::now();
        while began.elapsed() < PATIENCE {
            stop.check()?;
            self.check_alive()?;
            for endpoint in &self.endpoints {
                if runtime.block_on(leads(endpoint)) {
                    return Ok(endpoint.clone());
                }
            }
            std::thread::sleep(Duration::from_millis(50));
        }
        Err(BenchError::failed("waiting for a leader", "none was elected in 20 seconds"))
    }

    fn check_alive(&mut self) -> Result<(), BenchError> {
        for (member, child) in self.children.iter_mut().enumerate() {
            if let Ok(Some(status)) = child.try_wait() {
                let output = std::fs::read_to_string(output_of(self._files.path(), member));
                let output = output.unwrap_or_default();
                let last = output.lines().last().unwrap_or("it printed nothing");
                let what = format!("server {} ended ({status})", member + 1);
                return Err(BenchError::failed(what, last.to_owned()));
            }
        }
        Ok(())
    }
}

impl Drop for Servers {
    fn drop(&mut self) {
        for child in &self.children {
            // A server that has ended already needs no signal.
            let _ = Pid::from_raw(child.id() as i32).map(|pid| kill_process(pid, Signal::TERM));
        }
        for child in &mut self.children {
            let signalled = Instant::now();
            while matches!(child.try_wait(), Ok(None)) && signalled.elapsed() < STOP_PATIENCE {
                std::thread::sleep(Duration::from_millis(10));
            }
            // Both calls fail for a process that has ended, as it should have.
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}

impl Kind {
    fn program(&self) -> &Path {
        match self {
            Kind::Kontiki { program, .. } | Kind::Etcd { program } => program,
        }
    }

    fn spawn(&self, member: usize, ports: &[Ports], dir: &Path) -> io::Result<Child> {
        let output = File::create(output_of(dir, member))?;
        let mut command = Command::new(self.program());
        match self {
            Kind::Kontiki { backend, .. } => {
                command.args(kontiki_arguments(backend, member, ports, dir));
            }
            Kind::Etcd { .. } => {
                command.args(etcd_arguments(member, ports, dir));
            }
        }
        // Each server has its own process group, so Ctrl-C reaches only this process, which
        // then ends the servers in order.
        command.process_group(0).stdin(Stdio::piped()).stdout(Stdio::null()).stderr(output).spawn()
    }
}

fn output_of(dir: &Path, member: usize) -> PathBuf {
    dir.join(format!("{}.output", member + 1))
}

fn kontiki_arguments(backend: &str, member: usize, ports: &[Ports], dir: &Path) -> Vec<String> {
    let id = (member + 1).to_string();
    let (backend, io) = backend.split_once(':').map_or((backend, None), |(it, io)| (it, Some(io)));
    let mut words = vec![
        "serve",
        "--bootstrap",
        "--exit-with-parent",
        "--cluster",
        "bench",
        "--backend",
        backend,
    ];
    words.extend(io.into_iter().flat_map(|io| ["--io", io]));
    let mut words: Vec<String> = words.into_iter().map(str::to_owned).collect();
    let own = dir.join(&id).display().to_string();
    words.extend(["--id".to_owned(), id]);
    if kontiki::LogConfig::from_name(backend, "unused").is_ok_and(|log| log.is_durable()) {
        words.extend(["--dir".to_owned(), own]);
    }
    for (member, Ports { client, peer }) in ports.iter().enumerate() {
        let addresses = format!("{}=127.0.0.1:{peer},127.0.0.1:{client}", member + 1);
        words.extend(["--member".to_owned(), addresses]);
    }
    words
}

fn etcd_arguments(member: usize, ports: &[Ports], dir: &Path) -> Vec<String> {
    let url = |port: u16| format!("http://127.0.0.1:{port}");
    let name = |member: usize| format!("m{}", member + 1);
    let cluster = ports.iter().enumerate();
    let cluster: Vec<String> =
        cluster.map(|(member, ports)| format!("{}={}", name(member), url(ports.peer))).collect();
    let Ports { client, peer } = ports[member];
    [
        ("--name", name(member)),
        ("--data-dir", dir.join(name(member)).display().to_string()),
        ("--listen-peer-urls", url(peer)),
        ("--initial-advertise-peer-urls", url(peer)),
        ("--listen-client-urls", url(client)),
        ("--advertise-client-urls", url(client)),
        ("--initial-cluster", cluster.join(",")),
        ("--initial-cluster-state", "new".to_owned()),
        ("--logger", "zap".to_owned()),
        ("--log-level", "error".to_owned()),
        ("--log-outputs", "stderr".to_owned()),
    ]
    .into_iter()
    .flat_map(|(flag, value)| [flag.to_owned(), value])
    .collect()
}

/// Ports that are not in use at this moment.
fn free_ports() -> io::Result<Vec<Ports>> {
    let sockets: Vec<TcpListener> =
        (0..2 * SERVERS).map(|_| TcpListener::bind("127.0.0.1:0")).collect::<io::Result<_>>()?;
    let ports: Vec<u16> =
        sockets.iter().map(|socket| Ok(socket.local_addr()?.port())).collect::<io::Result<_>>()?;
    Ok(ports.chunks(2).map(|pair| Ports { client: pair[0], peer: pair[1] }).collect())
}

/// Whether the server at this address answers and leads.
async fn leads(endpoint: &str) -> bool {
    let Ok(channel) = connect(endpoint).await else { return false };
    let Some(status) = status(channel).await else { return false };
    let own = status.header.map_or(0, |header| header.member_id);
    own != 0 && status.leader == own
}

/// The program of this name on the search path, if there is one.
pub fn on_path(name: &str) -> Option<PathBuf> {
    let paths = std::env::var_os("PATH")?;
    std::env::split_paths(&paths).map(|dir| dir.join(name)).find(|program| program.is_file())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_server_that_ends_at_once_is_reported() {
        let dir = tempfile::tempdir().expect("a directory");
        let place = Place::new(Some(dir.path())).expect("made");
        let kind = Kind::Etcd { program: on_path("false").expect("on every system") };
        let error = Servers::start(&kind, &place, &Stop::new()).expect_err("it does not serve");
        assert!(error.to_string().contains("ended"), "{error}");
        let gone = Kind::Etcd { program: "no/such/program".into() };
        let error = Servers::start(&gone, &place, &Stop::new()).expect_err("it is not there");
        assert!(error.to_string().contains("no/such/program"), "{error}");
    }

    #[test]
    fn every_server_knows_all_addresses() {
        let ports = [Ports { client: 1, peer: 2 }, Ports { client: 3, peer: 4 }];
        let etcd = etcd_arguments(1, &ports, Path::new("d")).join(" ");
        assert!(etcd.contains("--initial-cluster m1=http://127.0.0.1:2,m2=http://127.0.0.1:4"));
        let ours = kontiki_arguments("none", 1, &ports, Path::new("d")).join(" ");
        assert!(ours.contains("--id 2 --member 1=127.0.0.1:2,127.0.0.1:1"), "{ours}");
    }
}
