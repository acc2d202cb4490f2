//! Everything that waits for a member's next turn: events in order of arrival, and requests in
//! groups.
//!
//! Any thread may deliver; the thread that takes a turn drains. Proposals are grouped by the
//! [`Batcher`], which also decides whether the turn takes them; all waiting reads form one group.
//!
//! The mailbox is also the waker of the futures that the member polls inline: a wake counts as an
//! arrival.
//!
//! Deliberately absent: the choice of the thread that takes the turn, which the `scheduler` makes.

use std::sync::{Arc, PoisonError};
use std::task::{Wake, Waker};

use bytes::Bytes;
use raft_core::types::NodeId;
use tokio::sync::Notify;

use super::clients::{ReadGroup, ReadResult, Waiters};
use crate::Consistency;
use crate::pump::Event;
use crate::requests::batcher::{Batcher, Next, ProposeResult};
use crate::requests::reply::{OpenBatch, Reply};
use crate::sync::{Mutex, MutexGuard};
use crate::transport::Envelope;

/// Events in order of arrival, and the requests that the next turns take as groups.
#[derive(Debug, Default)]
pub(crate) struct Mailbox {
    arrived: Mutex<Arrived>,
    /// Wakes the driver.
    driver: Notify,
}

#[derive(Debug, Default)]
struct Arrived {
    events: Vec<Event<Waiters>>,
    /// The size of the envelopes among the events.
    inbound_bytes: u64,
    inbound_dropped: u64,
    proposals: Batcher,
    reads: Option<OpenReads>,
    /// Reads that a lease may answer.
    lease_reads: Option<OpenReads>,
    /// Whether an inline worker was woken, or a turn left work to do.
    is_turn_wanted: bool,
    /// Whether the driver has ended.
    has_ended: bool,
}

#[derive(Debug)]
struct OpenReads {
    queries: Vec<Option<Bytes>>,
    replies: OpenBatch<ReadResult>,
}

impl OpenReads {
    fn new() -> OpenReads {
        OpenReads { queries: Vec::new(), replies: OpenBatch::new() }
    }

    fn join(&mut self, query: Option<Bytes>) -> Reply<ReadResult> {
        let size = query.as_ref().map_or(0, Bytes::len) as u32;
        self.queries.push(query);
        self.replies.join(size, None)
    }

    fn seal(self, consistency: Consistency) -> Event<Waiters> {
        let OpenReads { queries, replies } = self;
        let group = Arc::new(ReadGroup { answers: replies.seal(), queries });
        Event::Read { consistency, group }
    }
}

impl Mailbox {
    /// Adds an event. The caller takes the turn for it, or wakes the driver.
    pub(crate) fn push(&self, event: Event<Waiters>) {
        self.lock().events.push(event);
    }

    /// Adds what a peer sent, and leaves `envelopes` empty. Envelopes that would exceed `limit`
    /// bytes together with those that wait already are dropped and counted.
    pub(crate) fn deliver(
        &self,
        from: NodeId,
        envelopes: impl Iterator<Item = Envelope>,
        limit: u64,
    ) {
        let mut arrived = self.lock();
        for envelope in envelopes {
            let size = envelope.size();
            let before = arrived.inbound_bytes;
            if before == 0 || before + size <= limit {
                arrived.inbound_bytes += size;
                arrived.events.push(Event::Deliver { from, envelope });
            } else {
                arrived.inbound_dropped += 1;
            }
        }
    }

    /// Adds a command to the next group of proposals; see [`Batcher::propose`].
    pub(crate) fn propose(
        &self,
        command: Bytes,
        waker: Option<&Waker>,
    ) -> (Reply<ProposeResult>, Next) {
        self.lock().proposals.propose(command, waker)
    }

