//! What has happened to a member and was not taken up yet.
//!
//! Requests that come before the next turn go in together: the first of an open group tells the
//! driver, the others just join. A proposal that comes *alone* is not worth the driver's wake: who
//! brings it takes the turn. Whether proposals come alone is not known before they are awaited, so
//! the driver, which lets others run before it looks, judges it; while they do, one in
//! [`ALONE_FOR`] still goes by the driver, so that a crowd is noticed.
//!
//! Nobody but the driver, once it has gathered them, takes proposals that came together: another
//! turn in between would break the group up, and a group in two parts costs each member two syncs.
//! While the leader's own disk works they gather on, up to a [`CROWD`].

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Wake, Waker};

use bytes::Bytes;
use raft_core::types::NodeId;
use tokio::sync::Notify;

use crate::cell::{Answer, Places};
use crate::pump::Event;
use crate::waiters::{ReadAnswer, ReadGroup, Waiters};
use crate::{Envelope, ProposeError, ReadError};

/// How many proposals are taken to be alone after one that was.
const ALONE_FOR: u32 = 64;

/// So many proposals wait for nothing: to take them up costs the processor about as long as a sync
/// costs the disk, and the two had better work at the same time.
const CROWD: usize = 512;

/// Events in order of arrival, and the requests that will go in together.
///
/// It is also the waker of what the member polls in its own task: a wake counts as an arrival.
#[derive(Debug, Default)]
pub(crate) struct Inbox {
    arrived: Mutex<Arrived>,
    /// Wakes the driver.
    pub(crate) driver: Notify,
}

#[derive(Debug, Default)]
struct Arrived {
    events: Vec<Event<Waiters>>,
    /// The size of the envelopes among the events.
    inbound_bytes: u64,
    inbound_dropped: u64,
    proposals: Option<OpenProposals>,
    reads: Option<OpenReads>,
    /// What is polled in place wants to be polled again, or a turn left something to do.
    is_rung: bool,
    /// How many more proposals are taken to be alone.
    alone: u32,
    /// The next turn takes the proposals: the driver has gathered them, or they came alone.
    are_proposals_due: bool,
    /// The write during which they were due first. They wait for no other: forwarded proposals,
    /// which nobody holds, may keep the disk busy for ever.
    held_during: Option<u64>,
    /// There is no driver any more.
    has_ended: bool,
}

#[derive(Debug)]
struct OpenProposals {
    commands: Vec<Bytes>,
    places: Places<Result<Bytes, ProposeError>>,
}

#[derive(Debug)]
struct OpenReads {
    queries: Vec<Option<Bytes>>,
    places: Places<Result<ReadAnswer, ReadError>>,
}

/// What is left to do for who brought something.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Next {
    /// Take a turn.
    TakeTurn,
    /// Wake the driver.
    WakeDriver,
    /// Nothing: someone before has done it.
    Nothing,
}

impl Inbox {
    pub(crate) fn push(&self, event: Event<Waiters>) {
        self.lock().events.push(event);
    }

    /// Takes in what a peer sent, and leaves `envelopes` empty; what finds no room is dropped and
    /// counted.
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

    /// Adds a command to the next group of proposals. `waker` is that of who is about to wait for
    /// the answer, if it is known; it is kept only where nothing is left to do before waiting.
    pub(crate) fn propose(
        &self,
        command: Bytes,
        waker: Option<&Waker>,
    ) -> (Answer<Result<Bytes, ProposeError>>, Next) {
        let mut arrived = self.lock();
        let next = arrived.next_of_proposal();
        let open = arrived
            .proposals
            .get_or_insert_with(|| OpenProposals { commands: Vec::new(), places: Places::new() });
        let size = command.len() as u32;
        open.commands.push(command);
        (open.places.join(size, waker.filter(|_| next != Next::TakeTurn)), next)
    }

