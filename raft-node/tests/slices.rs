//! A state machine that needs many calls for one command: the member does other work between the
//! calls.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::sync::mpsc::{self, RecvTimeoutError};
use std::time::Duration;

use bytes::Bytes;
use log_memory::MemoryLog;
use raft_core::types::{Membership, NodeId};
use raft_node::{
    Committed, Fatal, InProcessNetwork, Node, NodeConfig, Replies, StateMachine, bootstrap,
};
use tokio::runtime::Builder;
use tokio::time::sleep;

/// Finishes the command `slow` only once the gate is open, and answers each command with itself.
struct Slow {
    gate: Arc<Gate>,
    is_cheap: bool,
    is_unfinished: bool,
}

#[derive(Default)]
struct Gate {
    is_open: AtomicBool,
    calls: AtomicU32,
}

impl Gate {
    /// Waits until the machine was called this many times more.
    async fn is_called_again(&self, times: u32) {
        let before = self.calls.load(Ordering::SeqCst);
        while self.calls.load(Ordering::SeqCst) < before + times {
            sleep(Duration::from_millis(1)).await;
        }
    }
}

impl StateMachine for Slow {
    fn apply(&mut self, commands: &[Committed], replies: &mut Replies) -> Result<(), Fatal> {
        self.gate.calls.fetch_add(1, Ordering::SeqCst);
        self.is_unfinished = false;
        for committed in &commands[replies.len()..] {
            if committed.command == "slow" && !self.gate.is_open.load(Ordering::SeqCst) {
                self.is_unfinished = true;
                return Ok(());
            }
            replies.push(committed.command.clone());
        }
        Ok(())
    }

    fn is_unfinished(&self) -> bool {
        self.is_unfinished
    }

    fn read(&self, _query: &[u8]) -> Bytes {
        Bytes::new()
    }

    fn is_cheap(&self) -> bool {
        self.is_cheap
    }
}

/// Runs a scenario for each kind of machine on a runtime of a single thread, which a member that
/// does not yield occupies. Fails if the scenario does not end.
fn run(scenario: impl AsyncFn(bool) + Send + 'static) {
    let (sender, ended) = mpsc::channel();
    let thread = std::thread::spawn(move || {
        let runtime = Builder::new_current_thread().enable_all().build().expect("a runtime");
        for is_cheap in [true, false] {
            runtime.block_on(scenario(is_cheap));
        }
        sender.send(()).expect("it is awaited");
    });
    if ended.recv_timeout(Duration::from_secs(60)) == Err(RecvTimeoutError::Timeout) {
        panic!("the scenario hangs");
    }
    thread.join().expect("the scenario succeeds");
}

async fn start(is_cheap: bool) -> (Node, Arc<Gate>) {
    let (gate, mut store) = (Arc::<Gate>::default(), MemoryLog::new());
    let id = NodeId::new(1).expect("not zero");
    let membership = Membership::of_voters([(id, Bytes::new())]).expect("sound");
    bootstrap(&mut store, "slices", id, &membership).await.expect("blank");
    let machine = Slow { gate: Arc::clone(&gate), is_cheap, is_unfinished: false };
    let (store, transport) = (Box::new(store), InProcessNetwork::new().transport());
    let node = Node::start(NodeConfig::default(), store, transport, Box::new(machine)).await;
    let node = node.expect("it starts");
    let mut status = node.watch_status();
    status.wait_for(|now| now.raft.soft_state.leader.is_some()).await.expect("it lives");
    (node, gate)
}

/// What went wrong: a command that took long was applied in one call, and the member sent no
/// heartbeat meanwhile.
#[test]
fn a_member_commits_more_while_a_command_is_unfinished() {
    run(async |is_cheap| {
        let (node, gate) = start(is_cheap).await;
        let propose = |command: &'static str| {
            let node = node.clone();
            tokio::spawn(async move { node.propose(command.into()).await })
        };
        let mut status = node.watch_status();
        let before = status.borrow_and_update().raft.commit;
        let slow = propose("slow");
        gate.is_called_again(1).await;
        let after = propose("after");
        let works = status.wait_for(|now| now.raft.commit >= before.plus(2));
        works.await.expect("it lives");
        gate.is_called_again(3).await;
        assert!(!slow.is_finished() && !after.is_finished());
        gate.is_open.store(true, Ordering::SeqCst);
        assert_eq!(slow.await.expect("no panic").expect("applied"), "slow");
        assert_eq!(after.await.expect("no panic").expect("applied"), "after");
        node.shutdown().await;
    });
}

#[test]
fn a_member_with_an_unfinished_command_can_be_shut_down() {
    run(async |is_cheap| {
        let (node, gate) = start(is_cheap).await;
        let slow = tokio::spawn({
            let node = node.clone();
            async move { node.propose("slow".into()).await }
        });
        gate.is_called_again(3).await;
        node.shutdown().await;
        slow.await.expect("no panic").expect_err("it was not applied");
    });
}
