//! The replicated state machine: a few registers, and a chain of hashes over every command.

use bytes::Bytes;
use raft_core::types::{EntryId, LogIndex};
use raft_node::{Committed, Fatal, Replies, StateMachine};

use crate::digest::Digest;

/// How many registers there are.
pub(crate) const KEYS: u64 = 5;

/// A write by one client: a value that no other operation writes, so that it names the operation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Command {
    pub(crate) key: u64,
    pub(crate) value: u64,
}

impl Command {
    /// The bytes that are proposed, with `padding` extra bytes.
    pub(crate) fn encode(self, padding: usize) -> Bytes {
        let mut bytes = Vec::with_capacity(16 + padding);
        bytes.extend(self.key.to_le_bytes());
        bytes.extend(self.value.to_le_bytes());
        bytes.resize(16 + padding, 0);
        bytes.into()
    }

    /// Reads the bytes back.
    pub(crate) fn decode(bytes: &[u8]) -> Option<Command> {
        let word = |at: usize| Some(u64::from_le_bytes(bytes.get(at..at + 8)?.try_into().ok()?));
        Some(Command { key: word(0)?, value: word(8)? })
    }
}

/// The state machine of one member.
#[derive(Clone, Debug, Default)]
pub(crate) struct Registers {
    values: [u64; KEYS as usize],
    /// How many commands were applied.
    count: u64,
    /// A hash over all of them, in order.
    chain: u64,
    /// The last entry whose command was applied.
    last: Option<EntryId>,
    /// The chain after each command that was applied since [`Registers::take_trail`].
    trail: Vec<(LogIndex, u64)>,
    /// Whether this state survives a crash.
    pub(crate) durable: bool,
    /// Whether it cannot apply the next batch.
    pub(crate) fails: bool,
}

impl Registers {
    /// A state machine whose state survives crashes, or does not.
    pub(crate) fn new(durable: bool) -> Registers {
        Registers { durable, ..Registers::default() }
    }

    /// Reduces the state to what remains after a crash.
    pub(crate) fn crash(&mut self) {
        if !self.durable {
            *self = Registers::new(false);
        }
        self.trail.clear();
    }

    /// The chain of hashes.
    pub(crate) fn chain(&self) -> u64 {
        self.chain
    }

    /// The chain after each command since the last call.
    pub(crate) fn take_trail(&mut self) -> Vec<(LogIndex, u64)> {
        std::mem::take(&mut self.trail)
    }

    fn apply_one(&mut self, committed: &Committed) -> u64 {
        if let Some(command) = Command::decode(&committed.command) {
            self.values[(command.key % KEYS) as usize] = command.value;
        }
        self.count += 1;
        self.chain = Digest::of((self.chain, committed.id, &committed.command));
        self.last = Some(committed.id);
        self.trail.push((committed.id.index, self.chain));
        self.count
    }
}

impl StateMachine for Registers {
    fn applied(&self) -> Option<EntryId> {
        self.last.filter(|_| self.durable)
    }

    /// Answers with the number of commands so far.
    fn apply(&mut self, commands: &[Committed], replies: &mut Replies) -> Result<(), Fatal> {
        if std::mem::take(&mut self.fails) {
            return Err(Fatal::new("planted by the simulator"));
        }
        for committed in commands {
            let count = self.apply_one(committed);
            replies.push(Bytes::copy_from_slice(&count.to_le_bytes()));
        }
        Ok(())
    }

    /// The query is a key, the answer its value.
    fn read(&self, query: &[u8]) -> Bytes {
        let key = query.first().map_or(0, |key| usize::from(*key)) % KEYS as usize;
        Bytes::copy_from_slice(&self.values[key].to_le_bytes())
    }
}
