//! The state that a member keeps about the elections in which it took part.

use core::fmt;

use serde::{Deserialize, Serialize};

use super::{NodeId, Term};

/// The current term and the vote given in it: one unit, never stored in two steps.
///
/// A term stored without its vote, or a vote without its term, lets a member vote twice in one
/// term after a crash.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct HardState {
    /// The latest term this member has seen.
    pub term: Term,
    /// The candidate that received this member's vote in `term`, if one did.
    pub vote: Option<NodeId>,
}

impl HardState {
    /// Whether a member that stored `self` may store `later` over it: the term never falls, and a
    /// vote given in a term is not changed in that term.
    pub fn may_become(self, later: HardState) -> bool {
        later.term > self.term
            || (later.term == self.term && (self.vote.is_none() || self.vote == later.vote))
    }
}

impl fmt::Display for HardState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.vote {
            Some(vote) => write!(f, "term {} vote {}", self.term, vote),
            None => write!(f, "term {}", self.term),
        }
    }
}
