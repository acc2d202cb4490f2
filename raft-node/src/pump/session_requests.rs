//! Requests of sessions: the clients of this member that wait for them, and their way to the
//! leader.
//!
//! A request may be in the log any number of times, since the table of the sessions lets it run
//! once. So a member sends the requests of its clients again by itself: to each new leader, and to
//! the same one after a pause that doubles. The leader does not answer; the member answers its
//! client when it applies an entry of the request, whichever member has appended it. No entry is
//! waited for by its id, and no outcome is lost with a leader.
//!
//! ```text
//!   client --> waiting --> due --> this leader's append, or a forward to the leader
//!                 ^          |
//!                 +-- tick --+   a new term, or the pause is over
//! ```
//!
//! A leader that has no room, or hands over, drops what is forwarded, and tries its own clients'
//! requests again at the next tick.

use std::collections::{BTreeMap, BTreeSet};

use bytes::Bytes;
use raft_core::types::{EntryKind, NodeId, Term};

use super::Pump;
use super::effects::Effects;
use super::event::Clients;
use super::turn_proposals::Origin;
use crate::features::SESSIONS;
use crate::sessions::{
    SESSION_HEADER_BYTES, SessionAnswer, SessionError, SessionId, SessionRequest, decode_request,
    encode_request, kind_of, with_time,
};
use crate::transport::Content;

/// The most clients that may wait for one request.
const MAX_CLIENTS: usize = 16;

/// How often the pause before a request is forwarded again doubles.
const MOST_DOUBLINGS: u32 = 4;

/// What identifies a request, in however many entries it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum RequestKey {
    Open(u64, u64),
    Close(SessionId),
    Run(SessionId, u64),
}

impl RequestKey {
    pub(super) fn of(request: &SessionRequest) -> RequestKey {
        match request {
            SessionRequest::Open { token: (start, sequence), .. } => {
                RequestKey::Open(*start, *sequence)
            }
            SessionRequest::Close { session } => RequestKey::Close(*session),
            SessionRequest::Run { session, number, .. } => RequestKey::Run(*session, *number),
        }
    }
}

/// The requests of this member's clients that have no answer.
#[derive(Debug)]
pub(super) struct SessionRequests<C: Clients> {
    waiting: BTreeMap<RequestKey, Waiting<C>>,
    /// The bytes of their payloads.
    bytes: u64,
    /// Those that are to be proposed or forwarded as soon as a leader is known. Invariant: the
    /// waiting requests that are due.
    due: BTreeSet<RequestKey>,
}

/// A request that has no answer.
#[derive(Debug)]
struct Waiting<C: Clients> {
    kind: EntryKind,
    payload: Bytes,
    /// The clients that wait, each until a tick. Invariant: at least one.
    clients: Vec<(C::Sessions, u64)>,
    is_due: bool,
    /// The term in which it was proposed or forwarded last.
    sent_in: Option<Term>,
    /// When it is to be tried again in that term.
    next_try: u64,
    /// How often it was forwarded in that term.
    attempts: u32,
}

impl<C: Clients> SessionRequests<C> {
    pub(super) fn new() -> SessionRequests<C> {
        SessionRequests { waiting: BTreeMap::new(), bytes: 0, due: BTreeSet::new() }
    }

    /// Whether no client waits.
    pub(super) fn is_empty(&self) -> bool {
        self.waiting.is_empty()
    }

    /// How many requests wait, and how many are noted as due.
    #[cfg(test)]
    pub(super) fn waiting_and_due(&self) -> (usize, usize) {
        (self.waiting.len(), self.due.len())
    }

    /// Whether a client waits for this request.
    pub(super) fn awaits(&self, key: RequestKey) -> bool {
        self.waiting.contains_key(&key)
    }

    /// All requests are tried again at the next tick: what was done for them may be void.
    pub(super) fn retry(&mut self, now: u64) {
        for waiting in self.waiting.values_mut() {
            waiting.next_try = waiting.next_try.min(now + 1);
        }
    }

