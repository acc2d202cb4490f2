//! What a member knows of its peers' stores, and what it says of a forward that was never sent.

use std::ops::Range;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use log_memory::{MemoryDisk, MemoryLog, SyncMode};
use raft_core::storage::{
    Durability, LogBounds, LogError, LogReader, LogStore, Recovered, StableStore, Store, StoreInfo,
    WriteBatch,
};
use raft_core::types::{Entry, EntryId, HardState, Identity, LogIndex, Membership, NodeId, Term};
use raft_node::{
    Application, Content, Envelope, InProcessNetwork, Inbound, Limits, Node, NodeConfig,
    PeerRecord, PeersFile, ProposeError, ReadError, Transport, TypedError, TypedNode, bootstrap,
};
use tempfile::TempDir;
use tokio::time::{sleep, timeout};

/// Longer than anything here takes.
const PATIENCE: Duration = Duration::from_secs(20);

/// A memory log that lasts as long as its disk, and says so.
struct Lasting(MemoryLog);

#[async_trait]
impl StableStore for Lasting {
    async fn load_identity(&mut self) -> Result<Option<Identity>, LogError> {
        self.0.load_identity().await
    }
    async fn save_identity(&mut self, identity: &Identity) -> Result<(), LogError> {
        self.0.save_identity(identity).await
    }
    async fn load_hard_state(&mut self) -> Result<HardState, LogError> {
        self.0.load_hard_state().await
    }
    async fn save_hard_state(&mut self, hard_state: HardState) -> Result<(), LogError> {
        self.0.save_hard_state(hard_state).await
    }
}

#[async_trait]
impl LogStore for Lasting {
    fn bounds(&self) -> LogBounds {
        self.0.bounds()
    }
    async fn append(&mut self, entries: &[Entry]) -> Result<(), LogError> {
        self.0.append(entries).await
    }
    async fn truncate_after(&mut self, index: LogIndex) -> Result<(), LogError> {
        self.0.truncate_after(index).await
    }
    async fn purge_upto(&mut self, upto: EntryId) -> Result<(), LogError> {
        self.0.purge_upto(upto).await
    }
    async fn reset(&mut self, boundary: EntryId) -> Result<(), LogError> {
        self.0.reset(boundary).await
    }
    fn reader(&self) -> Box<dyn LogReader> {
        Box::new(Reader(self.0.reader()))
    }
}

#[async_trait]
impl Store for Lasting {
    fn info(&self) -> StoreInfo {
        StoreInfo { durability: Durability::PowerLoss, ..self.0.info() }
    }
    async fn write(&mut self, batch: WriteBatch) -> Result<(), LogError> {
        self.0.write(batch).await
    }
    async fn recover(&mut self) -> Result<Recovered, LogError> {
        self.0.recover().await
    }
}

struct Reader(Box<dyn LogReader>);

#[async_trait]
impl LogReader for Reader {
    async fn read(&mut self, range: Range<LogIndex>, max: u64) -> Result<Vec<Entry>, LogError> {
        self.0.read(range, max).await
    }
    async fn term(&mut self, index: LogIndex) -> Result<Term, LogError> {
        self.0.term(index).await
    }
}

/// A query of some length.
type Query = Vec<u8>;

/// Adds numbers, and can read only those below 100 back from the log.
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

fn id(number: u64) -> NodeId {
    NodeId::new(number).expect("not zero")
}

/// Starts a member whose record of its peers is in this directory.
async fn start(
    number: u64,
    size: u64,
    disk: &MemoryDisk,
    dir: &Path,
    transport: Box<dyn Transport>,
) -> TypedNode<Sum> {
    let mut store = Lasting(MemoryLog::open(disk).expect("the disk is free"));
    let members = Membership::of_voters((1..=size).map(|number| (id(number), Bytes::new())));
    let members = members.expect("sound");
    bootstrap(&mut store, "peers", id(number), &members).await.expect("blank, or just so");
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
/// restarted since; the others took it in, and it voted without its memory.
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

/// Loses no message but forwards, which it does not take.
struct NoForwards(Box<dyn Transport>);

impl Transport for NoForwards {
    fn start(&mut self, inbound: Arc<dyn Inbound>) {
        self.0.start(inbound);
    }

    fn send(&mut self, to: NodeId, address: Option<&[u8]>, envelope: Envelope) -> bool {
        !matches!(envelope.content, Content::Forward(_)) && self.0.send(to, address, envelope)
    }
}

/// What went wrong: a forward that the transport dropped left its clients waiting for five seconds,
/// and then the outcome was called unknown.
#[tokio::test]
async fn a_forward_that_was_never_sent_has_not_happened() {
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

/// What went wrong: a command of a newer version was answered, passed over, and the member's state
/// differed from then on.
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
    assert!(read(1000).await.is_ok(), "they were given back");
}
