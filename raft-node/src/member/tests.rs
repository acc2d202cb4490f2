//! Tests of files that loom also compiles, and tests that need more than a node's public handle.

use std::future::Future;
use std::pin::{Pin, pin};
use std::sync::{Arc, Mutex};
use std::task::{Context, Wake, Waker};
use std::time::Duration;

use bytes::Bytes;
use log_memory::MemoryLog;
use raft_core::consensus::RoleName;
use raft_core::types::{Membership, NodeId};

use super::Member;
use super::mailbox::Mailbox;
use super::status::NodeStatus;
use crate::application::{Committed, Fatal, Replies, StateMachine};
use crate::config::NodeConfig;
use crate::pump::{Event, Limits};
use crate::requests::batcher::Next;
use crate::start::start;

fn propose(mailbox: &Mailbox) -> Next {
    let (reply, next) = mailbox.propose(Bytes::new(), None);
    drop(reply);
    next
}

/// The sizes of the groups that a turn takes during this write.
fn taken(mailbox: &Mailbox, write: Option<u64>) -> Vec<usize> {
    let mut events = Vec::new();
    mailbox.drain_into(&mut events, write);
    let sizes = events.iter().map(|event| match event {
        Event::Propose { commands, .. } => commands.len(),
        other => panic!("{other:?}"),
    });
    sizes.collect()
}

#[test]
fn held_proposals_leave_the_mailbox_empty_for_a_turn() {
    let mailbox = Mailbox::default();
    assert_eq!(propose(&mailbox), Next::WakeDriver);
    assert!(mailbox.is_empty() && mailbox.has_proposals(), "they gather");
    mailbox.note_gathered(false);
    assert!(!mailbox.is_empty());
    assert!(taken(&mailbox, Some(1)).is_empty());
    assert!(mailbox.is_empty() && mailbox.has_proposals(), "they are held");
    mailbox.note_gathered(false);
    assert_eq!(taken(&mailbox, None), [1]);
    assert!(!mailbox.has_proposals());
}

#[test]
fn a_wake_counts_as_an_arrival_once() {
    let mailbox = Arc::<Mailbox>::default();
    Waker::from(Arc::clone(&mailbox)).wake();
    assert!(!mailbox.is_empty());
    assert!(mailbox.drain_into(&mut Vec::new(), None));
    assert!(mailbox.is_empty());
    assert!(!mailbox.drain_into(&mut Vec::new(), None));
}

/// A waker that notes, when it is woken, whether the lock of the member's turn is free.
struct Witness {
    member: Arc<Member>,
    saw_free: Mutex<Vec<bool>>,
}

impl Witness {
    fn of(member: &Arc<Member>) -> (Arc<Witness>, Waker) {
        let (member, saw_free) = (Arc::clone(member), Mutex::default());
        let witness = Arc::new(Witness { member, saw_free });
        (Arc::clone(&witness), Waker::from(witness))
    }

    /// Waits until it was woken; returns whether the lock was free each time.
    async fn saw_free(&self) -> bool {
        loop {
            let saw = self.saw_free.lock().expect("no panic").clone();
            if !saw.is_empty() {
                return saw.iter().all(|free| *free);
            }
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    }
}

impl Wake for Witness {
    fn wake(self: Arc<Witness>) {
        let is_free = self.member.turn.try_lock().is_some();
        self.saw_free.lock().expect("no panic").push(is_free);
    }
}

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

/// The only member of its cluster, whose quota has room for one proposal, once it leads.
async fn leading_member() -> Arc<Member> {
    let mut log = MemoryLog::new();
    let id = NodeId::new(1).expect("not zero");
    let membership = Membership::of_voters([(id, Bytes::new())]).expect("sound");
    crate::bootstrap(&mut log, "woken", id, &membership).await.expect("blank");
    let limits = Limits { proposals: 1, ..Limits::default() };
    let config = NodeConfig { limits, ..NodeConfig::default() };
    let transport = crate::InProcessNetwork::new().transport();
    let started = start(config, Box::new(log), transport, Box::new(Nothing), false).await;
    let (member, _) = started.expect("it starts");
    let mut status = member.publisher.watch();
    let leads = |now: &Arc<NodeStatus>| now.raft.soft_state.role == RoleName::Leader;
    status.wait_for(leads).await.expect("it runs");
    member
}

/// What went wrong: clients that waited for the quota and observers of the status were woken while
/// the lock of the turn was held.
#[tokio::test]
async fn no_client_and_no_observer_is_woken_under_the_lock() {
    let member = leading_member().await;
    let (answered, waker) = Witness::of(&member);
    assert!(member.quotas.proposals.try_acquire(0));
    let (mut reply, _) = member.mailbox.propose(Bytes::new(), None);
    assert!(Pin::new(&mut reply).poll(&mut Context::from_waker(&waker)).is_pending());

    let (entered, waker) = Witness::of(&member);
    let mut acquire = pin!(member.quotas.proposals.acquire(0));
    assert!(acquire.as_mut().poll(&mut Context::from_waker(&waker)).is_pending());

    let (observed, waker) = Witness::of(&member);
    let mut status = member.publisher.watch();
    status.mark_unchanged();
    let mut changed = pin!(status.changed());
    assert!(changed.as_mut().poll(&mut Context::from_waker(&waker)).is_pending());

    member.mailbox.wake_driver();
    assert!(answered.saw_free().await, "a client whose proposal was answered");
    assert!(entered.saw_free().await, "a client that enters the quota");
    assert!(observed.saw_free().await, "an observer of the status");
    member.post(Event::Close);
}

/// When the member ends in a panic, requests that wait for the quota enter, so that they are
/// refused: nothing else would ever wake them.
#[tokio::test]
async fn requests_that_wait_for_the_quota_when_a_member_panics_are_woken() {
    let member = leading_member().await;
    let quotas = Arc::clone(&member.quotas);
    for quota in [&quotas.proposals, &quotas.reads] {
        while quota.try_acquire(0) {}
    }
    let (woken, waker) = Witness::of(&member);
    let mut context = Context::from_waker(&waker);
    let mut waiting = [pin!(quotas.proposals.acquire(0)), pin!(quotas.reads.acquire(0))];
    for waiting in &mut waiting {
        assert!(waiting.as_mut().poll(&mut context).is_pending());
    }
    member.abort("injected by a test".to_owned());
    assert!(woken.saw_free().await, "they are woken");
    for waiting in &mut waiting {
        assert!(waiting.as_mut().poll(&mut context).is_ready());
    }
}
