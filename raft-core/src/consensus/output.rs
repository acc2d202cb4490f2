//! The complete list of what the core can ask its caller to do.
//!
//! Each output may be carried out as soon as it appears. The core itself withholds outputs that
//! must wait for the disk, so the caller has only one duty: to make writes durable in the order in
//! which they were issued.

use alloc::sync::Arc;
use core::fmt;

use super::message::{Message, ReadId};
use super::refusal::{ChangeRefusal, Refusal, Rejection, TransferRefusal};
use crate::types::{EntryId, HardState, LogIndex, LogSpan, Membership, NodeId, Term};

/// One action for the caller.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Output {
    /// Make this durable, then step [`Input::Durable`](super::Input::Durable).
    Write(Write),
    /// Send a message without entries.
    Send {
        /// The receiver.
        to: NodeId,
        /// The message.
        message: Message,
    },
    /// Send an append with the entries of its span, or as many of them as fit, and step
    /// [`Input::Sent`](super::Input::Sent) or [`Input::NotSent`](super::Input::NotSent).
    SendEntries {
        /// The receiver.
        to: NodeId,
        /// The append.
        message: Message,
        /// The name of this send.
        send: SendId,
    },
    /// Every entry up to this one may be applied: it is committed, and durable here.
    Apply {
        /// The last one.
        upto: LogIndex,
    },
    /// Proposals were refused, and nothing happened.
    ProposalRefused(Refusal),
    /// The read may be served once everything up to the index is applied.
    ReadReady {
        /// Which read.
        read: ReadId,
        /// The index.
        index: LogIndex,
    },
    /// The read cannot be served here now.
    ReadRefused {
        /// Which read.
        read: ReadId,
        /// Why.
        refusal: Refusal,
    },
    /// A leadership transfer was refused, and nothing happened.
    TransferRefused {
        /// The member that was to lead.
        to: NodeId,
        /// Why.
        why: TransferRefusal,
    },
    /// A leadership transfer took too long: this member leads on, and accepts proposals again. The
    /// other member may still be elected.
    TransferAbandoned {
        /// The member that was to lead.
        to: NodeId,
    },
    /// A change of the membership was refused, and nothing happened.
    ChangeRefused(ChangeRefusal),
    /// The member's role, term or leader changed.
    Became(SoftState),
    /// A peer's message was rejected.
    Rejected {
        /// The peer.
        from: NodeId,
        /// The reason.
        why: Rejection,
    },
    /// A peer's log ends before this leader's boundary; only a snapshot can help it.
    SnapshotNeeded {
        /// The peer.
        to: NodeId,
    },
    /// The member must stop: data that was acknowledged to clients is lost somewhere.
    Stop(Contradiction),
}

/// An entry that is known to be committed is not in the log of this member's leader. A leader has
/// every committed entry (law L4), unless a majority of the members lost what they had promised to
/// keep: their disks were wiped or replaced by older copies. Nothing here shows which history
/// clients rely on, so the member that still has the committed entry does not remove it and stops.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Contradiction {
    /// The leader.
    pub leader: NodeId,
    /// The entry that is committed at this member.
    pub own: EntryId,
    /// The entry of the leader's log at the same index, if there is one.
    pub theirs: Option<EntryId>,
}

/// The text for a trace line and for the log output.
impl fmt::Display for Contradiction {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Contradiction { leader, own, theirs } = self;
        write!(f, "entry {own} is committed here, and leader {leader} has ")?;
        match theirs {
            Some(theirs) => write!(f, "{theirs} in its place"),
            None => f.write_str("nothing in its place"),
        }
    }
}

/// The number of a write. Within a process, each write has the next number.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct WriteSeq(pub u64);

/// The number of a send with entries, unique in its process.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SendId(pub u64);

/// A change to be made durable, as one unit. A purge comes last; otherwise the changes are in the
/// order of the fields.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Write {
    /// The write's number.
    pub seq: WriteSeq,
    /// The new term and vote.
    pub hard_state: Option<HardState>,
    /// The entries that are removed.
    pub removal: Option<Removal>,
    /// Entries to append.
    pub append: Option<Appended>,
}

