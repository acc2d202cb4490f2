//! Clients with sessions: they call each request at one member after another until they know its
//! outcome, and check that it has run at most once and has one answer.

use raft_node::pump::Event;
use raft_node::{SessionAnswer, SessionError, SessionLimits, SessionRequest};

use super::effects::word;
use super::{World, WorldEvent};
use crate::checks::{Check, Violation, hold};
use crate::sim::machine::Command;
use crate::sim::marks::Mark;
use crate::sim::sessions::Call;

type Outcome = Result<SessionAnswer, SessionError>;

impl World {
    /// Draws a member that is running.
    fn draw_member(&mut self) -> Option<usize> {
        let up = |at: &usize| self.members[*at].is_up();
        let running: Vec<usize> = (0..self.members.len()).filter(up).collect();
        let leading: Vec<usize> =
            running.iter().copied().filter(|at| self.members[*at].leads()).collect();
        self.workload.choose(&running, &leading)
    }

    /// A client with a session makes its next request.
    pub(super) fn send_session_request(&mut self, client: u64) -> Result<(), Violation> {
        let Some(at) = self.draw_member() else {
            self.send_later(client);
            return Ok(());
        };
        let session = self.sessions.client(client);
        if session.id.is_none() {
            let limits = &self.plan.limits;
            let limits = SessionLimits {
                timeout: limits.session_ticks,
                window: limits.session_window,
                answer_bytes: limits.session_answer_bytes,
                sessions: limits.sessions,
            };
            let request = self.sessions.open(client, limits);
            return self.call(at, Call::Open { client }, request);
        }
        if let Some((operation, request)) = session.done.front().cloned()
            && self.workload.asks_again()
        {
            let call = Call::Again { client, operation };
            let request = self.sessions.client(client).request(&request);
            return request.map_or(Ok(()), |request| self.call(at, call, request));
        }
        let next = self.workload.next_request();
        if next.is_read {
            return self.send_request_to(at, client, true, 1);
        }
        let count = next.count.min(self.plan.limits.session_window.into());
        let group = self.operations.len() + 1;
        let patience = self.workload.waits(client, group, count);
        for _ in 0..count {
            let key = self.workload.key();
            let value = self.operations.invoke(client, key, false);
            let command = Command { key, value }.encode(self.workload.padding());
            self.sessions.client(client).add(value, command);
        }
        self.call_pending(client, at)?;
        if let Some(patience) = patience {
            self.retry_later(client, patience);
        }
        Ok(())
    }

    /// The client makes its next request after a pause.
    fn send_later(&mut self, client: u64) {
        let think = self.workload.think();
        self.schedule(think, WorldEvent::SendRequest { client });
    }

    fn retry_later(&mut self, client: u64, after: crate::sim::Time) {
        if !std::mem::replace(&mut self.sessions.client(client).is_retrying, true) {
            self.schedule(after, WorldEvent::RetrySession { client });
        }
    }

    /// A client calls its requests without an outcome again, at any member.
    pub(super) fn retry_session(&mut self, client: u64) -> Result<(), Violation> {
        let session = self.sessions.client(client);
        session.is_retrying = false;
        if session.pending.is_empty() || self.lost_disks {
            return Ok(());
        }
        let Some(at) = self.draw_member() else {
            let think = self.workload.think();
            self.retry_later(client, think);
            return Ok(());
        };
        self.call_pending(client, at)?;
        if let Some(patience) = self.workload.patience() {
            self.retry_later(client, patience);
        }
        Ok(())
    }

    fn call_pending(&mut self, client: u64, at: usize) -> Result<(), Violation> {
        let session = self.sessions.client(client);
        let pending: Vec<(u64, Option<SessionRequest>)> =
            session.pending.iter().map(|(op, one)| (*op, session.request(one))).collect();
        for (operation, request) in pending {
            let was_applied = self.operations.is_applied(operation);
            let call = Call::Run { client, operation, was_applied };
            if let Some(request) = request {
                self.call(at, call, request)?;
            }
        }
        Ok(())
    }

    fn call(&mut self, at: usize, call: Call, request: SessionRequest) -> Result<(), Violation> {
        let number = self.sessions.begin(call);
        self.members[at].calls.insert(number);
        self.journal.note(
            self.members[at].id.get(),
            ("call", number),
            format_args!("call {number}: {call:?}"),
        );
        self.enqueue(at, Event::Session { request, client: number })
    }

