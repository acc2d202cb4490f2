//! Queries to a cheap state machine while it applies a batch, and snapshots of its state before the
//! next one.

use std::collections::BTreeSet;
use std::io;
use std::pin::Pin;
use std::sync::Mutex;
use std::task::{Context, Poll};

use log_memory::MemoryLog;
use raft_core::consensus::{Body, Message};
use raft_core::storage::LogStore;
use raft_core::types::{ClusterId, EntryId, Identity, StoreId, Term};

use super::*;
use crate::application::{Committed, Fatal, Snapshot};
use crate::engine_state::EngineState;
use crate::member::clients::ReadResult;
use crate::member::read::Read;
use crate::member::snapshot::snapshots_in;
use crate::requests::quota::Quota;
use crate::requests::reply::{OpenBatch, Reply};
use crate::snapshots::SnapshotDir;
use crate::test_support::node_id;
use crate::transport::{Entries, InProcessNetwork, Inbound};

/// Applies its one command in two calls; a query sees how many were made.
#[derive(Default)]
struct InTwoCalls {
    calls: u8,
}

impl StateMachine for InTwoCalls {
    fn apply(&mut self, _: &[Committed], replies: &mut Replies) -> Result<(), Fatal> {
        self.calls += 1;
        if !self.is_unfinished() {
            replies.push(Bytes::new());
        }
        Ok(())
    }

    fn is_unfinished(&self) -> bool {
        self.calls == 1
    }

    fn read(&self, _query: &[u8]) -> Bytes {
        vec![self.calls].into()
    }

    fn is_cheap(&self) -> bool {
        true
    }
}

fn executor() -> (Executor, Quotas) {
    executor_of(Box::new(InTwoCalls::default()), None)
}

fn executor_of(machine: Box<dyn StateMachine>, snapshots: Option<Snapshots>) -> (Executor, Quotas) {
    let log = MemoryLog::new();
    let reader = Read::new(log.reader());
    let (persist, end_waiting) = Persist::new(Box::new(log));
    let (writer, _) = WorkerHandle::new(persist, false);
    let (reader, _) = WorkerHandle::new(reader, false);
    let machine = Machine::Cheap(machine);
    let identity = Identity { cluster: ClusterId(1), node: node_id(1), store: StoreId(1) };
    let admission = Admission::load(identity, None).expect("nothing to read");
    let peers = (InProcessNetwork::new().transport(), Arc::new(admission));
    let waker = Waker::noop().clone();
    let quotas = Quotas { proposals: Quota::new(9, 99), reads: Quota::new(9, 99) };
    (Executor::new(peers, machine, (writer, end_waiting), reader, snapshots, waker), quotas)
}

/// Gives the state machine its command and, in the same turn, a read whose index is before the
/// command.
fn apply_and_read(executor: &mut Executor, quotas: &Quotas) -> Reply<ReadResult> {
    let mut open = OpenBatch::new();
    let reply = open.join(0, None);
    let group = ReadGroup { answers: open.seal(), queries: vec![Some(Bytes::new())] };
    assert!(quotas.reads.try_acquire(0));
    let upto = LogIndex::new(2);
    let commands = vec![Committed { id: EntryId::ZERO, command: Bytes::new() }];
    let mut effects = Effects {
        apply: Some(ApplyBatch { commands, claims: Vec::new(), recorded: Vec::new(), upto }),
        served: vec![(Arc::new(group), LogIndex::new(1))],
        ..Effects::default()
    };
    let mut events = Vec::new();
    executor.run(&mut effects, &mut events, std::iter::empty(), quotas);
    assert!(events.is_empty(), "the command is unfinished: {events:?}");
    reply
}

fn poll<F: Future + Unpin>(reply: &mut F) -> Poll<F::Output> {
    Pin::new(reply).poll(&mut Context::from_waker(Waker::noop()))
}

/// What went wrong: a read whose index was applied was answered between two calls for a later
/// command, from a state that no whole command leaves.
#[tokio::test]
async fn no_query_sees_a_half_applied_command() {
    let (mut executor, quotas) = executor();
    let mut reply = apply_and_read(&mut executor, &quotas);
    assert!(poll(&mut reply).is_pending(), "it is answered in the middle of a command");
    let mut events = Vec::new();
    executor.poll(&mut events, &quotas);
    assert!(matches!(events[..], [Event::Applied { .. }]), "{events:?}");
    let Poll::Ready(Ok(read)) = poll(&mut reply) else { panic!("it is not answered") };
    assert_eq!((read.index, &read.answer[..]), (LogIndex::new(1), &[2][..]));
    assert_eq!(quotas.reads.used(), (0, 0));
}

#[tokio::test]
async fn a_query_that_waits_for_a_command_learns_that_the_member_ends() {
    let (mut executor, quotas) = executor();
    let mut reply = apply_and_read(&mut executor, &quotas);
    executor.close(&mut Vec::new(), &quotas);
    assert!(matches!(poll(&mut reply), Poll::Ready(Err(ReadError::Closed))));
    assert_eq!(quotas.reads.used(), (0, 0));
}

