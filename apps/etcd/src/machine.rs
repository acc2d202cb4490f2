//! The state machine: it applies the commands of the log to the key space.
//!
//! An answer never leaves the member: it goes to the service that proposed the command. Its first
//! byte is 0 before an encoded response, 255 before a response whose ranges are still to be read
//! (`answer`), or the number of a refusal. If no client of this member waits, nothing is read and
//! nothing is encoded.
//!
//! A deletion of a range is applied in steps, between which the member does its other work.

use std::io::{self, Read};

use bytes::{BufMut, Bytes, BytesMut};
use kontiki::types::EntryId;
use kontiki::{Committed, Fatal, Replies, Snapshot, StateMachine};
use prost::Message;

use crate::answer::{DEFERRED, Deferrals};
use crate::command::Command;
use crate::delete::RangeDeletion;
use crate::errors::Refusal;
use crate::shared::{SWEEP_STEPS, SharedStore, State, WriteState};
use crate::snapshot::{self, PinnedState};
use crate::{compact, delete, put, txn};

/// How many keys one step of a deletion examines: less than a millisecond of work.
const DELETED_KEYS: usize = 1024;

/// The machine that applies etcd's commands.
#[derive(Debug, Default)]
pub struct Machine {
    shared: SharedStore,
    /// The deletion of the current command, if it is not complete.
    deletion: Option<RangeDeletion>,
}

impl Machine {
    /// A machine with nothing applied.
    pub fn new() -> Machine {
        Machine::default()
    }

    /// Applies one command, as if it had been committed.
    #[cfg(test)]
    pub(crate) fn apply_alone(&mut self, command: &Bytes) -> Result<Bytes, Fatal> {
        let id = kontiki::types::EntryId::ZERO;
        let committed = Committed { id, command: command.clone() };
        let now = self.shared.now();
        loop {
            if let Some(answer) = self.go_on(&mut now.write(), &committed, true)? {
                return Ok(answer);
            }
        }
    }

    /// The key space, for the services of this member.
    pub fn store(&self) -> SharedStore {
        self.shared.clone()
    }
}

impl StateMachine for Machine {
    fn apply(&mut self, commands: &[Committed], replies: &mut Replies) -> Result<(), Fatal> {
        let now = self.shared.now();
        let mut state = now.write();
        for (position, committed) in commands.iter().enumerate().skip(replies.len()) {
            let is_wanted = replies.is_wanted(position);
            match self.go_on(&mut state, committed, is_wanted)? {
                Some(answer) => replies.push(answer),
                None => return Ok(()),
            }
        }
        state.store.sweep(SWEEP_STEPS);
        Ok(())
    }

    fn is_unfinished(&self) -> bool {
        self.deletion.is_some()
    }

    fn read(&self, _query: &[u8]) -> Bytes {
        // The services read the shared store themselves, after a barrier.
        Bytes::new()
    }

    fn snapshot(&mut self) -> io::Result<Box<dyn Snapshot>> {
        if self.is_unfinished() {
            return Err(io::Error::other("a command is not complete"));
        }
        Ok(Box::new(PinnedState::of(self.shared.now())))
    }

    fn restore(&mut self, _last: EntryId, reader: &mut dyn Read) -> Result<(), Fatal> {
        self.shared.replace(snapshot::restore(reader)?);
        self.deletion = None;
        Ok(())
    }

    fn is_cheap(&self) -> bool {
        true
    }
}

impl Machine {
    /// Applies one command, or continues to apply it. Without an answer, the command is not
    /// complete, and the caller must call again with the same command.
    ///
    /// # Errors
    ///
    /// If the command cannot be read. The member must then stop, since a member that skipped the
    /// command, or answered something else, would differ from the others.
    fn go_on(
        &mut self,
        state: &mut WriteState<'_>,
        committed: &Committed,
        is_wanted: bool,
    ) -> Result<Option<Bytes>, Fatal> {
        if self.deletion.is_none() {
            let command = Command::decode(&committed.command)
                .map_err(|error| Fatal::new(format!("entry {}: {error}", committed.id)))?;
            match command {
                Command::Delete(request) if !request.range_end.is_empty() => {
                    let deferrals = Deferrals::new(is_wanted);
                    let view = state.store.view();
                    self.deletion = Some(RangeDeletion::begin(view, &request, deferrals));
                }
                command => return Ok(Some(self.apply_at_once(state, command, is_wanted))),
            }
        }
        let ended = self.deletion.take_if(|it| it.step(&mut state.store, DELETED_KEYS));
        Ok(ended.map(|ended| {
            let (response, deferrals) = ended.finish(&state.store);
            answer_later(state, deferrals, &response)
        }))
    }

