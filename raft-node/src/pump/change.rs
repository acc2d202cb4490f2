//! What a client learns of a change of the membership: its progress, and why it has failed.

use std::fmt;
use std::sync::Arc;

use raft_core::consensus::ChangeRefusal;
use raft_core::types::{LogIndex, Membership, NodeId};
use thiserror::Error;

/// How far a change of the membership has come.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ChangeProgress {
    /// The membership to come.
    pub target: Arc<Membership>,
    /// What is being done.
    pub stage: ChangeStage,
    /// The new voters that have not caught up yet.
    pub catching_up: Vec<CatchingUp>,
}

/// The stages of a change, in order. A change leaves out those that it does not need.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[non_exhaustive]
pub enum ChangeStage {
    /// It waits until an earlier change, a transfer or the first commit of the leader's term has
    /// ended.
    Waiting,
    /// The new members become learners.
    AddingLearners,
    /// The new voters are brought up to date.
    CatchingUp,
    /// The target is being committed, through a joint membership if the voters differ. The change
    /// cannot be cancelled any more.
    Committing,
}

/// A new voter that is being brought up to date, in rounds: each ends when it stores what was in
/// the leader's log when the round began.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CatchingUp {
    /// The node.
    pub node: NodeId,
    /// The number of the round; the first is 1.
    pub round: u32,
    /// The last index that the node stores.
    pub matched: LogIndex,
    /// The index at which the round ends.
    pub goal: LogIndex,
}

/// Why a change of the membership was not made, or not to its end. What was done before stays:
/// nodes that joined for it may remain as learners.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum ChangeError {
    /// The protocol does not allow it now, or not at all.
    #[error(transparent)]
    Refused(#[from] ChangeRefusal),
    /// The membership from which the target was made is not in force any more: another change was
    /// made in the meantime. Nothing happened. Make the target from the newest membership.
    #[error("the membership has changed since this change was planned")]
    OtherMembership,
    /// A member runs a program that cannot read the memberships that this one would write: it would
    /// accept no more entries. Ask again once it runs this program's version, or leave it out.
    #[error("node {0} runs an older program, which cannot read the new membership")]
    OlderProgram(NodeId),
    /// A member has not connected to this leader, so it is not known whether it could read the new
    /// membership. Ask again once it runs, or leave it out.
    #[error("node {0} has not connected to the leader, so it is not known what its program reads")]
    NotConnected(NodeId),
    /// A new voter stores nothing more: it does not run, its address is wrong, or its disk is
    /// stuck. It stays a learner. Ask again once the cause is gone, or remove it.
    #[error(
        "node {0} has stored nothing for too long: it does not run, its address is wrong, or its \
         disk does not work"
    )]
    NoProgress(NodeId),
    /// A new voter receives the log more slowly than it grows. It stays a learner. Ask again when
    /// there is less load, or remove it.
    #[error("node {0} does not catch up: it was slower than an election timeout in all its rounds")]
    TooSlow(NodeId),
    /// The change was cancelled before the voters changed.
    #[error("the change was cancelled")]
    Cancelled,
    /// This member no longer leads. The next leader goes on from a joint membership, if there is
    /// one already, and not from an earlier stage. Ask the next leader for the same change: what
    /// is done already is not done again.
    #[error("the leader changed before the change was made")]
    LeaderChanged {
        /// The member that may lead now.
        hint: Option<NodeId>,
    },
    /// The target is in the log, and was not committed in time: too few members answer. Leaders
    /// go on with it.
    #[error("the change is in the log, and too few members answer to commit it")]
    Unfinished,
    /// The member was shut down, or has stopped by itself. The change may have been made.
    #[error("this member is closed")]
    Closed,
}

impl fmt::Display for ChangeStage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            ChangeStage::Waiting => "waits for an earlier change, a transfer or a first commit",
            ChangeStage::AddingLearners => "adds the new members as learners",
            ChangeStage::CatchingUp => "brings the new voters up to date",
            ChangeStage::Committing => "commits the new membership",
        })
    }
}