    /// A call has an outcome.
    pub(super) fn answer_call(
        &mut self,
        at: usize,
        number: u64,
        outcome: Outcome,
    ) -> Result<(), Violation> {
        self.members[at].calls.remove(&number);
        self.journal.note(
            self.members[at].id.get(),
            ("answers call", number, outcome.is_ok()),
            format_args!("answers call {number}: {outcome:?}"),
        );
        let call = self.sessions.end(number);
        let Some(call) = call.filter(|_| !self.lost_disks) else { return Ok(()) };
        self.marks
            .hit_if(matches!(outcome, Err(SessionError::UnknownSession(_))), Mark::SessionExpired);
        match call {
            Call::Open { client } => {
                match outcome {
                    Ok(SessionAnswer::Opened { session, .. }) => {
                        self.sessions.client(client).opened(session);
                    }
                    Err(SessionError::FeatureLevel { .. }) if !self.calm => {
                        return self.send_plain_request(client);
                    }
                    _ => {}
                }
                self.send_later(client);
                Ok(())
            }
            Call::Again { client, operation } => self.answer_again(client, operation, outcome),
            Call::Run { client, operation, was_applied } => {
                self.answer_run(client, operation, was_applied, outcome)
            }
        }
    }

    /// A client called an operation again although it has the answer: that must be the same.
    fn answer_again(
        &mut self,
        client: u64,
        operation: u64,
        outcome: Outcome,
    ) -> Result<(), Violation> {
        match outcome {
            Ok(SessionAnswer::Ran(answer)) => {
                self.operations.check_answer(operation, word(&answer))?;
            }
            Err(SessionError::Acknowledged { .. }) => {
                self.marks.hit(Mark::AcknowledgedNumberRefused);
            }
            Err(SessionError::UnknownSession(_)) => self.sessions.client(client).lost(),
            _ => {}
        }
        self.send_later(client);
        Ok(())
    }

    fn answer_run(
        &mut self,
        client: u64,
        operation: u64,
        was_applied: bool,
        outcome: Outcome,
    ) -> Result<(), Violation> {
        let is_pending = self.sessions.client(client).pending.contains_key(&operation);
        match outcome {
            Ok(SessionAnswer::Ran(answer)) => {
                self.operations.check_answer(operation, word(&answer))?;
                self.marks.hit_if(was_applied, Mark::RetryAnsweredFromTable);
                if self.sessions.client(client).settle(operation, true) {
                    self.operations.on_done_once(operation, word(&answer))?;
                    self.schedule_next_request(operation);
                }
            }
            Ok(other) => {
                let what = format!("operation {operation} was answered {other:?}");
                return Err(Violation::new(Check::ExactlyOnce, what));
            }
            Err(_) if !is_pending => {}
            Err(SessionError::UnknownSession(_)) => {
                self.sessions.client(client).settle(operation, false);
                self.sessions.client(client).lost();
                // No entry of this session after the one that was refused may run.
                if self.operations.is_applied(operation) {
                    self.operations.on_unknown(operation);
                } else {
                    self.operations.on_failed(operation)?;
                }
                self.schedule_next_request(operation);
            }
            Err(SessionError::AnswerDropped { .. }) => {
                self.marks.hit(Mark::SessionAnswerDropped);
                hold(self.operations.is_applied(operation), Check::ExactlyOnce, || {
                    format!("operation {operation} is said to have run, and has not")
                })?;
                self.sessions.client(client).settle(operation, false);
                self.operations.on_unknown(operation);
                self.schedule_next_request(operation);
            }
            Err(error @ (SessionError::Acknowledged { .. } | SessionError::TooFarAhead { .. })) => {
                let what = format!("operation {operation} was refused: {error}");
                return Err(Violation::new(Check::ExactlyOnce, what));
            }
            Err(_) => {
                let think = self.workload.think();
                self.retry_later(client, think);
            }
        }
        Ok(())
    }

    /// The calls at a member that has crashed have no answer.
    pub(super) fn lose_calls(&mut self, at: usize) -> Result<(), Violation> {
        for number in std::mem::take(&mut self.members[at].calls) {
            let call = self.sessions.end(number);
            if let Some(Call::Run { client, .. }) = call {
                let think = self.workload.think();
                self.retry_later(client, think);
            } else if let Some(call) = call {
                self.send_later(call.client());
            }
        }
        Ok(())
    }
}
