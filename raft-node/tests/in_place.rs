//! Futures that a turn polls inline: a store that answers later without blocking the thread, and a
//! member that panics while another member's task drives it.

mod support;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use log_memory::MemoryLog;
use raft_core::storage::LogError;
use raft_node::{
    Committed, Fatal, InProcessNetwork, Node, NodeConfig, Replies, StateMachine, Timing, bootstrap,
};
use support::{ChangedLog, Changes, membership_of, node_id};

/// Answers each command with the number of commands so far, or panics once `must_panic` is set.
#[derive(Default)]
struct Count {
    count: u64,
    must_panic: Arc<AtomicBool>,
}

impl StateMachine for Count {
    fn apply(&mut self, commands: &[Committed], replies: &mut Replies) -> Result<(), Fatal> {
        for _ in commands {
            assert!(!self.must_panic.load(Ordering::Relaxed), "injected by the test");
            self.count += 1;
            replies.push(Bytes::from(self.count.to_string()));
        }
        Ok(())
    }

    fn read(&self, _query: &[u8]) -> Bytes {
        Bytes::from(self.count.to_string())
    }

    fn is_cheap(&self) -> bool {
        true
    }
}

/// A memory log that completes later, and blocks no caller meanwhile.
#[derive(Clone)]
struct Later;

#[async_trait]
impl Changes for Later {
    async fn before_write(&self) -> Result<(), LogError> {
        later().await;
        Ok(())
    }

    async fn before_read(&self) {
        later().await;
    }

    async fn before_close(&self) {
        later().await;
    }
}

async fn later() {
    tokio::time::sleep(Duration::from_millis(1)).await;
}

async fn start(network: &InProcessNetwork, number: u64, size: u64, machine: Count) -> Node {
    let mut store = ChangedLog { log: MemoryLog::new(), changes: Later };
    let membership = membership_of(size);
    bootstrap(&mut store, "in place", node_id(number), &membership).await.expect("blank");
    // A busy machine may suspend all members for longer than the default timeouts.
    let timing = Timing { election_ticks_min: 150, election_ticks_max: 200, ..Timing::default() };
    let config = NodeConfig { timing, ..NodeConfig::default() };
    let (store, transport, machine) = (Box::new(store), network.transport(), Box::new(machine));
    Node::start(config, store, transport, machine).await.expect("it starts")
}

async fn leading(nodes: &[Node]) -> Node {
    let leader = nodes[0].wait_for_leader().await.expect("it runs");
    nodes[leader.get() as usize - 1].clone()
}

#[tokio::test]
async fn a_store_that_answers_later_is_polled_by_the_members_own_task() {
    let network = InProcessNetwork::new();
    let mut nodes = Vec::new();
    for number in 1..=3 {
        nodes.push(start(&network, number, 3, Count::default()).await);
    }
    let leader = leading(&nodes).await;
    for count in 1..=40u64 {
        let answer = leader.propose(Bytes::from_static(b"x")).await.expect("a stable leader");
        assert_eq!(answer, count.to_string());
    }
    let many = leader.propose_many((0..100).map(|_| Bytes::from_static(b"y"))).await;
    assert!(many.iter().all(Result::is_ok));
    for node in &nodes {
        assert_eq!(node.read(Bytes::new()).await, Ok(Bytes::from("140")));
    }
    for node in &nodes {
        node.shutdown().await;
        assert!(node.status().closed);
    }
}

#[tokio::test]
async fn a_client_on_another_runtime_is_answered_by_the_members_own_task() {
    let network = InProcessNetwork::new();
    let node = start(&network, 1, 1, Count::default()).await;
    node.wait_for_leader().await;
    let client = std::thread::spawn({
        let node = node.clone();
        move || {
            let other = tokio::runtime::Builder::new_current_thread().enable_time().build();
            let propose = async { node.propose(Bytes::from_static(b"x")).await };
            other.expect("a runtime").block_on(propose)
        }
    });
    while !client.is_finished() {
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    assert_eq!(client.join().expect("no panic"), Ok(Bytes::from("1")));
}

/// A panic ends only the member whose code panics. What would go wrong: the task of the leader's
/// client also drives the follower, so the follower's panic would end that client.
#[tokio::test]
async fn a_member_that_panics_stops_no_other() {
    let network = InProcessNetwork::new();
    let panic_flags: Vec<Arc<AtomicBool>> = (0..3).map(|_| Arc::default()).collect();
    let mut nodes = Vec::new();
    for number in 1..=3 {
        let must_panic = Arc::clone(&panic_flags[number as usize - 1]);
        nodes.push(start(&network, number, 3, Count { count: 0, must_panic }).await);
    }
    let leader = leading(&nodes).await;
    let victim = leader.status().identity.node.get() as usize % 3;
    for count in 1..=20u64 {
        panic_flags[victim].store(count >= 10, Ordering::Relaxed);
        let answer = leader.propose(Bytes::from_static(b"x")).await;
        assert_eq!(answer, Ok(Bytes::from(count.to_string())));
    }
    assert!(nodes[victim].status().applied < leader.status().applied, "the victim has stopped");
}