    /// Adds a read to the next group of reads.
    pub(crate) fn read(
        &self,
        query: Option<Bytes>,
    ) -> (Answer<Result<ReadAnswer, ReadError>>, Next) {
        let mut arrived = self.lock();
        let next = match (arrived.has_ended, &arrived.reads) {
            (true, _) => Next::TakeTurn,
            (false, None) => Next::WakeDriver,
            (false, Some(_)) => Next::Nothing,
        };
        let new = || OpenReads { queries: Vec::new(), places: Places::new() };
        let open = arrived.reads.get_or_insert_with(new);
        open.queries.push(query);
        (open.places.join(0, None), next)
    }

    /// Moves everything behind `events`, but proposals only where they are due, and not during the
    /// write that this is the number of; true if what is polled in place is to be polled.
    pub(crate) fn drain_into(&self, events: &mut Vec<Event<Waiters>>, write: Option<u64>) -> bool {
        let mut arrived = self.lock();
        let takes_proposals = arrived.takes_proposals(write);
        match events.is_empty() {
            true => std::mem::swap(&mut arrived.events, events),
            false => events.append(&mut arrived.events),
        }
        arrived.inbound_bytes = 0;
        let proposals = arrived.proposals.take_if(|_| takes_proposals);
        if let Some(OpenProposals { commands, places }) = proposals {
            if commands.len() > 1 {
                arrived.alone = 0;
            }
            events.push(Event::Propose { commands, group: places.seal() });
        }
        if let Some(OpenReads { queries, places }) = arrived.reads.take() {
            let group = Arc::new(ReadGroup { answers: places.seal(), queries });
            events.push(Event::Read { group });
        }
        std::mem::take(&mut arrived.is_rung)
    }

    /// Whether there is nothing that a turn would take.
    pub(crate) fn is_empty(&self) -> bool {
        let arrived = self.lock();
        arrived.events.is_empty()
            && !arrived.is_rung
            && !arrived.are_proposals_due
            && arrived.reads.is_none()
    }

    /// The driver has gathered what proposals there are.
    pub(crate) fn note_gathered(&self) {
        let mut arrived = self.lock();
        arrived.are_proposals_due = arrived.proposals.is_some();
    }

    /// The disk is free: the driver takes the proposals that were held, once those whose answers
    /// have just come could propose again.
    pub(crate) fn release_proposals(&self) {
        if self.lock().proposals.is_some() {
            self.driver.notify_one();
        }
    }

    /// How many requests the open groups hold.
    pub(crate) fn open_requests(&self) -> usize {
        let arrived = self.lock();
        arrived.open_proposals() + arrived.reads.as_ref().map_or(0, |open| open.places.len())
    }

    /// A turn left something to do.
    pub(crate) fn ring(&self) {
        self.lock().is_rung = true;
        self.driver.notify_one();
    }

    /// The driver has let others run, and nobody else came.
    pub(crate) fn note_alone(&self) {
        self.lock().alone = ALONE_FOR;
    }

    /// Envelopes that found no room.
    pub(crate) fn dropped(&self) -> u64 {
        self.lock().inbound_dropped
    }

    /// The driver is gone: whoever brings something takes the turn that refuses it.
    pub(crate) fn end(&self) {
        self.lock().has_ended = true;
    }

    fn lock(&self) -> MutexGuard<'_, Arrived> {
        self.arrived.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Arrived {
    fn open_proposals(&self) -> usize {
        self.proposals.as_ref().map_or(0, |open| open.commands.len())
    }

    /// Whether the turn that begins now, during this write, takes the proposals.
    fn takes_proposals(&mut self, write: Option<u64>) -> bool {
        if !std::mem::take(&mut self.are_proposals_due) {
            return false;
        }
        if let Some(write) = write
            && self.open_proposals() < CROWD
            && *self.held_during.get_or_insert(write) == write
        {
            return false;
        }
        self.held_during = None;
        true
    }

    /// Who proposes first does what is to be done for the group.
    fn next_of_proposal(&mut self) -> Next {
        if self.has_ended {
            self.are_proposals_due = true;
            return Next::TakeTurn;
        }
        let place = self.open_proposals() + 1;
        match (place, self.alone) {
            (1, 0) => Next::WakeDriver,
            (1, _) => {
                self.alone -= 1;
                self.are_proposals_due = true;
                Next::TakeTurn
            }
            (CROWD, _) => {
                self.are_proposals_due = true;
                Next::TakeTurn
            }
            _ => Next::Nothing,
        }
    }
}

impl Wake for Inbox {
    fn wake(self: Arc<Inbox>) {
        self.wake_by_ref();
    }

