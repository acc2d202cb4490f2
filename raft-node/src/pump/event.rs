//! The pump's input and output.

use std::fmt::Debug;
use std::sync::Arc;

use bytes::Bytes;
use raft_core::consensus::{Contradiction, SoftState, TransferRefusal};
use raft_core::storage::{LogError, LogErrorKind, WriteBatch};
use raft_core::types::{Entry, EntryId, EntryKind, LogIndex, Membership, NodeId, StoreId};
use thiserror::Error;

use super::change::{ChangeError, ChangeStage};
use crate::{
    Committed, Consistency, EngineState, Envelope, Fatal, ProposeError, ReadError, SessionAnswer,
    SessionError, SessionRequest, SnapshotError, SnapshotId,
};

/// The types that identify waiting clients. The pump's driver chooses them; the pump stores them
/// and returns them, and never looks inside.
pub trait Clients: Debug {
    /// A group of proposals that were handed in together.
    type Proposals: Clone + Debug;
    /// A group of reads that were handed in together.
    type Reads: Debug;
    /// A request for a snapshot.
    type Snapshots: Debug;
    /// A request to change the membership.
    type Changes: Debug;
    /// A request of a session.
    type Sessions: Debug;
}

/// One thing that happens to a member.
#[derive(Debug)]
pub enum Event<C: Clients> {
    /// A tick of time has passed.
    Tick,
    /// Clients propose commands, at least one.
    Propose {
        /// The commands, in order.
        commands: Vec<Bytes>,
        /// The clients that wait for them.
        group: C::Proposals,
    },
    /// A client makes a request of a session, for the first time or again.
    Session {
        /// The request.
        request: SessionRequest,
        /// The client that waits.
        client: C::Sessions,
    },
    /// Clients want to read.
    Read {
        /// What they may be shown.
        consistency: Consistency,
        /// The clients that wait.
        group: C::Reads,
    },
    /// This member is asked to hand its leadership over.
    Transfer {
        /// The member that is to lead.
        to: NodeId,
    },
    /// A client asks this member to change the membership, the whole way.
    ChangeMembership {
        /// The membership from which the target was made. The change is refused if another one is
        /// in force.
        from: Option<Arc<Membership>>,
        /// The membership to come.
        target: Arc<Membership>,
        /// The client that waits.
        client: C::Changes,
    },
    /// The change that is under way is to be given up, if nothing was decided yet.
    CancelChange,
    /// This member is asked for one step of the protocol toward a membership; see
    /// [`Input::ChangeMembership`](raft_core::consensus::Input). New voters must be learners that
    /// have caught up.
    StepMembership {
        /// The membership to come.
        target: Arc<Membership>,
    },
    /// A peer has said in a handshake which store it has, and which versions its program speaks.
    Announced {
        /// The peer.
        node: NodeId,
        /// Its store.
        store: StoreId,
        /// The highest version of the wire format that its program speaks.
        version: u16,
    },
    /// An envelope of a peer arrived.
    Deliver {
        /// The peer's id, from the transport's handshake.
        from: NodeId,
        /// The envelope.
        envelope: Envelope,
    },
    /// The store has carried out the write it was given.
    Written(Result<(), LogError>),
    /// The store has read the entries that were asked for.
    Fetched {
        /// The name of the question.
        fetch: FetchId,
        /// The entries, from the first that was asked for; or why there are none.
        result: Result<Vec<Entry>, LogError>,
    },
    /// The state machine has applied the batch it was given.
    Applied {
        /// The answers to the commands at the positions in [`ApplyBatch::recorded`], in order.
        recorded: Vec<Bytes>,
    },
    /// A client wants a snapshot that includes everything that is applied now.
    TakeSnapshot {
        /// The client that waits.
        client: C::Snapshots,
    },
    /// The snapshot that was to be taken is durable, or it failed.
    Snapshotted(Result<TakenSnapshot, SnapshotError>),
    /// The bytes of a snapshot file that a peer asked for were read.
    ChunkRead {
        /// The peer.
        to: NodeId,
        /// The file.
        id: SnapshotId,
        /// The first of the bytes.
        offset: u64,
        /// The bytes, none beyond the end of the file; `None` if the file is not there any more; or
        /// why it cannot be read now.
        result: Result<Option<Bytes>, String>,
    },
    /// Bytes that were received are in the file that is being received, or not.
    Spooled {
        /// The number of the write.
        number: u64,
        /// Why the bytes are not in the file, if they are not.
        result: Result<(), String>,
    },
    /// The file that was received is whole, sound and durable, or why not.
    Kept(Result<ReceivedSnapshot, String>),
    /// The state machine has been restored from the snapshot that was received.
    Restored,
    /// The transport did not send this member's forward: not one byte of it has reached the peer.
    ForwardNotSent {
        /// The peer.
        to: NodeId,
        /// The forward's start number.
        start: u64,
        /// The forward's sequence number.
        sequence: u64,
    },
    /// A member refused this one because it was removed from the cluster.
    Removed {
        /// The member that refused it.
        by: NodeId,
    },
    /// A part that the member needs has failed permanently.
    Stop(StopReason),
    /// The member is being closed.
    Close,
}

