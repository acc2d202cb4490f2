//! Limits and failures: clients faster than the disk, a dead follower, a failing store, and a
//! restart of the whole cluster.

mod support;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use log_memory::{MemoryDisk, MemoryLog, SyncMode};
use raft_core::consensus::RoleName;
use raft_core::storage::{LogError, LogOp, StoreInfo};
use raft_node::{
    Committed, Fatal, InProcessNetwork, Limits, Node, NodeConfig, NodeEvent, ProposeError,
    ReadError, Replies, StateMachine, Timing, bootstrap,
};
use support::{ChangedLog, Changes, membership_of, node_id};

/// Counts commands and answers each with the count so far.
#[derive(Default)]
struct Count {
    count: u64,
}

impl StateMachine for Count {
    fn apply(&mut self, commands: &[Committed], replies: &mut Replies) -> Result<(), Fatal> {
        for _ in commands {
            self.count += 1;
            replies.push(Bytes::from(self.count.to_string()));
        }
        Ok(())
    }

    fn read(&self, _query: &[u8]) -> Bytes {
        Bytes::from(self.count.to_string())
    }
}

/// A memory log whose writes a test can delay, or make fail.
#[derive(Clone)]
struct HardDisk {
    delay: Duration,
    broken: Arc<AtomicBool>,
}

#[async_trait]
impl Changes for HardDisk {
    fn declare(&self, info: StoreInfo) -> StoreInfo {
        StoreInfo { may_block: true, ..info }
    }

    async fn before_write(&self) -> Result<(), LogError> {
        std::thread::sleep(self.delay);
        if self.broken.load(Ordering::Relaxed) {
            return Err(LogError::io(LogOp::Sync, std::io::Error::other("the disk is gone")));
        }
        Ok(())
    }
}

struct Cluster {
    network: InProcessNetwork,
    disks: Vec<MemoryDisk>,
    broken: Arc<AtomicBool>,
    delay: Duration,
    limits: Limits,
}

impl Cluster {
    fn new(size: usize, delay: Duration, limits: Limits) -> Cluster {
        Cluster {
            network: InProcessNetwork::new(),
            disks: (0..size).map(|_| MemoryDisk::new(SyncMode::EachWrite)).collect(),
            broken: Arc::default(),
            delay,
            limits,
        }
    }

    async fn start(&self, number: u64) -> Node {
        let log = MemoryLog::open(&self.disks[number as usize - 1]).expect("it is not open");
        let changes = HardDisk { delay: self.delay, broken: Arc::clone(&self.broken) };
        let mut store = ChangedLog { log, changes };
        let membership = membership_of(self.disks.len() as u64);
        let identity = bootstrap(&mut store, "edges", node_id(number), &membership).await;
        identity.expect("blank, or bootstrapped as this member");
        // A busy machine may suspend all members for longer than the default timeouts, and no test
        // here is about a leader that is lost in that way.
        let timing =
            Timing { election_ticks_min: 150, election_ticks_max: 200, ..Timing::default() };
        let config = NodeConfig { limits: self.limits.clone(), timing, ..NodeConfig::default() };
        let (transport, machine) = (self.network.transport(), Box::<Count>::default());
        Node::start(config, Box::new(store), transport, machine).await.expect("it starts")
    }

    async fn start_all(&self) -> Vec<Node> {
        let mut nodes = Vec::new();
        for number in 1..=self.disks.len() as u64 {
            nodes.push(self.start(number).await);
        }
        nodes
    }
}

