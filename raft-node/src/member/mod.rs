//! One running member on tokio.
//!
//! ```text
//!   clients, peers, workers --> mailbox --> turn (pump, executor) --> workers, peers, clients
//!                                 ^           |
//!                                 |           v one at a time, by whichever thread delivers
//!                               driver     scheduler
//! ```
//!
//! | module | |
//! |---|---|
//! | `mailbox` | events and requests that wait for a turn |
//! | `scheduler` | which thread takes turns; the driver task |
//! | `turn`, `executor` | one turn, and its effects |
//! | `worker`, `persist`, `read`, `apply`, `snapshot` | work that runs concurrently with the pump |
//! | `address_book`, `admission` | the members, and which peers may talk to this one |
//! | `publisher`, `status`, `metrics` | what observers see |
//!
//! [`Member`] is what these parts share. None of them depends on it: they get the parts that they
//! need, or one of the traits that it implements for them ([`Driven`], [`Reports`] and, for the
//! transport, [`Inbound`]).
//!
//! A panic in any part ends the member for every caller that waits for it. One in a worker or in
//! the state machine is a [`StopReason`](crate::pump::StopReason), and the pump ends in the usual
//! way. A panic in the turn itself leaves a state that must not be used again: that state is
//! dropped as a whole, which answers every client that waits
//! ([`requests::reply`](crate::requests::reply)), closes the workers' queues, and closes the peers'
//! connections.

pub(crate) mod address_book;
pub(crate) mod admission;
pub(crate) mod apply;
pub(crate) mod clients;
pub(crate) mod executor;
pub(crate) mod mailbox;
mod metrics;
pub(crate) mod persist;
pub(crate) mod publisher;
pub(crate) mod read;
pub(crate) mod scheduler;
pub(crate) mod snapshot;
mod snapshot_files;
pub(crate) mod status;
#[cfg(test)]
mod tests;
pub(crate) mod turn;
pub(crate) mod work_queue;
pub(crate) mod worker;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use raft_core::types::{Identity, NodeId};
use tracing::error;

use self::admission::Admission;
use self::clients::Waiters;
use self::executor::forward_not_sent;
use self::mailbox::Mailbox;
use self::publisher::Publisher;
use self::scheduler::{Driven, drive, take_turns};
use self::turn::{AfterTurn, Turn};
use self::worker::Reports;
use crate::panics::caught;
use crate::pump::{Event, Limits};
use crate::requests::quota::Quotas;
use crate::sync::TryMutex;
use crate::transport::{Envelope, Inbound, PeerRejected, Transport};

/// The state that the parts of a running member share.
pub(crate) struct Member {
    pub(crate) identity: Identity,
    pub(crate) limits: Limits,
    pub(crate) mailbox: Arc<Mailbox>,
    pub(crate) quotas: Arc<Quotas>,
    pub(crate) publisher: Publisher,
    pub(crate) admission: Arc<Admission>,
    /// Whether nothing is left for the driver to do.
    is_finished: AtomicBool,
    /// Taken with `try_lock` only; see `scheduler`. `None` after a panic. Boxed, so that moving it
    /// out of the lock moves only a pointer.
    turn: TryMutex<Option<Box<Turn>>>,
}

impl Member {
    pub(crate) fn new(
        identity: Identity,
        limits: Limits,
        mailbox: Arc<Mailbox>,
        quotas: Arc<Quotas>,
        publisher: Publisher,
        admission: Arc<Admission>,
        turn: Turn,
    ) -> Member {
        let (is_finished, turn) = (AtomicBool::new(false), TryMutex::new(Some(Box::new(turn))));
        Member { identity, limits, mailbox, quotas, publisher, admission, is_finished, turn }
    }

    /// Leaves an event for the next turn, and wakes the driver to take it.
    pub(crate) fn post(&self, event: Event<Waiters>) {
        self.mailbox.push(event);
        self.mailbox.wake_driver();
    }

    /// Calls `act` with the transport, before the first turn.
    pub(crate) fn with_transport(&self, act: impl FnOnce(&mut dyn Transport)) {
        if let Some(turn) = self.turn.lock().as_mut() {
            turn.with_transport(act);
        }
    }

    /// Ends the member at once, as after a panic: its turn is dropped as a whole.
    pub(crate) fn abort(&self, why: String) {
        let mut turn = self.turn.lock();
        let (dead, after) = self.die(&mut turn, why);
        drop(turn);
        self.after_turn(dead, after);
    }

