//! Carries out the effects of a turn, in order: the disk first, then the peers, then the state
//! machine and the clients.
//!
//! The outcome of an effect that completes at once (a write to memory, a cheap state machine's
//! batch, a forward that the transport refuses) comes back as an event, for the next round of the
//! same turn.

use std::sync::Arc;
use std::task::Waker;

use bytes::Bytes;
use raft_core::types::{EntryId, LogIndex, Membership, NodeId};
use tokio::sync::oneshot;

use super::address_book::AddressBook;
use super::admission::Admission;
use super::apply::{ApplyWork, Progress, apply_batch, serve_reads, want_answers};
use super::clients::{ReadGroup, SessionResult, Waiters};
use super::persist::{EndWaiting, Persist};
use super::read::Read;
use super::snapshot::Snapshots;
use super::snapshot_files::ComesBack;
use super::work_queue::WorkSender;
use super::worker::WorkerHandle;
use crate::application::{Replies, StateMachine};
use crate::pump::{
    ApplyBatch, ChangeError, Effects, Event, Failed, Settled, SnapshotPlan, TransferWork,
};
use crate::requests::error::{ProposeError, ReadError, SnapshotError};
use crate::requests::quota::Quotas;
use crate::requests::reply::Answers;
use crate::sessions::SessionError;
use crate::transport::{Content, Envelope, Transport};

/// The parts through which a member writes, sends, reads and applies.
pub(crate) struct Executor {
    /// `None` once the member has ended; dropping it ends its tasks and connections.
    transport: Option<Box<dyn Transport>>,
    /// Which peers may talk to the member; it is told of changes of the membership.
    admission: Arc<Admission>,
    book: AddressBook,
    machine: Machine,
    writer: WorkerHandle<Persist>,
    /// `None` once the member has ended; dropping it stops the writer from waiting for space.
    end_waiting: Option<EndWaiting>,
    reader: WorkerHandle<Read>,
    /// `None` if the member takes no snapshots, and once it has ended.
    snapshots: Option<Snapshots>,
    /// Wakes the member's own task, which polls the inline workers.
    own_task: Waker,
    /// Clients to be woken once no lock is held.
    wakers: Vec<Waker>,
    /// The answers of a cheap state machine to the current batch.
    replies: Replies,
    /// The batch that a cheap state machine has not finished; the next turn continues it.
    unfinished: Option<ApplyBatch<Waiters>>,
    /// Reads that a cheap state machine answers once it has finished its batch: until then its
    /// state may be that of a half-applied command.
    held_reads: Vec<(Arc<ReadGroup>, LogIndex)>,
}

/// Where committed commands go.
pub(crate) enum Machine {
    /// The state machine is called in the turn.
    Cheap(Box<dyn StateMachine>),
    /// A task of its own calls the state machine.
    Tasked(WorkSender<ApplyWork>),
    /// The state machine would be called in the turn, but is being restored from a snapshot.
    Lent(ComesBack),
}

impl Executor {
    pub(crate) fn new(
        (transport, admission): (Box<dyn Transport>, Arc<Admission>),
        machine: Machine,
        (writer, end_waiting): (WorkerHandle<Persist>, EndWaiting),
        reader: WorkerHandle<Read>,
        snapshots: Option<Snapshots>,
        own_task: Waker,
    ) -> Executor {
        let (wakers, replies) = (Vec::new(), Replies::default());
        Executor {
            transport: Some(transport),
            admission,
            book: AddressBook::default(),
            machine,
            writer,
            end_waiting: Some(end_waiting),
            reader,
            snapshots,
            own_task,
            wakers,
            replies,
            unfinished: None,
            held_reads: Vec::new(),
        }
    }

