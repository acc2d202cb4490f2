//! Runs the effects of a turn: the disk first, then the peers, then the machine and the clients.

use std::sync::Arc;
use std::task::Waker;

use bytes::Bytes;
use raft_core::types::{LogIndex, Membership};

use crate::desk::Desk;
use crate::hand::Hand;
use crate::pump::{ApplyBatch, Effects, Event, Failed};
use crate::shared::Shared;
use crate::tasks::persist::Persist;
use crate::tasks::read::Read;
use crate::waiters::{ReadAnswer, ReadGroup, Waiters};
use crate::{ProposeError, ReadError, Replies, StateMachine, Transport};

/// The hands and doors of a member.
pub(crate) struct Runner {
    /// Gone once the member has ended, and with it its tasks and connections.
    pub(crate) transport: Option<Box<dyn Transport>>,
    pub(crate) machine: Machine,
    pub(crate) writer: Hand<Persist>,
    pub(crate) reader: Hand<Read>,
    /// Wakes the member's own task, for what is polled in place.
    pub(crate) own_task: Waker,
    /// Clients to be woken once no lock is held.
    pub(crate) wakers: Vec<Waker>,
    /// What a cheap machine answers to the batch at hand.
    pub(crate) replies: Replies,
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

impl Runner {
    /// Runs all but what is told to people. What is done at once comes back through `events`.
    pub(crate) fn run(
        &mut self,
        effects: &mut Effects<Waiters>,
        events: &mut Vec<Event<Waiters>>,
        address_book: Option<&Arc<Membership>>,
        shared: &Shared,
    ) {
        if let Some(batch) = effects.write.take() {
            self.writer.put(batch, &self.own_task, events);
        }
        self.send(effects, address_book);
        for fetch in effects.fetches.drain(..) {
            self.reader.put(fetch, &self.own_task, events);
        }
        if let Some(batch) = effects.apply.take() {
            self.apply(batch, events, shared);
        }
        for (group, index) in effects.served.drain(..) {
            self.serve(group, index, shared);
        }
        if !effects.failed.is_empty() || !effects.failed_reads.is_empty() {
            self.fail(effects, shared);
        }
    }

    fn fail(&mut self, effects: &mut Effects<Waiters>, shared: &Shared) {
        for failed in effects.failed.drain(..) {
            fail(failed, shared, &mut self.wakers);
        }
        for (group, error) in effects.failed_reads.drain(..) {
            fail_reads(&group, &error, shared, &mut self.wakers);
        }
    }

    /// Goes on with what is polled in place.
    pub(crate) fn poll(&mut self, events: &mut Vec<Event<Waiters>>) {
        self.writer.poll(&self.own_task, events);
        self.reader.poll(&self.own_task, events);
    }

    /// No more effects will come.
    pub(crate) fn close(&mut self, events: &mut Vec<Event<Waiters>>) {
        self.writer.close(&self.own_task, events);
        self.reader.close(&self.own_task, events);
        if let Machine::Tasked(desk) = &self.machine {
            desk.close();
        }
        self.transport = None;
    }

    /// Whether nothing is left to be polled in place.
    pub(crate) fn is_gone(&self) -> bool {
        self.writer.is_gone() && self.reader.is_gone()
    }

    fn send(&mut self, effects: &mut Effects<Waiters>, address_book: Option<&Arc<Membership>>) {
        let Some(transport) = &mut self.transport else { return effects.sends.clear() };
        for (to, envelope) in effects.sends.drain(..) {
            let address = address_book.and_then(|membership| membership.metadata(to));
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
                let (replies, wakers) = (&mut self.replies, &mut self.wakers);
                apply_batch(machine.as_mut(), batch, shared, replies, wakers);
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
}

/// Applies a batch and answers who waits for it. `replies` is empty before and after.
pub(crate) fn apply_batch(
    machine: &mut dyn StateMachine,
    batch: ApplyBatch<Waiters>,
    shared: &Shared,
    replies: &mut Replies,
    wakers: &mut Vec<Waker>,
) {
    machine.apply(&batch.commands, replies);
    let given = replies.len();
    assert_eq!(given, batch.commands.len(), "the machine answers each command once");
    let answers = replies.answers_mut();
    for claim in batch.claims {
        let range = claim.position..claim.position + claim.count;
        let own = answers[range].iter_mut().map(|answer| Ok(std::mem::take(answer)));
        let bytes = claim.group.answer(claim.offset, own, wakers);
        shared.proposals_room.leave(claim.count as u64, bytes);
    }
    answers.clear();
}

/// Answers queries from the machine's state.
pub(crate) fn serve_reads(
    machine: &dyn StateMachine,
    group: &ReadGroup,
    index: LogIndex,
    wakers: &mut Vec<Waker>,
) {
    let answer = |query: &Option<Bytes>| {
        let answer = query.as_ref().map(|query| machine.read(query)).unwrap_or_default();
        Ok(ReadAnswer { index, answer })
    };
    group.answers.answer(0, group.queries.iter().map(answer), wakers);
}

fn fail(failed: Failed<Waiters>, shared: &Shared, wakers: &mut Vec<Waker>) {
    let Failed { group, offset, count, error } = failed;
    let errors = std::iter::repeat_n(Err::<Bytes, ProposeError>(error), count);
    let bytes = group.answer(offset, errors, wakers);
    shared.proposals_room.leave(count as u64, bytes);
}

fn fail_reads(group: &ReadGroup, error: &ReadError, shared: &Shared, wakers: &mut Vec<Waker>) {
    let count = group.queries.len();
    let errors = (0..count).map(|_| Err(error.clone()));
    group.answers.answer(0, errors, wakers);
    shared.reads_room.leave(count as u64, 0);
}
