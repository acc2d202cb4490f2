//! Members that take snapshots, and start from them.

use std::collections::BTreeMap;
use std::fs;
use std::io::{self, Read, Write};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use bytes::Bytes;
use lasting::Lasting;
use log_memory::{MemoryDisk, MemoryLog, SyncMode};
use raft_core::storage::{Store, WriteBatch};
use raft_core::types::EntryId;
use raft_node::{
    Application, Committed, FEATURE_LEVEL, Fatal, InProcessNetwork, Limits, Node, NodeConfig,
    NodeEvent, NodeStatus, Replies, Snapshot, SnapshotDir, SnapshotError, StartError, StateMachine,
    TypedNode, bootstrap,
};
use serde::{Deserialize, Serialize};
use support::{ChangedLog, membership_of, node_id};
use tempfile::TempDir;
use tokio::task::JoinHandle;
use tokio::time::timeout;

#[path = "../support/lasting.rs"]
mod lasting;
mod restart;
#[path = "../support/mod.rs"]
mod support;
mod transfer;

/// The time limit for what takes milliseconds on an idle machine.
const PATIENCE: Duration = Duration::from_secs(60);

/// How a state machine behaves.
#[derive(Debug, Default)]
struct Behaviour {
    /// Commands that were applied by all state machines of the test.
    applied: AtomicU64,
    /// Each command takes two calls.
    in_slices: AtomicBool,
    /// A snapshot is written only once this is set.
    may_write: AtomicBool,
    /// Snapshots cannot be written.
    fails: AtomicBool,
    /// A snapshot ends as if it were written, when its output fails.
    ignores_errors: AtomicBool,
}

/// Counts and sums the numbers that are its commands.
struct Sum {
    count: u64,
    sum: u64,
    /// Whether the last command is half applied: its number is counted and not added.
    is_half_done: bool,
    is_cheap: bool,
    behaviour: Arc<Behaviour>,
}

impl Sum {
    fn new(is_cheap: bool, behaviour: &Arc<Behaviour>) -> Sum {
        let behaviour = Arc::clone(behaviour);
        Sum { count: 0, sum: 0, is_half_done: false, is_cheap, behaviour }
    }
}

fn number(command: &[u8]) -> u64 {
    u64::from_le_bytes(command.try_into().expect("eight bytes"))
}

fn command(number: u64) -> Bytes {
    number.to_le_bytes().to_vec().into()
}

impl StateMachine for Sum {
    fn apply(&mut self, commands: &[Committed], replies: &mut Replies) -> Result<(), Fatal> {
        for committed in &commands[replies.len()..] {
            if !self.is_half_done {
                self.count += 1;
                if self.behaviour.in_slices.load(Ordering::Relaxed) {
                    self.is_half_done = true;
                    return Ok(());
                }
            }
            self.is_half_done = false;
            self.sum += number(&committed.command);
            self.behaviour.applied.fetch_add(1, Ordering::Relaxed);
            replies.push(Bytes::new());
        }
        Ok(())
    }

    fn is_unfinished(&self) -> bool {
        self.is_half_done
    }

    fn snapshot(&mut self) -> io::Result<Box<dyn Snapshot>> {
        assert!(!self.is_half_done, "pinned in the middle of a command");
        let state = [self.count, self.sum];
        Ok(Box::new(Pinned { state, behaviour: Arc::clone(&self.behaviour) }))
    }

    fn restore(&mut self, _last: EntryId, reader: &mut dyn Read) -> Result<(), Fatal> {
        let mut bytes = Vec::new();
        reader.read_to_end(&mut bytes).map_err(|error| Fatal::new(error.to_string()))?;
        let [count, sum] = [0, 8].map(|at| number(&bytes[at..at + 8]));
        (self.count, self.sum) = (count, sum);
        Ok(())
    }

    fn read(&self, _query: &[u8]) -> Bytes {
        [self.count.to_le_bytes(), self.sum.to_le_bytes()].concat().into()
    }

    fn is_cheap(&self) -> bool {
        self.is_cheap
    }
}

struct Pinned {
    state: [u64; 2],
    behaviour: Arc<Behaviour>,
}

