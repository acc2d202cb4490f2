//! Why a caller was refused, and why a peer's message was rejected.
//!
//! A *refusal* goes to this member's own client; nothing happened. A *rejection* drops a peer's
//! message; it is counted and never causes a panic, since a peer's bytes are not trusted.

use alloc::format;
use alloc::string::String;
use core::fmt;

use thiserror::Error;

use crate::types::{MembershipError, NodeId};

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
    /// This member leads, and is handing over to another one. Propose there once it leads, or here
    /// if the transfer is abandoned.
    TransferUnderWay {
        /// The member that is to lead.
        to: NodeId,
    },
    /// This member leads until the change that takes its vote away is committed, and would not
    /// learn whether more entries are. Propose at the next leader.
    LeaderLeaves,
}

/// Why a leadership transfer was refused. Nothing happened.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Error)]
#[non_exhaustive]
pub enum TransferRefusal {
    /// This member does not lead. Ask the member in the hint, or ask again later.
    #[error("not the leader{}", or_try(.hint))]
    NotLeader {
        /// The member that may lead.
        hint: Option<NodeId>,
    },
    /// The member that is to lead is this one, which leads already.
    #[error("it leads already")]
    ToItself,
    /// The cluster has no such member.
    #[error("it is not a member")]
    NotAMember,
    /// The member is a learner, or is about to stop being a voter.
    #[error("it is not a voter")]
    NotAVoter,
    /// A transfer to another member is under way. Ask again when it has ended, which takes an
    /// election timeout at most.
    #[error("a transfer to {to} is under way")]
    UnderWay {
        /// That other member.
        to: NodeId,
    },
}

/// Why a change of the membership was refused. Nothing happened.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Error)]
#[non_exhaustive]
pub enum ChangeRefusal {
    /// This member does not lead. Ask the member in the hint, or ask again later.
    #[error("not the leader{}", or_try(.hint))]
    NotLeader {
        /// The member that may lead.
        hint: Option<NodeId>,
    },
    /// This member leads, and has not committed an entry of its own term yet. Ask again soon.
    #[error("the leader has not committed an entry of its term yet")]
    TermNotCommitted,
    /// Another change has not ended. Ask again when it has.
    #[error("another change is under way")]
    UnderWay,
    /// This member leads, and is handing over to another one. Ask that one once it leads.
    #[error("a transfer to {to} is under way")]
    TransferUnderWay {
        /// The member that is to lead.
        to: NodeId,
    },
    /// The membership is what was asked for.
    #[error("the membership is that already")]
    Unchanged,
    /// The target has two sets of voters. Name one: the change passes through both by itself.
    #[error("the target is a joint membership")]
    TargetIsJoint,
    /// A new member has a node id that the cluster has used before. Choose a greater one.
    #[error("the id of node {0} was used before")]
    NodeIdUsed(NodeId),
    /// A member is named with another store than it has: it has lost its votes and entries. Remove
    /// it, and add the node again under a new id.
    #[error("node {0} has another store")]
    OtherStore(NodeId),
    /// A new voter is not a learner yet, or does not store the newest membership. Add it as a
    /// learner first, and wait until it has caught up.
    #[error("node {0} must be a learner that has caught up before it votes")]
    VoterNotReady(NodeId),
    /// A voter to come has not answered for an election timeout, and without it those that answer
    /// are no majority of the voters to come: the change could neither be completed nor taken back.
    /// Ask again when it answers, or leave it out.
    #[error(
        "node {0} does not answer, and without it too few of the voters to come do: nothing could \
         be committed"
    )]
    VoterSilent(NodeId),
    /// Old and new members together do not form a membership.
    #[error("old and new members together: {0}")]
    Unsound(MembershipError),
}

/// Why a peer's message was rejected. Nothing changed, except for what the message's term changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[non_exhaustive]
pub enum Rejection {
    /// It claims to come from this member itself.
    FromSelf,
    /// A response of an earlier term.
    StaleResponse,
    /// A request of an earlier term to campaign at once.
    StaleTimeoutNow,
    /// A request to campaign at once, while this member may not campaign: it is no voter, or its
    /// disk is stalled.
    MayNotCampaign,
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
            Rejection::StaleTimeoutNow => "stale_timeout_now",
            Rejection::MayNotCampaign => "may_not_campaign",
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
        match self {
            Refusal::NotLeader { hint } => write!(f, "not the leader{}", or_try(hint)),
            Refusal::LeaderChanged { hint } => write!(f, "the leader changed{}", or_try(hint)),
            Refusal::ReadIsOpen => f.write_str("another read is open"),
            Refusal::TransferUnderWay { to } => write!(f, "a transfer to {to} is under way"),
            Refusal::LeaderLeaves => f.write_str("the leader is losing its vote"),
        }
    }
}

fn or_try(hint: &Option<NodeId>) -> String {
    hint.map_or(String::new(), |node| format!(", try {node}"))
}