/// Waits until a member leads; returns its position in the list.
async fn leader(nodes: &[Node]) -> usize {
    for _ in 0..2000 {
        let leads = |node: &Node| {
            let status = node.status();
            status.raft.soft_state.role == RoleName::Leader && !status.closed
        };
        if let Some(at) = nodes.iter().position(leads) {
            return at;
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    panic!("no member leads after 20 s");
}

async fn wait_until(what: &str, mut holds: impl FnMut() -> bool) {
    for _ in 0..2000 {
        if holds() {
            return;
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    panic!("not within 20 s: {what}");
}

#[tokio::test]
async fn clients_faster_than_the_disk_wait_and_memory_stays_bounded() {
    const SIZE: usize = 4096;
    let limits = Limits {
        proposals: 64,
        proposal_bytes: 40 * SIZE as u64,
        tail_bytes: 64 << 10,
        ..Limits::default()
    };
    let cluster = Cluster::new(1, Duration::from_millis(5), limits.clone());
    let nodes = cluster.start_all().await;
    leader(&nodes).await;
    let command = Bytes::from(vec![7; SIZE]);
    let mut clients = Vec::new();
    for _ in 0..400 {
        let (node, command) = (nodes[0].clone(), command.clone());
        clients.push(tokio::spawn(async move { node.propose(command).await }));
    }
    let mut most = 0;
    let mut busy = 0;
    while clients.iter().any(|client| !client.is_finished()) {
        let status = nodes[0].status();
        most = most.max(status.proposals_waiting);
        assert!(status.proposal_bytes_waiting <= limits.proposal_bytes);
        assert!(status.tail_bytes <= limits.tail_bytes + limits.proposal_bytes);
        let tried =
            tokio::time::timeout(Duration::from_millis(1), nodes[0].try_propose(command.clone()));
        busy += u64::from(matches!(tried.await, Ok(Err(ProposeError::Busy))));
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    for client in clients {
        client.await.expect("no panic").expect("every client is served in the end");
    }
    assert_eq!(most, 40, "40 commands fill the quota of {} bytes", limits.proposal_bytes);
    assert!(busy > 0, "a client that does not want to wait is refused");
}

/// What went wrong: commands in the log of a leader that lost its majority keep their share of the
/// quota until their outcome is known. A client that waited for the quota behind them was not
/// answered that there is no leader; it waited until the majority came back.
#[tokio::test]
async fn a_client_behind_a_full_quota_learns_that_there_is_no_leader() {
    let limits = Limits { proposals: 1, ..Limits::default() };
    let cluster = Cluster::new(3, Duration::ZERO, limits);
    let nodes = cluster.start_all().await;
    let at = leader(&nodes).await;
    for other in (0..3).filter(|other| *other != at) {
        nodes[other].shutdown().await;
    }
    let first = nodes[at].clone();
    let first = tokio::spawn(async move { first.propose(Bytes::from_static(b"x")).await });
    wait_until("the quota is full", || nodes[at].status().proposals_waiting == 1).await;
    let second = nodes[at].propose(Bytes::from_static(b"y"));
    let second = tokio::time::timeout(Duration::from_secs(30), second).await;
    assert_eq!(second.expect("it is answered"), Err(ProposeError::NotLeader { hint: None }));
    assert_eq!(first.await.expect("no panic"), Err(ProposeError::Unknown));
    let later = nodes[at].propose(Bytes::from_static(b"z"));
    let later = tokio::time::timeout(Duration::from_secs(30), later).await;
    assert_eq!(later.expect("it is answered"), Err(ProposeError::NotLeader { hint: None }));
}

#[tokio::test]
async fn a_dead_follower_costs_no_memory_and_catches_up() {
    let limits = Limits { tail_bytes: 64 << 10, append_bytes: 16 << 10, ..Limits::default() };
    let cluster = Cluster::new(3, Duration::ZERO, limits.clone());
    let mut nodes = cluster.start_all().await;
    let at = leader(&nodes).await;
    let victim = (at + 1) % 3;
    nodes[victim].shutdown().await;
    let command = Bytes::from(vec![7; 1024]);
    for _ in 0..40 {
        let commands = (0..100).map(|_| command.clone());
        for answer in nodes[at].propose_many(commands).await {
            answer.expect("two of three are a majority");
        }
        let status = nodes[at].status();
        let bound = limits.tail_bytes + 100 * 1024;
        assert!(status.tail_bytes <= bound, "{} in memory", status.tail_bytes);
    }
    nodes[victim] = cluster.start(victim as u64 + 1).await;
    let target = nodes[at].status().raft.commit;
    wait_until("the follower caught up", || nodes[victim].status().applied >= target).await;
    assert!(nodes[at].status().counters.cold_fetches > 0, "old entries came from the store");
    assert_eq!(nodes[victim].read(Bytes::new()).await, Ok(Bytes::from("4000")));
}

#[tokio::test]
async fn every_acknowledged_command_survives_a_restart_of_all_members() {
    let cluster = Cluster::new(3, Duration::ZERO, Limits::default());
    let nodes = cluster.start_all().await;
    let at = leader(&nodes).await;
    for count in 1..=50u64 {
        let answer = nodes[at].propose(Bytes::from_static(b"x")).await.expect("a stable leader");
        assert_eq!(answer, count.to_string());
    }
    for node in &nodes {
        node.shutdown().await;
    }
    let nodes = cluster.start_all().await;
    leader(&nodes).await;
    for node in &nodes {
        node.wait_for_leader().await;
        assert_eq!(node.read(Bytes::new()).await, Ok(Bytes::from("50")));
    }
}

#[tokio::test]
async fn a_store_error_stops_the_whole_member_and_is_reported() {
    let cluster = Cluster::new(1, Duration::ZERO, Limits::default());
    let nodes = cluster.start_all().await;
    leader(&nodes).await;
    let mut events = nodes[0].events();
    cluster.broken.store(true, Ordering::Relaxed);
    let outcome = nodes[0].propose(Bytes::from_static(b"x")).await;
    assert_eq!(outcome, Err(ProposeError::Unknown), "it may have reached the disk");
    assert_eq!(nodes[0].propose(Bytes::new()).await, Err(ProposeError::Closed));
    assert_eq!(nodes[0].read(Bytes::new()).await, Err(ReadError::Closed));
    let stopped = nodes[0].status().stopped.clone().expect("the status says why");
    assert!(stopped.contains("the disk is gone"), "{stopped}");
    assert!(!nodes[0].status().damaged, "it can be started again");
    loop {
        match events.recv().await.expect("an event reports the stop") {
            NodeEvent::Stopped(why) => break assert_eq!(why, stopped),
            _ => continue,
        }
    }
}

#[tokio::test]
async fn a_leader_with_a_stalled_disk_steps_down() {
    let cluster = Cluster::new(3, Duration::ZERO, Limits::default());
    let mut nodes = cluster.start_all().await;
    let at = leader(&nodes).await;
    nodes[at].shutdown().await;
    let mut slow = Cluster { delay: Duration::from_secs(3), ..cluster };
    // Only this member is slow: the others keep their disks.
    let number = at as u64 + 1;
    nodes[at] = slow.start(number).await;
    slow.delay = Duration::ZERO;
    let second = leader(&nodes).await;
    assert_ne!(second, at, "a member whose disk completes no write for 3 s cannot win");
    nodes[second].propose(Bytes::from_static(b"x")).await.expect("two good disks are a majority");
}
