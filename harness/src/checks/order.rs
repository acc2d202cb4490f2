//! Compares what clients saw with the committed log: an oracle that looks at each operation once.
//!
//! The log is the order in which things happened. So a command that was answered is in it, after
//! everything that had been answered when the command was requested; a read saw a state at least
//! that new; a command that was reported to have failed is not in it; and no command is in it
//! twice.

use raft_core::types::{EntryId, LogIndex};

use super::history::{Action, Operation};
use super::violation::hold;
use super::{Check, Violation};

/// The operations of all clients. An operation's number is also the value that it writes.
#[derive(Debug, Default)]
pub struct Orders {
    /// By number, from 1 on.
    requests: Vec<Request>,
    /// Counts requests and answers, so that each has its own moment.
    moment: u64,
    /// The newest state that a client has seen.
    seen: LogIndex,
    /// How many commands are in the committed log.
    placed: u64,
}

/// One operation, and its outcome.
#[derive(Clone, Debug)]
pub struct Request {
    /// The client that asked.
    pub client: u64,
    /// Which register.
    pub key: u64,
    /// Whether it reads.
    pub is_read: bool,
    invoked: u64,
    /// The newest state that a client had seen when it was requested.
    floor: LogIndex,
    outcome: Outcome,
    /// The command's place in the committed log, and how many commands there are up to that place.
    place: Option<(EntryId, u64)>,
}

/// The answer to a client.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// No answer yet.
    Open,
    /// It was done, at this moment; a read got this value.
    Done(u64, u64),
    /// It did not happen, and never will.
    Failed,
    /// The outcome is unknown.
    Unknown,
}

impl Orders {
    /// A client makes a request; returns the operation's number.
    pub fn ask(&mut self, client: u64, key: u64, is_read: bool) -> u64 {
        self.moment += 1;
        self.requests.push(Request {
            client,
            key,
            is_read,
            invoked: self.moment,
            floor: self.seen,
            outcome: Outcome::Open,
            place: None,
        });
        self.requests.len() as u64
    }

    /// An operation by its number.
    pub fn request(&self, number: u64) -> &Request {
        &self.requests[number as usize - 1]
    }

    fn request_mut(&mut self, number: u64) -> Option<&mut Request> {
        self.requests.get_mut((number as usize).checked_sub(1)?)
    }

    /// A member applies a command. Returns true if it is the first one to do so, and the client was
    /// answered that the outcome is unknown.
    pub fn on_applied(&mut self, number: u64, id: EntryId) -> Result<bool, Violation> {
        let placed = self.placed + 1;
        let Some(request) = self.request_mut(number) else {
            let what = format!("{id} holds command {number}, which no client proposed");
            return Err(Violation::new(Check::Outcome, what));
        };
        if let Some((place, _)) = request.place {
            let what = || format!("command {number} is at {place} and at {id}");
            return hold(place == id, Check::Outcome, what).map(|()| false);
        }
        let outcome = request.outcome;
        hold(outcome != Outcome::Failed && !request.is_read, Check::Outcome, || {
            format!("command {number} was reported to have failed, but is at {id}")
        })?;
        request.place = Some((id, placed));
        self.placed = placed;
        Ok(outcome == Outcome::Unknown)
    }

    /// A client is answered that its command was done; the state machine's answer is the number of
    /// commands so far.
    pub fn on_done(&mut self, number: u64, id: EntryId, answer: u64) -> Result<(), Violation> {
        self.moment += 1;
        let moment = self.moment;
        let floor = self.request(number).floor;
        let request = &mut self.requests[number as usize - 1];
        hold(request.place == Some((id, answer)), Check::Outcome, || {
            let place = request.place;
            format!("command {number} was answered {answer} for {id}, but is at {place:?}")
        })?;
        hold(id.index > floor, Check::Order, || {
            format!("command {number} is at {id}, but {floor} was seen before it was requested")
        })?;
        request.outcome = Outcome::Done(moment, 0);
        self.seen = self.seen.max(id.index);
        Ok(())
    }

    /// A client gets a value that was read from the state at `applied`.
    pub fn on_read(&mut self, number: u64, applied: LogIndex, value: u64) -> Result<(), Violation> {
        self.moment += 1;
        let moment = self.moment;
        let request = &mut self.requests[number as usize - 1];
        let floor = request.floor;
        hold(applied >= floor, Check::Order, || {
            format!("read {number} saw {applied}, but {floor} was seen before it was requested")
        })?;
        request.outcome = Outcome::Done(moment, value);
        self.seen = self.seen.max(applied);
        Ok(())
    }

    /// A client is answered that nothing happened.
    pub fn on_failed(&mut self, number: u64) -> Result<(), Violation> {
        let request = &mut self.requests[number as usize - 1];
        request.outcome = Outcome::Failed;
        hold(request.place.is_none() || request.is_read, Check::Outcome, || {
            format!("command {number} was reported to have failed, but is at {:?}", request.place)
        })
    }

    /// A client is answered that the outcome is unknown. Returns true if it had happened.
    pub fn on_unknown(&mut self, number: u64) -> bool {
        let request = &mut self.requests[number as usize - 1];
        request.outcome = Outcome::Unknown;
        request.place.is_some()
    }

    /// The outcome of an operation.
    pub fn outcome(&self, number: u64) -> Outcome {
        self.request(number).outcome
    }

    /// How many operations there were.
    pub fn len(&self) -> u64 {
        self.requests.len() as u64
    }

    /// Whether there were none.
    pub fn is_empty(&self) -> bool {
        self.requests.is_empty()
    }

    /// The history as clients saw it, for a checker that is independent of the log.
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
        let mut orders = Orders::default();
        let write = orders.ask(1, 0, false);
        let early = orders.ask(2, 0, true);
        assert_eq!(orders.on_applied(write, at(5)), Ok(false));
        assert_eq!(orders.on_done(write, at(5), 1), Ok(()));
        assert_eq!(orders.on_read(early, LogIndex::new(4), 0), Ok(()), "it overlaps the write");
        let late = orders.ask(2, 0, true);
        assert_eq!(found(orders.on_read(late, LogIndex::new(4), 0)), Some(Check::Order));
    }

    #[test]
    fn a_command_that_is_committed_twice_is_found() {
        let mut orders = Orders::default();
        let write = orders.ask(1, 0, false);
        assert_eq!(orders.on_applied(write, at(5)), Ok(false));
        assert_eq!(orders.on_applied(write, at(5)), Ok(false), "on another member");
        assert!(orders.on_applied(write, at(6)).is_err());
        assert!(orders.on_applied(7, at(7)).is_err(), "no client proposed it");
    }

    #[test]
    fn a_command_that_was_applied_after_a_failure_is_found() {
        let mut orders = Orders::default();
        let early = orders.ask(1, 0, false);
        let late = orders.ask(1, 0, false);
        assert_eq!(orders.on_failed(early), Ok(()));
        assert!(orders.on_applied(early, at(5)).is_err());
        assert_eq!(orders.on_applied(late, at(5)), Ok(false));
        assert_eq!(found(orders.on_failed(late)), Some(Check::Outcome));
    }

    #[test]
    fn an_answer_without_a_committed_command_is_found() {
        let mut orders = Orders::default();
        let write = orders.ask(1, 0, false);
        assert_eq!(found(orders.on_done(write, at(5), 1)), Some(Check::Outcome));
    }
}
