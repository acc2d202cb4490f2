//! The state machine: it applies the commands of the log to the key space.
//!
//! An answer never leaves the member: it goes to the service that proposed the command. Its first
//! byte is 0 before an encoded response, 255 before a response whose ranges are still to be read
//! (`answer`), or the number of a refusal. If no client of this member waits, nothing is read and
//! nothing is encoded.

use bytes::{BufMut, Bytes, BytesMut};
use kontiki::{Committed, Fatal, Replies, StateMachine};
use prost::Message;

use crate::answer::{DEFERRED, Deferrals};
use crate::command::Command;
use crate::errors::Refusal;
use crate::mvcc::Store;
use crate::shared::{SharedStore, State};
use crate::{compact, delete, put, txn};

/// The most unneeded versions that are freed for each batch of commands. One step takes less than a
/// microsecond, so a compaction never delays the member for long, and it frees versions faster than
/// commands can add them.
const SWEEP_STEPS: usize = 1024;

/// The machine that applies etcd's commands.
#[derive(Debug, Default)]
pub struct Machine {
    shared: SharedStore,
}

impl Machine {
    /// A machine with nothing applied.
    pub fn new() -> Machine {
        Machine::default()
    }

    /// Applies one command, as if it had been committed.
    #[cfg(test)]
    pub(crate) fn apply_alone(&mut self, command: &Bytes) -> Result<Bytes, Fatal> {
        let mut state = self.shared.write();
        let id = kontiki::types::EntryId::ZERO;
        apply(&mut state, &Committed { id, command: command.clone() }, true)
    }

    /// The key space, for the services of this member.
    pub fn store(&self) -> SharedStore {
        self.shared.clone()
    }
}

impl StateMachine for Machine {
    fn apply(&mut self, commands: &[Committed], replies: &mut Replies) -> Result<(), Fatal> {
        let mut state = self.shared.write();
        for (position, committed) in commands.iter().enumerate() {
            let is_wanted = replies.is_wanted(position);
            replies.push(apply(&mut state, committed, is_wanted)?);
        }
        state.store.sweep(SWEEP_STEPS);
        Ok(())
    }

    fn read(&self, _query: &[u8]) -> Bytes {
        // The services read the shared store themselves, after a barrier.
        Bytes::new()
    }

    fn is_cheap(&self) -> bool {
        true
    }
}

/// Applies one command.
///
/// # Errors
///
/// If it cannot be read: the member has to stop, since a member that skipped the command, or
/// answered something else, would differ from the others.
fn apply(state: &mut State, committed: &Committed, is_wanted: bool) -> Result<Bytes, Fatal> {
    let command = Command::decode(&committed.command)
        .map_err(|error| Fatal::new(format!("entry {}: {error}", committed.id)))?;
    let admitted = state.alarms.admit(&command);
    let answer = admitted.and_then(|()| carry_out(state, command, is_wanted));
    Ok(answer.unwrap_or_else(|refusal| Bytes::copy_from_slice(&[refusal.number()])))
}

fn carry_out(state: &mut State, command: Command, is_wanted: bool) -> Result<Bytes, Refusal> {
    let State { store, alarms } = state;
    let mut deferrals = Deferrals::new(is_wanted);
    match command {
        Command::Put(request) => {
            let response = store.write(|write| put::put_alone(write, request, is_wanted))?;
            Ok(answer(&response, is_wanted))
        }
        Command::Delete(request) => {
            let response = store.write(|write| delete::delete(write, &request, &mut deferrals));
            Ok(answer_later(store, deferrals, &response))
        }
        Command::Txn(request) => {
            let response = txn::run(store, request, &mut deferrals)?;
            Ok(answer_later(store, deferrals, &response))
        }
        Command::Compact(request) => {
            compact::compact(store, &request).map(|response| answer(&response, is_wanted))
        }
        Command::Alarm(request) => Ok(answer(&alarms.apply(&request), is_wanted)),
    }
}

/// An encoded answer, if a client of this member waits for it; else empty.
fn answer(response: &impl Message, is_wanted: bool) -> Bytes {
    if !is_wanted {
        return Bytes::new();
    }
    let mut bytes = BytesMut::with_capacity(1 + response.encoded_len());
    bytes.put_u8(0);
    response.encode_raw(&mut bytes);
    bytes.freeze()
}

/// An encoded answer that may have deferred ranges, at revisions that stay readable until they are
/// read.
fn answer_later(store: &Store, deferrals: Deferrals, response: &impl Message) -> Bytes {
    match deferrals.lowest() {
        Some(lowest) => deferrals.encode(response, store.pin(lowest)),
        None => answer(response, deferrals.is_wanted()),
    }
}

/// The machine's answer to a command.
pub(crate) enum Outcome<R> {
    /// The response.
    Done(R),
    /// A response with deferred ranges: see [`crate::answer::Answers::complete`].
    Deferred(Bytes),
}

/// Reads the machine's answer to a command.
///
/// # Panics
///
/// If the machine of this process did not write it: a bug in this crate.
pub(crate) fn decode_answer<R: Message + Default>(answer: &Bytes) -> Result<Outcome<R>, Refusal> {
    match answer.first() {
        Some(0) => {
            let response = R::decode(answer.slice(1..));
            Ok(Outcome::Done(response.expect("the machine's answer can be read")))
        }
        Some(&DEFERRED) => Ok(Outcome::Deferred(answer.clone())),
        Some(number) => Err(Refusal::from_number(*number).expect("the machine's refusal is known")),
        None => panic!("the machine gave an empty answer"),
    }
}
