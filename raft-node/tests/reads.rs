//! Reads by lease and weaker reads, at running members.

use std::time::Duration;

use bytes::Bytes;
use log_memory::MemoryLog;
use raft_core::consensus::ConfigError;
use raft_core::types::{LogIndex, Membership, NodeId};
use raft_node::{
    Committed, Consistency, Fatal, InProcessNetwork, Limits, Node, NodeConfig, ReadError, Replies,
    StartError, StateMachine, Timing, bootstrap,
};

fn node_id(number: u64) -> NodeId {
    NodeId::new(number).expect("not zero")
}

/// Remembers the last command.
struct Last(Bytes);

impl StateMachine for Last {
    fn apply(&mut self, commands: &[Committed], replies: &mut Replies) -> Result<(), Fatal> {
        for committed in commands {
            self.0 = committed.command.clone();
            replies.push(Bytes::new());
        }
        Ok(())
    }

    fn read(&self, _query: &[u8]) -> Bytes {
        self.0.clone()
    }

    fn is_cheap(&self) -> bool {
        true
    }
}

/// Starts member `number` of three.
async fn start(
    network: &InProcessNetwork,
    number: u64,
    lease_drift: Option<u32>,
) -> Result<Node, StartError> {
    let mut store = MemoryLog::new();
    let members = (1..=3).map(|number| (node_id(number), Bytes::new()));
    let membership = Membership::of_voters(members).expect("sound");
    bootstrap(&mut store, "reads", node_id(number), &membership).await.expect("blank");
    // A busy machine may suspend all members for longer than the default timeouts.
    let (election_ticks_min, election_ticks_max) = (150, 200);
    let timing =
        Timing { election_ticks_min, election_ticks_max, lease_drift, ..Timing::default() };
    let limits = Limits { read_ticks: 100, ..Limits::default() };
    let config = NodeConfig { timing, limits, ..NodeConfig::default() };
    let machine = Box::new(Last(Bytes::new()));
    Node::start(config, Box::new(store), network.transport(), machine).await
}

/// Three members with leases, and the one that leads.
async fn cluster() -> (Vec<Node>, Node) {
    let (network, mut nodes) = (InProcessNetwork::new(), Vec::new());
    for number in 1..=3 {
        nodes.push(start(&network, number, Some(10)).await.expect("it starts"));
    }
    let leader = nodes[0].wait_for_leader().await.expect("it runs");
    let leader = nodes[leader.get() as usize - 1].clone();
    (nodes, leader)
}

async fn shut_down(nodes: Vec<Node>) {
    for node in nodes {
        node.shutdown().await;
    }
}

/// Whether a lease holds at some moment depends on the machine. That reads see the newest write
/// does not.
#[tokio::test]
async fn a_read_by_lease_sees_the_newest_write_at_each_member() {
    let (nodes, leader) = cluster().await;
    let mut number = 0;
    while leader.status().counters.reads_by_lease == 0 || number < 50 {
        number += 1;
        let command = Bytes::from(number.to_string());
        leader.propose(command.clone()).await.expect("a stable leader");
        for node in &nodes {
            let read = node.read_with(Bytes::new(), Consistency::Lease).await;
            assert_eq!(read.expect("a stable leader").answer, command);
        }
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    shut_down(nodes).await;
}

#[tokio::test]
async fn the_index_of_an_answer_makes_the_next_read_at_another_member_no_older() {
    let (nodes, leader) = cluster().await;
    for number in 0..20u64 {
        let command = Bytes::from(number.to_string());
        leader.propose(command.clone()).await.expect("a stable leader");
        let mut index = LogIndex::ZERO;
        for node in [&leader].into_iter().chain(&nodes) {
            let consistency = match index {
                LogIndex::ZERO => Consistency::Linearizable,
                index => Consistency::AtLeast { index },
            };
            let read = node.read_with(Bytes::new(), consistency).await.expect("it is applied");
            assert_eq!(read.answer, command);
            assert!(read.index >= index);
            index = read.index;
        }
    }
    let index = leader.status().raft.last.index.plus(1000);
    let beyond = leader.read_with(Bytes::new(), Consistency::AtLeast { index }).await;
    assert_eq!(beyond, Err(ReadError::Timeout));
    shut_down(nodes).await;
}

#[tokio::test]
async fn a_local_read_needs_no_leader_but_says_if_what_is_known_is_too_old() {
    let network = InProcessNetwork::new();
    let alone = start(&network, 1, None).await.expect("it starts");
    let any_age = Consistency::Local { max_age: Duration::from_secs(3600) };
    let unknown = alone.read_with(Bytes::new(), any_age).await;
    assert_eq!(unknown, Err(ReadError::TooOld { age: None }));

    let other = start(&network, 2, None).await.expect("it starts");
    let leader = alone.wait_for_leader().await.expect("two of three");
    let (leader, follower) = if leader == node_id(1) { (alone, other) } else { (other, alone) };
    leader.propose(Bytes::from_static(b"x")).await.expect("a stable leader");
    follower.barrier().await.expect("a leader");
    leader.shutdown().await;
    let known = follower.read_with(Bytes::new(), any_age).await.expect("heard before");
    assert_eq!(known.answer, "x");
    let no_age = Consistency::Local { max_age: Duration::ZERO };
    let old = follower.read_with(Bytes::new(), no_age).await;
    assert!(matches!(old, Err(ReadError::TooOld { age: Some(_) })), "{old:?}");
    follower.shutdown().await;
}

#[tokio::test]
async fn a_bound_that_no_clocks_keep_is_refused() {
    let network = InProcessNetwork::new();
    for drift in [0, 1001] {
        let refused = start(&network, 1, Some(drift)).await.map(drop);
        let Err(StartError::Timing(why)) = refused else { panic!("{drift} was accepted") };
        assert_eq!(why, ConfigError::DriftOutOfRange(drift));
    }
}
