//! The engine room: the pump, and the hands that run its errands.
//!
//! One lock guards it, and that lock is only ever *tried*: who fails leaves what it brought in the
//! inbox, and the holder looks there again after letting go. Clients are woken when no lock is
//! held.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError, TryLockError};
use std::task::Waker;

use raft_core::storage::{StoreInfo, WriteBatch};
use raft_core::types::{Identity, LogIndex, NodeId, StoreId};
use tokio::sync::{Notify, broadcast, watch};
use tracing::{error, info};

use crate::desk::Desk;
use crate::inbox::Inbox;
use crate::metrics::Metrics;
use crate::pump::{ApplyBatch, Errands, Event, Failed, Fetch, Limits, Pump, StopReason};
use crate::room::Room;
use crate::status::{NodeEvent, NodeStatus};
use crate::waiters::{ReadAnswer, ReadGroup, Waiters};
use crate::{ProposeError, ReadError, Replies, StateMachine, Transport};

/// What all parts of a running member share.
pub(crate) struct Shared {
    pub(crate) identity: Identity,
    pub(crate) limits: Limits,
    pub(crate) inbox: Inbox,
    pub(crate) wake: Notify,
    pub(crate) proposals_room: Room,
    pub(crate) reads_room: Room,
    pub(crate) status: watch::Sender<Arc<NodeStatus>>,
    pub(crate) events: broadcast::Sender<NodeEvent>,
    /// The store ids with which peers have been seen.
    pub(crate) peers: Mutex<BTreeMap<NodeId, StoreId>>,
    /// Bytes that peers delivered and that no turn has taken yet.
    pub(crate) inbound_bytes: AtomicU64,
    pub(crate) inbound_dropped: AtomicU64,
    ended: AtomicBool,
    engine: Mutex<Engine>,
}

/// What only the holder of the lock touches.
pub(crate) struct Engine {
    pub(crate) pump: Pump<Waiters>,
    pub(crate) store_info: StoreInfo,
    /// Gone once the member has ended, and with it its tasks and connections.
    pub(crate) transport: Option<Box<dyn Transport>>,
    pub(crate) machine: Machine,
    pub(crate) writes: Arc<Desk<WriteBatch>>,
    pub(crate) fetches: Arc<Desk<Fetch>>,
    pub(crate) metrics: Metrics,
    pub(crate) stopped: Option<String>,
    pub(crate) damaged: bool,
    pub(crate) events: Vec<Event<Waiters>>,
    pub(crate) errands: Errands<Waiters>,
    pub(crate) wakers: Vec<Waker>,
}

/// Where committed commands go.
pub(crate) enum Machine {
    /// Applied between two turns, right here.
    Cheap(Box<dyn StateMachine>),
    /// Applied by a task of its own.
    Tasked(Arc<Desk<MachineWork>>),
}

/// Work for the task that owns the machine.
pub(crate) enum MachineWork {
    Apply(ApplyBatch<Waiters>),
    Serve(Arc<ReadGroup>, LogIndex),
}

impl Shared {
    pub(crate) fn new(
        identity: Identity,
        limits: Limits,
        engine: Engine,
        status: watch::Sender<Arc<NodeStatus>>,
    ) -> Shared {
        /// Events that a slow observer may lag behind before it misses the oldest.
        const EVENTS: usize = 256;
        Shared {
            identity,
            inbox: Inbox::default(),
            wake: Notify::new(),
            proposals_room: Room::new(limits.proposals, limits.proposal_bytes),
            reads_room: Room::new(limits.reads, 0),
            status,
            events: broadcast::Sender::new(EVENTS),
            peers: Mutex::default(),
            inbound_bytes: AtomicU64::new(0),
            inbound_dropped: AtomicU64::new(0),
            ended: AtomicBool::new(false),
            engine: Mutex::new(engine),
            limits,
        }
    }

    /// Brings an event, and wakes the driver.
    pub(crate) fn post(&self, event: Event<Waiters>) {
        self.inbox.push(event);
        self.wake.notify_one();
    }

    /// Brings many events at the price of one wake.
    pub(crate) fn post_all(&self, events: impl Iterator<Item = Event<Waiters>>) {
        self.inbox.push_all(events);
        self.wake.notify_one();
    }

    /// Whether the member has stopped or was closed.
    pub(crate) fn has_ended(&self) -> bool {
        self.ended.load(Ordering::Acquire)
    }