    /// Answers the clients of a request.
    pub(super) fn answer(
        &mut self,
        key: RequestKey,
        result: &Result<SessionAnswer, SessionError>,
        effects: &mut Effects<C>,
    ) {
        if let Some(waiting) = self.waiting.remove(&key) {
            self.bytes -= waiting.payload.len() as u64;
            self.due.remove(&key);
            let clients = waiting.clients.into_iter();
            effects.session_answers.extend(clients.map(|(client, _)| (client, result.clone())));
        }
    }

    /// Gives up all: the member ends.
    pub(super) fn abandon(&mut self, effects: &mut Effects<C>) {
        (self.bytes, self.due) = (0, BTreeSet::new());
        for (_, waiting) in std::mem::take(&mut self.waiting) {
            let clients = waiting.clients.into_iter();
            let closed = |(client, _)| (client, Err(SessionError::Closed));
            effects.session_answers.extend(clients.map(closed));
        }
    }

    /// Gives up the clients that have waited too long, and notes which requests are to be tried
    /// again.
    fn tick(&mut self, now: u64, term: Term, effects: &mut Effects<C>) {
        let (due, bytes) = (&mut self.due, &mut self.bytes);
        self.waiting.retain(|key, waiting| {
            let late = waiting.clients.extract_if(.., |(_, deadline)| *deadline <= now);
            let unknown = |(client, _)| (client, Err(SessionError::Unknown));
            effects.session_answers.extend(late.map(unknown));
            let is_new_term = waiting.sent_in != Some(term);
            if !waiting.is_due && (is_new_term || waiting.next_try <= now) {
                waiting.is_due = true;
                due.insert(*key);
            }
            if waiting.clients.is_empty() {
                *bytes -= waiting.payload.len() as u64;
                due.remove(key);
            }
            !waiting.clients.is_empty()
        });
    }
}

impl<C: Clients> Waiting<C> {
    /// Notes that the request is tried now, in this term.
    fn note_try(&mut self, term: Term, next_try: u64) {
        if self.sent_in != Some(term) {
            self.attempts = 0;
        }
        (self.is_due, self.sent_in, self.next_try) = (false, Some(term), next_try);
    }
}

impl<C: Clients> Pump<C> {
    /// A client of this member makes a request of a session. Only a request to open one is refused
    /// by this member's level, which is too low until it has applied its log: other requests have a
    /// session already, so an earlier copy may have run, and the leader checks its own level.
    pub(super) fn on_session_request(
        &mut self,
        request: &SessionRequest,
        client: C::Sessions,
        effects: &mut Effects<C>,
    ) {
        let (level, needed) = (self.engine.level, SESSIONS);
        if level < needed && matches!(request, SessionRequest::Open { .. }) {
            let error = SessionError::FeatureLevel { level, needed };
            return effects.session_answers.push((client, Err(error)));
        }
        let (key, deadline) = (RequestKey::of(request), self.now + self.limits.proposal_ticks);
        if let Some(waiting) = self.sessions.waiting.get_mut(&key) {
            if waiting.clients.len() < MAX_CLIENTS {
                return waiting.clients.push((client, deadline));
            }
            return effects.session_answers.push((client, Err(SessionError::Busy)));
        }
        let (payload, waiting) = (encode_request(request), &self.sessions);
        let bytes = payload.len() as u64;
        // The quota does not limit what waits while no leader is known.
        let is_full = waiting.waiting.len() as u64 >= self.limits.proposals
            || (waiting.bytes > 0 && waiting.bytes + bytes > self.limits.proposal_bytes);
        if is_full {
            return effects.session_answers.push((client, Err(SessionError::Busy)));
        }
        self.sessions.bytes += bytes;
        let waiting = Waiting {
            kind: kind_of(request),
            payload,
            clients: vec![(client, deadline)],
            is_due: true,
            sent_in: None,
            next_try: 0,
            attempts: 0,
        };
        self.sessions.waiting.insert(key, waiting);
        self.sessions.due.insert(key);
    }

