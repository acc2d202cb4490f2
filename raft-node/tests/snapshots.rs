//! Members that take snapshots, and start from them.

use std::collections::BTreeMap;
use std::fs;
use std::io::{self, Read, Write};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use async_trait::async_trait;
use bytes::Bytes;
use log_memory::{MemoryDisk, MemoryLog, SyncMode};
use raft_core::storage::{Durability, Store, StoreInfo, WriteBatch};
use raft_core::types::{ClusterId, EntryId, Identity, LogIndex, NodeId, StoreId, Term};
use raft_node::{
    Application, Committed, Fatal, InProcessNetwork, Limits, Node, NodeConfig, NodeEvent,
    NodeStatus, Replies, RestoreError, Snapshot, SnapshotDir, SnapshotError, SnapshotHead,
    StartError, StateMachine, TypedNode, bootstrap, cluster_id,
};
use serde::{Deserialize, Serialize};
use support::{ChangedLog, Changes, membership_of, node_id};
use tempfile::TempDir;
use tokio::task::JoinHandle;
use xxhash_rust::xxh3::xxh3_64;

mod support;

/// A memory log whose disk outlives it, as a durable log's.
#[derive(Clone)]
struct Lasting;

#[async_trait]
impl Changes for Lasting {
    fn declare(&self, info: StoreInfo) -> StoreInfo {
        StoreInfo { durability: Durability::PowerLoss, ..info }
    }
}

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
    log: MemoryDisk,
    dir: TempDir,
}