    fn wake_by_ref(self: &Arc<Inbox>) {
        self.ring();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn propose(inbox: &Inbox) -> Next {
        let (answer, next) = inbox.propose(Bytes::new(), None);
        drop(answer);
        next
    }

    /// The sizes of the groups that a turn takes during this write.
    fn taken(inbox: &Inbox, write: Option<u64>) -> Vec<usize> {
        let mut events = Vec::new();
        inbox.drain_into(&mut events, write);
        let sizes = events.iter().map(|event| match event {
            Event::Propose { commands, .. } => commands.len(),
            other => panic!("{other:?}"),
        });
        sizes.collect()
    }

    /// What went wrong: the turn for a peer's acknowledgement took the first proposals of a group
    /// that was about to form, and each disk synced twice.
    #[test]
    fn a_turn_for_something_else_leaves_a_group_that_forms() {
        let inbox = Inbox::default();
        assert_eq!([propose(&inbox), propose(&inbox)], [Next::WakeDriver, Next::Nothing]);
        assert!(taken(&inbox, None).is_empty() && inbox.is_empty());
        propose(&inbox);
        inbox.note_gathered();
        assert!(!inbox.is_empty());
        assert_eq!(taken(&inbox, None), [3]);
    }

    #[test]
    fn proposals_gather_while_the_disk_works() {
        let inbox = Inbox::default();
        propose(&inbox);
        inbox.note_gathered();
        assert!(taken(&inbox, Some(1)).is_empty());
        assert!(inbox.is_empty(), "a turn would find nothing to take");
        propose(&inbox);
        inbox.note_gathered();
        assert_eq!(taken(&inbox, None), [2]);
    }

    /// What went wrong: the next write began in the turn that ended the one before, since a peer
    /// had forwarded something, and a proposal of the leader's own client was held again and again.
    #[test]
    fn what_waited_for_one_write_waits_for_no_other() {
        let inbox = Inbox::default();
        propose(&inbox);
        for _ in 0..2 {
            inbox.note_gathered();
            assert!(taken(&inbox, Some(7)).is_empty());
        }
        inbox.note_gathered();
        assert_eq!(taken(&inbox, Some(8)), [1]);
        propose(&inbox);
        inbox.note_gathered();
        assert!(taken(&inbox, Some(8)).is_empty(), "the next group waits for its own");
    }

    #[test]
    fn a_crowd_waits_for_no_disk() {
        let inbox = Inbox::default();
        let nexts: Vec<Next> = (0..CROWD).map(|_| propose(&inbox)).collect();
        assert_eq!(nexts.iter().filter(|next| **next == Next::TakeTurn).count(), 1);
        assert_eq!(nexts[CROWD - 1], Next::TakeTurn);
        assert_eq!(taken(&inbox, Some(1)), [CROWD]);
    }

    #[test]
    fn who_comes_alone_takes_the_turn() {
        let inbox = Inbox::default();
        inbox.note_alone();
        assert_eq!(propose(&inbox), Next::TakeTurn);
        assert_eq!(taken(&inbox, None), [1]);
    }

    #[test]
    fn after_the_end_each_refusal_is_its_callers_turn() {
        let inbox = Inbox::default();
        inbox.end();
        assert_eq!([propose(&inbox), propose(&inbox)], [Next::TakeTurn; 2]);
        assert!(taken(&inbox, Some(1)).is_empty(), "but one that has ended has no write");
        propose(&inbox);
        assert_eq!(taken(&inbox, None), [3]);
    }
}
