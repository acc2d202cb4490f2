//! Planted bugs: each is named after what goes wrong, and the harness must find every one.
//!
//! A planted bug shows that a check can fail. The bugs exist only with the feature
//! `mutants`, and act only where [`Config::mutant`](super::Config) names one; without the feature
//! the compiler removes them. Each is in the file whose rule it breaks.

/// A bug that a member can run with.
#[cfg(feature = "mutants")]
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Mutant {
    /// A vote is sent before it is durable (breaks L6, so L7).
    VoteBeforeDurable,
    /// A candidate asks for votes before its own vote is durable (breaks L6, so L7).
    CandidateAsksBeforeDurable,
    /// A late completion confirms an index that was rewritten meanwhile (breaks L6).
    LateCompletionConfirmsRewritten,
    /// An entry of an older term is committed by counting its copies (breaks L11, so L4; Figure 8).
    CommitOldTermByCounting,
    /// A follower acknowledges entries before the sync (breaks L6).
    AckBeforeSync,
    /// A reply to a heartbeat or a duplicate reports the verified, not the durable, index.
    HeartbeatReportsVerified,
    /// A leader counts its own copy before its sync (breaks L6).
    LeaderCountsBeforeSync,
    /// Logs are compared by length alone when voting (breaks L4).
    VoteByLengthAlone,
    /// A follower truncates its log after the entry before an append, even where nothing conflicts.
    TruncateWithoutConflict,
    /// A follower's commit index follows the leader's beyond what it has verified (breaks L5).
    CommitBeyondVerified,
    /// A read index is given before an entry of the leader's own term is committed (breaks L15).
    ReadBeforeOwnTermCommit,
    /// A read index is given without asking a majority (breaks L15).
    ReadWithoutMajority,
    /// A vote granted in an earlier term is counted (breaks L1).
    StaleVoteCounted,
    /// A leader or candidate that steps down in its term forgets its vote (breaks L7).
    VoteForgottenOnStepDown,
    /// An append of an earlier term is accepted (breaks L10).
    StaleAppendAccepted,
    /// Committed entries are applied before they are durable here (breaks L6).
    AppliedBeforeDurable,
    /// The outcome of a send counts although another send, or another leadership, has replaced it
    /// (breaks L12).
    StaleSendCounted,
    /// A member continues although its leader lacks an entry that is committed here (breaks L10).
    ContradictionIgnored,
    /// A member that installs a snapshot drops the entries after it, which it has acknowledged
    /// (breaks L6).
    InstallDropsWhatFollows,
    /// A member that installs a snapshot keeps its log although it contradicts the snapshot (breaks
    /// L3).
    InstallKeepsAnotherLog,
    /// A leader asks a voter that lacks entries to campaign (breaks K28).
    TransferBeforeCaughtUp,
    /// A leader appends proposals while it hands over (breaks K28).
    ProposalDuringTransfer,
    /// A leader whose transfer does not succeed waits for ever (breaks K28).
    TransferNeverAbandoned,
    /// A voter does not compare logs if the leader asked for the election (breaks L4).
    TransferVoteByTrust,
    /// A membership is in force only once it is committed (breaks L13).
    MembershipInForceOnceCommitted,
    /// A leader changes the membership before an entry of its own term is committed (breaks L17).
    ChangeBeforeTermCommitted,
    /// A leader starts a change before the one before it has ended (breaks L17).
    TwoChangesAtOnce,
    /// A joint membership is left before it is committed (breaks L17).
    JointLeftBeforeCommitted,
    /// In a joint membership, a majority of all voters together suffices (breaks L6).
    JointCountedTogether,
    /// A leader that is no voter counts its own copy (breaks L6).
    RemovedLeaderCountsItself,
    /// A leader that was removed leads on once its removal is committed (breaks K23).
    RemovedLeaderLeadsOn,
    /// A truncated membership stays in force (breaks L13).
    TruncatedMembershipKept,
    /// A learner campaigns (breaks K22).
    LearnerCampaigns,
    /// A leader whose vote is being taken away accepts proposals (breaks K23).
    LeavingLeaderAccepts,
    /// Members that were removed are not told that their removal is committed (breaks K23).
    RemovedMembersNotTold,
    /// A leader begins a change although the voters to come do not answer (breaks K43).
    ChangeToSilentVoters,
    /// A lease is counted from the arrival of a promise, not from the round (breaks K44, so L15).
    LeaseFromAcknowledgement,
    /// A leader that has asked a member to campaign keeps its lease (breaks K44, so L15).
    LeaseKeptOverTransfer,
    /// A leader gives a read by lease an index before an entry of its own term is committed (breaks
    /// L15).
    LeaseBeforeOwnTermCommit,
    /// A member that was paused believes that no time has passed (breaks K44, so L15).
    PauseNotSeen,
    /// A member that restarts votes at once, although it may have promised not to (breaks K45, so
    /// L15).
    RestartForgetsPromise,
    /// A promise ends with the term in which it was made (breaks K45, so L15).
    PromiseEndsWithTerm,
    /// A member votes for itself although a promise binds it (breaks K45, so L15).
    BoundMemberCampaigns,
}