    /// Takes one turn. The result is for [`Member::after_turn`], once the lock is released.
    fn one_turn(&self, turn: &mut Option<Box<Turn>>) -> (Option<Box<Turn>>, AfterTurn) {
        let Some(living) = turn else { return (None, self.refuse_all()) };
        let taken = caught(|| living.take(&self.mailbox, &self.quotas, &self.publisher));
        match taken {
            Ok(after) => {
                if living.is_finished() {
                    self.is_finished.store(true, Ordering::Release);
                }
                (None, after)
            }
            Err(message) => self.die(turn, format!("a turn of the member panicked: {message}")),
        }
    }

    /// Ends a member whose turn must not be used again. Returns the turn, which is dropped once the
    /// lock is released, since dropping it wakes clients.
    fn die(&self, turn: &mut Option<Box<Turn>>, why: String) -> (Option<Box<Turn>>, AfterTurn) {
        error!(node = %self.identity.node, "the member stops: {why}");
        let mut dead = turn.take();
        self.publisher.publish_end(why);
        self.mailbox.end();
        self.is_finished.store(true, Ordering::Release);
        let mut after = self.refuse_all();
        after.wakers.extend(dead.iter_mut().flat_map(|turn| turn.take_wakers()));
        self.quotas.proposals.close(&mut after.wakers);
        self.quotas.reads.close(&mut after.wakers);
        after.wakes_driver = true;
        (dead, after)
    }

    /// Refuses the requests in the mailbox of a member without a turn.
    fn refuse_all(&self) -> AfterTurn {
        let mut after = AfterTurn::default();
        self.mailbox.note_gathered(false);
        let mut events = Vec::new();
        self.mailbox.drain_into(&mut events, None);
        for event in events {
            executor::refuse(event, &self.quotas, &mut after.wakers);
        }
        after
    }

    fn after_turn(&self, dead: Option<Box<Turn>>, after: AfterTurn) {
        if dead.is_some()
            && let Err(message) = caught(|| drop(dead))
        {
            error!(node = %self.identity.node, "dropping a member panicked, too: {message}");
        }
        self.publisher.flush();
        after.wakers.into_iter().for_each(std::task::Waker::wake);
        if after.wakes_driver {
            self.mailbox.wake_driver();
        }
    }
}

impl Driven for Member {
    fn take_turns(&self) {
        take_turns(&self.turn, &self.mailbox, |turn| {
            let (dead, after) = self.one_turn(turn);
            move || self.after_turn(dead, after)
        });
    }

    fn mailbox(&self) -> &Mailbox {
        &self.mailbox
    }

    fn is_finished(&self) -> bool {
        self.is_finished.load(Ordering::Acquire)
    }
}

impl Reports for Arc<Member> {
    fn report(&self, event: Event<Waiters>) {
        self.post(event);
    }

    fn report_and_drive(&self, event: Event<Waiters>) {
        self.mailbox.push(event);
        drive(self);
    }
}

/// The transport's reference to the member; the transport drops it when it ends.
pub(crate) struct MemberInbound(pub(crate) Arc<Member>);

impl Inbound for MemberInbound {
    fn identity(&self) -> Identity {
        self.0.identity
    }

    fn admit(&self, peer: Identity) -> Result<(), PeerRejected> {
        self.0.admission.admit(peer)
    }

    fn lowest_version(&self) -> u16 {
        self.0.admission.lowest_version()
    }

    fn confirm(&self, peer: Identity, version: u16) -> Result<(), PeerRejected> {
        if self.0.admission.confirm(peer, version)? {
            self.0.post(Event::Announced { node: peer.node, store: peer.store, version });
        }
        Ok(())
    }

    fn told_removed(&self, by: NodeId) {
        self.0.post(Event::Removed { by });
    }

    fn is_member(&self, node: NodeId) -> bool {
        self.0.admission.is_member(node)
    }

    fn deliver(&self, from: NodeId, envelope: Envelope) {
        self.enqueue(from, std::iter::once(envelope));
    }

    fn deliver_all(&self, from: NodeId, envelopes: &mut Vec<Envelope>) {
        self.enqueue(from, envelopes.drain(..));
    }

    fn not_sent(&self, to: NodeId, envelopes: &mut Vec<Envelope>) {
        let mut is_any_wanted = false;
        for envelope in envelopes.drain(..) {
            if let Some(event) = forward_not_sent(to, &envelope) {
                self.0.mailbox.push(event);
                is_any_wanted = true;
            }
        }
        if is_any_wanted {
            self.0.mailbox.wake_driver();
        }
    }
}

impl MemberInbound {
    /// The thread that delivers also takes the turn, so no task is woken for it.
    fn enqueue(&self, from: NodeId, envelopes: impl Iterator<Item = Envelope>) {
        let member = &self.0;
        if !member.is_finished() {
            member.mailbox.deliver(from, envelopes, member.limits.inbound_bytes);
            drive(member);
        }
    }
}