impl Snapshot for Pinned {
    fn write_to(self: Box<Self>, out: &mut dyn Write) -> io::Result<()> {
        let of_behaviour = |flag: &AtomicBool| flag.load(Ordering::Relaxed);
        while !of_behaviour(&self.behaviour.may_write) {
            // Fails once the member ends.
            match out.write(&[]) {
                Err(_) if of_behaviour(&self.behaviour.ignores_errors) => return Ok(()),
                written => drop(written?),
            }
            std::thread::yield_now();
        }
        if of_behaviour(&self.behaviour.fails) {
            return Err(io::ErrorKind::StorageFull.into());
        }
        self.state.iter().try_for_each(|number| out.write_all(&number.to_le_bytes()))
    }
}

/// The disk of one member: its log, and a directory.
struct Place {
    /// The member, and how many members the cluster has.
    node: u64,
    size: u64,
    log: MemoryDisk,
    dir: TempDir,
}

impl Place {
    fn new() -> Place {
        Place::of(1, 1)
    }

    fn of(node: u64, size: u64) -> Place {
        Place {
            node,
            size,
            log: MemoryDisk::new(SyncMode::EachWrite),
            dir: tempfile::tempdir().expect("a directory"),
        }
    }

    fn snapshots(&self) -> SnapshotDir {
        SnapshotDir::look(self.dir.path().join("snapshots"))
    }

    async fn store(&self) -> ChangedLog<Lasting> {
        let log = MemoryLog::open(&self.log).expect("the disk is free");
        let mut store = ChangedLog { log, changes: Lasting };
        let members = membership_of(self.size);
        bootstrap(&mut store, "snapshots", node_id(self.node), &members).await.expect("its own");
        store
    }

    fn config(&self, limits: Limits) -> NodeConfig {
        let snapshots = Some(self.dir.path().join("snapshots"));
        NodeConfig { snapshots, limits, ..NodeConfig::default() }
    }

    async fn start(&self, limits: Limits, machine: Sum) -> Result<Node, StartError> {
        let transport = InProcessNetwork::new().transport();
        let (config, store) = (self.config(limits), Box::new(self.store().await));
        let node = Node::start(config, store, transport, Box::new(machine)).await?;
        let leads = timeout(PATIENCE, node.wait_for_leader()).await;
        leads.expect("it leads soon").expect("it runs");
        Ok(node)
    }
}

fn behaviour() -> Arc<Behaviour> {
    let behaviour = Arc::<Behaviour>::default();
    behaviour.may_write.store(true, Ordering::Relaxed);
    behaviour
}

/// Count and sum, as a read returns them.
async fn state(node: &Node) -> [u64; 2] {
    let answer = node.read(Bytes::new()).await.expect("it leads");
    [0, 8].map(|at| number(&answer[at..at + 8]))
}

async fn propose(node: &Node, numbers: std::ops::RangeInclusive<u64>) {
    for number in numbers {
        node.propose(command(number)).await.expect("it leads");
    }
}

#[tokio::test]
async fn a_member_starts_from_its_newest_snapshot_and_applies_only_what_follows() {
    for is_cheap in [true, false] {
        let (place, behaviour) = (Place::new(), behaviour());
        let node = place.start(Limits::default(), Sum::new(is_cheap, &behaviour)).await;
        let node = node.expect("it starts");
        // A new leader raises the feature level by an entry of its own.
        let mut status = node.watch_status();
        let is_raised = |now: &Arc<NodeStatus>| now.feature_level == FEATURE_LEVEL;
        timeout(PATIENCE, status.wait_for(is_raised)).await.expect("soon").expect("it runs");
        propose(&node, 1..=100).await;
        let last = node.snapshot().await.expect("taken");
        assert_eq!(place.snapshots().list().expect("listed"), [last]);
        assert_eq!(node.snapshot().await, Ok(last), "nothing was applied since");
        propose(&node, 101..=110).await;
        assert_eq!(state(&node).await, [110, 110 * 111 / 2]);
        node.shutdown().await;

        behaviour.applied.store(0, Ordering::Relaxed);
        let node = place.start(Limits::default(), Sum::new(is_cheap, &behaviour)).await;
        let node = node.expect("it starts");
        assert_eq!(state(&node).await, [110, 110 * 111 / 2]);
        assert_eq!(behaviour.applied.load(Ordering::Relaxed), 10, "cheap: {is_cheap}");
        let shown = node.status().snapshot.expect("it has one");
        assert_eq!(shown.last, last);
        node.shutdown().await;
    }
}

