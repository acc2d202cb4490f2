//! A state machine over types instead of bytes.
//!
//! Commands, queries and answers are encoded in postcard's wire format. Answers and queries never
//! leave the process; commands are in the log, so another version of the application may have
//! written them.

use std::io::{self, Read};

use bytes::Bytes;
use raft_core::types::EntryId;
use serde::Serialize;
use serde::de::DeserializeOwned;

use super::encoding::{decode, encode};
use super::snapshot::SnapshotState;
use super::state_machine::{Committed, Fatal, Replies, Snapshot, StateMachine};

/// A deterministic state machine over types: the same commands in the same order give the same
/// state and the same responses on every member. No clock, randomness or hash order may influence a
/// result.
///
/// A committed command that does not decode stops the member: a newer version of the application
/// wrote it, and skipping it would make this member's state differ from all others. Start the
/// member with that version. So add variants to `Command` at the end, and upgrade all members to
/// the version that has them before any client proposes one.
///
/// Snapshots of its state are taken through [`SnapshotState`], which every type has that is
/// `Clone`, `Serialize` and `Deserialize`.
///
/// ```
/// use raft_node::Application;
/// use serde::{Deserialize, Serialize};
///
/// #[derive(Clone, Serialize, Deserialize)]
/// struct Counter(u64);
///
/// impl Application for Counter {
///     type Command = u64;
///     type Response = u64;
///     type Query = ();
///     type Answer = u64;
///
///     fn apply(&mut self, add: u64) -> u64 {
///         self.0 += add;
///         self.0
///     }
///
///     fn read(&self, (): ()) -> u64 {
///         self.0
///     }
/// }
/// ```
pub trait Application: SnapshotState + Send + 'static {
    /// A command, as clients propose it.
    type Command: Serialize + DeserializeOwned;
    /// The answer to a command.
    type Response: Serialize + DeserializeOwned;
    /// A query, as clients ask it.
    type Query: Serialize + DeserializeOwned;
    /// The answer to a query.
    type Answer: Serialize + DeserializeOwned;

    /// Applies a committed command.
    fn apply(&mut self, command: Self::Command) -> Self::Response;

    /// Answers a query without changing anything.
    fn read(&self, query: Self::Query) -> Self::Answer;
}

/// An application as a state machine over bytes.
pub(crate) struct TypedMachine<A>(pub(crate) A);

impl<A: Application> StateMachine for TypedMachine<A> {
    fn apply(&mut self, commands: &[Committed], replies: &mut Replies) -> Result<(), Fatal> {
        for (position, committed) in commands.iter().enumerate() {
            let command = decode(&committed.command).ok_or_else(|| not_understood(committed))?;
            let response = self.0.apply(command);
            let is_wanted = replies.is_wanted(position);
            replies.push(if is_wanted { encode(&response) } else { Bytes::new() });
        }
        Ok(())
    }

    fn snapshot(&mut self) -> io::Result<Box<dyn Snapshot>> {
        self.0.snapshot()
    }

    fn restore(&mut self, last: EntryId, reader: &mut dyn Read) -> Result<(), Fatal> {
        self.0.restore(last, reader)
    }

    /// A query that does not decode (it was not asked through this application's own handle) gets
    /// an empty answer; all other answers begin with a byte that marks them as answers.
    fn read(&self, query: &[u8]) -> Bytes {
        decode(query).map(|query| encode(&(ANSWERED, self.0.read(query)))).unwrap_or_default()
    }
}

/// The first byte of the answer to a query that decoded.
const ANSWERED: u8 = 1;

fn not_understood(committed: &Committed) -> Fatal {
    let (id, bytes) = (committed.id, committed.command.len());
    Fatal::new(format!(
        "the command of entry {id} ({bytes} bytes) does not decode: a newer version of the \
         application has written it; start this member with that version"
    ))
}

/// The value of an answer from [`TypedMachine`], if the query decoded.
pub(crate) fn decode_answer<T: DeserializeOwned>(bytes: &[u8]) -> Option<T> {
    let (_, answer): (u8, T) = decode(bytes)?;
    Some(answer)
}