#[cfg(feature = "mutants")]
impl Mutant {
    /// All of them.
    pub const ALL: [Mutant; 43] = [
        Mutant::VoteBeforeDurable,
        Mutant::CandidateAsksBeforeDurable,
        Mutant::LateCompletionConfirmsRewritten,
        Mutant::CommitOldTermByCounting,
        Mutant::AckBeforeSync,
        Mutant::HeartbeatReportsVerified,
        Mutant::LeaderCountsBeforeSync,
        Mutant::VoteByLengthAlone,
        Mutant::TruncateWithoutConflict,
        Mutant::CommitBeyondVerified,
        Mutant::ReadBeforeOwnTermCommit,
        Mutant::ReadWithoutMajority,
        Mutant::StaleVoteCounted,
        Mutant::VoteForgottenOnStepDown,
        Mutant::StaleAppendAccepted,
        Mutant::AppliedBeforeDurable,
        Mutant::StaleSendCounted,
        Mutant::ContradictionIgnored,
        Mutant::InstallDropsWhatFollows,
        Mutant::InstallKeepsAnotherLog,
        Mutant::TransferBeforeCaughtUp,
        Mutant::ProposalDuringTransfer,
        Mutant::TransferNeverAbandoned,
        Mutant::TransferVoteByTrust,
        Mutant::MembershipInForceOnceCommitted,
        Mutant::ChangeBeforeTermCommitted,
        Mutant::TwoChangesAtOnce,
        Mutant::JointLeftBeforeCommitted,
        Mutant::JointCountedTogether,
        Mutant::RemovedLeaderCountsItself,
        Mutant::RemovedLeaderLeadsOn,
        Mutant::TruncatedMembershipKept,
        Mutant::LearnerCampaigns,
        Mutant::LeavingLeaderAccepts,
        Mutant::RemovedMembersNotTold,
        Mutant::ChangeToSilentVoters,
        Mutant::LeaseFromAcknowledgement,
        Mutant::LeaseKeptOverTransfer,
        Mutant::LeaseBeforeOwnTermCommit,
        Mutant::PauseNotSeen,
        Mutant::RestartForgetsPromise,
        Mutant::PromiseEndsWithTerm,
        Mutant::BoundMemberCampaigns,
    ];
}

/// Whether a member runs with this bug.
#[cfg(feature = "mutants")]
macro_rules! planted {
    ($raft:expr, $bug:ident) => {
        $raft.config.mutant == Some($crate::consensus::planted::Mutant::$bug)
    };
}

/// Without the feature no member does.
#[cfg(not(feature = "mutants"))]
macro_rules! planted {
    ($raft:expr, $bug:ident) => {
        false
    };
}

pub(super) use planted;
