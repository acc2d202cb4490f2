//! What an application is to the engine: a deterministic machine fed with committed commands.

use bytes::Bytes;
use raft_core::types::EntryId;

/// One committed command, in the order of the log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Committed {
    /// The entry's name. Ids rise along the log; not every index carries a command.
    pub id: EntryId,
    /// The bytes that were proposed.
    pub command: Bytes,
}

/// The answers to a batch of commands, one for each, in order.
#[derive(Debug, Default)]
pub struct Replies {
    answers: Vec<Bytes>,
}

impl Replies {
    /// Room for the answers to `count` commands.
    pub fn with_capacity(count: usize) -> Replies {
        Replies { answers: Vec::with_capacity(count) }
    }

    /// Answers the next command of the batch. Empty bytes cost nothing.
    #[inline]
    pub fn push(&mut self, answer: Bytes) {
        self.answers.push(answer);
    }

    /// How many commands have been answered.
    pub fn len(&self) -> usize {
        self.answers.len()
    }

    /// Whether none has been answered.
    pub fn is_empty(&self) -> bool {
        self.answers.is_empty()
    }

    pub(crate) fn answers_mut(&mut self) -> &mut Vec<Bytes> {
        &mut self.answers
    }

    /// The answers, in the order of the commands.
    pub fn into_answers(self) -> Vec<Bytes> {
        self.answers
    }
}

/// A deterministic machine: the same commands in the same order give the same state and the same
/// answers on every member. No clock, no randomness, no hash order may reach a result.
pub trait StateMachine: Send + 'static {
    /// The last entry whose effect the machine still has after a restart, if it keeps its state
    /// durably itself; else `None`, and the log is applied to it again from the start.
    fn applied(&self) -> Option<EntryId> {
        None
    }

    /// Applies commands, and pushes exactly one answer for each into `replies`. An answer is sent
    /// only where a client of this member waits for it.
    ///
    /// A command that is wrong must be answered so, not panicked about: every member applies it.
    fn apply(&mut self, commands: &[Committed], replies: &mut Replies);

    /// Answers a query without changing anything. Called only once everything that was committed
    /// when the query arrived has been applied.
    fn read(&self, query: &[u8]) -> Bytes;

    /// Whether applying takes so little time (a few microseconds a batch) that it may run between
    /// two turns of the protocol. Others are applied by a task of their own.
    fn is_cheap(&self) -> bool {
        false
    }
}