#[tokio::test]
async fn snapshots_are_taken_after_so_many_entries_while_commands_are_applied_in_slices() {
    for is_cheap in [true, false] {
        let (place, behaviour) = (Place::new(), behaviour());
        behaviour.in_slices.store(true, Ordering::Relaxed);
        let limits = Limits { snapshot_entries: 7, ..Limits::default() };
        let node = place.start(limits, Sum::new(is_cheap, &behaviour)).await.expect("it starts");
        let mut events = node.events();
        propose(&node, 1..=60).await;
        let last = node.snapshot().await.expect("taken");
        node.shutdown().await;
        let mut taken = Vec::new();
        while let Ok(event) = events.try_recv() {
            if let NodeEvent::SnapshotTaken(one) = event {
                taken.push(one.last.index.get());
            }
        }
        assert!(taken.len() > 1 && taken.is_sorted(), "{taken:?}");
        assert_eq!(place.snapshots().list().expect("listed"), [last], "older ones are removed");
        let node = place.start(Limits::default(), Sum::new(is_cheap, &behaviour)).await;
        assert_eq!(state(&node.expect("it starts")).await, [60, 60 * 61 / 2]);
    }
}

/// Asks for a snapshot, and returns once the request is under way.
async fn ask_for_snapshot(node: &Node) -> JoinHandle<Result<EntryId, SnapshotError>> {
    let asked = node.clone();
    let snapshot = tokio::spawn(async move { asked.snapshot().await });
    tokio::task::yield_now().await;
    snapshot
}

/// The pinned state does not change, and the member does not wait for the writer.
#[tokio::test]
async fn commands_are_applied_while_a_snapshot_is_written() {
    let (place, behaviour) = (Place::new(), behaviour());
    behaviour.may_write.store(false, Ordering::Relaxed);
    let node = place.start(Limits::default(), Sum::new(true, &behaviour)).await.expect("it starts");
    propose(&node, 1..=10).await;
    let snapshot = ask_for_snapshot(&node).await;
    propose(&node, 11..=20).await;
    assert_eq!(state(&node).await, [20, 210]);
    assert_eq!(place.snapshots().list().expect("listed"), []);
    behaviour.may_write.store(true, Ordering::Relaxed);
    let last = snapshot.await.expect("no panic").expect("taken");
    let mut state = Vec::new();
    place.snapshots().open(last).expect("sound").read_to_end(&mut state).expect("sound");
    assert_eq!([0, 8].map(|at| number(&state[at..at + 8])), [10, 55]);
}

#[tokio::test]
async fn a_member_that_ends_gives_up_the_snapshot_that_is_being_written() {
    end_while_a_snapshot_is_written(false).await;
    end_while_a_snapshot_is_written(true).await;
}

async fn end_while_a_snapshot_is_written(ignores_errors: bool) {
    let (place, behaviour) = (Place::new(), behaviour());
    behaviour.ignores_errors.store(ignores_errors, Ordering::Relaxed);
    behaviour.may_write.store(false, Ordering::Relaxed);
    let node = place.start(Limits::default(), Sum::new(true, &behaviour)).await.expect("it starts");
    propose(&node, 1..=10).await;
    let snapshot = ask_for_snapshot(&node).await;
    timeout(PATIENCE, node.shutdown()).await.expect("it does not wait for the snapshot");
    assert_eq!(snapshot.await.expect("no panic"), Err(SnapshotError::Closed));
    assert_eq!(node.snapshot().await, Err(SnapshotError::Closed));
    let left = fs::read_dir(place.dir.path().join("snapshots")).expect("listed").count();
    assert_eq!(left, 0, "nothing is left over");
}

