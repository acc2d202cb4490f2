//! The state that belongs to each role.
//!
//! A role owns its state: a member that changes its role drops the state of the old one, so a
//! candidate cannot read a stale match index and a follower cannot count votes.

use alloc::collections::{BTreeMap, VecDeque};

use super::message::{ReadId, Round};
use super::output::{RoleName, WriteSeq};
use super::progress::Progress;
use super::round_times::RoundTimes;
use super::time::Time;
use crate::types::{LogIndex, NodeId};

/// A member's role and the state that belongs to it.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) enum Role {
    Follower(Follower),
    PreCandidate(PreCandidate),
    Candidate(Candidate),
    Leader(Leader),
}

/// Follows a leader, or waits for one.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub(super) struct Follower {
    /// The leader of this term, once it was heard.
    pub(super) leader: Option<NodeId>,
    /// The last index up to which this log is known to equal that leader's. Invariant: at most the
    /// log's last index; nothing beyond it is acknowledged or committed.
    pub(super) verified: LogIndex,
    /// The leader's newest round.
    pub(super) round: Round,
    /// The greatest commit index that this leader has reported.
    pub(super) leader_commit: LogIndex,
    /// Whether an acknowledgement is waiting for the disk.
    pub(super) ack_pending: bool,
    /// The read that the leader was asked about and has not answered. One at a time: reads that
    /// come meanwhile share the next.
    pub(super) read: Option<ReadId>,
    /// Whether the leader may answer it by its lease.
    pub(super) by_lease: bool,
    /// The commit index when the read was asked about. The answer must not be below it.
    pub(super) read_floor: LogIndex,
    /// Ticks since the leader was last asked.
    pub(super) read_waited: u32,
    /// The round for which this member has promised last, and when.
    pub(super) promised_round: Round,
    pub(super) promised_at: Option<Time>,
}

/// The state of a member that asks whether it would be elected, without raising its term.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) struct PreCandidate {
    /// The answers, its own included.
    pub(super) votes: BTreeMap<NodeId, bool>,
}

/// The state of a member that asks to be elected.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) struct Candidate {
    /// The answers; its own is among them once it is durable.
    pub(super) votes: BTreeMap<NodeId, bool>,
    /// The write of its own vote.
    pub(super) ballot: WriteSeq,
}

/// The state of a member that leads.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) struct Leader {
    /// The leader's record of each other member of every membership in force from the commit index
    /// on.
    pub(super) peers: BTreeMap<NodeId, Progress>,
    /// The entry that opened the term. Once it is committed, so is everything before it, and the
    /// leader knows the commit index.
    pub(super) first_of_term: LogIndex,
    /// When this member was elected.
    pub(super) since: Time,
    /// The newest round.
    pub(super) round: Round,
    /// When rounds began.
    pub(super) round_times: RoundTimes,
    /// Reads that wait for a round, or for the first commit of the term, in order of arrival.
    /// Invariant: at most one of each follower.
    pub(super) reads: VecDeque<WaitingRead>,
    /// Ticks since the last heartbeat.
    pub(super) heartbeat_elapsed: u32,
    /// Ticks since the last check for a majority.
    pub(super) quorum_elapsed: u32,
    /// Whether no change of the membership is open: the newest one is committed, is not joint, and
    /// includes this leader as a voter.
    pub(super) is_settled: bool,
    /// The leadership transfer that is under way.
    pub(super) transfer: Option<Transfer>,
    /// Whether this leader has asked any member to campaign.
    pub(super) asked_to_campaign: bool,
}

/// A leadership transfer.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) struct Transfer {
    /// The voter that is to lead.
    pub(super) to: NodeId,
    /// Ticks since the transfer began.
    pub(super) waited: u32,
    /// Whether the voter was asked to campaign.
    pub(super) is_asked: bool,
}

/// A read that a leader has not confirmed yet.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) struct WaitingRead {
    /// Its name.
    pub(super) read: ReadId,
    /// The follower that asked, if it was not this member's own client.
    pub(super) origin: Option<NodeId>,
    /// The index and the round that confirms it, once the leader knows what is committed.
    pub(super) point: Option<(LogIndex, Round)>,
}

impl Role {
    pub(super) fn name(&self) -> RoleName {
        match self {
            Role::Follower(_) => RoleName::Follower,
            Role::PreCandidate(_) => RoleName::PreCandidate,
            Role::Candidate(_) => RoleName::Candidate,
            Role::Leader(_) => RoleName::Leader,
        }
    }
}

impl Follower {
    pub(super) fn of(leader: Option<NodeId>) -> Follower {
        Follower { leader, ..Follower::default() }
    }
}
