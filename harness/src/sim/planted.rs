//! Bugs to be found: in the core, in the pump, and around the store.
//!
//! A simulator that finds nothing may be one that checks nothing. The bugs of the core and the pump
//! exist only with the feature `mutants`.

use std::fmt;

#[cfg(feature = "mutants")]
use raft_core::consensus::Mutant;
#[cfg(feature = "mutants")]
use raft_node::pump::PumpBug;

/// A bug to run with.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Planted {
    /// Of the core.
    #[cfg(feature = "mutants")]
    Core(Mutant),
    /// Of the pump.
    #[cfg(feature = "mutants")]
    Pump(PumpBug),
    /// Of the driver of the store and the state machine.
    Store(StoreBug),
}

/// A bug of the driver of the store and the state machine.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum StoreBug {
    /// A write is reported as durable before it is synced.
    DurableReportedBeforeSync,
    /// A write that failed is reported as durable.
    FailureReportedAsDurable,
    /// Votes are left out of what is written; terms are not.
    VoteLeftOut,
    /// Truncations are left out of what is written.
    TruncationLeftOut,
    /// A state machine with a durable state reports after a restart that it lacks its last command.
    LastCommandAppliedAgain,
    /// A read is answered from the state before the last batch.
    ReadOneBatchBehind,
    /// A batch that the state machine could not apply is reported as applied.
    ApplyErrorSwallowed,
}

impl StoreBug {
    /// All of them.
    pub const ALL: [StoreBug; 7] = [
        StoreBug::DurableReportedBeforeSync,
        StoreBug::FailureReportedAsDurable,
        StoreBug::VoteLeftOut,
        StoreBug::TruncationLeftOut,
        StoreBug::LastCommandAppliedAgain,
        StoreBug::ReadOneBatchBehind,
        StoreBug::ApplyErrorSwallowed,
    ];
}

impl Planted {
    /// Every bug that this build can run with.
    pub fn all() -> Vec<Planted> {
        let mut all = Vec::new();
        #[cfg(feature = "mutants")]
        {
            all.extend(Mutant::ALL.map(Planted::Core));
            all.extend(PumpBug::ALL.map(Planted::Pump));
        }
        all.extend(StoreBug::ALL.map(Planted::Store));
        all
    }

    /// The bug of this name.
    pub fn named(name: &str) -> Option<Planted> {
        Planted::all().into_iter().find(|bug| bug.to_string() == name)
    }

    /// The bug, if it is the core's.
    #[cfg(feature = "mutants")]
    pub(crate) fn of_core(planted: Option<Planted>) -> Option<Mutant> {
        match planted {
            Some(Planted::Core(bug)) => Some(bug),
            _ => None,
        }
    }

    /// The bug, if it is the store's driver's.
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