impl Place {
    fn new() -> Place {
        Place {
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
        let members = membership_of(1);
        bootstrap(&mut store, "snapshots", node_id(1), &members).await.expect("its own");
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
        node.wait_for_leader().await.expect("it leads");
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
    node.shutdown().await;
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

// ---- starts that must fail, or repeat a reset ----

/// A member that has taken a snapshot, and its last entry.
async fn stopped() -> (Place, EntryId) {
    let place = Place::new();
    let node = place.start(Limits::default(), Sum::new(true, &behaviour())).await;
    let node = node.expect("it starts");
    propose(&node, 1..=10).await;
    let last = node.snapshot().await.expect("taken");
    node.shutdown().await;
    (place, last)
}

async fn restart(place: &Place) -> Result<[u64; 2], StartError> {
    let node = place.start(Limits::default(), Sum::new(true, &behaviour())).await?;
    let state = state(&node).await;
    node.shutdown().await;
    Ok(state)
}

/// Adds a snapshot of the sum 1 + 2 + ... + 10 that another member took.
fn add_snapshot(place: &Place, cluster: ClusterId, writer: NodeId, last: EntryId) {
    let dir = SnapshotDir::own(place.dir.path().join("snapshots")).expect("owned");
    let head = SnapshotHead {
        writer: Identity { cluster, node: writer, store: StoreId(5) },
        last,
        membership: membership_of(1),
        feature_level: 1,
        salt: 5,
    };
    let mut new = dir.create(head).expect("created");
    new.write_all(&[10u64.to_le_bytes(), 55u64.to_le_bytes()].concat()).expect("written");
    new.keep().expect("kept");
}

fn own_cluster() -> ClusterId {
    cluster_id("snapshots", &membership_of(1))
}

fn damage(path: &Path) {
    let mut bytes = fs::read(path).expect("read");
    let middle = bytes.len() - 50;
    bytes[middle] ^= 1;
    fs::write(path, bytes).expect("written");
}

#[tokio::test]
async fn a_damaged_snapshot_is_not_needed_while_the_log_is_whole() {
    let (place, last) = stopped().await;
    damage(&place.snapshots().path_of(last));
    assert_eq!(restart(&place).await.expect("the log has everything"), [10, 55]);
}

#[tokio::test]
async fn a_member_whose_snapshot_is_damaged_and_whose_log_is_purged_does_not_start() {
    let (place, last) = stopped().await;
    place.store().await.write(WriteBatch::of_purge(last)).await.expect("purged");
    assert_eq!(restart(&place).await.expect("the snapshot has everything"), [10, 55]);
    damage(&place.snapshots().path_of(last));
    let refused = restart(&place).await.expect_err("a part of the state is lost");
    let StartError::Snapshots(RestoreError::Lost { boundary, .. }) = &refused else {
        panic!("{refused:?}");
    };
    assert_eq!(*boundary, last);
    let name = place.snapshots().path_of(last);
    assert!(refused.to_string().contains(&*name.to_string_lossy()), "{refused}");
    fs::remove_file(name).expect("removed");
    let refused = restart(&place).await.expect_err("nothing has the state");
    assert!(matches!(refused, StartError::MissingPrefix { .. }), "{refused:?}");
}

#[tokio::test]
async fn a_snapshot_that_a_newer_version_wrote_is_refused() {
    let (place, last) = stopped().await;
    let path = place.snapshots().path_of(last);
    let mut bytes = fs::read(&path).expect("read");
    bytes[8] += 1;
    let sections = u32::from_le_bytes(bytes[12..16].try_into().expect("four")) as usize;
    let checksum = xxh3_64(&[&bytes[..16], &bytes[24..32 + sections]].concat());
    bytes[16..24].copy_from_slice(&checksum.to_le_bytes());
    fs::write(&path, bytes).expect("written");
    let refused = restart(&place).await.expect_err("newer");
    let says = "newer version of Kontiki (version 2 of the format)";
    assert!(refused.to_string().contains(says), "{refused}");
}

#[tokio::test]
async fn a_snapshot_of_another_cluster_is_refused() {
    let (place, last) = stopped().await;
    place.snapshots().clear().expect("removed");
    add_snapshot(&place, ClusterId(9), node_id(2), last);
    let refused = restart(&place).await.expect_err("of another cluster");
    assert!(refused.to_string().contains("is of cluster 0000000000000009, not of"), "{refused}");
}

/// The power was cut between the rename of an installed snapshot and the reset of the log.
#[tokio::test]
async fn a_start_behind_an_installed_snapshot_repeats_the_reset() {
    let (place, last) = stopped().await;
    place.snapshots().clear().expect("removed");
    let installed = EntryId::new(Term::new(last.term.get() + 5), LogIndex::new(1000));
    add_snapshot(&place, own_cluster(), node_id(2), installed);
    assert_eq!(restart(&place).await.expect("it starts"), [10, 55]);
    let recovered = place.store().await.recover().await.expect("recovered");
    assert_eq!(recovered.bounds.boundary, installed);
    assert!(recovered.hard_state.term >= installed.term, "L14: no entry is of a later term");
    assert_eq!(restart(&place).await.expect("it starts again"), [10, 55]);
}

/// Votes and acknowledgements that the log held may be lost, too.
#[tokio::test]
async fn a_log_that_lost_entries_which_its_own_snapshot_includes_does_not_start() {
    let (mut place, last) = stopped().await;
    place.log = MemoryDisk::new(SyncMode::EachWrite);
    let refused = restart(&place).await.expect_err("the log was lost");
    let StartError::Snapshots(RestoreError::LogLost { includes, .. }) = refused else {
        panic!("{refused:?}");
    };
    assert_eq!(includes, last);
    let bounds = place.store().await.recover().await.expect("recovered").bounds;
    assert_eq!(bounds.boundary, EntryId::ZERO, "nothing was changed");
}

#[tokio::test]
async fn a_snapshot_that_contradicts_a_committed_entry_is_refused() {
    let (place, last) = stopped().await;
    place.snapshots().clear().expect("removed");
    let other = EntryId::new(Term::new(last.term.get() + 1), LogIndex::new(3));
    add_snapshot(&place, own_cluster(), node_id(2), other);
    let refused = restart(&place).await.expect_err("two histories");
    assert!(refused.to_string().contains("contradict each other"), "{refused}");
}

/// A volatile log that was lost as a whole may be of an earlier cluster with the same members.
#[tokio::test]
async fn snapshots_of_an_earlier_volatile_log_are_removed() {
    let (place, _) = stopped().await;
    let mut store = MemoryLog::new();
    let members = membership_of(1);
    bootstrap(&mut store, "snapshots", node_id(1), &members).await.expect("blank");
    let transport = InProcessNetwork::new().transport();
    let machine = Box::new(Sum::new(true, &behaviour()));
    let config = place.config(Limits::default());
    let node = Node::start(config, Box::new(store), transport, machine).await.expect("it starts");
    node.wait_for_leader().await.expect("it leads");
    assert_eq!(state(&node).await, [0, 0]);
    assert_eq!(place.snapshots().list().expect("listed"), []);
}
