//! The pump's output: what is to be done after a turn.

use std::sync::Arc;

use bytes::Bytes;
use raft_core::consensus::SoftState;
use raft_core::storage::WriteBatch;
use raft_core::types::{EntryId, LogIndex, Membership, NodeId};

use super::change::{ChangeError, ChangeStage};
use super::event::{Clients, FetchId, TakenSnapshot, TransferError};
use super::stop::StopReason;
use crate::{
    Committed, EngineState, Envelope, ProposeError, ReadError, SessionAnswer, SessionError,
    SnapshotError, SnapshotId,
};

/// What is to be done after a turn, in lists that do not depend on each other. The pump's driver
/// hands the write to the disk first, then sends, then does the rest.
#[derive(Debug)]
pub struct Effects<C: Clients> {
    /// Write this, then report `Event::Written`. There is at most one write at a time.
    pub write: Option<WriteBatch>,
    /// Send these, in order.
    pub sends: Vec<(NodeId, Envelope)>,
    /// Connect to these members, so that they say whether this one was removed.
    pub connects: Vec<NodeId>,
    /// Read these, then report `Event::Fetched` for each.
    pub fetches: Vec<Fetch>,
    /// Pin the state of the state machine before it applies anything else, write it, then report
    /// `Event::Snapshotted`. There is at most one at a time.
    pub snapshot: Option<SnapshotPlan>,
    /// Do this with the files of snapshots, in order, and report the event that each names.
    pub transfers: Vec<TransferWork>,
    /// Restore the state machine, which has no batch, from the snapshot that ends here, then report
    /// `Event::Restored`. Until then nothing is applied or read.
    pub restore: Option<EntryId>,
    /// Apply this, answer its claims, then report `Event::Applied`. There is at most one at a
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

/// Work with the files of snapshots that are sent or received.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum TransferWork {
    /// Read bytes for a peer, then report `Event::ChunkRead`. The file stays readable until it is
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
    /// Add bytes to the file that is being received, then report `Event::Spooled`. At offset 0 a
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
    /// `Event::Kept`.
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
