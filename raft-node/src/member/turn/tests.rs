//! Turns of a member to which a test gives every event, time included.

use std::pin::{Pin, pin};
use std::sync::Arc;
use std::task::{Context, Poll};

use bytes::Bytes;
use log_memory::MemoryLog;
use raft_core::consensus::{Body, Config, Message, Round, Start, Verdict};
use raft_core::storage::{LogStore, Store};
use raft_core::types::{ClusterId, EntryId, LogIndex, Term, TermRun};

use super::*;
use crate::application::{Committed, Fatal, Replies, StateMachine};
use crate::member::admission::Admission;
use crate::member::executor::Machine;
use crate::member::persist::Persist;
use crate::member::read::Read;
use crate::member::worker::WorkerHandle;
use crate::pump::Limits;
use crate::requests::error::ProposeError;
use crate::requests::quota::Quota;
use crate::test_support::{membership_of, node_id};
use crate::transport::{Content, Entries, Envelope, InProcessNetwork};

const CLUSTER: ClusterId = ClusterId(7);

struct Nothing;

impl StateMachine for Nothing {
    fn apply(&mut self, commands: &[Committed], replies: &mut Replies) -> Result<(), Fatal> {
        commands.iter().for_each(|_| replies.push(Bytes::new()));
        Ok(())
    }

    fn read(&self, _query: &[u8]) -> Bytes {
        Bytes::new()
    }

    fn is_cheap(&self) -> bool {
        true
    }
}

/// Member 1 of three, with a memory log, and a quota of one command.
struct Rig {
    turn: Turn,
    mailbox: Arc<Mailbox>,
    quotas: Arc<Quotas>,
    publisher: Publisher,
}

impl Rig {
    async fn new() -> Rig {
        let (mut log, node) = (MemoryLog::new(), node_id(1));
        let membership = membership_of(3);
        let identity = crate::bootstrap(&mut log, "turns", node, &membership).await;
        let identity = Identity { cluster: CLUSTER, ..identity.expect("blank") };
        let start = Start {
            last: LogIndex::new(1),
            term_runs: vec![TermRun { first: LogIndex::new(1), term: Term::ZERO }],
            memberships: vec![(LogIndex::new(1), Arc::new(membership))],
            ..Start::default()
        };
        let config = Config { pre_vote: false, ..Config::new(node, 1) };
        let pump = Pump::new(identity, config, Limits::default(), start, 1);
        let info = log.info();
        let reader = WorkerHandle::new(Read::new(log.reader()), false).0;
        let (persist, end_waiting) = Persist::new(Box::new(log));
        let writer = (WorkerHandle::new(persist, false).0, end_waiting);
        let machine = Machine::Cheap(Box::new(Nothing));
        let mailbox = Arc::<Mailbox>::default();
        let own_task = Waker::from(Arc::clone(&mailbox));
        let admission = Arc::new(Admission::load(identity, None).expect("nothing to read"));
        let peers = (InProcessNetwork::new().transport(), admission);
        let executor = Executor::new(peers, machine, writer, reader, None, own_task);
        let publisher = Publisher::new(NodeStatus::of(identity, &pump, &info));
        let quotas = Quotas { proposals: Quota::new(1, 99), reads: Quota::new(1, 99) };
        let quotas = Arc::new(quotas);
        Rig { turn: Turn::new(identity, pump, executor, info), mailbox, quotas, publisher }
    }

    fn take(&mut self, event: Event<Waiters>) {
        self.mailbox.push(event);
        let after = self.turn.take(&self.mailbox, &self.quotas, &self.publisher);
        after.wakers.into_iter().for_each(Waker::wake);
    }

    fn deliver(&mut self, from: u64, term: u64, body: Body) {
        let message = Message::new(Term::new(term), body);
        let content = Content::Raft { message, entries: Entries::default() };
        let envelope = Envelope { cluster: CLUSTER, content };
        self.take(Event::Deliver { from: node_id(from), envelope });
    }

    fn soft_state(&self) -> raft_core::consensus::SoftState {
        self.turn.pump.raft().soft_state()
    }

    /// Makes it the leader of term 1, whose first entry, 2@1, is committed.
    fn lead(&mut self) {
        while self.soft_state().term == Term::ZERO {
            self.take(Event::Tick);
        }
        self.deliver(2, 1, Body::VoteResponse { granted: true });
        let verdict = Verdict::Accepted { matched: LogIndex::new(2) };
        self.deliver(2, 1, Body::AppendResponse { verdict, round: Round(0) });
        assert_eq!(self.turn.pump.raft().commit(), LogIndex::new(2));
    }

    /// The leader hands over to member 2, which asks for votes: no leader is known.
    fn hand_over(&mut self) {
        self.take(Event::Transfer { to: node_id(2) });
        let last = EntryId::new(Term::new(1), LogIndex::new(2));
        self.deliver(2, 2, Body::Vote { last, in_transfer: true });
        assert_eq!(self.soft_state().leader, None);
    }
}

/// What went wrong: while the next leader was awaited, the quota did not limit the commands that
/// were held for it.
#[tokio::test]
async fn commands_that_are_held_for_the_next_leader_stay_within_the_quota() {
    let mut rig = Rig::new().await;
    rig.lead();
    rig.hand_over();
    let quotas = Arc::clone(&rig.quotas);
    assert!(quotas.proposals.try_acquire(0), "there is room for one");
    let (held, _) = rig.mailbox.propose(Bytes::new(), None);
    let mut held = pin!(held);
    rig.mailbox.note_gathered(false);
    rig.take(Event::Tick);
    assert!(is_pending(held.as_mut()), "it waits for the next leader");
    let mut second = pin!(quotas.proposals.acquire(0));
    assert!(is_pending(second.as_mut()), "a second command enters the quota");
    while rig.turn.pump.ticks() < 200 && is_pending(second.as_mut()) {
        rig.take(Event::Tick);
    }
    let Poll::Ready(refused) = poll(held.as_mut()) else { panic!("the first still waits") };
    assert_eq!(refused, Err(ProposeError::NotLeader { hint: None }));
    assert!(quotas.proposals.try_acquire(0), "every command enters, to be refused");
}

fn poll<F: Future>(future: Pin<&mut F>) -> Poll<F::Output> {
    future.poll(&mut Context::from_waker(Waker::noop()))
}

fn is_pending<F: Future>(future: Pin<&mut F>) -> bool {
    poll(future).is_pending()
}