#[tokio::test]
async fn a_snapshot_that_cannot_be_written_is_reported_and_the_member_goes_on() {
    let (place, behaviour) = (Place::new(), behaviour());
    behaviour.fails.store(true, Ordering::Relaxed);
    let node = place.start(Limits::default(), Sum::new(true, &behaviour)).await.expect("it starts");
    let mut events = node.events();
    propose(&node, 1..=10).await;
    let Err(SnapshotError::Failed(reason)) = node.snapshot().await else { panic!("it is full") };
    assert!(reason.contains("no space in"), "{reason}");
    let is_failure = |event: &NodeEvent| match event {
        NodeEvent::SnapshotFailed(why) => why.contains(&reason),
        _ => false,
    };
    while !is_failure(&events.recv().await.expect("the member runs")) {}
    propose(&node, 11..=20).await;
    behaviour.fails.store(false, Ordering::Relaxed);
    node.snapshot().await.expect("there is space again");
    let mut status = node.watch_status();
    let is_counted = |now: &Arc<NodeStatus>| now.counters.snapshots_failed == 1;
    status.wait_for(is_counted).await.expect("the member runs");
}

/// A state machine without snapshots, which is what the trait's default is.
struct Plain;

impl StateMachine for Plain {
    fn apply(&mut self, commands: &[Committed], replies: &mut Replies) -> Result<(), Fatal> {
        commands[replies.len()..].iter().for_each(|_| replies.push(Bytes::new()));
        Ok(())
    }

    fn read(&self, _query: &[u8]) -> Bytes {
        Bytes::new()
    }
}

#[tokio::test]
async fn a_state_machine_without_snapshots_is_asked_once_and_that_is_no_failure() {
    let place = Place::new();
    let transport = InProcessNetwork::new().transport();
    let (config, store) = (place.config(Limits::default()), Box::new(place.store().await));
    let node = Node::start(config, store, transport, Box::new(Plain)).await.expect("it starts");
    node.wait_for_leader().await.expect("it leads");
    for _ in 0..2 {
        propose(&node, 1..=3).await;
        assert_eq!(node.snapshot().await, Err(SnapshotError::Unsupported));
    }
    node.shutdown().await;
    assert_eq!(node.status().counters.snapshots_failed, 0);
}

#[derive(Clone, Default, Serialize, Deserialize)]
struct Words {
    counts: BTreeMap<String, u64>,
}

impl Application for Words {
    type Command = String;
    type Response = u64;
    type Query = String;
    type Answer = u64;

    fn apply(&mut self, word: String) -> u64 {
        let count = self.counts.entry(word).or_default();
        *count += 1;
        *count
    }

    fn read(&self, word: String) -> u64 {
        self.counts.get(&word).copied().unwrap_or(0)
    }
}

/// The log is reset behind the snapshot, so that only the snapshot has the words.
#[tokio::test]
async fn an_application_of_serde_types_is_restored_without_code_of_its_own() {
    let place = Place::new();
    let start = async || {
        let transport = InProcessNetwork::new().transport();
        let (config, store) = (place.config(Limits::default()), Box::new(place.store().await));
        let node = TypedNode::start(config, store, transport, Words::default()).await;
        let node = node.expect("it starts");
        node.node().wait_for_leader().await.expect("it leads");
        node
    };
    let node = start().await;
    for word in ["one", "two", "two"] {
        node.propose(&word.to_owned()).await.expect("it leads");
    }
    let last = node.node().snapshot().await.expect("taken");
    node.node().shutdown().await;
    place.store().await.write(WriteBatch::of_purge(last)).await.expect("purged");
    let node = start().await;
    for (word, count) in [("one", 1), ("two", 2), ("three", 0)] {
        assert_eq!(node.read(&word.to_owned()).await.expect("it leads"), count);
    }
    assert_eq!(node.propose(&"two".to_owned()).await.expect("it leads"), 3);
    let raft = node.node().status().raft.clone();
    assert_eq!(raft.boundary, last);
    assert_eq!(raft.membership.as_deref(), Some(&membership_of(1)), "it is in the snapshot");
}
