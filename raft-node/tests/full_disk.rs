//! A member whose disk is full waits for free space, and can be shut down while it waits.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use log_memory::MemoryLog;
use raft_core::storage::{
    BatchStore, Durability, LogBounds, LogError, LogErrorKind, LogOp, LogReader, StableState,
    StoreInfo, WriteBatch,
};
use raft_core::types::{Identity, Membership, NodeId};
use raft_node::{
    Committed, Fatal, InProcessNetwork, Node, NodeConfig, Replies, StateMachine, bootstrap,
};
use tokio::time::timeout;

/// A log in memory whose disk may be full.
struct Full {
    log: MemoryLog,
    disk: Arc<Disk>,
    may_block: bool,
}

#[derive(Default)]
struct Disk {
    is_full: AtomicBool,
    refusals: AtomicU32,
}

#[async_trait]
impl BatchStore for Full {
    fn declaration(&self) -> StoreInfo {
        let info = self.log.declaration();
        StoreInfo { durability: Durability::PowerLoss, may_block: self.may_block, ..info }
    }
    fn log_bounds(&self) -> LogBounds {
        self.log.log_bounds()
    }
    fn log_reader(&self) -> Box<dyn LogReader> {
        self.log.log_reader()
    }
    fn stable_state(&self, op: LogOp) -> Result<StableState, LogError> {
        self.log.stable_state(op)
    }
    fn check_usable(&self, op: LogOp) -> Result<(), LogError> {
        self.log.check_usable(op)
    }
    async fn change(&mut self, op: LogOp, batch: WriteBatch) -> Result<(), LogError> {
        if self.disk.is_full.load(Ordering::SeqCst) {
            self.disk.refusals.fetch_add(1, Ordering::SeqCst);
            let full = LogError::new(op, LogErrorKind::NoSpace).at("a disk of the test");
            return Err(full.giving_back(batch));
        }
        self.log.change(op, batch).await
    }
    async fn write_identity(&mut self, identity: Identity) -> Result<(), LogError> {
        self.log.write_identity(identity).await
    }
}

struct Echo;

impl StateMachine for Echo {
    fn apply(&mut self, commands: &[Committed], replies: &mut Replies) -> Result<(), Fatal> {
        commands.iter().for_each(|committed| replies.push(committed.command.clone()));
        Ok(())
    }

    fn read(&self, _query: &[u8]) -> Bytes {
        Bytes::new()
    }
}

/// A member that leads a cluster of one, and its disk.
async fn start(may_block: bool) -> (Node, Arc<Disk>) {
    let disk = Arc::<Disk>::default();
    let mut store = Full { log: MemoryLog::new(), disk: Arc::clone(&disk), may_block };
    let id = NodeId::new(1).expect("not zero");
    let membership = Membership::of_voters([(id, Bytes::new())]).expect("sound");
    bootstrap(&mut store, "full", id, &membership).await.expect("blank");
    let transport = InProcessNetwork::new().transport();
    let (store, machine) = (Box::new(store), Box::new(Echo));
    let node = Node::start(NodeConfig::default(), store, transport, machine).await;
    let node = node.expect("it starts");
    let mut status = node.watch_status();
    status.wait_for(|now| now.raft.soft_state.leader.is_some()).await.expect("it lives");
    (node, disk)
}

/// Fails if the future does not end.
async fn ended<F: Future>(what: &str, future: F) -> F::Output {
    timeout(Duration::from_secs(60), future).await.unwrap_or_else(|_| panic!("it hangs: {what}"))
}

async fn is_refused_again(disk: &Disk) {
    let before = disk.refusals.load(Ordering::SeqCst);
    while disk.refusals.load(Ordering::SeqCst) < before + 2 {
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

/// What went wrong: the first write without space stopped the member, and each start after it ended
/// with the first write, too.
#[tokio::test]
async fn a_member_without_space_continues_once_there_is_some() {
    for may_block in [true, false] {
        let (node, disk) = start(may_block).await;
        node.propose("before".into()).await.expect("there is space");
        disk.is_full.store(true, Ordering::SeqCst);
        let proposed = tokio::spawn({
            let node = node.clone();
            async move { node.propose("meanwhile".into()).await }
        });
        ended("the write is tried again", is_refused_again(&disk)).await;
        assert_eq!(node.status().stopped, None);
        disk.is_full.store(false, Ordering::SeqCst);
        // As the only member, it leads again; the first client may have given up by then.
        let _ = ended("the first answer", proposed).await.expect("no panic");
        let accepted = async {
            while node.propose("after".into()).await.is_err() {
                assert_eq!(node.status().stopped, None);
            }
        };
        ended("a command is accepted", accepted).await;
        ended("the shutdown", node.shutdown()).await;
    }
}

/// What went wrong: the writer waited for space for ever, and so did the call that shut the member
/// down.
#[tokio::test]
async fn a_member_that_waits_for_space_can_be_shut_down() {
    for may_block in [true, false] {
        let (node, disk) = start(may_block).await;
        disk.is_full.store(true, Ordering::SeqCst);
        let proposed = tokio::spawn({
            let node = node.clone();
            async move { node.propose("meanwhile".into()).await }
        });
        ended("the write is tried again", is_refused_again(&disk)).await;
        ended("the shutdown", node.shutdown()).await;
        let answer = ended("the answer", proposed).await.expect("no panic");
        answer.expect_err("it was not written");
    }
}