/// The id of a question to the store's reader.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct FetchId(pub u64);

/// What is to be done after a turn, in lists that do not depend on each other. The pump's driver
/// hands the write to the disk first, then sends, then does the rest.
#[derive(Debug)]
pub struct Effects<C: Clients> {
    /// Write this, then report [`Event::Written`]. There is at most one write at a time.
    pub write: Option<WriteBatch>,
    /// Send these, in order.
    pub sends: Vec<(NodeId, Envelope)>,
    /// Connect to these members, so that they say whether this one was removed.
    pub connects: Vec<NodeId>,
    /// Read these, then report [`Event::Fetched`] for each.
    pub fetches: Vec<Fetch>,
    /// Pin the state of the state machine before it applies anything else, write it, then report
    /// [`Event::Snapshotted`]. There is at most one at a time.
    pub snapshot: Option<SnapshotPlan>,
    /// Do this with the files of snapshots, in order, and report the event that each names.
    pub transfers: Vec<TransferWork>,
    /// Restore the state machine, which has no batch, from the snapshot that ends here, then report
    /// [`Event::Restored`]. Until then nothing is applied or read.
    pub restore: Option<EntryId>,
    /// Apply this, answer its claims, then report [`Event::Applied`]. There is at most one at a
    /// time.
    pub apply: Option<ApplyBatch<C>>,
    /// Answer clients that their proposals have failed, or that the outcome is unknown, and give
    /// their share of the quota back.
    pub failed: Vec<Failed<C>>,
    /// Answer clients that the outcome is unknown. Their commands are in the log and may still be
    /// applied, so their share of the quota is given back only when they are in `settled`.
    pub overdue: Vec<Failed<C>>,
    /// Give back the share of the quota of proposals that were answered before.
    pub settled: Vec<Settled<C>>,
    /// Answer clients that made requests of sessions, and give their share of the quota back.
    pub session_answers: Vec<SessionOutcome<C>>,
    /// Serve these reads: what they must see is applied. The state from which they are served
    /// includes no entry after the index.
    pub served: Vec<(C::Reads, LogIndex)>,
    /// Answer clients that their reads cannot be served.
    pub failed_reads: Vec<(C::Reads, ReadError)>,
    /// These leadership transfers, each to a member, did not succeed.
    pub failed_transfers: Vec<(NodeId, TransferError)>,
    /// Single steps of the membership were refused, and nothing happened.
    pub refused_changes: Vec<ChangeError>,
    /// Answer clients that asked for a change of the membership.
    pub change_answers: Vec<ChangeAnswer<C>>,
    /// The change of the membership has reached these stages, in order.
    pub change_stages: Vec<ChangeStage>,
    /// Answer clients that wanted a snapshot.
    pub snapshot_answers: Vec<(C::Snapshots, Result<EntryId, SnapshotError>)>,
    /// A snapshot was taken, or has failed.
    pub snapshot_outcome: Option<Result<TakenSnapshot, SnapshotError>>,
    /// A snapshot of another member was installed, or could not be received.
    pub installed: Option<Result<TakenSnapshot, String>>,
    /// The member has had these roles, terms and leaders, in order.
    pub soft_states: Vec<SoftState>,
    /// The member must stop, for this reason. Nothing else follows.
    pub stop: Option<StopReason>,
}

/// A client that asked for a change of the membership, and what became of the change.
pub type ChangeAnswer<C> = (<C as Clients>::Changes, Result<Arc<Membership>, ChangeError>);

/// A client that made a request of a session, and the outcome.
pub type SessionOutcome<C> = (<C as Clients>::Sessions, Result<SessionAnswer, SessionError>);

