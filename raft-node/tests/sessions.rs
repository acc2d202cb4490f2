//! Client sessions on running members: requests that are made again run once.

#[path = "support/lasting.rs"]
mod lasting;
#[path = "support/mod.rs"]
mod support;

use std::time::Duration;

use bytes::Bytes;
use log_memory::{MemoryDisk, MemoryLog, SyncMode};
use raft_core::consensus::RoleName;
use raft_node::{
    Application, Committed, Fatal, InProcessNetwork, Limits, Node, NodeConfig, Replies,
    SessionError, StateMachine, Timing, TypedNode, bootstrap,
};
use serde::{Deserialize, Serialize};

use crate::support::{ChangedLog, membership_of, node_id};
use lasting::Lasting;

/// Counts the commands that it has applied, and answers each with the count.
#[derive(Default)]
struct Count {
    count: u64,
    cheap: bool,
}

impl StateMachine for Count {
    fn apply(&mut self, commands: &[Committed], replies: &mut Replies) -> Result<(), Fatal> {
        for position in 0..commands.len() {
            self.count += 1;
            let is_wanted = replies.is_wanted(position);
            let answer = if is_wanted { self.count.to_string() } else { String::new() };
            replies.push(answer.into());
        }
        Ok(())
    }

    fn read(&self, _query: &[u8]) -> Bytes {
        self.count.to_string().into()
    }

    fn is_cheap(&self) -> bool {
        self.cheap
    }
}

fn config(limits: Limits) -> NodeConfig {
    let timing = Timing { election_ticks_min: 50, election_ticks_max: 80, ..Timing::default() };
    NodeConfig { timing, limits, ..NodeConfig::default() }
}

async fn start_cluster(size: u64, cheap: bool, limits: Limits) -> Vec<Node> {
    let network = InProcessNetwork::new();
    let mut nodes = Vec::new();
    for number in 1..=size {
        let mut store = Box::new(MemoryLog::new());
        let members = membership_of(size);
        bootstrap(store.as_mut(), "test", node_id(number), &members).await.expect("blank");
        let machine = Box::new(Count { cheap, ..Count::default() });
        let transport = network.transport();
        let started = Node::start(config(limits.clone()), store, transport, machine).await;
        nodes.push(started.expect("bootstrapped"));
    }
    for node in &nodes {
        let mut status = node.watch_status();
        let is_raised = status.wait_for(|now| now.closed || now.feature_level >= 2).await;
        assert!(!is_raised.expect("it runs").closed);
    }
    nodes
}

fn leader(nodes: &[Node]) -> Option<usize> {
    nodes.iter().position(|node| {
        let status = node.status();
        status.raft.soft_state.role == RoleName::Leader && !status.closed
    })
}

async fn count(node: &Node) -> Bytes {
    loop {
        match node.read(Bytes::new()).await {
            Ok(count) => return count,
            Err(_) => tokio::time::sleep(Duration::from_millis(10)).await,
        }
    }
}

#[tokio::test]
async fn a_request_that_is_sent_again_runs_once_and_has_one_answer() {
    for cheap in [false, true] {
        let nodes = start_cluster(3, cheap, Limits::default()).await;
        let session = nodes[1].session().await.expect("level 2");
        let request = session.request("one".into()).await;
        let first = request.send().await.expect("there is a leader");
        assert_eq!(first, "1");
        for node in &nodes {
            assert_eq!(request.send_at(node).await.expect("it ran"), first);
        }
        assert_eq!(session.propose("two".into()).await.expect("a leader"), "2");
        assert_eq!(session.at(&nodes[2]).propose("three".into()).await.expect("a leader"), "3");
        assert_eq!(count(&nodes[0]).await, "3");
    }
}

