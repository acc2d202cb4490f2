//! A violation: the check that found it, and the facts.

use std::fmt;

/// The checks, each with the property that it checks.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Check {
    /// A member's own state is sound: neither `Raft::check_laws` nor an assertion panics.
    OwnState,
    /// A term has at most one leader, elected by a majority of each half of the voters (L1).
    ElectionSafety,
    /// A member votes at most once in a term, across restarts too (L7).
    OneVote,
    /// A member promises only what is durable on its disk (L6).
    DurablePromise,
    /// Logs that share an entry id are equal up to that entry (L3).
    LogMatching,
    /// A leader has all entries that were committed before its term (L4).
    LeaderCompleteness,
    /// A committed entry never changes, and is the same for all members (L5).
    CommittedForEver,
    /// The entry at a disk's commit hint is committed, and the disk holds that entry (L5, L10).
    CommitHint,
    /// A committed entry is durable on a majority (L11).
    DurableMajority,
    /// Memberships change one step at a time, each after the one before it and an entry of the
    /// leader's term are committed (L17); a leader that a committed one leaves out stops leading.
    OneChange,
    /// Terms, commit indexes and hard states never go back (L8).
    Monotonic,
    /// The match index that a leader has of a peer is never above what the peer's disk holds (L12).
    MatchIndex,
    /// All state machines apply the same commands in the same order, each once (L5).
    SameMachine,
    /// A command is in the log at most once, and not at all if its client was told that it failed.
    Outcome,
    /// A request of a session runs at most once, and each answer to it is that of its one run.
    ExactlyOnce,
    /// The answers to clients agree with the order of the committed log and with real time (L15).
    Order,
    /// Some order of the operations explains all answers to clients.
    Linearizable,
    /// No member is elected while the lease of another one holds (K44).
    Lease,
    /// Correct members never send a message that must be rejected as unsound.
    SoundMessages,
    /// A store returns what was written to it, and the engine never writes what it must refuse.
    StoreContract,
    /// Messages do not multiply without limit.
    BoundedWork,
    /// The bytes that a leader has not written yet stay within its limit.
    BoundedMemory,
    /// A snapshot file is received as it was sent, a log reaches each snapshot that its own member
    /// took, and nothing is purged or replaced that no durable snapshot includes.
    SoundSnapshot,
    /// Once faults stop, the cluster serves clients and all members become equal.
    Convergence,
}

/// A property that was violated, and how.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Violation {
    /// The check that found it.
    pub check: Check,
    /// The facts that contradict each other.
    pub what: String,
}

impl Violation {
    /// Creates a violation of this check.
    pub fn new(check: Check, what: impl Into<String>) -> Violation {
        Violation { check, what: what.into() }
    }
}

/// Returns a violation with these facts, unless the condition holds.
pub(crate) fn hold(
    holds: bool,
    check: Check,
    what: impl FnOnce() -> String,
) -> Result<(), Violation> {
    if holds { Ok(()) } else { Err(Violation::new(check, what())) }
}

impl fmt::Display for Violation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}: {}", self.check, self.what)
    }
}
