//! Checks the answers to clients against the committed log, in time linear in the number of
//! operations.
//!
//! The committed log defines the order of all commands. A command that was answered is in the log,
//! after every operation that had been answered when the command was requested. A read returns a
//! state that is at least that new. A command whose client was told that it failed is not in the
//! log, and no command is in it twice.

use raft_core::types::{EntryId, LogIndex};

use super::history::{Action, Operation};
use super::violation::hold;
use super::{Check, Violation};

/// The operations of all clients. An operation's number is also the value that it writes.
#[derive(Debug, Default)]
pub struct Operations {
    /// By number, from 1 on.
    requests: Vec<Request>,
    /// The number of requests and answers so far, so that each has its own moment.
    moment: u64,
    /// The newest state that a client has seen.
    seen: LogIndex,
    /// The number of commands in the committed log.
    commands: u64,
}

/// One operation and its outcome.
#[derive(Clone, Debug)]
pub struct Request {
    /// The client that requested it.
    pub client: u64,
    /// The register that it reads or writes.
    pub key: u64,
    /// Whether it reads.
    pub is_read: bool,
    invoked: u64,
    /// The newest state that any client had seen when the operation was requested.
    floor: LogIndex,
    outcome: Outcome,
    /// The entry of the command in the committed log, and the number of commands up to it.
    entry: Option<(EntryId, u64)>,
}

/// The outcome of an operation, as its client was told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// The client has no answer yet.
    Open,
    /// The operation was answered at this moment; a read returned this value.
    Done(u64, u64),
    /// It did not happen, and never will.
    Failed,
    /// The outcome is unknown.
    Unknown,
}

impl Operations {
    /// A client requests an operation. Returns its number.
    pub fn invoke(&mut self, client: u64, key: u64, is_read: bool) -> u64 {
        self.moment += 1;
        self.requests.push(Request {
            client,
            key,
            is_read,
            invoked: self.moment,
            floor: self.seen,
            outcome: Outcome::Open,
            entry: None,
        });
        self.requests.len() as u64
    }

    /// The operation with this number.
    pub fn request(&self, number: u64) -> &Request {
        &self.requests[number as usize - 1]
    }

    fn request_mut(&mut self, number: u64) -> Option<&mut Request> {
        self.requests.get_mut((number as usize).checked_sub(1)?)
    }

    /// A member applies a command. Returns true if it is the first member to apply it and the
    /// client was told that the outcome is unknown.
    pub fn on_applied(&mut self, number: u64, id: EntryId) -> Result<bool, Violation> {
        let commands = self.commands + 1;
        let Some(request) = self.request_mut(number) else {
            let what = format!("{id} holds command {number}, which no client proposed");
            return Err(Violation::new(Check::Outcome, what));
        };
        if let Some((first, _)) = request.entry {
            let what = || format!("command {number} is in the log at {first} and at {id}");
            return hold(first == id, Check::Outcome, what).map(|()| false);
        }
        let outcome = request.outcome;
        hold(outcome != Outcome::Failed && !request.is_read, Check::Outcome, || {
            format!("command {number} was reported as failed, but is in the log at {id}")
        })?;
        request.entry = Some((id, commands));
        self.commands = commands;
        Ok(outcome == Outcome::Unknown)
    }

    /// A client is told that its command was applied. The state machine's answer is the number of
    /// commands up to it.
    pub fn on_done(&mut self, number: u64, id: EntryId, answer: u64) -> Result<(), Violation> {
        self.moment += 1;
        let moment = self.moment;
        let floor = self.request(number).floor;
        let request = &mut self.requests[number as usize - 1];
        hold(request.entry == Some((id, answer)), Check::Outcome, || {
            let entry = request.entry;
            format!("command {number} was answered {answer} for {id}, but its entry is {entry:?}")
        })?;
        hold(id.index > floor, Check::Order, || {
            format!("command {number} is at {id}, but {floor} was seen before its request")
        })?;
        request.outcome = Outcome::Done(moment, 0);
        self.seen = self.seen.max(id.index);
        Ok(())
    }

    /// Whether a command was applied at some member.
    pub fn is_applied(&self, number: u64) -> bool {
        self.request(number).entry.is_some()
    }

    /// A request of a session was answered: it must have run, and each answer to it is that of its
    /// one run.
    pub fn check_answer(&self, number: u64, answer: u64) -> Result<(), Violation> {
        let entry = self.request(number).entry;
        hold(entry.is_some_and(|(_, first)| first == answer), Check::ExactlyOnce, || {
            format!("command {number} of a session was answered {answer}, its entry is {entry:?}")
        })
    }

