//! The table of sessions: what each entry does, and which answers are kept.
//!
//! The table decides whether a request runs before the state machine has its batch, and records the
//! answers when the batch is applied. Where one batch ends and the next begins differs from member
//! to member, so no decision depends on an answer: neither whether a request runs, nor which
//! numbers are refused. Which answers are kept depends on the answers alone, not on the moment at
//! which they are recorded: of the answers above any number, the newest that fit are kept.
//!
//! Time is what leaders write into the entries, and never goes back. A session expires once no
//! request of it has come for its timeout. Its next request is refused, whether or not the table
//! still holds the session; the table forgets expired sessions about once in a second of log time,
//! and before it opens another one.

use std::collections::BTreeMap;
use std::sync::Arc;

use bytes::Bytes;
use raft_core::types::LogIndex;
use serde::{Deserialize, Serialize};

use super::encoding::SessionRequest;
use super::error::SessionError;
use super::id::{SessionId, SessionLimits};

/// The most bytes that all sessions of a cluster together may take: what they may keep as answers,
/// and what the table needs for each number that a window allows.
const MOST_RESERVED: u64 = 128 << 20;

/// The table forgets expired sessions when the log time passes a multiple of so many ticks: 1 s.
const SWEEP_TICKS: u64 = 100;

/// The sessions of a cluster after an entry of the log. Cloning is cheap.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct SessionTable {
    /// The log time, in ticks.
    pub(super) time: u64,
    pub(super) sessions: Arc<BTreeMap<SessionId, Arc<Session>>>,
}

/// One session.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Session {
    token: (u64, u64),
    limits: SessionLimits,
    /// The log time of its last request.
    used_at: u64,
    /// The client has all answers below this number.
    acknowledged_below: u64,
    /// The requests that ran, from that number on. Invariant: each is below `acknowledged_below`
    /// plus the window.
    ran: BTreeMap<u64, Kept>,
    /// The bytes of the answers that are kept.
    #[serde(skip)]
    kept_bytes: u64,
}

/// What is kept of a request that ran.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
enum Kept {
    /// The answer.
    Answer(Bytes),
    /// Only that it ran: its answer was too large, or was dropped to make space.
    Nothing,
    /// The state machine has it now; it is this run of the batch. Never in a snapshot.
    Running(usize),
}

/// What becomes of an entry of a session.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Decision {
    /// The state machine runs the command, as this run of the batch; its answer is then recorded.
    Run(Bytes),
    /// A copy of this run of the batch: it has the same answer.
    Repeats(usize),
    /// The answer is known.
    Answered(Bytes),
    /// The session is open, with this window.
    Opened(SessionId, u32),
    /// The session is closed.
    Closed,
    /// Nothing runs.
    Refused(SessionError),
}

impl SessionTable {
    /// The log time, in ticks.
    pub fn time(&self) -> u64 {
        self.time
    }

    /// How many sessions the table holds.
    pub fn len(&self) -> usize {
        self.sessions.len()
    }

    /// Whether the table holds no session.
    pub fn is_empty(&self) -> bool {
        self.sessions.is_empty()
    }

    /// The table without the answers, for a comparison with that of a member whose state machine
    /// keeps its state.
    pub fn without_answers(&self) -> SessionTable {
        let bare = |session: &Arc<Session>| {
            let ran = session.ran.keys().map(|number| (*number, Kept::Nothing)).collect();
            Arc::new(Session { ran, kept_bytes: 0, ..(**session).clone() })
        };
        let sessions = self.sessions.iter().map(|(id, session)| (*id, bare(session))).collect();
        SessionTable { time: self.time, sessions: Arc::new(sessions) }
    }

    /// Applies the entry at an index. A request that runs is run number `run` of the batch.
    pub(crate) fn apply(
        &mut self,
        index: LogIndex,
        request: SessionRequest,
        time: u64,
        run: usize,
    ) -> Decision {
        self.advance(time);
        match request {
            SessionRequest::Open { token, limits } => self.open(SessionId(index), token, limits),
            SessionRequest::Close { session } => {
                if self.sessions.contains_key(&session) {
                    Arc::make_mut(&mut self.sessions).remove(&session);
                }
                Decision::Closed
            }
            SessionRequest::Run { session, number, acknowledged_below, command } => {
                match self.used(session) {
                    None => Decision::Refused(SessionError::UnknownSession(session)),
                    Some(used) => {
                        used.acknowledge(acknowledged_below.min(number));
                        used.decide(number, command, run)
                    }
                }
            }
        }
    }

    fn advance(&mut self, time: u64) {
        let before = self.time;
        self.time = before.max(time);
        if before / SWEEP_TICKS != self.time / SWEEP_TICKS {
            self.forget_expired();
        }
    }

    fn forget_expired(&mut self) {
        let now = self.time;
        if self.sessions.values().any(|session| session.is_expired(now)) {
            let sessions = Arc::make_mut(&mut self.sessions);
            sessions.retain(|_, session| !session.is_expired(now));
        }
    }