#[tokio::test]
async fn a_session_goes_on_across_leaders() {
    let nodes = start_cluster(3, false, Limits::default()).await;
    let leads = leader(&nodes).expect("a leader");
    let (other, third) = ((leads + 1) % 3, (leads + 2) % 3);
    let session = nodes[leads].session().await.expect("level 2");
    let request = session.request("one".into()).await;
    assert_eq!(request.send().await.expect("it leads"), "1");
    nodes[leads].shutdown().await;
    assert_eq!(request.send().await, Err(SessionError::Closed));
    assert_eq!(
        request.send_at(&nodes[other]).await.expect("a new leader"),
        "1",
        "the first answer"
    );
    drop(request);
    let session = session.at(&nodes[third]);
    let propose = |_| {
        let session = session.clone();
        tokio::spawn(async move { session.propose("more".into()).await })
    };
    let mut counts = Vec::new();
    for request in (0..20).map(propose).collect::<Vec<_>>() {
        let answer = request.await.expect("no panic").expect("a new leader");
        counts.push(std::str::from_utf8(&answer).expect("a number").parse::<u64>().expect("one"));
    }
    counts.sort();
    assert!(counts.into_iter().eq(2..=21), "each ran once");
    assert_eq!(count(&nodes[other]).await, "21");
}

#[tokio::test]
async fn requests_wait_for_the_window_of_their_session() {
    let limits = Limits { session_window: 2, ..Limits::default() };
    let nodes = start_cluster(1, false, limits).await;
    let session = nodes[0].session().await.expect("level 2");
    let first = session.request("one".into()).await;
    let second = session.request("two".into()).await;
    let third = tokio::time::timeout(Duration::from_millis(50), session.request("three".into()));
    assert!(third.await.is_err(), "two requests are open");
    assert_eq!(second.send().await.expect("it leads"), "1");
    drop(first);
    let third = session.request("three".into()).await;
    assert_eq!(third.send().await.expect("it leads"), "2");
}

#[tokio::test]
async fn a_closed_session_and_too_many_are_refused() {
    let limits = Limits { sessions: 1, command_bytes: 10, ..Limits::default() };
    let nodes = start_cluster(1, false, limits).await;
    let session = nodes[0].session().await.expect("level 2");
    assert_eq!(nodes[0].session().await.err(), Some(SessionError::TooManySessions));
    let large = session.propose(Bytes::from(vec![0; 11])).await;
    assert_eq!(large, Err(SessionError::TooLarge { size: 11, limit: 10 }));
    session.close().await.expect("it leads");
    let unknown = SessionError::UnknownSession(session.id());
    assert_eq!(session.propose("late".into()).await, Err(unknown));
    assert_eq!(count(&nodes[0]).await, "0");
    nodes[0].session().await.expect("the other one is closed");
}

#[derive(Clone, Serialize, Deserialize)]
struct Sum(u64);

impl Application for Sum {
    type Command = u64;
    type Response = u64;
    type Query = ();
    type Answer = u64;

    fn apply(&mut self, add: u64) -> u64 {
        self.0 += add;
        self.0
    }

    fn read(&self, (): ()) -> u64 {
        self.0
    }
}

/// The session is in the snapshot from which the member starts again.
#[tokio::test]
async fn a_session_outlives_a_restart_from_a_snapshot() {
    let (dir, disk) =
        (tempfile::tempdir().expect("a directory"), MemoryDisk::new(SyncMode::EachWrite));
    let snapshots = dir.path().join("snapshots");
    let config = NodeConfig { snapshots: Some(snapshots.clone()), ..config(Limits::default()) };
    let start = || async {
        let log = MemoryLog::open(&disk).expect("one process at a time");
        let mut store = Box::new(ChangedLog { log, changes: Lasting });
        if !snapshots.exists() {
            let members = membership_of(1);
            bootstrap(store.as_mut(), "test", node_id(1), &members).await.expect("blank");
        }
        let transport = InProcessNetwork::new().transport();
        TypedNode::start(config.clone(), store, transport, Sum(0)).await.expect("bootstrapped")
    };
    let node = start().await;
    let mut status = node.node().watch_status();
    status.wait_for(|now| now.feature_level >= 2).await.expect("it runs");
    let session = node.session().await.expect("level 2");
    let request = session.request(&5).await;
    assert_eq!(request.send().await.expect("it leads"), 5);
    node.node().snapshot().await.expect("a directory");
    node.node().shutdown().await;
    let again = start().await;
    assert_eq!(again.node().status().feature_level, 2, "the snapshot says so");
    assert_eq!(request.send_at(&again).await.expect("it leads"), 5);
    assert_eq!(session.at(&again).propose(&1).await.expect("it leads"), 6);
    again.node().shutdown().await;
}
