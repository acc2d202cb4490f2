//! A panic anywhere in a member ends that member, and no call is left waiting: every call returns,
//! the status names the cause, `shutdown` returns, and no task of a client unwinds.

mod support;

use std::collections::BTreeSet;
use std::future::Future;
use std::sync::Arc;
use std::sync::atomic::{AtomicU8, AtomicUsize, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use log_memory::MemoryLog;
use raft_core::storage::{LogError, StoreInfo};
use raft_core::types::NodeId;
use raft_node::{
    Committed, Envelope, Fatal, InProcessNetwork, Inbound, Limits, Node, NodeConfig, ProposeError,
    ReadError, Replies, StateMachine, Transport, bootstrap,
};
use support::{ChangedLog, Changes, membership_of, node_id};
use tokio::time::timeout;

/// The fault that a test injects into a part of the member.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
enum Fault {
    Apply = 1,
    ApplyFatal,
    TooFewAnswers,
    Read,
    Write,
    Send,
}

/// The injected fault, shared by all parts of a member.
#[derive(Clone, Default)]
struct Faults(Arc<AtomicU8>);

impl Faults {
    fn inject(&self, fault: Fault) {
        self.0.store(fault as u8, Ordering::SeqCst);
    }

    fn is(&self, fault: Fault) -> bool {
        self.0.load(Ordering::SeqCst) == fault as u8
    }

    fn panic_if(&self, fault: Fault) {
        assert!(!self.is(fault), "injected by the test: {fault:?}");
    }
}

/// Answers each command with nothing.
struct Machine {
    faults: Faults,
    is_cheap: bool,
}

impl StateMachine for Machine {
    fn apply(&mut self, commands: &[Committed], replies: &mut Replies) -> Result<(), Fatal> {
        self.faults.panic_if(Fault::Apply);
        if self.faults.is(Fault::ApplyFatal) {
            return Err(Fatal::new("injected by the test: fatal"));
        }
        if !self.faults.is(Fault::TooFewAnswers) {
            commands.iter().for_each(|_| replies.push(Bytes::new()));
        }
        Ok(())
    }

    fn read(&self, _query: &[u8]) -> Bytes {
        self.faults.panic_if(Fault::Read);
        Bytes::new()
    }

    fn is_cheap(&self) -> bool {
        self.is_cheap
    }
}

/// A memory log whose writes panic, on a thread or inline.
#[derive(Clone)]
struct PanickingWrites {
    faults: Faults,
    is_threaded: bool,
}

#[async_trait]
impl Changes for PanickingWrites {
    fn declare(&self, info: StoreInfo) -> StoreInfo {
        StoreInfo { may_block: self.is_threaded, ..info }
    }

    fn read_may_block(&self) -> bool {
        self.is_threaded
    }

    async fn before_write(&self) -> Result<(), LogError> {
        self.faults.panic_if(Fault::Write);
        Ok(())
    }
}

/// A transport whose `send` can panic.
struct Sending {
    transport: Box<dyn Transport>,
    faults: Faults,
}

impl Transport for Sending {
    fn start(&mut self, inbound: Arc<dyn Inbound>) {
        self.transport.start(inbound);
    }

    fn send(&mut self, to: NodeId, address: Option<&[u8]>, envelope: Envelope) -> bool {
        self.faults.panic_if(Fault::Send);
        self.transport.send(to, address, envelope)
    }

    fn retain(&mut self, members: &BTreeSet<NodeId>) {
        self.transport.retain(members);
    }

    fn connect(&mut self, node: NodeId, address: Option<&[u8]>) {
        self.transport.connect(node, address);
    }
}

/// How the test's cluster is built.
#[derive(Clone, Copy)]
struct ClusterShape {
    members: u64,
    is_threaded: bool,
    is_cheap: bool,
}

async fn start(shape: ClusterShape) -> (Vec<Node>, Vec<Faults>) {
    let network = InProcessNetwork::new();
    let membership = membership_of(shape.members);
    let (mut nodes, mut all_faults) = (Vec::new(), Vec::new());
    for number in 1..=shape.members {
        let faults = Faults::default();
        let changes = PanickingWrites { faults: faults.clone(), is_threaded: shape.is_threaded };
        let mut log = ChangedLog { log: MemoryLog::new(), changes };
        bootstrap(&mut log, "panics", node_id(number), &membership).await.expect("blank");
        let machine = Machine { faults: faults.clone(), is_cheap: shape.is_cheap };
        let transport = Sending { transport: network.transport(), faults: faults.clone() };
        // The limit is low enough that some of the clients below wait for the quota.
        let limits = Limits { proposals: 4, ..Limits::default() };
        let config = NodeConfig { limits, ..NodeConfig::default() };
        let (log, transport) = (Box::new(log), Box::new(transport));
        let node = Node::start(config, log, transport, Box::new(machine)).await;
        nodes.push(node.expect("it starts"));
        all_faults.push(faults);
    }
    (nodes, all_faults)
}

/// Waits for at most 20 seconds.
async fn soon<T>(what: &str, future: impl Future<Output = T>) -> T {
    timeout(Duration::from_secs(20), future).await.unwrap_or_else(|_| panic!("it hangs: {what}"))
}

/// Injects a fault into a member while clients propose and read, and checks that all calls return.
async fn ends_every_call(node: &Node, faults: &Faults, fault: Fault, says: &str) {
    let mut clients = Vec::new();
    let answered = Arc::<AtomicUsize>::default();
    for client in 0..16 {
        let (node, answered) = (node.clone(), Arc::clone(&answered));
        clients.push(tokio::spawn(async move {
            // The client repeats its call until the member has ended, so that some calls are under
            // way then.
            for round in 0.. {
                let closed = if client % 4 == 0 {
                    matches!(node.read(Bytes::new()).await, Err(ReadError::Closed))
                } else {
                    matches!(node.propose(Bytes::new()).await, Err(ProposeError::Closed))
                };
                if closed {
                    return round;
                }
                answered.fetch_add(1, Ordering::Relaxed);
                tokio::task::yield_now().await;
            }
            unreachable!("the rounds have no end")
        }));
    }
    // The clients are busy: some wait for their answers, and some for the quota.
    let are_busy = async {
        while answered.load(Ordering::Relaxed) < 100 && !node.status().closed {
            tokio::task::yield_now().await;
        }
    };
    soon("a hundred answers", are_busy).await;
    faults.inject(fault);
    for client in clients {
        soon("a client", client).await.expect("no client's task unwinds");
    }
    let status = node.status();
    let stopped = status.stopped.clone().expect("the status says why");
    assert!(stopped.contains(says) && stopped.contains("injected"), "{stopped}");
    assert!(status.closed && !status.damaged);
    let many = (0..9).map(|_| Bytes::new());
    let many = soon("propose_many", node.propose_many(many)).await;
    assert!(many.iter().all(|answer| *answer == Err(ProposeError::Closed)));
    assert_eq!(
        soon("try_propose", node.try_propose(Bytes::new())).await,
        Err(ProposeError::Closed)
    );
    assert_eq!(soon("a barrier", node.barrier()).await, Err(ReadError::Closed));
    soon("shutdown", node.shutdown()).await;
    soon("a second shutdown", node.shutdown()).await;
}

/// Runs `ends_every_call` with the store threaded and inline, and with a cheap and a costly
/// machine.
async fn ends_in_all_ways(fault: Fault, says: &str) {
    for is_threaded in [false, true] {
        for is_cheap in [false, true] {
            let (nodes, faults) = start(ClusterShape { members: 1, is_threaded, is_cheap }).await;
            soon("a leader", nodes[0].wait_for_leader()).await.expect("it runs");
            ends_every_call(&nodes[0], &faults[0], fault, says).await;
        }
    }
}

#[tokio::test]
async fn a_panic_in_apply_ends_the_member() {
    ends_in_all_ways(Fault::Apply, "the state machine panicked").await;
}

#[tokio::test]
async fn a_state_machine_that_cannot_apply_ends_the_member() {
    ends_in_all_ways(Fault::ApplyFatal, "the state machine failed").await;
}

#[tokio::test]
async fn a_panic_in_a_read_ends_the_member() {
    ends_in_all_ways(Fault::Read, "the state machine panicked").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_panic_in_a_write_ends_the_member() {
    ends_in_all_ways(Fault::Write, "the log store panicked").await;
}

#[tokio::test]
async fn a_state_machine_that_leaves_out_answers_ends_the_member() {
    let (nodes, faults) =
        start(ClusterShape { members: 1, is_threaded: false, is_cheap: false }).await;
    let node = &nodes[0];
    soon("a leader", node.wait_for_leader()).await.expect("it runs");
    assert_eq!(soon("the first", node.propose(Bytes::new())).await, Ok(Bytes::new()));
    faults[0].inject(Fault::TooFewAnswers);
    let outcome = soon("the second", node.propose(Bytes::new())).await;
    assert_eq!(
        outcome,
        Err(ProposeError::Unknown),
        "it is committed, and the machine gave no answer"
    );
    soon("the end", async {
        while !node.status().closed {
            tokio::task::yield_now().await
        }
    })
    .await;
    let stopped = node.status().stopped.clone().expect("the status says why");
    assert!(stopped.contains("answers each command of a batch once"), "{stopped}");
}

/// Here the turn itself panics, and a client's task takes the turn.
#[tokio::test]
async fn a_panic_in_the_turn_of_a_client_ends_the_member_and_not_the_client() {
    let (nodes, faults) =
        start(ClusterShape { members: 3, is_threaded: false, is_cheap: true }).await;
    let leader = soon("a leader", nodes[0].wait_for_leader()).await.expect("it runs");
    let at = leader.get() as usize - 1;
    // The writes follow one another, so from the second on the client takes the turn itself.
    for _ in 0..10 {
        soon("a write", nodes[at].propose(Bytes::new())).await.expect("a stable leader");
    }
    faults[at].inject(Fault::Send);
    let outcome = soon("the write", nodes[at].propose(Bytes::new())).await;
    assert_eq!(outcome, Err(ProposeError::Unknown), "it may have been sent");
    ends_every_call(&nodes[at], &faults[at], Fault::Send, "a turn of the member panicked").await;
    // Its links are closed, and the others elect a leader among themselves.
    let other = (at + 1) % 3;
    let mut status = nodes[other].watch_status();
    let has_successor = |now: &Arc<raft_node::NodeStatus>| {
        now.raft.soft_state.leader.is_some_and(|now| now != leader)
    };
    soon("a successor", status.wait_for(has_successor)).await.expect("it runs");
    soon("a write", async {
        while nodes[other].propose(Bytes::new()).await.is_err() {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    })
    .await;
}

/// Many clients on two threads: a turn panics while other clients wait for the lock and for the
/// quota, and while events wait in the mailbox.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_panic_in_the_turn_ends_the_member_for_many_clients() {
    for is_threaded in [false, true] {
        let (nodes, faults) =
            start(ClusterShape { members: 3, is_threaded, is_cheap: false }).await;
        let leader = soon("a leader", nodes[0].wait_for_leader()).await.expect("it runs");
        let at = leader.get() as usize - 1;
        let says = "a turn of the member panicked";
        ends_every_call(&nodes[at], &faults[at], Fault::Send, says).await;
    }
}