    /// Does something with the transport, before the first turn.
    pub(crate) fn with_transport(&self, act: impl FnOnce(&mut dyn Transport)) {
        let mut engine = self.engine.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(transport) = &mut engine.transport {
            act(transport.as_mut());
        }
    }

    /// Takes turns until the inbox is empty, unless someone else does already.
    pub(crate) fn drive(&self) {
        let mut wakers = Vec::new();
        while !self.inbox.is_empty() {
            match self.engine.try_lock() {
                Ok(mut engine) => {
                    engine.turn(self);
                    wakers.append(&mut engine.wakers);
                }
                Err(TryLockError::WouldBlock) => break,
                Err(TryLockError::Poisoned(_)) => panic!("a turn panicked; the member is gone"),
            }
            wakers.drain(..).for_each(Waker::wake);
        }
    }
}

impl Engine {
    fn turn(&mut self, shared: &Shared) {
        let mut events = std::mem::take(&mut self.events);
        shared.inbox.drain_into(&mut events);
        while !events.is_empty() {
            let ticked = events.iter().any(|event| matches!(event, Event::Tick));
            release_inbound(&events, shared);
            self.pump.turn(&mut events, &mut self.errands);
            let mut errands = std::mem::take(&mut self.errands);
            self.run(&mut errands, &mut events, shared);
            self.errands = errands;
            if ticked {
                self.publish(shared);
            }
        }
        self.events = events;
        if self.pump.has_ended() {
            self.end(shared);
        }
    }

    /// Runs the errands: the disk first, then the peers, then the machine and the clients. What is
    /// done at once comes back through `events`.
    fn run(
        &mut self,
        errands: &mut Errands<Waiters>,
        events: &mut Vec<Event<Waiters>>,
        shared: &Shared,
    ) {
        if let Some(batch) = errands.write.take() {
            self.writes.put(batch);
        }
        self.send(errands);
        errands.fetches.drain(..).for_each(|fetch| self.fetches.put(fetch));
        if let Some(batch) = errands.apply.take() {
            self.apply(batch, events, shared);
        }
        for failed in errands.failed.drain(..) {
            fail(failed, shared, &mut self.wakers);
        }
        for (group, index) in errands.served.drain(..) {
            self.serve(group, index, shared);
        }
        for (group, error) in errands.failed_reads.drain(..) {
            fail_reads(&group, &error, shared, &mut self.wakers);
        }
        for standing in errands.standings.drain(..) {
            info!(node = %shared.identity.node, "{standing}");
            // Nobody may be listening.
            let _ = shared.events.send(NodeEvent::Became(standing));
            self.publish(shared);
        }
        if let Some(reason) = errands.stop.take() {
            self.note_stop(&reason, shared);
        }
    }

    fn send(&mut self, errands: &mut Errands<Waiters>) {
        let Some(transport) = &mut self.transport else { return };
        let membership = self.pump.raft().membership();
        for (to, envelope) in errands.sends.drain(..) {
            let address = membership.and_then(|membership| membership.metadata(to));
            transport.send(to, address.map(|address| &address[..]), envelope);
        }
    }

    fn apply(
        &mut self,
        batch: ApplyBatch<Waiters>,
        events: &mut Vec<Event<Waiters>>,
        shared: &Shared,
    ) {
        match &mut self.machine {
            Machine::Cheap(machine) => {
                apply_batch(machine.as_mut(), batch, shared, &mut self.wakers);
                events.push(Event::Applied);
            }
            Machine::Tasked(desk) => desk.put(MachineWork::Apply(batch)),
        }
    }

    fn serve(&mut self, group: Arc<ReadGroup>, index: LogIndex, shared: &Shared) {
        match &self.machine {
            Machine::Cheap(machine) => {
                serve_reads(machine.as_ref(), &group, index, &mut self.wakers);
                shared.reads_room.leave(group.queries.len() as u64, 0);
            }
            Machine::Tasked(desk) => desk.put(MachineWork::Serve(group, index)),
        }
    }

    fn note_stop(&mut self, reason: &StopReason, shared: &Shared) {
        error!(node = %shared.identity.node, "the member stops: {reason}");
        let text = reason_with_causes(reason);
        let _ = shared.events.send(NodeEvent::Stopped(text.clone()));
        self.stopped = Some(text);
        self.damaged = reason.is_damage();
    }

