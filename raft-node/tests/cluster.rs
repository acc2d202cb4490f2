//! Three members in one process, on the memory log: the node's handle from a user's side.

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::Bytes;
use log_memory::MemoryLog;
use raft_core::consensus::{RoleName, TransferRefusal};
use raft_core::storage::Store;
use raft_core::types::{Membership, NodeId};
use raft_node::{
    Committed, Envelope, Fatal, InProcessNetwork, Inbound, Node, NodeConfig, ProposeError,
    ReadError, Replies, StartError, StateMachine, Timing, TransferError, Transport, bootstrap,
};

/// Adds numbers and answers each command with the sum so far.
#[derive(Default)]
struct Sum {
    sum: u64,
    cheap: bool,
}

impl StateMachine for Sum {
    fn apply(&mut self, commands: &[Committed], replies: &mut Replies) -> Result<(), Fatal> {
        for committed in commands {
            let number = std::str::from_utf8(&committed.command).ok();
            self.sum += number.and_then(|text| text.parse::<u64>().ok()).unwrap_or(0);
            replies.push(Bytes::from(self.sum.to_string()));
        }
        Ok(())
    }

    fn read(&self, _query: &[u8]) -> Bytes {
        Bytes::from(self.sum.to_string())
    }

    fn is_cheap(&self) -> bool {
        self.cheap
    }
}

fn node_id(number: u64) -> NodeId {
    NodeId::new(number).expect("not zero")
}

fn membership(size: u64) -> Membership {
    Membership::of_voters((1..=size).map(|n| (node_id(n), Bytes::new()))).expect("sound")
}

async fn start(network: &InProcessNetwork, number: u64, size: u64, cheap: bool) -> Node {
    let mut store = MemoryLog::new();
    let cluster = membership(size);
    bootstrap(&mut store, "test", node_id(number), &cluster).await.expect("a blank store");
    let machine = Box::new(Sum { cheap, ..Sum::default() });
    let transport = network.transport();
    // A busy machine may suspend all members for longer than the default timeouts. A leader that is
    // lost for that reason leaves outcomes unknown, which no test here is about.
    let timing = Timing { election_ticks_min: 150, election_ticks_max: 200, ..Timing::default() };
    let config = NodeConfig { timing, ..NodeConfig::default() };
    let started = Node::start(config, Box::new(store), transport, machine).await;
    started.expect("a bootstrapped store")
}

async fn start_cluster(size: u64, cheap: bool) -> Vec<Node> {
    let network = InProcessNetwork::new();
    let mut nodes = Vec::new();
    for number in 1..=size {
        nodes.push(start(&network, number, size, cheap).await);
    }
    nodes
}

