//! Term, log index, node id, and the pair that identifies an entry.

use core::fmt;
use core::num::NonZeroU64;

use serde::{Deserialize, Serialize};

/// A term: the logical clock of Raft. Each term has at most one leader.
///
/// Term 0 is the time before any election; only the bootstrap entry carries it.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize,
)]
#[serde(transparent)]
pub struct Term(u64);

impl Term {
    /// The term before any election.
    pub const ZERO: Term = Term(0);

    /// The term with this number.
    pub const fn new(number: u64) -> Term {
        Term(number)
    }

    /// The number of this term.
    pub const fn get(self) -> u64 {
        self.0
    }

    /// The term after this one.
    pub const fn next(self) -> Term {
        Term(self.0 + 1)
    }
}

impl fmt::Display for Term {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.0)
    }
}

/// A position in the log. The first entry has index 1; index 0 is the position before the log.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize,
)]
#[serde(transparent)]
pub struct LogIndex(u64);

impl LogIndex {
    /// The position before the first entry.
    pub const ZERO: LogIndex = LogIndex(0);

    /// The position with this number.
    pub const fn new(number: u64) -> LogIndex {
        LogIndex(number)
    }

    /// The number of this position.
    pub const fn get(self) -> u64 {
        self.0
    }

    /// The position after this one. The greatest number is its own successor: it can only come from
    /// a peer's bytes, and they must not cause an overflow before they are refused.
    pub const fn next(self) -> LogIndex {
        LogIndex(self.0.saturating_add(1))
    }

    /// The position before this one; index 0 has none and returns itself.
    pub const fn prev(self) -> LogIndex {
        LogIndex(self.0.saturating_sub(1))
    }

    /// The position `count` entries further on.
    pub const fn plus(self, count: u64) -> LogIndex {
        LogIndex(self.0.saturating_add(count))
    }

    /// How many entries lie after `earlier`, up to and with this position (0 if none).
    pub const fn since(self, earlier: LogIndex) -> u64 {
        self.0.saturating_sub(earlier.0)
    }
}

impl fmt::Display for LogIndex {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.0)
    }
}

/// The id of a member, unique in its cluster for ever. Zero is no member's id.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct NodeId(NonZeroU64);

impl NodeId {
    /// The node with this number, unless the number is zero.
    pub const fn new(number: u64) -> Option<NodeId> {
        match NonZeroU64::new(number) {
            Some(number) => Some(NodeId(number)),
            None => None,
        }
    }

    /// The number of this node.
    pub const fn get(self) -> u64 {
        self.0.get()
    }
}

impl fmt::Display for NodeId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.0)
    }
}

/// The id of one entry: its term and its index, always together.
///
/// The derived order (term first, then index) is the order in which section 5.4.1 of the paper
/// compares logs by their last entries, so `candidate.last >= own.last` *is* the voting rule.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize,
)]
pub struct EntryId {
    /// The term of the leader that created the entry.
    pub term: Term,
    /// The entry's position in the log.
    pub index: LogIndex,
}

impl EntryId {
    /// The position before the first entry of any log.
    pub const ZERO: EntryId = EntryId { term: Term::ZERO, index: LogIndex::ZERO };

    /// The entry of this term at this index.
    pub const fn new(term: Term, index: LogIndex) -> EntryId {
        EntryId { term, index }
    }
}

/// An id is written `index@term`.
impl fmt::Display for EntryId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}@{}", self.index, self.term)
    }
}