/// A snapshot to be taken.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SnapshotPlan {
    /// The last entry that the state machine has applied.
    pub last: EntryId,
    /// The membership in force at that entry.
    pub membership: Arc<Membership>,
    /// The engine's state at that entry.
    pub engine: EngineState,
}

/// A snapshot that is durable here.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TakenSnapshot {
    /// The last entry that it includes.
    pub last: EntryId,
    /// The random number in the head of its file.
    pub salt: u64,
    /// The bytes of its file.
    pub bytes: u64,
}

impl TakenSnapshot {
    /// The name of its file.
    pub(crate) fn id(&self) -> SnapshotId {
        SnapshotId { last: self.last, salt: self.salt }
    }
}

/// A snapshot of another member that is whole, sound and durable here.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ReceivedSnapshot {
    /// The file.
    pub taken: TakenSnapshot,
    /// The membership in force at its last entry.
    pub membership: Arc<Membership>,
    /// The engine's state at its last entry.
    pub engine: EngineState,
}

/// Work with the files of snapshots that are sent or received.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum TransferWork {
    /// Read bytes for a peer, then report [`Event::ChunkRead`]. The file stays readable until it is
    /// released, even if a newer snapshot replaces it.
    Read {
        /// The peer.
        to: NodeId,
        /// The file.
        id: SnapshotId,
        /// The first byte.
        offset: u64,
        /// The most bytes.
        most: u32,
    },
    /// No peer reads this file any more.
    Release(SnapshotId),
    /// Add bytes to the file that is being received, then report [`Event::Spooled`]. At offset 0 a
    /// new file begins, and what was received before is discarded.
    Spool {
        /// The number of the write.
        number: u64,
        /// The file.
        id: SnapshotId,
        /// The offset of the first byte; what was received before ends there.
        offset: u64,
        /// The bytes.
        bytes: Bytes,
    },
    /// All bytes are there: check them, make the file durable as a snapshot, then report
    /// [`Event::Kept`].
    Keep(SnapshotId),
    /// Discard what was received.
    Discard,
}

/// Entries wanted from the store.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Fetch {
    /// The name of the question.
    pub id: FetchId,
    /// The first entry wanted.
    pub first: LogIndex,
    /// The last entry wanted.
    pub last: LogIndex,
    /// The most payload bytes wanted; at least one entry comes.
    pub max_bytes: u64,
}

/// Proposals of one group that failed.
#[derive(Debug)]
pub struct Failed<C: Clients> {
    /// The group.
    pub group: C::Proposals,
    /// The first of these proposals in the group.
    pub offset: usize,
    /// How many proposals these are.
    pub count: usize,
    /// Why.
    pub error: ProposeError,
}

/// Proposals of one group whose outcome is known now, and whose clients were already answered that
/// it is unknown.
#[derive(Debug)]
pub struct Settled<C: Clients> {
    /// The group.
    pub group: C::Proposals,
    /// The first of these proposals in the group.
    pub offset: usize,
    /// How many proposals these are.
    pub count: usize,
}

/// Committed entries for the state machine, and the clients that wait for the answers.
#[derive(Debug)]
pub struct ApplyBatch<C: Clients> {
    /// The commands, in order; entries of other kinds are left out.
    pub commands: Vec<Committed>,
    /// The clients that wait, in the order of the commands.
    pub claims: Vec<Claim<C>>,
    /// The positions of the commands whose answers are to be reported, whether or not a client
    /// waits: those of sessions. They rise.
    pub recorded: Vec<usize>,
    /// The last entry of the batch, of whatever kind.
    pub upto: LogIndex,
}

/// Clients that wait for the answers to consecutive commands.
#[derive(Debug)]
pub struct Claim<C: Clients> {
    /// The group.
    pub group: C::Proposals,
    /// The first proposal of the group that is answered.
    pub offset: usize,
    /// The first command of the batch that answers one of them.
    pub position: usize,
    /// How many consecutive commands are answered.
    pub count: usize,
}

/// Why a leadership transfer did not succeed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum TransferError {
    /// The transfer was refused, and nothing happened.
    #[error("the transfer was refused: {0}")]
    Refused(#[from] TransferRefusal),
    /// The other member was not elected in time: this member leads on, or leads again, or no leader
    /// is known. The other member may still be elected.
    #[error("the other member was not elected in time")]
    Abandoned,
    /// This member no longer leads, and a third one does.
    #[error("node {0} was elected instead")]
    OtherLeader(NodeId),
    /// This member was shut down, or has stopped by itself.
    #[error("this member is closed")]
    Closed,
}