    /// Adds a read. A linearizable one joins the next group of reads, whose first read wakes the
    /// driver. The others ask no other member, in general, so the caller takes the turn.
    pub(crate) fn read(
        &self,
        query: Option<Bytes>,
        consistency: Consistency,
    ) -> (Reply<ReadResult>, Next) {
        match consistency {
            Consistency::Linearizable => self.read_linearizable(query),
            Consistency::Lease => {
                let mut arrived = self.lock();
                let open = arrived.lease_reads.get_or_insert_with(OpenReads::new);
                (open.join(query), Next::TakeTurn)
            }
            alone => {
                let mut one = OpenReads::new();
                let reply = one.join(query);
                self.lock().events.push(one.seal(alone));
                (reply, Next::TakeTurn)
            }
        }
    }

    fn read_linearizable(&self, query: Option<Bytes>) -> (Reply<ReadResult>, Next) {
        let mut arrived = self.lock();
        let next = if arrived.has_ended {
            Next::TakeTurn
        } else if arrived.reads.is_none() {
            Next::WakeDriver
        } else {
            Next::Nothing
        };
        let open = arrived.reads.get_or_insert_with(OpenReads::new);
        (open.join(query), next)
    }

    /// Appends to `events` what the turn that starts now takes. `write` is the number of the
    /// leader's own write that is under way; see [`Batcher::take`]. Returns whether the turn must
    /// poll the inline workers.
    pub(crate) fn drain_into(&self, events: &mut Vec<Event<Waiters>>, write: Option<u64>) -> bool {
        let mut arrived = self.lock();
        if events.is_empty() {
            std::mem::swap(&mut arrived.events, events);
        } else {
            events.append(&mut arrived.events);
        }
        arrived.inbound_bytes = 0;
        if let Some((commands, group)) = arrived.proposals.take(write) {
            events.push(Event::Propose { commands, group });
        }
        events.extend(arrived.reads.take().map(|open| open.seal(Consistency::Linearizable)));
        events.extend(arrived.lease_reads.take().map(|open| open.seal(Consistency::Lease)));
        std::mem::take(&mut arrived.is_turn_wanted)
    }

    /// Whether a turn would find nothing to take.
    pub(crate) fn is_empty(&self) -> bool {
        let arrived = self.lock();
        arrived.events.is_empty()
            && !arrived.is_turn_wanted
            && !arrived.proposals.is_due()
            && arrived.reads.is_none()
            && arrived.lease_reads.is_none()
    }

    /// The driver has let other tasks run: the proposals that wait are due.
    pub(crate) fn note_gathered(&self, was_alone: bool) {
        self.lock().proposals.note_gathered(was_alone);
    }

    /// How many proposals and reads wait for a turn.
    pub(crate) fn waiting_requests(&self) -> usize {
        let arrived = self.lock();
        arrived.proposals.len() + arrived.reads.as_ref().map_or(0, |open| open.replies.len())
    }

    /// Whether proposals wait, due or not.
    pub(crate) fn has_proposals(&self) -> bool {
        self.lock().proposals.len() > 0
    }

    /// Called by a turn that left work to do, so that its caller takes another turn.
    pub(crate) fn note_work_left(&self) {
        self.lock().is_turn_wanted = true;
    }

    /// Wakes the driver.
    pub(crate) fn wake_driver(&self) {
        self.driver.notify_one();
    }

    /// Waits until the driver is woken; a wake that came before counts.
    pub(crate) async fn driver_woken(&self) {
        self.driver.notified().await;
    }

    /// How many envelopes were dropped because the mailbox was full.
    pub(crate) fn dropped(&self) -> u64 {
        self.lock().inbound_dropped
    }

    /// Called when the member has ended: each later request is refused in a turn that its caller
    /// takes.
    pub(crate) fn end(&self) {
        let mut arrived = self.lock();
        arrived.has_ended = true;
        arrived.proposals.end();
    }

    fn lock(&self) -> MutexGuard<'_, Arrived> {
        self.arrived.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Wake for Mailbox {
    fn wake(self: Arc<Mailbox>) {
        self.wake_by_ref();
    }

    fn wake_by_ref(self: &Arc<Mailbox>) {
        self.lock().is_turn_wanted = true;
        self.wake_driver();
    }
}