/// Which entries a write removes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Removal {
    /// Every entry: the log is replaced by a snapshot that ends at this one.
    Reset(EntryId),
    /// Every entry after this one.
    TruncateAfter(LogIndex),
    /// Every entry up to this one; a snapshot includes them all.
    PurgeUpto(EntryId),
}

/// Entries to append: their ids, and where their payloads are.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Appended {
    /// Their ids.
    pub span: LogSpan,
    /// Where their payloads are.
    pub source: Source,
}

/// Where the payloads of appended entries are.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Source {
    /// The one entry that opens a leader's term; it has no payload.
    Noop,
    /// In the proposals of the current step, in order.
    Proposals,
    /// Among the entries of the append of the current step, found by index.
    Append,
    /// In this value: the payload is one membership.
    Membership(Arc<Membership>),
}

/// A member's role, term and leader.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct SoftState {
    /// Its role.
    pub role: RoleName,
    /// Its term.
    pub term: Term,
    /// The leader it follows, or itself.
    pub leader: Option<NodeId>,
}

/// The four roles by name. A pre-candidate is a candidate that has not raised its term yet.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum RoleName {
    /// Follows a leader, or waits for one.
    Follower,
    /// Asks whether it would be elected.
    PreCandidate,
    /// Asks to be elected.
    Candidate,
    /// Leads.
    Leader,
}

impl fmt::Display for RoleName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            RoleName::Follower => "follower",
            RoleName::PreCandidate => "pre-candidate",
            RoleName::Candidate => "candidate",
            RoleName::Leader => "leader",
        })
    }
}

/// The line of a trace.
impl fmt::Display for Output {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Output::Write(write) => write!(f, "{write}"),
            Output::Send { to, message } | Output::SendEntries { to, message, .. } => {
                write!(f, "-> {to} {message}")
            }
            Output::Apply { upto } => write!(f, "apply up to {upto}"),
            Output::ProposalRefused(refusal) => write!(f, "refuse proposal: {refusal}"),
            Output::ReadReady { read, index } => write!(f, "read {} ready at {index}", read.0),
            Output::ReadRefused { read, refusal } => write!(f, "refuse read {}: {refusal}", read.0),
            Output::TransferRefused { to, why } => write!(f, "refuse transfer to {to}: {why}"),
            Output::TransferAbandoned { to } => write!(f, "abandon transfer to {to}"),
            Output::ChangeRefused(why) => write!(f, "refuse change: {why}"),
            Output::Became(soft_state) => write!(f, "{soft_state}"),
            Output::Rejected { from, why } => write!(f, "reject {from}: {why}"),
            Output::SnapshotNeeded { to } => write!(f, "{to} needs a snapshot"),
            Output::Stop(why) => write!(f, "stop: {why}"),
        }
    }
}

impl fmt::Display for Write {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "write #{}", self.seq.0)?;
        if let Some(hard_state) = self.hard_state {
            write!(f, " {hard_state}")?;
        }
        match self.removal {
            Some(Removal::Reset(id)) => write!(f, " reset to {id}")?,
            Some(Removal::TruncateAfter(index)) => write!(f, " truncate after {index}")?,
            Some(Removal::PurgeUpto(id)) => write!(f, " purge up to {id}")?,
            None => {}
        }
        match &self.append {
            Some(Appended { span, source: Source::Membership(membership) }) => {
                write!(f, " append {span} ({membership})")
            }
            Some(appended) => write!(f, " append {}", appended.span),
            None => Ok(()),
        }
    }
}

impl fmt::Display for SoftState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} in term {}", self.role, self.term)?;
        match (self.role, self.leader) {
            (RoleName::Follower, Some(leader)) => write!(f, " of {leader}"),
            _ => Ok(()),
        }
    }
}

impl Appended {
    /// The last entry.
    pub fn last(&self) -> EntryId {
        self.span.last_id()
    }
}