    /// A session that a request uses now, unless it is unknown or expired.
    fn used(&mut self, id: SessionId) -> Option<&mut Session> {
        let now = self.time;
        let known = self.sessions.get(&id)?;
        if known.is_expired(now) {
            Arc::make_mut(&mut self.sessions).remove(&id);
            return None;
        }
        let session = Arc::make_mut(Arc::make_mut(&mut self.sessions).get_mut(&id)?);
        session.used_at = now;
        Some(session)
    }

    fn open(&mut self, id: SessionId, token: (u64, u64), limits: SessionLimits) -> Decision {
        self.forget_expired();
        let same = self.sessions.iter().find(|(_, session)| session.token == token);
        if let Some((id, session)) = same {
            return Decision::Opened(*id, session.limits.window);
        }
        let reserved: u64 = self.sessions.values().map(|one| one.limits.reserved()).sum();
        let is_full = self.sessions.len() as u64 >= u64::from(limits.sessions)
            || reserved + limits.reserved() > MOST_RESERVED;
        if is_full {
            return Decision::Refused(SessionError::TooManySessions);
        }
        let session = Session {
            token,
            limits,
            used_at: self.time,
            acknowledged_below: 1,
            ran: BTreeMap::new(),
            kept_bytes: 0,
        };
        Arc::make_mut(&mut self.sessions).insert(id, Arc::new(session));
        Decision::Opened(id, limits.window)
    }

    /// Records the answer of a request that the state machine ran; `None` if the answer is not
    /// known. Changes nothing if the answer was acknowledged, or the session ended, meanwhile.
    pub(crate) fn record(&mut self, session: SessionId, number: u64, answer: Option<&Bytes>) {
        if !self.sessions.contains_key(&session) {
            return;
        }
        let sessions = Arc::make_mut(&mut self.sessions);
        let Some(session) = sessions.get_mut(&session) else { return };
        Arc::make_mut(session).record(number, answer);
    }
}

impl Session {
    fn is_expired(&self, now: u64) -> bool {
        now > self.used_at.saturating_add(self.limits.timeout)
    }

    /// Counts the answers of a session that was in a snapshot; `None` if it is not sound.
    pub(super) fn counted(mut self) -> Option<Session> {
        let (first, window) = (self.acknowledged_below, u64::from(self.limits.window));
        let is_sound = |(number, kept): (&u64, &Kept)| {
            let is_in_window = number.checked_sub(first).is_some_and(|above| above < window);
            is_in_window && !matches!(kept, Kept::Running(_))
        };
        self.kept_bytes = self.ran.values().map(Kept::bytes).sum();
        let fits = self.kept_bytes <= self.limits.answer_bytes.into();
        (first > 0 && fits && self.ran.iter().all(is_sound)).then_some(self)
    }

    fn acknowledge(&mut self, below: u64) {
        if below <= self.acknowledged_below {
            return;
        }
        self.acknowledged_below = below;
        let rest = self.ran.split_off(&below);
        let dropped = std::mem::replace(&mut self.ran, rest);
        self.kept_bytes -= dropped.values().map(Kept::bytes).sum::<u64>();
    }

    fn decide(&mut self, number: u64, command: Bytes, run: usize) -> Decision {
        if number < self.acknowledged_below {
            return Decision::Refused(SessionError::Acknowledged { number });
        }
        if number - self.acknowledged_below >= u64::from(self.limits.window) {
            return Decision::Refused(SessionError::TooFarAhead { number });
        }
        match self.ran.get(&number) {
            Some(Kept::Answer(answer)) => Decision::Answered(answer.clone()),
            Some(Kept::Nothing) => Decision::Refused(SessionError::AnswerDropped { number }),
            Some(Kept::Running(run)) => Decision::Repeats(*run),
            None => {
                self.ran.insert(number, Kept::Running(run));
                Decision::Run(command)
            }
        }
    }

    fn record(&mut self, number: u64, answer: Option<&Bytes>) {
        let Some(kept) = self.ran.get_mut(&number) else { return };
        *kept = match answer {
            // A copy, since the answer may be a small part of a large buffer.
            Some(answer) => Kept::Answer(Bytes::copy_from_slice(answer)),
            None => Kept::Nothing,
        };
        self.kept_bytes += kept.bytes();
        let most = u64::from(self.limits.answer_bytes);
        let mut kept = self.ran.values_mut();
        while self.kept_bytes > most
            && let Some(lowest) = kept.next()
        {
            if let Kept::Answer(answer) = lowest {
                self.kept_bytes -= answer.len() as u64;
                *lowest = Kept::Nothing;
            }
        }
    }
}

impl Kept {
    fn bytes(&self) -> u64 {
        match self {
            Kept::Answer(answer) => answer.len() as u64,
            Kept::Nothing | Kept::Running(_) => 0,
        }
    }
}

#[cfg(test)]
mod tests;
