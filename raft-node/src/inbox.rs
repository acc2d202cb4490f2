//! What has happened to a member and was not taken up yet.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use bytes::Bytes;

use crate::cell::{Answer, Cell};
use crate::pump::Event;
use crate::waiters::{ProposalGroup, ReadAnswer, ReadGroup, Waiters};
use crate::{ProposeError, ReadError};

/// Events in order of arrival, and the requests that will go in together.
#[derive(Debug, Default)]
pub(crate) struct Inbox {
    arrived: Mutex<Arrived>,
}

#[derive(Debug, Default)]
struct Arrived {
    events: Vec<Event<Waiters>>,
    proposals: Option<OpenProposals>,
    reads: Option<OpenReads>,
}

#[derive(Debug)]
struct OpenProposals {
    commands: Vec<Bytes>,
    sizes: Vec<u32>,
    answers: Arc<Cell<Result<Bytes, ProposeError>>>,
}

#[derive(Debug)]
struct OpenReads {
    queries: Vec<Option<Bytes>>,
    answers: Arc<Cell<Result<ReadAnswer, ReadError>>>,
}

impl Inbox {
    pub(crate) fn push(&self, event: Event<Waiters>) {
        self.lock().events.push(event);
    }

    pub(crate) fn push_all(&self, events: impl Iterator<Item = Event<Waiters>>) {
        self.lock().events.extend(events);
    }

    /// Adds a command to the next group of proposals.
    pub(crate) fn propose(&self, command: Bytes) -> Answer<Result<Bytes, ProposeError>> {
        let mut arrived = self.lock();
        let open = arrived.proposals.get_or_insert_with(|| OpenProposals {
            commands: Vec::new(),
            sizes: Vec::new(),
            answers: Cell::new(),
        });
        open.sizes.push(command.len() as u32);
        open.commands.push(command);
        open.answers.join()
    }

    /// Adds a read to the next group of reads.
    pub(crate) fn read(&self, query: Option<Bytes>) -> Answer<Result<ReadAnswer, ReadError>> {
        let mut arrived = self.lock();
        let new = || OpenReads { queries: Vec::new(), answers: Cell::new() };
        let open = arrived.reads.get_or_insert_with(new);
        open.queries.push(query);
        open.answers.join()
    }

    /// Moves everything into `events`, which is empty.
    pub(crate) fn drain_into(&self, events: &mut Vec<Event<Waiters>>) {
        let mut arrived = self.lock();
        std::mem::swap(&mut arrived.events, events);
        if let Some(OpenProposals { commands, sizes, answers }) = arrived.proposals.take() {
            let group = Arc::new(ProposalGroup { answers, sizes });
            events.push(Event::Propose { commands, group });
        }
        if let Some(OpenReads { queries, answers }) = arrived.reads.take() {
            events.push(Event::Read { group: Arc::new(ReadGroup { answers, queries }) });
        }
    }

    pub(crate) fn is_empty(&self) -> bool {
        let arrived = self.lock();
        arrived.events.is_empty() && arrived.proposals.is_none() && arrived.reads.is_none()
    }

    /// How many requests the open groups hold.
    pub(crate) fn open_requests(&self) -> usize {
        let arrived = self.lock();
        let proposals = arrived.proposals.as_ref().map_or(0, |open| open.commands.len());
        proposals + arrived.reads.as_ref().map_or(0, |open| open.queries.len())
    }

    fn lock(&self) -> MutexGuard<'_, Arrived> {
        self.arrived.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