    /// Carries out all effects except those for observers. The outcomes of effects that complete at
    /// once are added to `events`. `connected` are the memberships whose members this one talks to.
    pub(crate) fn run<'a>(
        &mut self,
        effects: &mut Effects<Waiters>,
        events: &mut Vec<Event<Waiters>>,
        connected: impl Iterator<Item = &'a Arc<Membership>> + Clone,
        quotas: &Quotas,
    ) {
        if let Some(batch) = effects.write.take() {
            self.writer.put(batch, &self.own_task, events);
        }
        if !self.book.is_of(connected.clone()) {
            self.book = AddressBook::of(connected);
            self.note_memberships();
        }
        self.send(effects, events);
        if !effects.fetches.is_empty() {
            for fetch in effects.fetches.drain(..) {
                self.reader.put(fetch, &self.own_task, events);
            }
        }
        if let Some(plan) = effects.snapshot.take() {
            self.pin(plan, events);
        }
        if !effects.transfers.is_empty() {
            self.transfer(&mut effects.transfers);
        }
        if let Some(last) = effects.restore.take() {
            self.restore(last);
        }
        if let Some(batch) = effects.apply.take() {
            self.apply(batch, events, quotas);
        }
        if !effects.served.is_empty() {
            for (group, index) in effects.served.drain(..) {
                self.serve(group, index, events, quotas);
            }
        }
        // Most turns fail no request, so they skip the loops over empty lists.
        if effects.has_failures() {
            self.fail(effects, quotas);
        }
    }

    fn fail(&mut self, effects: &mut Effects<Waiters>, quotas: &Quotas) {
        for failed in effects.failed.drain(..) {
            fail(failed, quotas, &mut self.wakers);
        }
        for Failed { group, offset, count, error } in effects.overdue.drain(..) {
            let errors = std::iter::repeat_n(Err::<Bytes, ProposeError>(error), count);
            group.answer(offset, errors, &mut self.wakers);
        }
        for Settled { group, offset, count } in effects.settled.drain(..) {
            let bytes = group.bytes(offset, count);
            quotas.proposals.release(count as u64, bytes, &mut self.wakers);
        }
        for (client, result) in effects.session_answers.drain(..) {
            answer_session(&client, result, quotas, &mut self.wakers);
        }
        for (group, error) in effects.failed_reads.drain(..) {
            fail_reads(&group, &error, quotas, &mut self.wakers);
        }
        for (client, result) in effects.snapshot_answers.drain(..) {
            client.answer(0, std::iter::once(result), &mut self.wakers);
        }
        for (client, result) in effects.change_answers.drain(..) {
            client.answer(0, std::iter::once(result), &mut self.wakers);
        }
    }

    /// Calls `act` with the transport, unless the member has ended.
    pub(crate) fn with_transport(&mut self, act: impl FnOnce(&mut dyn Transport)) {
        if let Some(transport) = &mut self.transport {
            act(transport.as_mut());
        }
    }

    /// Lets the quota limit commands, or lets all that wait for it enter, to be refused.
    pub(crate) fn limit_proposals(&mut self, is_limited: bool, quotas: &Quotas) {
        if is_limited {
            quotas.proposals.reopen();
        } else {
            quotas.proposals.close(&mut self.wakers);
        }
    }

    /// Polls the inline workers and continues an unfinished batch.
    pub(crate) fn poll(&mut self, events: &mut Vec<Event<Waiters>>, quotas: &Quotas) {
        if let Some(batch) = self.unfinished.take() {
            self.apply_cheaply(batch, events, quotas);
        }
        self.writer.poll(&self.own_task, events);
        self.reader.poll(&self.own_task, events);
    }

    /// Called when no more effects will come: every worker finishes the work that it has, and the
    /// requests that wait for the quotas enter, so that they are refused.
    pub(crate) fn close(&mut self, events: &mut Vec<Event<Waiters>>, quotas: &Quotas) {
        self.end_waiting = None;
        self.unfinished = None;
        for (group, _) in self.held_reads.drain(..) {
            fail_reads(&group, &ReadError::Closed, quotas, &mut self.wakers);
        }
        if let Some(snapshots) = self.snapshots.take() {
            snapshots.close();
        }
        self.writer.close(&self.own_task, events);
        self.reader.close(&self.own_task, events);
        if let Machine::Tasked(queue) = &self.machine {
            queue.close();
        }
        quotas.proposals.close(&mut self.wakers);
        quotas.reads.close(&mut self.wakers);
        self.transport = None;
    }

    /// Whether nothing is left to be polled inline.
    pub(crate) fn is_gone(&self) -> bool {
        self.writer.is_gone() && self.reader.is_gone()
    }

    /// The clients to be woken once no lock is held.
    pub(crate) fn take_wakers(&mut self) -> Vec<Waker> {
        std::mem::take(&mut self.wakers)
    }

    fn send(&mut self, effects: &mut Effects<Waiters>, events: &mut Vec<Event<Waiters>>) {
        let Some(transport) = &mut self.transport else { return effects.sends.clear() };
        for (to, envelope) in effects.sends.drain(..) {
            let address = self.book.address(to);
            let forward = forward_id(&envelope);
            if !transport.send(to, address, envelope) {
                events.extend(forward.map(|forward| not_sent(to, forward)));
            }
        }
        for node in effects.connects.drain(..) {
            transport.connect(node, self.book.address(node));
        }
    }

    /// This is the feature level of the cluster now.
    pub(crate) fn note_level(&self, level: u32) {
        self.admission.note_level(level);
    }

    /// Other memberships are in force now.
    fn note_memberships(&mut self) {
        self.admission.note_memberships(self.book.memberships());
        if let Some(transport) = &mut self.transport {
            transport.retain(&self.book.members());
        }
    }

    fn apply(
        &mut self,
        batch: ApplyBatch<Waiters>,
        events: &mut Vec<Event<Waiters>>,
        quotas: &Quotas,
    ) {
        self.take_back();
        match &self.machine {
            Machine::Cheap(_) => {
                want_answers(&batch, &mut self.replies);
                self.apply_cheaply(batch, events, quotas);
            }
            Machine::Tasked(queue) => queue.put(ApplyWork::Apply(batch)),
            Machine::Lent(_) => {}
        }
    }

    /// Applies a batch in the turn, or continues one. The rest of an unfinished batch waits for the
    /// member's own task, which first handles what else has arrived.
    fn apply_cheaply(
        &mut self,
        mut batch: ApplyBatch<Waiters>,
        events: &mut Vec<Event<Waiters>>,
        quotas: &Quotas,
    ) {
        let Machine::Cheap(machine) = &mut self.machine else { return };
        let (replies, wakers) = (&mut self.replies, &mut self.wakers);
        match apply_batch(machine.as_mut(), &mut batch, quotas, replies, wakers) {
            Ok(Progress::Done(recorded)) => {
                events.push(Event::Applied { recorded });
                for (group, index) in std::mem::take(&mut self.held_reads) {
                    self.serve(group, index, events, quotas);
                }
            }
            Ok(Progress::Unfinished) => {
                self.unfinished = Some(batch);
                self.own_task.wake_by_ref();
            }
            Err(reason) => events.push(Event::Stop(reason)),
        }
    }

    /// Pins the state before the next batch is applied. The state machine has no batch now.
    fn pin(&mut self, plan: SnapshotPlan, events: &mut Vec<Event<Waiters>>) {
        self.take_back();
        let Some(Snapshots { queue: snapshots, .. }) = &self.snapshots else { return };
        match &mut self.machine {
            Machine::Cheap(machine) => events.extend(snapshots.pin(machine.as_mut(), plan)),
            Machine::Tasked(queue) => queue.put(ApplyWork::Snapshot(snapshots.clone(), plan)),
            Machine::Lent(_) => {}
        }
    }

    fn transfer(&mut self, works: &mut Vec<TransferWork>) {
        let Some(Snapshots { files, .. }) = &self.snapshots else { return works.clear() };
        works.drain(..).for_each(|work| files.put(work));
    }

    /// Has the state machine, which has no batch, restored from the snapshot that ends here.
    fn restore(&mut self, last: EntryId) {
        self.take_back();
        let Some(Snapshots { files, .. }) = &self.snapshots else { return };
        match std::mem::replace(&mut self.machine, Machine::Lent(oneshot::channel().1)) {
            Machine::Cheap(machine) => self.machine = Machine::Lent(files.lend(machine, last)),
            Machine::Tasked(queue) => {
                queue.put(ApplyWork::Restore(files.clone(), last));
                self.machine = Machine::Tasked(queue);
            }
            lent @ Machine::Lent(_) => self.machine = lent,
        }
    }

    /// Takes a state machine back that has been restored. The pump uses the state machine only
    /// after the report that it is back.
    fn take_back(&mut self) {
        if let Machine::Lent(comes_back) = &mut self.machine
            && let Ok(machine) = comes_back.try_recv()
        {
            self.machine = Machine::Cheap(machine);
        }
    }

    fn serve(
        &mut self,
        group: Arc<ReadGroup>,
        index: LogIndex,
        events: &mut Vec<Event<Waiters>>,
        quotas: &Quotas,
    ) {
        self.take_back();
        match &self.machine {
            Machine::Cheap(_) if self.unfinished.is_some() => self.held_reads.push((group, index)),
            Machine::Cheap(machine) => {
                let served = serve_reads(machine.as_ref(), &group, index, quotas, &mut self.wakers);
                events.extend(served.err().map(Event::Stop));
            }
            Machine::Tasked(queue) => queue.put(ApplyWork::Serve(group, index)),
            Machine::Lent(_) => fail_reads(&group, &ReadError::Closed, quotas, &mut self.wakers),
        }
    }
}