    fn apply_at_once(
        &self,
        state: &mut WriteState<'_>,
        command: Command,
        is_wanted: bool,
    ) -> Bytes {
        let is_compaction = matches!(command, Command::Compact(_));
        let admitted = state.alarms.admit(&command);
        let answer = admitted.and_then(|()| carry_out(state, command, is_wanted));
        if is_compaction {
            self.shared.note_compaction();
        }
        answer.unwrap_or_else(|refusal| Bytes::copy_from_slice(&[refusal.number()]))
    }
}

fn carry_out(
    state: &mut WriteState<'_>,
    command: Command,
    is_wanted: bool,
) -> Result<Bytes, Refusal> {
    let State { store, alarms } = &mut **state;
    let mut deferrals = Deferrals::new(is_wanted);
    match command {
        Command::Put(request) => {
            let response = store.write(|write| put::put_alone(write, request, is_wanted))?;
            Ok(answer(&response, is_wanted))
        }
        Command::Delete(request) => {
            let response = store.write(|write| delete::delete(write, &request, &mut deferrals));
            Ok(answer_later(state, deferrals, &response))
        }
        Command::Txn(request) => {
            let response = txn::run(store, request, &mut deferrals)?;
            Ok(answer_later(state, deferrals, &response))
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
fn answer_later(state: &WriteState<'_>, deferrals: Deferrals, response: &impl Message) -> Bytes {
    match deferrals.lowest() {
        Some(lowest) => deferrals.encode(response, state.pinned(lowest)),
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::api::etcdserverpb::{DeleteRangeRequest, DeleteRangeResponse, PutRequest};
    use crate::mvcc::Span;

    fn committed(command: &Command) -> Committed {
        let command = command.encode().expect("small");
        Committed { id: kontiki::types::EntryId::ZERO, command }
    }

    fn put(key: usize) -> Command {
        let key = format!("{key:06}").into();
        Command::Put(PutRequest { key, ..PutRequest::default() })
    }

    /// What went wrong: the deletion of very many keys was a single step of the member's thread.
    #[test]
    fn a_deletion_of_many_keys_is_applied_in_steps_before_what_follows_it() {
        let mut machine = Machine::new();
        let keys = 3 * DELETED_KEYS;
        for key in 0..keys {
            machine.apply_alone(&committed(&put(key)).command).expect("readable");
        }
        let (key, range_end) = (Bytes::from_static(b"0"), Bytes::from_static(b"1"));
        let deletion = Command::Delete(DeleteRangeRequest { key, range_end, prev_kv: false });
        let batch = [put(7), deletion, put(8)].map(|command| committed(&command));
        let mut replies = Replies::default();
        let mut calls = 0;
        loop {
            machine.apply(&batch, &mut replies).expect("readable");
            calls += 1;
            if !machine.is_unfinished() {
                break;
            }
            assert_eq!(replies.len(), 1, "the put before it is done, and no more");
            let count = machine.store().now().read().view().newest(Span::From(b"0")).count();
            assert_eq!(count, keys, "nothing of an unfinished deletion is seen");
        }
        assert!(calls > 3, "{calls} calls");
        let answers = replies.into_answers();
        let Ok(Outcome::Done(deleted)) = decode_answer::<DeleteRangeResponse>(&answers[1]) else {
            panic!("the deletion is answered")
        };
        let revision = 1 + keys as i64 + 2;
        assert_eq!(
            (deleted.deleted, deleted.header.expect("one").revision),
            (keys as i64, revision)
        );
        let now = machine.store().now();
        let store = now.read();
        assert_eq!(store.view().newest(Span::From(b"0")).count(), 1, "the put after it");
        assert_eq!(store.revision(), revision + 1);
    }
}