    /// The first answer to a request of a session has come.
    pub fn on_done_once(&mut self, number: u64, answer: u64) -> Result<(), Violation> {
        self.check_answer(number, answer)?;
        match self.request(number).entry {
            Some((id, _)) => self.on_done(number, id, answer),
            None => Ok(()),
        }
    }

    /// A client receives a value that was read from the state at `applied`.
    pub fn on_read(&mut self, number: u64, applied: LogIndex, value: u64) -> Result<(), Violation> {
        self.moment += 1;
        let moment = self.moment;
        let request = &mut self.requests[number as usize - 1];
        let floor = request.floor;
        hold(applied >= floor, Check::Order, || {
            format!("read {number} saw {applied}, but {floor} was seen before its request")
        })?;
        request.outcome = Outcome::Done(moment, value);
        self.seen = self.seen.max(applied);
        Ok(())
    }

    /// A client is answered that nothing happened.
    pub fn on_failed(&mut self, number: u64) -> Result<(), Violation> {
        let request = &mut self.requests[number as usize - 1];
        request.outcome = Outcome::Failed;
        hold(request.entry.is_none() || request.is_read, Check::Outcome, || {
            format!("command {number} was reported as failed, but its entry is {:?}", request.entry)
        })
    }

    /// A client is told that the outcome is unknown. Returns whether the command had been applied.
    pub fn on_unknown(&mut self, number: u64) -> bool {
        let request = &mut self.requests[number as usize - 1];
        request.outcome = Outcome::Unknown;
        request.entry.is_some()
    }

    /// The outcome of an operation.
    pub fn outcome(&self, number: u64) -> Outcome {
        self.request(number).outcome
    }

    /// The number of operations.
    pub fn len(&self) -> u64 {
        self.requests.len() as u64
    }

    /// Whether there are no operations.
    pub fn is_empty(&self) -> bool {
        self.requests.is_empty()
    }

    /// The history as clients saw it, for a checker that uses no knowledge of the log.
    pub fn history(&self) -> impl Iterator<Item = (u64, Operation<u64>)> {
        self.requests.iter().zip(1..).filter_map(|(request, number)| {
            let (returned, seen) = match request.outcome {
                Outcome::Failed => return None,
                Outcome::Open | Outcome::Unknown => (None, 0),
                Outcome::Done(moment, value) => (Some(moment), value),
            };
            let action = if request.is_read { Action::Read(seen) } else { Action::Write(number) };
            let Request { client, invoked, .. } = *request;
            Some((request.key, Operation { client, invoked, returned, action }))
        })
    }
}

#[cfg(test)]
mod tests {
    use raft_core::types::Term;

    use super::*;

    fn at(index: u64) -> EntryId {
        EntryId::new(Term::new(1), LogIndex::new(index))
    }

    fn found(result: Result<(), Violation>) -> Option<Check> {
        result.err().map(|violation| violation.check)
    }

    #[test]
    fn a_stale_read_is_found() {
        let mut operations = Operations::default();
        let write = operations.invoke(1, 0, false);
        let early = operations.invoke(2, 0, true);
        assert_eq!(operations.on_applied(write, at(5)), Ok(false));
        assert_eq!(operations.on_done(write, at(5), 1), Ok(()));
        assert_eq!(operations.on_read(early, LogIndex::new(4), 0), Ok(()), "it overlaps the write");
        let late = operations.invoke(2, 0, true);
        assert_eq!(found(operations.on_read(late, LogIndex::new(4), 0)), Some(Check::Order));
    }

    #[test]
    fn a_command_that_is_in_the_log_twice_is_found() {
        let mut operations = Operations::default();
        let write = operations.invoke(1, 0, false);
        assert_eq!(operations.on_applied(write, at(5)), Ok(false));
        assert_eq!(operations.on_applied(write, at(5)), Ok(false), "on another member");
        assert!(operations.on_applied(write, at(6)).is_err());
        assert!(operations.on_applied(7, at(7)).is_err(), "no client proposed it");
    }

    #[test]
    fn a_command_that_failed_but_was_applied_is_found() {
        let mut operations = Operations::default();
        let early = operations.invoke(1, 0, false);
        let late = operations.invoke(1, 0, false);
        assert_eq!(operations.on_failed(early), Ok(()));
        assert!(operations.on_applied(early, at(5)).is_err());
        assert_eq!(operations.on_applied(late, at(5)), Ok(false));
        assert_eq!(found(operations.on_failed(late)), Some(Check::Outcome));
    }

    #[test]
    fn an_answer_to_a_command_that_was_not_applied_is_found() {
        let mut operations = Operations::default();
        let write = operations.invoke(1, 0, false);
        assert_eq!(found(operations.on_done(write, at(5), 1)), Some(Check::Outcome));
    }
}