    pub(super) fn tick_sessions(&mut self, effects: &mut Effects<C>) {
        self.note_log_time();
        if !self.sessions.is_empty() {
            let term = self.raft.term();
            self.sessions.tick(self.now, term, effects);
        }
    }

    /// Proposes or forwards what is due, if a leader is known.
    pub(super) fn submit_session_requests(&mut self, effects: &mut Effects<C>) {
        if self.sessions.due.is_empty() {
            return;
        }
        let Some(leader) = self.raft.leader() else { return };
        let due = std::mem::take(&mut self.sessions.due);
        if leader == self.identity.node {
            due.into_iter().for_each(|key| self.propose_session_request(key));
        } else {
            self.forward_session_requests(leader, due, effects);
        }
    }

    fn propose_session_request(&mut self, key: RequestKey) {
        let (term, now) = (self.raft.term(), self.now);
        let bytes = self.sessions.waiting.get(&key).map(|waiting| waiting.payload.len() as u64);
        let is_accepted = bytes.is_some_and(|bytes| self.accepts_session_requests(bytes));
        let Some(waiting) = self.sessions.waiting.get_mut(&key) else { return };
        // What is in the log of a leader stays there as long as it leads.
        waiting.note_try(term, if is_accepted { u64::MAX } else { now + 1 });
        if is_accepted {
            let (kind, payload) = (waiting.kind, waiting.payload.clone());
            self.append_session_request(None, kind, payload);
        }
    }

    fn append_session_request(&mut self, from: Option<NodeId>, kind: EntryKind, payload: Bytes) {
        let payload = with_time(payload, self.log_time());
        let origin = Origin::Engine { from, count: 1 };
        self.proposed.add_of_kind(kind, origin, vec![payload]);
    }

    /// Whether this leader appends so many bytes of requests of sessions now.
    fn accepts_session_requests(&self, bytes: u64) -> bool {
        self.engine.level >= SESSIONS
            && self.knows_level()
            && !self.hands_over()
            && !self.holds_proposals()
            && self.has_room_for(bytes)
    }

    fn forward_session_requests(
        &mut self,
        leader: NodeId,
        due: BTreeSet<RequestKey>,
        effects: &mut Effects<C>,
    ) {
        let (term, now) = (self.raft.term(), self.now);
        let (mut part, mut bytes) = (Vec::new(), 0);
        for key in due {
            let Some(waiting) = self.sessions.waiting.get_mut(&key) else { continue };
            waiting.note_try(term, 0);
            waiting.next_try = now + (self.election_ticks << waiting.attempts.min(MOST_DOUBLINGS));
            waiting.attempts += 1;
            let (kind, payload) = (waiting.kind, waiting.payload.clone());
            let size = payload.len() as u64;
            let is_full = part.len() >= self.limits.forward_commands
                || bytes + size > self.limits.append_bytes;
            if is_full && !part.is_empty() {
                let full = std::mem::take(&mut part);
                self.send(leader, Content::SessionForward(full), effects);
                bytes = 0;
            }
            bytes += size;
            part.push((kind, payload));
        }
        if !part.is_empty() {
            self.send(leader, Content::SessionForward(part), effects);
        }
    }

    /// Appends requests of another member's clients if this member leads and has room for all of
    /// them. They are not answered: the other member sends them again.
    pub(super) fn on_session_forward(&mut self, from: NodeId, requests: Vec<(EntryKind, Bytes)>) {
        let most = self.limits.command_bytes + SESSION_HEADER_BYTES as u64;
        let is_sound = |(kind, payload): &(EntryKind, Bytes)| {
            payload.len() as u64 <= most && decode_request(*kind, payload).is_some()
        };
        if !requests.iter().all(is_sound) {
            self.counters.malformed += 1;
            return;
        }
        let bytes = requests.iter().map(|(_, payload)| payload.len() as u64).sum();
        if self.raft.is_leader() && self.accepts_session_requests(bytes) {
            for (kind, payload) in requests {
                self.append_session_request(Some(from), kind, payload);
            }
        }
    }
}
