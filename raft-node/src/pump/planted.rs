//! Planted bugs of the pump, which tests must find; see the core's `planted`.
//!
//! They exist only with the feature `mutants`, and act only after [`Pump::plant`](super::Pump).

/// A bug to run with.
#[cfg(feature = "mutants")]
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum PumpBug {
    /// A leader accepts a copy of a forward that it accepted before.
    ForwardTakenTwice,
    /// A client whose command was lost is answered as if it had been done.
    LostAnsweredAsDone,
    /// Reads are served before what they must see is applied.
    ReadServedBeforeApplied,
    /// Entries that are not those of their message are sent if the log was rewritten meanwhile.
    RewrittenEntriesSent,
    /// The clients of a forward whose answer never came are answered that it failed when a new
    /// leader is known.
    UnansweredForwardFailed,
    /// The commit hint of a write covers entries that a later write brings.
    HintBeyondBatch,
    /// A leader accepts forwarded commands however much its disk has not written.
    ForwardsWithoutLimit,
    /// Each part of a group that is forwarded in parts is treated as the first.
    ForwardOffsetForgotten,
    /// The store is asked for entries that it has not written.
    UnwrittenFetched,
    /// A read of entries that failed is not tried again.
    FailedFetchForgotten,
    /// Reads that arrive after a question was asked share its answer.
    ReadsJoinOpenQuestion,
    /// The commit hints of writes that wait when the log is replaced by a snapshot's end cover
    /// entries of the log before.
    ResetKeepsHints,
    /// The log is purged up to what is applied, whatever the newest snapshot includes.
    PurgedBeyondSnapshot,
    /// A chunk of a snapshot is accepted whichever file it is of.
    ChunkOfAnotherFile,
    /// Clients whose commands a snapshot may include are answered that they are lost.
    SkippedAnsweredAsLost,
    /// When the member ends, clients whose entries are in the log are not answered.
    WaitingForgottenAtEnd,
    /// A member that was removed does not stop.
    RemovedMemberStays,
    /// A member stops because of a membership that is not committed.
    StopsBeforeRemovalCommitted,
    /// A member without a leader connects to no other.
    OthersNotAsked,
    /// A leader changes the membership although a member runs a program that cannot read it.
    OldProgramsIgnored,
    /// A client is answered that the membership has changed before the change is committed.
    ChangeAnsweredEarly,
    /// The client of a change is not answered if the leader is deposed.
    ChangeForgotten,
    /// A new voter counts as caught up at once.
    CatchUpSkipped,
    /// A leader raises the feature level although not all members support it.
    LevelRaisedTooEarly,
    /// A node joins whose program does not support the feature level.
    OldProgramsAdmitted,
    /// A request of a session acknowledges all lower numbers, whatever its client has acknowledged.
    AnswersDroppedEarly,
    /// Sessions expire by the ticks of the member that applies an entry.
    ExpiryByLocalClock,
    /// A request of a session that ran is run again.
    RequestsRunAgain,
    /// A request of a session that is not known is run.
    UnknownSessionsRun,
}

#[cfg(feature = "mutants")]
impl PumpBug {
    /// All of them.
    pub const ALL: [PumpBug; 29] = [
        PumpBug::ForwardTakenTwice,
        PumpBug::LostAnsweredAsDone,
        PumpBug::ReadServedBeforeApplied,
        PumpBug::RewrittenEntriesSent,
        PumpBug::UnansweredForwardFailed,
        PumpBug::HintBeyondBatch,
        PumpBug::ForwardsWithoutLimit,
        PumpBug::ForwardOffsetForgotten,
        PumpBug::UnwrittenFetched,
        PumpBug::FailedFetchForgotten,
        PumpBug::ReadsJoinOpenQuestion,
        PumpBug::ResetKeepsHints,
        PumpBug::PurgedBeyondSnapshot,
        PumpBug::ChunkOfAnotherFile,
        PumpBug::SkippedAnsweredAsLost,
        PumpBug::WaitingForgottenAtEnd,
        PumpBug::RemovedMemberStays,
        PumpBug::StopsBeforeRemovalCommitted,
        PumpBug::OthersNotAsked,
        PumpBug::OldProgramsIgnored,
        PumpBug::ChangeAnsweredEarly,
        PumpBug::ChangeForgotten,
        PumpBug::CatchUpSkipped,
        PumpBug::LevelRaisedTooEarly,
        PumpBug::OldProgramsAdmitted,
        PumpBug::AnswersDroppedEarly,
        PumpBug::ExpiryByLocalClock,
        PumpBug::RequestsRunAgain,
        PumpBug::UnknownSessionsRun,
    ];
}

/// Whether a pump runs with this bug.
#[cfg(feature = "mutants")]
macro_rules! planted {
    ($pump:expr, $bug:ident) => {
        $pump.planted == Some($crate::pump::PumpBug::$bug)
    };
}

/// Without the feature none does.
#[cfg(not(feature = "mutants"))]
macro_rules! planted {
    ($pump:expr, $bug:ident) => {
        false
    };
}

pub(super) use planted;