/// Records in which order it is called.
struct Recorded(Arc<Mutex<Vec<&'static str>>>);

impl StateMachine for Recorded {
    fn apply(&mut self, _: &[Committed], replies: &mut Replies) -> Result<(), Fatal> {
        self.0.lock().expect("no panic").push("applies");
        replies.push(Bytes::new());
        Ok(())
    }

    fn snapshot(&mut self) -> io::Result<Box<dyn Snapshot>> {
        self.0.lock().expect("no panic").push("pins");
        Err(io::Error::other("injected by the test"))
    }

    fn read(&self, _query: &[u8]) -> Bytes {
        Bytes::new()
    }

    fn is_cheap(&self) -> bool {
        true
    }
}

/// What went unnoticed when it was planted: the state was pinned after the batch that follows, so a
/// member that started from the snapshot applied that batch a second time.
#[tokio::test]
async fn a_snapshot_does_not_include_the_batch_that_follows_in_the_same_turn() {
    let calls = Arc::<Mutex<Vec<&'static str>>>::default();
    let (cluster, node, store) = (ClusterId(1), NodeId::new(1).expect("not zero"), StoreId(1));
    let dir = SnapshotDir::look("unused");
    let (snapshots, _) = snapshots_in(dir, Identity { cluster, node, store });
    let machine = Box::new(Recorded(Arc::clone(&calls)));
    let (mut executor, quotas) = executor_of(machine, Some(snapshots));
    let membership = Membership::of_voters([(node, Bytes::new())]).expect("sound");
    let commands = vec![Committed { id: EntryId::ZERO, command: Bytes::new() }];
    let upto = LogIndex::new(2);
    let (last, engine) = (EntryId::ZERO, EngineState::default());
    let plan = SnapshotPlan { last, membership: Arc::new(membership), engine };
    let mut effects = Effects {
        snapshot: Some(plan),
        apply: Some(ApplyBatch { commands, claims: Vec::new(), recorded: Vec::new(), upto }),
        ..Effects::default()
    };
    let mut events = Vec::new();
    executor.run(&mut effects, &mut events, std::iter::empty(), &quotas);
    assert_eq!(*calls.lock().expect("no panic"), ["pins", "applies"]);
    let is_failed = matches!(&events[..], [Event::Snapshotted(Err(_)), Event::Applied { .. }]);
    assert!(is_failed, "{events:?}");
}

/// Records what it is called for.
struct Calls(Arc<Mutex<Vec<String>>>);

impl Transport for Calls {
    fn start(&mut self, _: Arc<dyn Inbound>) {}

    fn send(&mut self, to: NodeId, address: Option<&[u8]>, _: Envelope) -> bool {
        let address = address.map(String::from_utf8_lossy);
        self.0.lock().expect("no panic").push(format!("send to {to} at {address:?}"));
        true
    }

    fn retain(&mut self, members: &BTreeSet<NodeId>) {
        let members: Vec<u64> = members.iter().map(|node| node.get()).collect();
        self.0.lock().expect("no panic").push(format!("retain {members:?}"));
    }

    fn connect(&mut self, _: NodeId, _: Option<&[u8]>) {}
}

#[tokio::test]
async fn the_transport_learns_of_other_members_before_anything_is_sent_to_them() {
    let (mut executor, quotas) = executor();
    let calls = Arc::<Mutex<Vec<String>>>::default();
    executor.transport = Some(Box::new(Calls(Arc::clone(&calls))));
    let of = |members: &[(u64, &'static str)]| {
        let members =
            members.iter().map(|(n, at)| (node_id(*n), Bytes::from_static(at.as_bytes())));
        Arc::new(Membership::of_voters(members).expect("sound"))
    };
    let (before, after) = (of(&[(1, "a"), (2, "b"), (3, "c")]), of(&[(1, "a"), (2, "d")]));
    let mut run = |connected: &[Arc<Membership>]| {
        let message = Message::new(Term::new(1), Body::TimeoutNow);
        let content = Content::Raft { message, entries: Entries::default() };
        let envelope = Envelope { cluster: ClusterId(1), content };
        let sends = vec![(node_id(2), envelope.clone()), (node_id(3), envelope)];
        let mut effects = Effects { sends, ..Effects::default() };
        executor.run(&mut effects, &mut Vec::new(), connected.iter(), &quotas);
        std::mem::take(&mut *calls.lock().expect("no panic"))
    };
    let [two, three] = ["send to 2 at Some(\"b\")", "send to 3 at Some(\"c\")"];
    assert_eq!(run(std::slice::from_ref(&before)), ["retain [1, 2, 3]", two, three]);
    let both = [before, after.clone()];
    let two = "send to 2 at Some(\"d\")";
    assert_eq!(run(&both), ["retain [1, 2, 3]", two, three]);
    assert_eq!(run(&both), [two, three], "nothing has changed");
    let three = "send to 3 at None";
    assert_eq!(run(&[after]), ["retain [1, 2]", two, three]);
}
