//! A whole cluster in one process: real members on real logs, and clients of their leader.
//!
//! All members of a cluster share one runtime, which runs only while it is measured, and one disk.
//! Deliberately absent: the network; see `etcd` for members that are processes.

mod clients;
mod counted;

use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use kontiki::storage::Store;
use kontiki::{
    Committed, Fatal, InProcessNetwork, Membership, Node, NodeConfig, NodeId, Replies, StateMachine,
};
use tempfile::TempDir;
use tokio::runtime::Runtime;

pub use clients::{Proposer, run_clients};
use counted::{Counted, Counts};

use crate::lane::{Lane, Role, Stop, Subject, Tally};
use crate::meter::Spent;
use crate::named_log::open;
use crate::{BenchError, Place, Workload, incompressible};

/// A member keeps its whole log, so a cluster is replaced by a new one when it holds this many
/// bytes. An entry without payload counts as [`BARE_ENTRY_BYTES`].
const RENEWED_AT_BYTES: u64 = 256 << 20;

/// The approximate memory of an entry besides its payload.
const BARE_ENTRY_BYTES: u64 = 100;

/// How long a cluster may take to elect a leader.
const PATIENCE: Duration = Duration::from_secs(20);

/// A state machine that answers every command with nothing, so that the log and the way to it are
/// measured.
struct Nothing;

impl StateMachine for Nothing {
    fn apply(&mut self, commands: &[Committed], replies: &mut Replies) -> Result<(), Fatal> {
        commands.iter().for_each(|_| replies.push(Bytes::new()));
        Ok(())
    }

    fn read(&self, _query: &[u8]) -> Bytes {
        Bytes::new()
    }

    fn is_cheap(&self) -> bool {
        true
    }
}

/// How a cluster in one process is created.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ClusterPlan {
    /// The backend of the members' logs.
    pub backend: String,
    /// The number of members.
    pub members: u64,
    /// The threads of the runtime; 1 means tokio's current-thread runtime.
    pub workers: usize,
}

impl ClusterPlan {
    fn name(&self) -> String {
        let mut name = self.backend.clone();
        if self.workers > 1 {
            name += &format!(", {} workers", self.workers);
        }
        name
    }

    fn open(&self, dir: PathBuf) -> Result<Box<dyn Store>, BenchError> {
        open(&self.backend, dir)
    }
}

/// A running cluster on its own runtime.
pub struct Cluster {
    nodes: Vec<Node>,
    leader: Node,
    counts: Arc<Counts>,
    runtime: Runtime,
    /// The last field, so that the directory is removed after the members have ended.
    _files: TempDir,
}

impl Cluster {
    /// Starts the members, each on a new log, and waits until one leads.
    pub fn start(plan: &ClusterPlan, place: &Place) -> Result<Cluster, BenchError> {
        let runtime = runtime(plan.workers)?;
        let (files, counts) = (place.work_dir()?, Arc::new(Counts::default()));
        let nodes = runtime.block_on(start_members(plan, &files, &counts))?;
        let leader = runtime.block_on(find_leader(&nodes))?;
        Ok(Cluster { nodes, leader, counts, runtime, _files: files })
    }

    /// Lets clients propose for this long, or until a stop is requested.
    pub fn commit(&self, workload: &Workload, time: Duration, stop: &Stop) -> Tally {
        let command = Bytes::from(incompressible(workload.size));
        let (writes, entries) = self.counts.read();
        let before = Spent::now();
        let leader = self.leader.clone();
        let clients = run_clients(leader, command, workload, time, stop);
        let mut tally = self.runtime.block_on(clients);
        tally.spent = Spent::now() - before;
        if workload.rate.is_some() {
            // The generator of arrivals polls the clock all the time.
            tally.spent.cpu = Duration::ZERO;
        }
        let (more_writes, more_entries) = self.counts.read();
        (tally.writes, tally.written_entries) = (more_writes - writes, more_entries - entries);
        tally
    }

    /// Makes sure that the cluster has a leader after a pause.
    fn settle(&mut self) -> Result<(), BenchError> {
        self.leader = self.runtime.block_on(find_leader(&self.nodes))?;
        Ok(())
    }
}

impl Drop for Cluster {
    fn drop(&mut self) {
        self.runtime.block_on(async {
            for node in &self.nodes {
                node.shutdown().await;
            }
        });
    }
}

impl Proposer for Node {
    async fn propose(&self, command: Bytes) -> bool {
        Node::propose(self, command).await.is_ok()
    }

    async fn propose_many(&self, command: Bytes, count: u64) -> u64 {
        let commands = (0..count).map(|_| command.clone());
        let answers = Node::propose_many(self, commands).await;
        answers.iter().filter(|answer| answer.is_ok()).count() as u64
    }
}

/// A cluster under a workload. It is replaced by a new one when its logs have become long.
pub struct ClusterLane<'a> {
    plan: ClusterPlan,
    place: &'a Place,
    workload: Workload,
    cluster: Option<Cluster>,
    subject: Subject,
    held_bytes: u64,
}

