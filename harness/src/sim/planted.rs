//! Planted bugs that the simulator must find: in the core, in the pump, and in the driver of store
//! and state machine.
//!
//! A simulator that finds no bug may be one that checks nothing. The bugs of the core and the pump
//! exist only with the feature `mutants`.

use std::fmt;

#[cfg(feature = "mutants")]
use raft_core::consensus::Mutant;
#[cfg(feature = "mutants")]
use raft_node::pump::PumpBug;

/// A planted bug.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Planted {
    /// A bug of the core.
    #[cfg(feature = "mutants")]
    Core(Mutant),
    /// A bug of the pump.
    #[cfg(feature = "mutants")]
    Pump(PumpBug),
    /// A bug of the driver of the store and the state machine.
    Store(StoreBug),
}

/// A bug of the driver of the store and the state machine.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum StoreBug {
    /// A write is reported as durable before it is synced.
    DurableReportedBeforeSync,
    /// A write that failed is reported as durable.
    FailureReportedAsDurable,
    /// Votes are left out of writes, but terms are written.
    VoteLeftOut,
    /// Truncations are left out of writes.
    TruncationLeftOut,
    /// After a restart, a machine that keeps its state reports that it lacks its last command.
    LastCommandAppliedAgain,
    /// A read is answered from the state before the last batch.
    ReadOneBatchBehind,
    /// A batch that the machine could not apply is reported as applied.
    ApplyErrorSwallowed,
    /// A snapshot has the state before the last batch.
    SnapshotOneBatchBehind,
    /// A snapshot is reported as durable before it is.
    SnapshotReportedBeforeSync,
    /// A snapshot of another member is restored, and the file is not kept.
    ReceivedFileNotKept,
    /// A snapshot has no sessions.
    SessionsLeftOutOfSnapshot,
}

/// Bugs of the core that only the golden traces find. A transfer that goes wrong in one of the
/// first three ways delays clients, but breaks no law; a voter that trusts a transfer does harm
/// only if the request to campaign comes so late that its receiver lacks committed entries; and a
/// learner that campaigns needs the votes of a majority of the voters, like any other member. The
/// next three make a change of the membership fail or leave outcomes unknown where it need not, and
/// break no law either: members that are not told of their removal learn it when they connect
/// again, and voters that do not answer come back. The bugs of leases do harm only if another
/// leader is elected, commits and answers a client in the few ticks by which a lease is too long.
/// An install that keeps the log after the snapshot happened once in 20 million inputs. A change
/// before the term's first commit is nearly always refused for another reason: the new leader has
/// not heard the voters.
#[cfg(feature = "mutants")]
const ONLY_IN_TRACES: [Mutant; 15] = [
    Mutant::TransferBeforeCaughtUp,
    Mutant::ProposalDuringTransfer,
    Mutant::TransferNeverAbandoned,
    Mutant::TransferVoteByTrust,
    Mutant::LearnerCampaigns,
    Mutant::LeavingLeaderAccepts,
    Mutant::RemovedMembersNotTold,
    Mutant::ChangeToSilentVoters,
    Mutant::LeaseFromAcknowledgement,
    Mutant::PauseNotSeen,
    Mutant::PromiseEndsWithTerm,
    Mutant::BoundMemberCampaigns,
    Mutant::RestartForgetsPromise,
    Mutant::InstallDropsWhatFollows,
    Mutant::ChangeBeforeTermCommitted,
];

/// Bugs of the pump that only its own tests find reliably. A chunk of another file must arrive
/// late, at exactly the offset that is wanted next; a group of writes must wait for the disk while
/// a snapshot that replaces its entries is installed, which happened once in 20 million inputs; and
/// a voter that has not caught up delays commits, and breaks no law. A node whose program is too
/// old for the feature level cannot connect, and breaks no law either.
#[cfg(feature = "mutants")]
const ONLY_IN_TESTS_OF_THE_PUMP: [PumpBug; 4] = [
    PumpBug::ChunkOfAnotherFile,
    PumpBug::ResetKeepsHints,
    PumpBug::CatchUpSkipped,
    PumpBug::OldProgramsAdmitted,
];

impl StoreBug {
    /// All bugs of the driver.
    pub const ALL: [StoreBug; 11] = [
        StoreBug::DurableReportedBeforeSync,
        StoreBug::FailureReportedAsDurable,
        StoreBug::VoteLeftOut,
        StoreBug::TruncationLeftOut,
        StoreBug::LastCommandAppliedAgain,
        StoreBug::ReadOneBatchBehind,
        StoreBug::ApplyErrorSwallowed,
        StoreBug::SnapshotOneBatchBehind,
        StoreBug::SnapshotReportedBeforeSync,
        StoreBug::ReceivedFileNotKept,
        StoreBug::SessionsLeftOutOfSnapshot,
    ];
}

impl Planted {
    /// Every bug that this build can run with.
    pub fn all() -> Vec<Planted> {
        let mut all = Vec::new();
        #[cfg(feature = "mutants")]
        {
            let simulated = Mutant::ALL.into_iter().filter(|bug| !ONLY_IN_TRACES.contains(bug));
            all.extend(simulated.map(Planted::Core));
            let of_pump = PumpBug::ALL.into_iter();
            let simulated = of_pump.filter(|bug| !ONLY_IN_TESTS_OF_THE_PUMP.contains(bug));
            all.extend(simulated.map(Planted::Pump));
        }
        all.extend(StoreBug::ALL.map(Planted::Store));
        all
    }

    /// The bug with this name, if this build has it.
    pub fn named(name: &str) -> Option<Planted> {
        Planted::all().into_iter().find(|bug| bug.to_string() == name)
    }

    /// The planted bug, if it is one of the core.
    #[cfg(feature = "mutants")]
    pub(crate) fn of_core(planted: Option<Planted>) -> Option<Mutant> {
        match planted {
            Some(Planted::Core(bug)) => Some(bug),
            _ => None,
        }
    }

    /// The planted bug, if it is one of the driver.
    pub(crate) fn of_store(planted: Option<Planted>) -> Option<StoreBug> {
        match planted {
            Some(Planted::Store(bug)) => Some(bug),
            _ => None,
        }
    }
}

impl fmt::Display for Planted {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            #[cfg(feature = "mutants")]
            Planted::Core(bug) => write!(f, "{bug:?}"),
            #[cfg(feature = "mutants")]
            Planted::Pump(bug) => write!(f, "{bug:?}"),
            Planted::Store(bug) => write!(f, "{bug:?}"),
        }
    }
}