/// The event for an envelope that was not sent. Only a forward needs one, since clients wait for
/// it; the protocol sends its own messages again.
pub(crate) fn forward_not_sent(to: NodeId, envelope: &Envelope) -> Option<Event<Waiters>> {
    forward_id(envelope).map(|forward| not_sent(to, forward))
}

/// The start and sequence number of a forward.
fn forward_id(envelope: &Envelope) -> Option<(u64, u64)> {
    match &envelope.content {
        Content::Forward(forward) => Some((forward.start, forward.sequence)),
        Content::Raft { .. }
        | Content::ForwardAnswer(_)
        | Content::SessionForward(_)
        | Content::Snapshot(_) => None,
    }
}

fn not_sent(to: NodeId, (start, sequence): (u64, u64)) -> Event<Waiters> {
    Event::ForwardNotSent { to, start, sequence }
}

/// Refuses a request that is in the mailbox after the member has ended. Events that are not
/// requests are dropped.
pub(crate) fn refuse(event: Event<Waiters>, quotas: &Quotas, wakers: &mut Vec<Waker>) {
    match event {
        Event::Propose { commands, group } => {
            let (count, error) = (commands.len(), ProposeError::Closed);
            fail(Failed { group, offset: 0, count, error }, quotas, wakers);
        }
        Event::Session { client, .. } => {
            answer_session(&client, Err(SessionError::Closed), quotas, wakers);
        }
        Event::Read { group, .. } => fail_reads(&group, &ReadError::Closed, quotas, wakers),
        Event::TakeSnapshot { client } => {
            client.answer(0, std::iter::once(Err(SnapshotError::Closed)), wakers);
        }
        Event::ChangeMembership { client, .. } => {
            client.answer(0, std::iter::once(Err(ChangeError::Closed)), wakers);
        }
        _ => {}
    }
}

fn fail(failed: Failed<Waiters>, quotas: &Quotas, wakers: &mut Vec<Waker>) {
    let Failed { group, offset, count, error } = failed;
    let errors = std::iter::repeat_n(Err::<Bytes, ProposeError>(error), count);
    let bytes = group.answer(offset, errors, wakers);
    quotas.proposals.release(count as u64, bytes, wakers);
}

fn answer_session(
    client: &Answers<SessionResult>,
    result: SessionResult,
    quotas: &Quotas,
    wakers: &mut Vec<Waker>,
) {
    let bytes = client.answer(0, std::iter::once(result), wakers);
    quotas.proposals.release(1, bytes, wakers);
}

fn fail_reads(group: &ReadGroup, error: &ReadError, quotas: &Quotas, wakers: &mut Vec<Waker>) {
    let count = group.queries.len();
    let errors = (0..count).map(|_| Err(error.clone()));
    let bytes = group.answers.answer(0, errors, wakers);
    quotas.reads.release(count as u64, bytes, wakers);
}

#[cfg(test)]
mod tests;