/// Why a member stopped.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum StopReason {
    /// The store failed. The member can be started again once the cause is gone.
    #[error("the log store failed: {0}")]
    Store(#[from] LogError),
    /// The state machine cannot apply a committed entry. The member can be started again once the
    /// state machine has what it lacked.
    #[error("the state machine failed: {0}")]
    StateMachine(Fatal),
    /// A part of the member panicked: there is a bug in that part or in its input.
    #[error("{place} panicked: {message}")]
    Panic {
        /// The part.
        place: &'static str,
        /// Its message.
        message: String,
    },
    /// A committed entry is of a kind that this version does not apply: a newer version wrote it.
    /// The member can be started again with that version.
    #[error("entry {id} is of kind {kind:?}, which this version does not apply")]
    UnknownEntry {
        /// The entry.
        id: EntryId,
        /// Its kind.
        kind: EntryKind,
    },
    /// An entry raises the feature level of the cluster beyond what this program supports: a newer
    /// program wrote it. The member can be started again with such a program.
    #[error(
        "entry {id} raises the feature level of the cluster to {level}, and this program supports \
         levels up to {supported}: start this member with a newer program"
    )]
    NewerLevel {
        /// The entry.
        id: EntryId,
        /// The level that it raises the cluster to.
        level: u32,
        /// The newest level that this program supports.
        supported: u32,
    },
    /// A membership is in a version of its record that this program does not read: a newer one
    /// wrote it. The member has not stored it, and can be started again with that program.
    #[error("entry {id} holds a membership of version {version}, which this program cannot read")]
    NewerMembership {
        /// The entry.
        id: EntryId,
        /// The version.
        version: u8,
    },
    /// The member was removed from the cluster. It does not come back: its node id is never used
    /// again. A new member may start with an empty directory and a new id.
    #[error("this member was removed from the cluster{}", says(.by))]
    Removed {
        /// The member that said so; none if this member's own log does.
        by: Option<NodeId>,
    },
    /// Acknowledged data was lost: a majority of the members lost entries that they had
    /// acknowledged. Starting the member again does not help. This member's store still holds the
    /// committed entry.
    #[error("acknowledged data was lost: {0}")]
    DataLost(Contradiction),
}

fn says(by: &Option<NodeId>) -> String {
    by.map_or_else(String::new, |node| format!(", says node {node}"))
}

impl StopReason {
    /// Whether acknowledged bytes are damaged or lost, which no new start repairs.
    pub fn is_damage(&self) -> bool {
        match self {
            StopReason::Store(error) => matches!(error.kind, LogErrorKind::Corrupt { .. }),
            StopReason::DataLost(_) => true,
            StopReason::UnknownEntry { .. }
            | StopReason::NewerLevel { .. }
            | StopReason::NewerMembership { .. }
            | StopReason::Removed { .. }
            | StopReason::StateMachine(_)
            | StopReason::Panic { .. } => false,
        }
    }
}

impl<C: Clients> Effects<C> {
    /// Whether requests failed, or were settled after they had been given up, or a snapshot that
    /// was asked for has an outcome.
    pub(crate) fn has_failures(&self) -> bool {
        !(self.failed.is_empty()
            && self.overdue.is_empty()
            && self.settled.is_empty()
            && self.session_answers.is_empty()
            && self.failed_reads.is_empty()
            && self.snapshot_answers.is_empty()
            && self.change_answers.is_empty())
    }
}

impl<C: Clients> Default for Effects<C> {
    fn default() -> Effects<C> {
        Effects {
            write: None,
            sends: Vec::new(),
            connects: Vec::new(),
            fetches: Vec::new(),
            snapshot: None,
            transfers: Vec::new(),
            restore: None,
            apply: None,
            failed: Vec::new(),
            overdue: Vec::new(),
            settled: Vec::new(),
            session_answers: Vec::new(),
            served: Vec::new(),
            failed_reads: Vec::new(),
            failed_transfers: Vec::new(),
            refused_changes: Vec::new(),
            change_answers: Vec::new(),
            change_stages: Vec::new(),
            snapshot_answers: Vec::new(),
            snapshot_outcome: None,
            installed: None,
            soft_states: Vec::new(),
            stop: None,
        }
    }
}
