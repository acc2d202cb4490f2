//! The replicated state machine: a few registers, and a chain of hashes over all commands.

use bytes::Bytes;
use raft_core::types::{EntryId, LogIndex};
use raft_node::{Committed, Fatal, Replies, StateMachine};

use crate::digest::Digest;

/// The number of registers.
pub(crate) const KEYS: u64 = 5;

/// A write to a register. No two operations write the same value, so the value identifies the
/// operation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Command {
    pub(crate) key: u64,
    pub(crate) value: u64,
}

impl Command {
    /// Encodes the command to propose, with `padding` additional bytes.
    pub(crate) fn encode(self, padding: usize) -> Bytes {
        let mut bytes = Vec::with_capacity(16 + padding);
        bytes.extend(self.key.to_le_bytes());
        bytes.extend(self.value.to_le_bytes());
        bytes.resize(16 + padding, 0);
        bytes.into()
    }

    /// Decodes the bytes of a command.
    pub(crate) fn decode(bytes: &[u8]) -> Option<Command> {
        let word = |at: usize| Some(u64::from_le_bytes(bytes.get(at..at + 8)?.try_into().ok()?));
        Some(Command { key: word(0)?, value: word(8)? })
    }
}

/// The state machine of one member.
#[derive(Clone, Debug, Default)]
pub(crate) struct Registers {
    values: [u64; KEYS as usize],
    /// The number of commands that were applied.
    count: u64,
    /// A hash over all commands that were applied, in order.
    chain: u64,
    /// The last entry whose command was applied.
    last: Option<EntryId>,
    /// The value of `chain` after each command that was applied since the last call of
    /// [`Registers::take_new_hashes`].
    new_hashes: Vec<(LogIndex, u64)>,
    /// Whether this state survives a crash.
    pub(crate) durable: bool,
    /// Whether the next batch fails to be applied.
    pub(crate) fails: bool,
}

impl Registers {
    /// Creates a machine that keeps its state through crashes, if `durable` is set.
    pub(crate) fn new(durable: bool) -> Registers {
        Registers { durable, ..Registers::default() }
    }

    /// Removes the state that a crash destroys.
    pub(crate) fn crash(&mut self) {
        if !self.durable {
            *self = Registers::new(false);
        }
        self.new_hashes.clear();
    }

    /// The state as bytes.
    pub(crate) fn encode(&self) -> Vec<u8> {
        let last = self.last.map_or([0, 0], |id| [id.term.get(), id.index.get()]);
        let words = self.values.iter().chain([&self.count, &self.chain]).chain(&last);
        words.flat_map(|word| word.to_le_bytes()).collect()
    }

    /// Takes over the state of a snapshot.
    pub(crate) fn restore(&mut self, snapshot: &Registers) {
        let Registers { values, count, chain, last, .. } = *snapshot;
        *self =
            Registers { values, count, chain, last, durable: self.durable, ..Default::default() };
    }

    /// The last entry that the state includes, as far as the machine knows: that of its last
    /// command, if the state survives crashes.
    pub(crate) fn applied_index(&self) -> LogIndex {
        self.applied().map_or(LogIndex::ZERO, |id| id.index)
    }

    /// The last command that was applied, and the hash after it.
    pub(crate) fn last_hash(&self) -> Option<(LogIndex, u64)> {
        self.last.map(|last| (last.index, self.chain))
    }

    /// The hash over all commands that were applied.
    pub(crate) fn chain(&self) -> u64 {
        self.chain
    }

    /// Returns the chain's value after each command that was applied since the last call.
    pub(crate) fn take_new_hashes(&mut self) -> Vec<(LogIndex, u64)> {
        std::mem::take(&mut self.new_hashes)
    }

    fn apply_one(&mut self, committed: &Committed) -> u64 {
        if let Some(command) = Command::decode(&committed.command) {
            self.values[(command.key % KEYS) as usize] = command.value;
        }
        self.count += 1;
        self.chain = Digest::of((self.chain, committed.id, &committed.command));
        self.last = Some(committed.id);
        self.new_hashes.push((committed.id.index, self.chain));
        self.count
    }
}

impl StateMachine for Registers {
    fn applied(&self) -> Option<EntryId> {
        self.last.filter(|_| self.durable)
    }

    /// The answer to a command is the number of commands that have been applied up to it.
    fn apply(&mut self, commands: &[Committed], replies: &mut Replies) -> Result<(), Fatal> {
        if std::mem::take(&mut self.fails) {
            return Err(Fatal::new("an injected failure"));
        }
        for committed in commands {
            let count = self.apply_one(committed);
            replies.push(Bytes::copy_from_slice(&count.to_le_bytes()));
        }
        Ok(())
    }

    /// The query is a key, and the answer is its value.
    fn read(&self, query: &[u8]) -> Bytes {
        let key = query.first().map_or(0, |key| usize::from(*key)) % KEYS as usize;
        Bytes::copy_from_slice(&self.values[key].to_le_bytes())
    }
}
