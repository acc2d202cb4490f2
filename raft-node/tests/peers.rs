//! The member's record of its peers' stores, and its answer to a forward that was never sent.
#[path = "support/lasting.rs"]
mod lasting;
mod support;

use std::collections::BTreeSet;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use lasting::Lasting;
use log_memory::{MemoryDisk, MemoryLog, SyncMode};
use raft_core::types::NodeId;
use raft_node::{
    Application, Content, Envelope, InProcessNetwork, Inbound, Limits, Node, NodeConfig,
    PeerRecord, PeersFile, ProposeError, ReadError, Transport, TypedError, TypedNode, bootstrap,
};
use support::{ChangedLog, membership_of, node_id as id};
use tempfile::TempDir;
use tokio::time::{sleep, timeout};

/// The longest wait for one call; each takes far less.
const PATIENCE: Duration = Duration::from_secs(20);

/// A query of some length.
type Query = Vec<u8>;

/// Adds numbers, and can decode only those below 100 from the log.
#[derive(Clone, serde::Serialize, serde::Deserialize)]
struct Sum(u64);

#[derive(Debug, PartialEq)]
struct Small(u64);

impl serde::Serialize for Small {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_u64(self.0)
    }
}

impl<'de> serde::Deserialize<'de> for Small {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Small, D::Error> {
        let number = u64::deserialize(deserializer)?;
        let too_large = || serde::de::Error::custom("of a newer version");
        (number < 100).then_some(Small(number)).ok_or_else(too_large)
    }
}

impl Application for Sum {
    type Command = Small;
    type Response = u64;
    type Query = Query;
    type Answer = u64;

    fn apply(&mut self, Small(number): Small) -> u64 {
        self.0 += number;
        self.0
    }

    fn read(&self, _query: Query) -> u64 {
        self.0
    }
}

/// Starts a member whose record of its peers is in this directory.
async fn start(
    number: u64,
    size: u64,
    disk: &MemoryDisk,
    dir: &Path,
    transport: Box<dyn Transport>,
) -> TypedNode<Sum> {
    let log = MemoryLog::open(disk).expect("the disk is free");
    let mut store = ChangedLog { log, changes: Lasting };
    let bootstrapped = bootstrap(&mut store, "peers", id(number), &membership_of(size)).await;
    bootstrapped.expect("blank, or bootstrapped as this member");
    let peers: Option<Arc<dyn PeerRecord>> = Some(Arc::new(PeersFile::in_dir(dir)));
    let limits = Limits { read_bytes: 1000, ..Limits::default() };
    let config = NodeConfig { peers, limits, ..NodeConfig::default() };
    let started = TypedNode::start(config, Box::new(store), transport, Sum(0)).await;
    started.expect("it starts")
}

async fn leader(node: &Node) -> NodeId {
    let known = timeout(PATIENCE, node.wait_for_leader()).await;
    known.expect("in time").expect("it runs")
}

struct Cluster {
    network: InProcessNetwork,
    disks: Vec<MemoryDisk>,
    dirs: Vec<TempDir>,
}

impl Cluster {
    fn new() -> Cluster {
        let disks = (0..3).map(|_| MemoryDisk::new(SyncMode::EachWrite)).collect();
        let dirs = (0..3).map(|_| tempfile::tempdir().expect("a directory")).collect();
        Cluster { network: InProcessNetwork::new(), disks, dirs }
    }

    async fn start(&self, at: usize) -> TypedNode<Sum> {
        let transport = self.network.transport();
        start(at as u64 + 1, 3, &self.disks[at], self.dirs[at].path(), transport).await
    }
}