impl<'a> ClusterLane<'a> {
    /// A cluster for this workload.
    pub fn new(
        plan: &ClusterPlan,
        place: &'a Place,
        workload: &Workload,
    ) -> Result<ClusterLane<'a>, BenchError> {
        let cluster = Cluster::start(plan, place)?;
        let store = cluster.leader.status().store.clone();
        let subject = Subject {
            role: Role::Store,
            name: plan.name(),
            durability: store.durability.to_string(),
            sync_verb: store.sync_verb.to_string(),
            members: plan.members,
        };
        let (plan, workload, cluster) = (plan.clone(), workload.clone(), Some(cluster));
        Ok(ClusterLane { plan, place, workload, cluster, subject, held_bytes: 0 })
    }

    fn cluster(&mut self) -> Result<&mut Cluster, BenchError> {
        if self.held_bytes > RENEWED_AT_BYTES {
            // The old cluster is dropped first; both together would need twice the memory.
            self.cluster = None;
            self.held_bytes = 0;
        }
        let new = || Cluster::start(&self.plan, self.place);
        let cluster = self.cluster.take().map_or_else(new, Ok)?;
        Ok(self.cluster.insert(cluster))
    }
}

impl Lane for ClusterLane<'_> {
    fn subject(&self) -> Subject {
        self.subject.clone()
    }

    fn dir(&self) -> Option<PathBuf> {
        self.cluster.as_ref().map(|cluster| cluster._files.path().to_owned())
    }

    fn turn(&mut self, time: Duration, stop: &Stop) -> Result<Tally, BenchError> {
        let workload = self.workload.clone();
        let cluster = self.cluster()?;
        cluster.settle()?;
        let tally = cluster.commit(&workload, time, stop);
        self.held_bytes += tally.entries * (workload.size as u64 + BARE_ENTRY_BYTES);
        match tally.samples.is_empty() && tally.failures > 0 {
            true => Err(BenchError::failed(
                format!("proposing to the cluster on {} logs", self.plan.backend),
                "no proposal was answered; its log may have failed",
            )),
            false => Ok(tally),
        }
    }
}

/// A runtime with this many threads; with one thread everything runs on the caller's.
pub fn runtime(workers: usize) -> Result<Runtime, BenchError> {
    let built = match workers {
        0 | 1 => tokio::runtime::Builder::new_current_thread().enable_all().build(),
        many => {
            tokio::runtime::Builder::new_multi_thread().worker_threads(many).enable_all().build()
        }
    };
    built.map_err(|error| BenchError::failed("starting a runtime", error))
}

async fn start_members(
    plan: &ClusterPlan,
    files: &TempDir,
    counts: &Arc<Counts>,
) -> Result<Vec<Node>, BenchError> {
    let ids: Vec<NodeId> = (1..=plan.members).filter_map(NodeId::new).collect();
    let members = ids.iter().map(|id| (*id, Bytes::new()));
    let membership = Membership::of_voters(members);
    let membership = membership.map_err(|error| BenchError::failed("naming members", error))?;
    let network = InProcessNetwork::new();
    let mut nodes = Vec::new();
    for id in ids {
        let mut log = plan.open(files.path().join(id.to_string()))?;
        let identity = kontiki::bootstrap(log.as_mut(), "bench", id, &membership).await;
        identity.map_err(|error| BenchError::failed("bootstrapping a member", error))?;
        let log = Box::new(Counted::new(log, Arc::clone(counts)));
        let (config, transport) = (NodeConfig::default(), network.transport());
        let node = Node::start(config, log, transport, Box::new(Nothing)).await;
        nodes.push(node.map_err(|error| BenchError::failed("starting a member", error))?);
    }
    Ok(nodes)
}

/// The leader. A member counts as the leader once it has committed a command.
async fn find_leader(nodes: &[Node]) -> Result<Node, BenchError> {
    let began = Instant::now();
    while began.elapsed() < PATIENCE {
        let left = PATIENCE.saturating_sub(began.elapsed());
        let Ok(leader) = tokio::time::timeout(left, nodes[0].wait_for_leader()).await else {
            break;
        };
        let leading =
            nodes.iter().find(|node| Some(node.status().identity.node) == leader).cloned();
        if let Some(leading) = leading
            && Node::propose(&leading, Bytes::new()).await.is_ok()
        {
            return Ok(leading);
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    Err(BenchError::failed("waiting for a leader", "none was elected in 20 seconds"))
}

#[cfg(all(test, feature = "memory"))]
mod tests {
    use super::*;

    #[test]
    fn a_cluster_that_has_become_long_is_replaced() {
        let dir = tempfile::tempdir().expect("a directory");
        let place = Place::new(Some(dir.path())).expect("made");
        let plan = ClusterPlan { backend: "memory".to_owned(), members: 3, workers: 1 };
        let workload = Workload { size: 64, batch: 2, clients: 3, rate: None };
        let mut lane = ClusterLane::new(&plan, &place, &workload).expect("it starts");
        let tally = lane.turn(Duration::from_millis(5), &Stop::new()).expect("it works");
        assert!(tally.entries > 0 && tally.failures == 0);
        assert!(tally.written_entries >= tally.entries, "the leader writes each");
        lane.held_bytes = RENEWED_AT_BYTES + 1;
        lane.turn(Duration::from_millis(5), &Stop::new()).expect("a new one works");
        assert!(lane.held_bytes < RENEWED_AT_BYTES);
        assert_eq!(std::fs::read_dir(place.path()).expect("there").count(), 1);
    }

    #[test]
    fn arrivals_of_an_open_loop_are_all_answered() {
        let dir = tempfile::tempdir().expect("a directory");
        let place = Place::new(Some(dir.path())).expect("made");
        let plan = ClusterPlan { backend: "memory".to_owned(), members: 1, workers: 1 };
        let cluster = Cluster::start(&plan, &place).expect("it starts");
        let workload = Workload { size: 64, batch: 1, clients: 1, rate: Some(2000.0) };
        let tally = cluster.commit(&workload, Duration::from_millis(20), &Stop::new());
        assert_eq!((tally.entries, tally.failures), (40, 0));
        assert_eq!(tally.samples.len(), 40);
    }
}
