//! A broken law, as a value.

use std::fmt;

/// The checks, by the property that they check.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Check {
    /// A member found its own state unsound, and panicked (`Raft::check_laws` and assertions).
    OwnState,
    /// At most one leader in a term, elected by a majority (L1).
    ElectionSafety,
    /// One vote for each member and term, across restarts (L7).
    OneVote,
    /// Nothing is promised before it is durable (L6).
    DurablePromise,
    /// Equal ids mean equal logs up to them (L3).
    LogMatching,
    /// A leader has everything committed before its term (L4).
    LeaderCompleteness,
    /// What is committed is never removed, and is the same for all (L5).
    CommittedForEver,
    /// The commit hint of a disk covers only committed entries, as the disk holds them (L5, L10).
    CommitHint,
    /// What is committed is durable on a majority (L11).
    DurableMajority,
    /// Terms, commit indexes and what is applied never go back (L8).
    Monotonic,
    /// What a leader records of its peers is true (L12).
    MatchIndex,
    /// All state machines apply the same commands, in order, once (L5).
    SameMachine,
    /// A command is in the log at most once, and not at all if it was reported to have failed.
    Outcome,
    /// The committed log explains what clients saw, in the order in which they saw it (L15).
    Order,
    /// Some order explains what clients saw.
    Linearizable,
    /// Correct members never send what a member must reject as unsound.
    SoundMessages,
    /// The store shows what was written to it, and the engine makes no request that it must refuse.
    StoreContract,
    /// Messages do not multiply without end.
    BoundedWork,
    /// What a leader has not written stays within its limit.
    BoundedMemory,
    /// Once faults stop, the cluster serves and all members become equal.
    Convergence,
}

/// What was broken, and how.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Violation {
    /// The check that found it.
    pub check: Check,
    /// The facts that contradict each other.
    pub what: String,
}

impl Violation {
    /// A violation of this check.
    pub fn new(check: Check, what: impl Into<String>) -> Violation {
        Violation { check, what: what.into() }
    }
}

/// An error with the facts unless the condition holds.
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