async fn leader(nodes: &[Node]) -> usize {
    for _ in 0..1000 {
        let leads = |node: &Node| {
            let status = node.status();
            status.raft.soft_state.role == RoleName::Leader && !status.closed
        };
        if let Some(at) = nodes.iter().position(leads) {
            return at;
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    panic!("no member leads after 10 s");
}

/// Proposes until a member accepts the command. Retries only after an error that guarantees that
/// nothing was written.
async fn propose(node: &Node, text: &str) -> Bytes {
    for _ in 0..1000 {
        match node.propose(Bytes::copy_from_slice(text.as_bytes())).await {
            Ok(answer) => return answer,
            Err(ProposeError::NotLeader { .. } | ProposeError::Lost) => {
                tokio::time::sleep(Duration::from_millis(10)).await;
            }
            Err(error) => panic!("{error}"),
        }
    }
    panic!("no member accepted the proposal");
}

async fn read(node: &Node) -> Bytes {
    for _ in 0..1000 {
        match node.read(Bytes::new()).await {
            Ok(answer) => return answer,
            Err(ReadError::NotLeader { .. }) => {
                tokio::time::sleep(Duration::from_millis(10)).await;
            }
            Err(error) => panic!("{error}"),
        }
    }
    panic!("no member served the read");
}

async fn every_member_serves(cheap: bool) {
    let nodes = start_cluster(3, cheap).await;
    let mut sum = 0;
    for round in 0..30u64 {
        let node = &nodes[(round % 3) as usize];
        sum += round;
        assert_eq!(propose(node, &round.to_string()).await, sum.to_string());
        let reader = &nodes[((round + 1) % 3) as usize];
        assert_eq!(read(reader).await, sum.to_string(), "round {round}");
    }
    for node in &nodes {
        node.shutdown().await;
    }
}

#[tokio::test]
async fn every_member_accepts_writes_and_reads() {
    every_member_serves(false).await;
}

#[tokio::test]
async fn a_cheap_machine_is_applied_inline() {
    every_member_serves(true).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn many_clients_on_two_threads_lose_no_write() {
    let nodes = start_cluster(3, false).await;
    leader(&nodes).await;
    propose(&nodes[0], "0").await;
    let mut clients = Vec::new();
    for client in 0..64 {
        let node = nodes[client % 3].clone();
        clients.push(tokio::spawn(async move {
            for _ in 0..50 {
                propose(&node, "1").await;
            }
        }));
    }
    for client in clients {
        client.await.expect("no client fails");
    }
    assert_eq!(read(&nodes[2]).await, "3200");
}

#[tokio::test]
async fn a_single_member_serves_as_a_cluster() {
    let nodes = start_cluster(1, false).await;
    assert_eq!(propose(&nodes[0], "7").await, "7");
    assert_eq!(read(&nodes[0]).await, "7");
}

#[tokio::test]
async fn the_other_members_continue_without_the_leader() {
    let mut nodes = start_cluster(3, false).await;
    let first = leader(&nodes).await;
    propose(&nodes[first], "5").await;
    let old = nodes.remove(first);
    old.shutdown().await;
    assert_eq!(old.propose(Bytes::new()).await, Err(ProposeError::Closed));
    assert_eq!(old.read(Bytes::new()).await, Err(ReadError::Closed));
    // A proposal that is forwarded to a dead leader has an unknown outcome, so wait for its
    // successor.
    let mut status = nodes[0].watch_status();
    let gone = Some(old.status().identity.node);
    let elected = status.wait_for(|now| {
        let leader = now.raft.soft_state.leader;
        leader.is_some() && leader != gone
    });
    tokio::time::timeout(Duration::from_secs(10), elected).await.expect("in time").expect("open");
    assert_eq!(propose(&nodes[0], "2").await, "7");
    assert_eq!(read(&nodes[1]).await, "7");
}

#[tokio::test]
async fn a_minority_serves_neither_writes_nor_reads() {
    let network = InProcessNetwork::new();
    let alone = start(&network, 1, 3, false).await;
    // Longer than any election timeout.
    tokio::time::sleep(Duration::from_millis(2100)).await;
    let refused = alone.propose(Bytes::from_static(b"1")).await;
    assert_eq!(refused, Err(ProposeError::NotLeader { hint: None }));
    assert_eq!(alone.read(Bytes::new()).await, Err(ReadError::NotLeader { hint: None }));
}

#[tokio::test]
async fn a_command_beyond_the_limit_is_refused() {
    let nodes = start_cluster(1, false).await;
    leader(&nodes).await;
    let limit = NodeConfig::default().limits.command_bytes;
    let large = Bytes::from(vec![0; limit as usize + 1]);
    let refused = nodes[0].propose(large).await;
    assert_eq!(refused, Err(ProposeError::TooLarge { size: limit + 1, limit }));
}

/// A transport that records the memberships that it is given.
struct Recording(Box<dyn Transport>, Arc<Mutex<Vec<Vec<u64>>>>);

impl Transport for Recording {
    fn start(&mut self, inbound: Arc<dyn Inbound>) {
        self.0.start(inbound);
    }

    fn send(&mut self, to: NodeId, address: Option<&[u8]>, envelope: Envelope) -> bool {
        self.0.send(to, address, envelope)
    }

    fn retain(&mut self, members: &BTreeSet<NodeId>) {
        let members = members.iter().map(|node| node.get()).collect();
        self.1.lock().expect("no panic").push(members);
    }

    fn connect(&mut self, node: NodeId, address: Option<&[u8]>) {
        self.0.connect(node, address);
    }
}

#[tokio::test]
async fn a_transport_is_given_the_membership_in_force_once() {
    let given = Arc::default();
    let transport = Recording(InProcessNetwork::new().transport(), Arc::clone(&given));
    let mut store = MemoryLog::new();
    bootstrap(&mut store, "test", node_id(1), &membership(1)).await.expect("a blank store");
    let (machine, config) = (Box::<Sum>::default(), NodeConfig::default());
    let node = Node::start(config, Box::new(store), Box::new(transport), machine).await;
    let nodes = [node.expect("a bootstrapped store")];
    leader(&nodes).await;
    assert_eq!(propose(&nodes[0], "5").await, "5");
    assert_eq!(*given.lock().expect("no panic"), [[1]]);
}

#[tokio::test]
async fn a_blank_store_does_not_start() {
    let store: Box<dyn Store> = Box::new(MemoryLog::new());
    let network = InProcessNetwork::new();
    let machine = Box::<Sum>::default();
    let started = Node::start(NodeConfig::default(), store, network.transport(), machine).await;
    assert!(matches!(started.err(), Some(StartError::NotBootstrapped)));
}

/// Clients of the leader propose without a pause while it hands over. Each command is applied once:
/// those that the leader had appended are the next leader's too, and the others wait for it.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_leader_hands_over_without_a_failed_command() {
    const COMMANDS: u64 = 300;
    let nodes = start_cluster(3, true).await;
    let from = leader(&nodes).await;
    let to = (from + 1) % 3;
    propose(&nodes[from], "0").await;
    let node = nodes[from].clone();
    let clients = tokio::spawn(async move {
        for expected in 1..=COMMANDS {
            let sum = node.propose(Bytes::from_static(b"1")).await.expect("no command fails");
            assert_eq!(sum, expected.to_string());
        }
    });
    nodes[from].transfer(node_id(to as u64 + 1)).await.expect("the other member is up");
    assert_eq!(leader(&nodes).await, to);
    clients.await.expect("every command is answered");
    assert_eq!(read(&nodes[to]).await, COMMANDS.to_string());
    for node in &nodes {
        node.shutdown().await;
    }
}

#[tokio::test]
async fn a_transfer_that_is_impossible_is_refused() {
    let nodes = start_cluster(3, true).await;
    let leads = leader(&nodes).await;
    propose(&nodes[leads], "0").await;
    let refused = |why| Err(TransferError::Refused(why));
    let own = node_id(leads as u64 + 1);
    assert_eq!(nodes[leads].transfer(own).await, refused(TransferRefusal::ToItself));
    assert_eq!(nodes[leads].transfer(node_id(9)).await, refused(TransferRefusal::NotAMember));
    let other = &nodes[(leads + 1) % 3];
    other.wait_for_leader().await.expect("it is up");
    let hint = Some(own);
    let asked = other.transfer(node_id(9)).await;
    assert_eq!(asked, refused(TransferRefusal::NotLeader { hint }));
    nodes[leads].shutdown().await;
    assert_eq!(nodes[leads].transfer(node_id(9)).await, Err(TransferError::Closed));
}
