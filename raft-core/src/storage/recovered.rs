//! The state that a member recovers from its store when it restarts.

use alloc::string::String;
use alloc::vec::Vec;

use super::LogBounds;
use crate::types::{HardState, LogIndex, Membership, TermRun};

/// The state of a store after it was opened. All of it is durable (P2).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Recovered {
    /// Where the log begins and ends.
    pub bounds: LogBounds,
    /// Term and vote.
    pub hard_state: HardState,
    /// Where the terms of the entries change, in order; the first run starts at the first entry.
    pub term_runs: Vec<TermRun>,
    /// The memberships in the log, in order.
    pub memberships: Vec<(LogIndex, Membership)>,
    /// An index that was known to be committed; a store may forget it. Never beyond the last entry.
    pub commit_hint: LogIndex,
    /// What was found at the end of the log.
    pub tail: Tail,
}

/// What was found at the end of the log when it was opened.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Tail {
    /// Nothing but whole batches.
    Clean,
    /// A write that had not been acknowledged was cut short, and was dropped.
    TornDiscarded {
        /// The place, as text for operators.
        place: String,
    },
}

impl Recovered {
    /// The recovered state of a log of which only the hard state can be read.
    pub fn nothing_but(hard_state: HardState) -> Recovered {
        Recovered {
            bounds: LogBounds::default(),
            hard_state,
            term_runs: Vec::new(),
            memberships: Vec::new(),
            commit_hint: LogIndex::ZERO,
            tail: Tail::Clean,
        }
    }
}
