//! The sessions of clients: their numbers, the requests that have no outcome, and the calls that
//! are under way.
//!
//! A request is called at one member after another until its client knows the outcome. An earlier
//! call may still be answered later; then the answer must be the same.

use std::collections::{BTreeMap, VecDeque};

use bytes::Bytes;
use raft_node::{SessionId, SessionLimits, SessionRequest};

/// The session of one client.
#[derive(Clone, Debug, Default)]
pub(crate) struct ClientSession {
    pub(crate) id: Option<SessionId>,
    /// The number of the next request.
    next: u64,
    /// The requests without an outcome, by operation.
    pub(crate) pending: BTreeMap<u64, Numbered>,
    /// The two operations that were answered last in this session, the older one first.
    pub(crate) done: VecDeque<(u64, Numbered)>,
    /// Whether the requests without an outcome are about to be called again.
    pub(crate) is_retrying: bool,
}

/// A request of a session.
#[derive(Clone, Debug)]
pub(crate) struct Numbered {
    number: u64,
    command: Bytes,
}

/// A call at a member.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Call {
    /// A session is opened for a client.
    Open { client: u64 },
    /// A client calls its operation. It may have been applied before already.
    Run { client: u64, operation: u64, was_applied: bool },
    /// A client calls an operation again whose answer it has.
    Again { client: u64, operation: u64 },
}

impl Call {
    /// The client that made the call.
    pub(crate) fn client(self) -> u64 {
        match self {
            Call::Open { client } | Call::Run { client, .. } | Call::Again { client, .. } => client,
        }
    }
}

/// All sessions and calls.
#[derive(Debug)]
pub(crate) struct Sessions {
    pub(crate) clients: Vec<ClientSession>,
    calls: BTreeMap<u64, Call>,
    last_call: u64,
}

impl Sessions {
    pub(crate) fn new(clients: u64) -> Sessions {
        let clients = vec![ClientSession::default(); clients as usize];
        Sessions { clients, calls: BTreeMap::new(), last_call: 0 }
    }

    pub(crate) fn client(&mut self, client: u64) -> &mut ClientSession {
        &mut self.clients[client as usize]
    }

    /// A new call. Returns its number.
    pub(crate) fn begin(&mut self, call: Call) -> u64 {
        self.last_call += 1;
        self.calls.insert(self.last_call, call);
        self.last_call
    }

    /// The call with this number has an outcome.
    pub(crate) fn end(&mut self, number: u64) -> Option<Call> {
        self.calls.remove(&number)
    }

    /// A request to open a session. Its token is that of no other.
    pub(crate) fn open(&self, client: u64, limits: SessionLimits) -> SessionRequest {
        SessionRequest::Open { token: (client, self.last_call), limits }
    }
}

impl ClientSession {
    /// The session is open.
    pub(crate) fn opened(&mut self, id: SessionId) {
        *self = ClientSession { id: Some(id), next: 1, ..ClientSession::default() };
    }

    /// The session is not known any more.
    pub(crate) fn lost(&mut self) {
        self.id = None;
        self.done.clear();
    }

    /// Gives an operation the next number.
    pub(crate) fn add(&mut self, operation: u64, command: Bytes) {
        self.pending.insert(operation, Numbered { number: self.next, command });
        self.next += 1;
    }

    /// The outcome of an operation is known. Returns whether it was not known before.
    pub(crate) fn settle(&mut self, operation: u64, is_answered: bool) -> bool {
        match self.pending.remove(&operation) {
            Some(request) => {
                self.done.extend(is_answered.then_some((operation, request)));
                if self.done.len() > 2 {
                    self.done.pop_front();
                }
                true
            }
            None => false,
        }
    }

    /// The request of an operation, as the client sends it now.
    pub(crate) fn request(&self, of: &Numbered) -> Option<SessionRequest> {
        let lowest = self.pending.values().map(|pending| pending.number).min();
        Some(SessionRequest::Run {
            session: self.id?,
            number: of.number,
            acknowledged_below: lowest.unwrap_or(self.next),
            command: of.command.clone(),
        })
    }
}