/// What went wrong: a member whose directory was wiped was refused only by peers that had not been
/// restarted since; the others accepted it, and it voted without the votes that it had lost.
#[tokio::test]
async fn a_wiped_member_is_refused_by_peers_that_were_restarted() {
    let mut cluster = Cluster::new();
    let mut nodes = Vec::new();
    for at in 0..3 {
        nodes.push(cluster.start(at).await);
    }
    for node in &nodes {
        leader(node.node()).await;
    }
    for node in &nodes {
        node.node().shutdown().await;
    }
    // The third member loses its directory; then all are started again.
    cluster.disks[2] = MemoryDisk::new(SyncMode::EachWrite);
    cluster.dirs[2] = tempfile::tempdir().expect("a directory");
    let nodes = [cluster.start(0).await, cluster.start(1).await, cluster.start(2).await];
    let leading = leader(nodes[0].node()).await;
    assert_ne!(leading, id(3), "the wiped member wins no votes");
    let at = leading.get() as usize - 1;
    assert_eq!(nodes[at].propose(&Small(5)).await.expect("two are a majority"), 5);
    // Longer than any election timeout.
    sleep(Duration::from_millis(1500)).await;
    assert_eq!(nodes[2].node().status().raft.soft_state.leader, None, "it hears from no peer");
    assert_eq!(leader(nodes[at].node()).await, leading);
}

/// A transport that refuses forwards and sends every other message.
struct NoForwards(Box<dyn Transport>);

impl Transport for NoForwards {
    fn start(&mut self, inbound: Arc<dyn Inbound>) {
        self.0.start(inbound);
    }

    fn send(&mut self, to: NodeId, address: Option<&[u8]>, envelope: Envelope) -> bool {
        !matches!(envelope.content, Content::Forward(_)) && self.0.send(to, address, envelope)
    }

    fn retain(&mut self, members: &BTreeSet<NodeId>) {
        self.0.retain(members);
    }

    fn connect(&mut self, node: NodeId, address: Option<&[u8]>) {
        self.0.connect(node, address);
    }
}

/// What went wrong: a forward that the transport dropped left its clients waiting for five seconds,
/// and then the outcome was reported as unknown.
#[tokio::test]
async fn a_forward_that_was_never_sent_is_reported_as_not_written() {
    let cluster = Cluster::new();
    let mut nodes = Vec::new();
    for at in 0..3 {
        let transport = Box::new(NoForwards(cluster.network.transport()));
        let (disk, dir) = (&cluster.disks[at], cluster.dirs[at].path());
        nodes.push(start(at as u64 + 1, 3, disk, dir, transport).await);
    }
    let leading = leader(nodes[0].node()).await;
    let follower = nodes[leading.get() as usize % 3].node();
    leader(follower).await;
    let outcome = timeout(PATIENCE, follower.propose(Bytes::from_static(b"\x01"))).await;
    let outcome = outcome.expect("in time");
    assert_eq!(outcome, Err(ProposeError::NotLeader { hint: None }), "and may be tried again");
}

/// What went wrong: a command of a newer version was answered but not applied, and the member's
/// state differed from then on.
#[tokio::test]
async fn a_committed_command_that_does_not_decode_stops_the_member() {
    let (disk, dir) = (MemoryDisk::new(SyncMode::EachWrite), tempfile::tempdir().expect("one"));
    let node = start(1, 1, &disk, dir.path(), InProcessNetwork::new().transport()).await;
    leader(node.node()).await;
    assert_eq!(node.propose(&Small(7)).await.expect("small"), 7);
    let outcome = timeout(PATIENCE, node.propose(&Small(700))).await.expect("in time");
    assert!(matches!(outcome, Err(TypedError::Propose(ProposeError::Unknown))), "{outcome:?}");
    let mut status = node.node().watch_status();
    let closed = timeout(PATIENCE, status.wait_for(|now| now.closed)).await;
    let closed = closed.expect("in time").expect("a status").clone();
    let stopped = closed.stopped.clone().expect("the status says why");
    assert!(stopped.contains("does not decode") && stopped.contains("newer version"), "{stopped}");
}

#[tokio::test]
async fn the_bytes_of_queries_are_limited() {
    let (disk, dir) = (MemoryDisk::new(SyncMode::EachWrite), tempfile::tempdir().expect("one"));
    let node = start(1, 1, &disk, dir.path(), InProcessNetwork::new().transport()).await;
    leader(node.node()).await;
    let read = |bytes| node.node().read(Bytes::from(vec![0; bytes]));
    assert_eq!(read(1001).await, Err(ReadError::TooLarge { size: 1001, limit: 1000 }));
    let (first, second, third) = tokio::join!(read(600), read(400), read(1));
    assert!(first.is_ok() && second.is_ok());
    assert_eq!(third, Err(ReadError::Busy), "a thousand bytes wait already");
    assert!(read(1000).await.is_ok(), "the bytes were given back");
}