    /// Shows the state to whoever watches, and counts.
    fn publish(&mut self, shared: &Shared) {
        let (waiting, waiting_bytes) = shared.proposals_room.used();
        let status = NodeStatus {
            proposals_waiting: waiting,
            proposal_bytes_waiting: waiting_bytes,
            stopped: self.stopped.clone(),
            damaged: self.damaged,
            ..NodeStatus::of(shared.identity, &self.pump, &self.store_info)
        };
        self.metrics.publish(&status, shared.inbound_dropped.load(Ordering::Relaxed));
        shared.status.send_replace(Arc::new(status));
    }

    /// Lets every task finish what it has, and end.
    fn end(&mut self, shared: &Shared) {
        if shared.ended.swap(true, Ordering::AcqRel) {
            return;
        }
        self.writes.close();
        self.fetches.close();
        if let Machine::Tasked(desk) = &self.machine {
            desk.close();
        }
        self.transport = None;
        self.publish(shared);
        shared.wake.notify_one();
    }
}

/// Bytes that a turn takes up no longer count as waiting.
fn release_inbound(events: &[Event<Waiters>], shared: &Shared) {
    let delivered = |event: &Event<Waiters>| match event {
        Event::Deliver { envelope, .. } => envelope.size(),
        _ => 0,
    };
    let bytes: u64 = events.iter().map(delivered).sum();
    shared.inbound_bytes.fetch_sub(bytes, Ordering::Relaxed);
}

/// Applies a batch and answers who waits for it.
pub(crate) fn apply_batch(
    machine: &mut dyn StateMachine,
    batch: ApplyBatch<Waiters>,
    shared: &Shared,
    wakers: &mut Vec<Waker>,
) {
    let mut replies = Replies::with_capacity(batch.commands.len());
    machine.apply(&batch.commands, &mut replies);
    let given = replies.len();
    assert_eq!(given, batch.commands.len(), "the machine answers each command once");
    let mut answers = replies.into_answers();
    for claim in batch.claims {
        let range = claim.position..claim.position + claim.count;
        let own = answers[range].iter_mut().map(|answer| Ok(std::mem::take(answer)));
        claim.group.answers.answer(claim.offset, own, wakers);
        let bytes = claim.group.bytes(claim.offset, claim.count);
        shared.proposals_room.leave(claim.count as u64, bytes);
    }
}

/// Answers queries from the machine's state.
pub(crate) fn serve_reads(
    machine: &dyn StateMachine,
    group: &ReadGroup,
    index: LogIndex,
    wakers: &mut Vec<Waker>,
) {
    let answer = |query: &Option<bytes::Bytes>| {
        let answer = query.as_ref().map(|query| machine.read(query)).unwrap_or_default();
        Ok(ReadAnswer { index, answer })
    };
    group.answers.answer(0, group.queries.iter().map(answer), wakers);
}

fn fail(failed: Failed<Waiters>, shared: &Shared, wakers: &mut Vec<Waker>) {
    let Failed { group, offset, count, error } = failed;
    let errors = std::iter::repeat_n(Err::<bytes::Bytes, ProposeError>(error), count);
    group.answers.answer(offset, errors, wakers);
    shared.proposals_room.leave(count as u64, group.bytes(offset, count));
}

fn fail_reads(group: &ReadGroup, error: &ReadError, shared: &Shared, wakers: &mut Vec<Waker>) {
    let count = group.queries.len();
    let errors = (0..count).map(|_| Err(error.clone()));
    group.answers.answer(0, errors, wakers);
    shared.reads_room.leave(count as u64, 0);
}

/// An error with all its causes, for people.
fn reason_with_causes(reason: &StopReason) -> String {
    let mut text = reason.to_string();
    let StopReason::Store(error) = reason;
    let mut cause = std::error::Error::source(error);
    while let Some(error) = cause {
        text.push_str(": ");
        text.push_str(&error.to_string());
        cause = error.source();
    }
    text
}

/// The peers seen so far, whatever happened to who held the lock.
pub(crate) fn known_store(shared: &Shared, peer: Identity) -> StoreId {
    let mut peers = shared.peers.lock().unwrap_or_else(PoisonError::into_inner);
    *peers.entry(peer.node).or_insert(peer.store)
}
