//! Three openraft members in one process, with the same clients as our clusters.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use openraft::{Config, EmptyNode, SnapshotPolicy};
use tempfile::TempDir;
use tokio::runtime::Runtime;

use super::openraft_parts::{Command, Machine, Member, Network, SharedLog};
use crate::cluster::{Proposer, run_clients, runtime};
use crate::floor::Verb;
use crate::lane::{Lane, POWER_LOSS, Role, Stop, Subject, Tally};
use crate::meter::Spent;
use crate::{BenchError, Place, Workload, incompressible};

/// The members' ids.
const MEMBERS: [u64; 3] = [1, 2, 3];

/// The cluster is replaced by a new one when its logs hold this many entries. Our clusters are
/// replaced, too.
const RENEWED_AT_ENTRIES: u64 = 2_000_000;

/// How long a cluster may take to elect a leader.
const PATIENCE: Duration = Duration::from_secs(20);

/// How a cluster is set up.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Layout {
    /// The threads of the runtime; 1 means tokio's current-thread runtime.
    pub workers: usize,
    /// How each member writes a pre-written file, or `None` for a log in memory.
    pub disk: Option<Verb>,
}

struct Cluster {
    runtime: Runtime,
    leader: Leader,
    members: Vec<Member>,
    network: Network,
    _files: TempDir,
}

/// The leader, as its clients use it.
#[derive(Clone)]
struct Leader(Member);

impl Proposer for Leader {
    async fn propose(&self, command: Bytes) -> bool {
        self.0.client_write(Command(command)).await.is_ok()
    }

    async fn propose_many(&self, command: Bytes, count: u64) -> u64 {
        use futures_util::StreamExt;
        let commands = (0..count).map(|_| Command(command.clone()));
        let Ok(mut answers) = self.0.client_write_many(commands).await else { return 0 };
        let mut answered = 0;
        while let Some(answer) = answers.next().await {
            answered += u64::from(answer.is_ok_and(|written| written.is_ok()));
        }
        answered
    }
}

impl Cluster {
    fn start(layout: Layout, place: &Place) -> Result<Cluster, BenchError> {
        let (runtime, files) = (runtime(layout.workers)?, place.work_dir()?);
        let network = Network::default();
        let (members, leader) = runtime.block_on(start_members(layout, &files, &network))?;
        Ok(Cluster { runtime, leader, members, network, _files: files })
    }
}

impl Drop for Cluster {
    fn drop(&mut self) {
        self.network.clear();
        self.runtime.block_on(async {
            for member in &self.members {
                // A member that has ended already needs no shutdown.
                let _ = member.shutdown().await;
            }
        });
    }
}

async fn start_members(
    layout: Layout,
    files: &TempDir,
    network: &Network,
) -> Result<(Vec<Member>, Leader), BenchError> {
    let failed = |error: String| BenchError::failed("starting openraft", error);
    let config = Config {
        heartbeat_interval: 500,
        election_timeout_min: 2000,
        election_timeout_max: 4000,
        max_payload_entries: 4096,
        snapshot_policy: SnapshotPolicy::Never,
        ..Config::default()
    };
    let config = Arc::new(config.validate().map_err(|error| failed(error.to_string()))?);
    let mut members = Vec::new();
    for id in MEMBERS {
        let log = match layout.disk {
            Some(verb) => SharedLog::in_file(files.path(), &format!("openraft-{id}"), verb)
                .map_err(|error| BenchError::of_path("writing in", files.path(), error))?,
            None => SharedLog::in_memory(),
        };
        let (config, network_of_it) = (Arc::clone(&config), network.clone());
        let member = Member::new(id, config, network_of_it, log, Machine::default()).await;
        let member = member.map_err(|error| failed(error.to_string()))?;
        network.add(id, member.clone());
        members.push(member);
    }
    let all: BTreeMap<u64, EmptyNode> = MEMBERS.iter().map(|id| (*id, EmptyNode {})).collect();
    members[0].initialize(all).await.map_err(|error| failed(error.to_string()))?;
    let began = Instant::now();
    while began.elapsed() < PATIENCE {
        for member in &members {
            if member.client_write(Command(Bytes::new())).await.is_ok() {
                // No other member may campaign. For these members the turn of another lane is a
                // pause.
                members.iter().for_each(|member| member.runtime_config().elect(false));
                let leader = Leader(member.clone());
                return Ok((members, leader));
            }
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    Err(failed("no member leads".to_owned()))
}

/// An openraft cluster under a workload.
pub struct OpenraftLane<'a> {
    layout: Layout,
    place: &'a Place,
    workload: Workload,
    cluster: Option<Cluster>,
    held: u64,
}

impl<'a> OpenraftLane<'a> {
    /// A cluster for this workload.
    pub fn new(
        layout: Layout,
        place: &'a Place,
        workload: &Workload,
    ) -> Result<OpenraftLane<'a>, BenchError> {
        let cluster = Some(Cluster::start(layout, place)?);
        Ok(OpenraftLane { layout, place, workload: workload.clone(), cluster, held: 0 })
    }
}

impl Lane for OpenraftLane<'_> {
    fn subject(&self) -> Subject {
        let Layout { workers, disk } = self.layout;
        let runtime = match workers {
            1 => "current_thread".to_owned(),
            many => format!("{many} workers"),
        };
        let (durability, sync_verb) = match disk {
            Some(verb) => (POWER_LOSS, format!("{}, pre-written", verb.name())),
            None => ("volatile", "none".to_owned()),
        };
        Subject {
            role: Role::Peer,
            name: format!("openraft 0.10, {runtime}"),
            durability: durability.to_owned(),
            sync_verb,
            members: MEMBERS.len() as u64,
        }
    }

    fn turn(&mut self, time: Duration, stop: &Stop) -> Result<Tally, BenchError> {
        if self.held > RENEWED_AT_ENTRIES {
            // The old cluster is dropped first; both together would need twice the memory.
            self.cluster = None;
            self.held = 0;
        }
        let new = || Cluster::start(self.layout, self.place);
        let cluster = self.cluster.take().map_or_else(new, Ok)?;
        let cluster = self.cluster.insert(cluster);
        let command = Bytes::from(incompressible(self.workload.size));
        let before = Spent::now();
        let clients = run_clients(cluster.leader.clone(), command, &self.workload, time, stop);
        let mut tally = cluster.runtime.block_on(clients);
        tally.spent = Spent::now() - before;
        self.held += tally.entries;
        match tally.entries == 0 && tally.failures > 0 {
            true => Err(BenchError::failed("proposing to openraft", "no proposal was answered")),
            false => Ok(tally),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn openraft_answers_in_memory_and_on_files() {
        let dir = tempfile::tempdir().expect("a directory");
        let place = Place::new(Some(dir.path())).expect("made");
        let workload = Workload { size: 64, batch: 1, clients: 4, rate: None };
        for disk in [None, Some(Verb::Fdatasync), Some(Verb::RwfDsync)] {
            let layout = Layout { workers: 1, disk };
            let mut lane = OpenraftLane::new(layout, &place, &workload).expect("it starts");
            let tally = lane.turn(Duration::from_millis(20), &Stop::new()).expect("it works");
            assert!(tally.entries > 0 && tally.failures == 0);
            assert_eq!(lane.subject().is_durable(), disk.is_some());
        }
    }
}
