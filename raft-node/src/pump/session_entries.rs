//! Entries of sessions: the time that a leader writes into them, and what is done when they are
//! applied.
//!
//! The table decides, entry by entry, what runs. The commands that run go to the state machine with
//! the others of the batch, and their answers come back with the report that the batch is applied.
//! Then they are recorded, and the clients of the batch's requests are answered. No snapshot is
//! pinned between the two, since the state machine has a batch.
//!
//! **Log time** is counted in ticks. A leader adds the ticks since it knew its log to the time that
//! it found there, so time stands still while no member leads, and no clock of a host matters.

use bytes::Bytes;
use raft_core::types::{Entry, EntryKind, LogIndex, Term};

use super::effects::Effects;
use super::event::Clients;
use super::planted::planted;
use super::session_requests::RequestKey;
use super::{Pump, StopReason};
use crate::Committed;
use crate::sessions::{
    Decision, SessionAnswer, SessionError, SessionId, SessionRequest, decode_request,
};

/// The log time of a leader.
#[derive(Debug, Default)]
pub(super) struct LogClock {
    /// The leadership that it is for.
    term: Term,
    /// The tick at which the log time was `time`.
    at: u64,
    time: u64,
}

/// The entries of sessions in the batch that the state machine has.
#[derive(Debug, Default)]
pub(super) struct SessionBatch {
    /// The requests that run, in the order of the log.
    runs: Vec<Run>,
    /// What the clients of this member that wait are answered, in the order of the log.
    outcomes: Vec<(RequestKey, Outcome)>,
}

/// A request that runs.
#[derive(Debug)]
struct Run {
    session: SessionId,
    number: u64,
    index: LogIndex,
}

/// What a client is answered.
#[derive(Debug)]
enum Outcome {
    /// The answer of a run.
    OfRun(usize),
    Known(Result<SessionAnswer, SessionError>),
}

impl SessionBatch {
    fn is_empty(&self) -> bool {
        self.runs.is_empty() && self.outcomes.is_empty()
    }

    /// The positions of the runs among the commands of the batch, which are in the order of the
    /// log.
    pub(super) fn positions_in(&self, commands: &[Committed]) -> Vec<usize> {
        let position = |run: &Run| commands.partition_point(|command| command.id.index < run.index);
        self.runs.iter().map(position).collect()
    }
}

impl<C: Clients> Pump<C> {
    /// Begins to count the log time of a leader that knows its log.
    pub(super) fn note_log_time(&mut self) {
        let term = self.raft.term();
        if self.log_clock.term != term && self.raft.is_leader() && self.knows_level() {
            self.log_clock = LogClock { term, at: self.now, time: self.engine.sessions.time() };
        }
    }

    /// The log time now, at a leader that knows its log.
    pub(super) fn log_time(&mut self) -> u64 {
        self.note_log_time();
        let LogClock { at, time, .. } = self.log_clock;
        time.saturating_add(self.now - at)
    }

    /// Applies an entry of a session. A command that runs is added to `commands`.
    pub(super) fn apply_session_entry(
        &mut self,
        entry: &Entry,
        commands: &mut Vec<Committed>,
    ) -> Result<(), StopReason> {
        let Entry { id, kind, ref payload } = *entry;
        let Some((request, time)) = decode_request(kind, payload) else {
            return Err(StopReason::UnknownEntry { id, kind });
        };
        let time = if planted!(self, ExpiryByLocalClock) { self.now } else { time };
        let request = self.with_planted_acknowledgement(request);
        let (key, run) = (RequestKey::of(&request), self.session_batch.runs.len());
        let planted_run = self.planted_run(&request);
        let decision = self.engine.sessions.apply(id.index, request, time, run);
        let runs_wrongly = match decision {
            Decision::Repeats(_) | Decision::Answered(_) => planted!(self, RequestsRunAgain),
            Decision::Refused(SessionError::UnknownSession(_)) => {
                planted!(self, UnknownSessionsRun)
            }
            _ => false,
        };
        commands
            .extend(planted_run.filter(|_| runs_wrongly).map(|command| Committed { id, command }));
        let outcome = match decision {
            Decision::Run(command) => {
                let RequestKey::Run(session, number) = key else { return Ok(()) };
                if id.index <= self.applying.machine_has() {
                    // The state machine has run it before this member started.
                    self.engine.sessions.record(session, number, None);
                    return Ok(());
                }
                commands.push(Committed { id, command });
                self.session_batch.runs.push(Run { session, number, index: id.index });
                Outcome::OfRun(run)
            }
            Decision::Repeats(run) => Outcome::OfRun(run),
            Decision::Answered(answer) => Outcome::Known(Ok(SessionAnswer::Ran(answer))),
            Decision::Opened(session, window) => {
                Outcome::Known(Ok(SessionAnswer::Opened { session, window }))
            }
            Decision::Closed => Outcome::Known(Ok(SessionAnswer::Closed)),
            Decision::Refused(error) => Outcome::Known(Err(error)),
        };
        if self.sessions.awaits(key) {
            self.session_batch.outcomes.push((key, outcome));
        }
        Ok(())
    }

    /// The state machine has applied the batch: `answers` are those of the runs, in order.
    pub(super) fn settle_session_batch(&mut self, answers: &[Bytes], effects: &mut Effects<C>) {
        if self.session_batch.is_empty() {
            return;
        }
        let SessionBatch { runs, outcomes } = std::mem::take(&mut self.session_batch);
        assert_eq!(answers.len(), runs.len(), "each command of a session is answered once");
        for (run, answer) in runs.iter().zip(answers) {
            self.engine.sessions.record(run.session, run.number, Some(answer));
        }
        for (key, outcome) in outcomes {
            let result = match outcome {
                Outcome::OfRun(run) => Ok(SessionAnswer::Ran(answers[run].clone())),
                Outcome::Known(result) => result,
            };
            self.sessions.answer(key, &result, effects);
        }
    }

    /// With one of two planted bugs, the command of a request that may run although it must not.
    fn planted_run(&self, request: &SessionRequest) -> Option<Bytes> {
        let (again, unknown) =
            (planted!(self, RequestsRunAgain), planted!(self, UnknownSessionsRun));
        (again || unknown).then(|| match request {
            SessionRequest::Run { command, .. } => command.clone(),
            SessionRequest::Open { .. } | SessionRequest::Close { .. } => Bytes::new(),
        })
    }

    /// With a planted bug, each request acknowledges all before it.
    fn with_planted_acknowledgement(&self, mut request: SessionRequest) -> SessionRequest {
        if planted!(self, AnswersDroppedEarly)
            && let SessionRequest::Run { number, acknowledged_below, .. } = &mut request
        {
            *acknowledged_below = *number;
        }
        request
    }
}

/// Whether entries of this kind are of sessions.
pub(super) fn is_of_session(kind: EntryKind) -> bool {
    matches!(kind, EntryKind::SessionCommand | EntryKind::SessionControl)
}
