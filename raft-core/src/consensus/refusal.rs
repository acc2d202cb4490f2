//! Why a caller was refused, and why a peer's message was rejected.
//!
//! A *refusal* goes to this member's own client; nothing happened. A *rejection* drops a peer's
//! message; it is counted and never causes a panic, since a peer's bytes are not trusted.

use core::fmt;

use crate::types::NodeId;

/// Why a request was refused. Nothing happened.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Refusal {
    /// This member does not lead. Try the member in the hint, or try again later.
    NotLeader {
        /// The member that may lead.
        hint: Option<NodeId>,
    },
    /// This member led or followed when the request came, and its term or leader changed before the
    /// answer. Try again.
    LeaderChanged {
        /// The member that may lead now.
        hint: Option<NodeId>,
    },
    /// This member follows, and waits for its leader's answer to another read. Ask again when that
    /// read is answered or refused.
    ReadIsOpen,
}

/// Why a peer's message was rejected. Nothing changed, except for what the message's term changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[non_exhaustive]
pub enum Rejection {
    /// It claims to come from this member itself.
    FromSelf,
    /// A response of an earlier term.
    StaleResponse,
    /// A vote was requested while this member hears a leader (thesis, section 4.2.3).
    LeaderIsAlive,
    /// Another member claims to lead in the term in which this one leads: one of the two has lost
    /// its hard state, or is faulty.
    SecondLeader,
    /// An entry in the message has a term above the message's.
    EntryFromTheFuture,
    /// A response acknowledges entries that were never sent.
    AcknowledgesUnknown,
    /// A response whose sender is not a member.
    NotAMember,
    /// A request that only a leader can answer.
    NotLeader,
    /// An answer to a question that is not open.
    Unasked,
    /// A follower refuses an entry that it has acknowledged in this term. Later answers may have
    /// overtaken this one; if it happens repeatedly, the follower has lost entries.
    BelowMatch,
    /// A term or an index is so great that no cluster can have reached it (law L16).
    OutOfRange,
    /// An append contradicts an earlier one of the same leader: the sender has lost entries, or is
    /// faulty.
    ContradictsItself,
}

impl Rejection {
    /// The name under which rejections are counted.
    pub const fn name(self) -> &'static str {
        match self {
            Rejection::FromSelf => "from_self",
            Rejection::StaleResponse => "stale_response",
            Rejection::LeaderIsAlive => "leader_is_alive",
            Rejection::SecondLeader => "second_leader",
            Rejection::EntryFromTheFuture => "entry_from_the_future",
            Rejection::AcknowledgesUnknown => "acknowledges_unknown",
            Rejection::NotAMember => "not_a_member",
            Rejection::NotLeader => "not_leader",
            Rejection::Unasked => "unasked",
            Rejection::BelowMatch => "below_match",
            Rejection::OutOfRange => "out_of_range",
            Rejection::ContradictsItself => "contradicts_itself",
        }
    }
}

impl fmt::Display for Rejection {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (text, hint) = match self {
            Refusal::NotLeader { hint } => ("not the leader", hint),
            Refusal::LeaderChanged { hint } => ("the leader changed", hint),
            Refusal::ReadIsOpen => ("another read is open", &None),
        };
        f.write_str(text)?;
        match hint {
            Some(node) => write!(f, ", try {node}"),
            None => Ok(()),
        }
    }
}
