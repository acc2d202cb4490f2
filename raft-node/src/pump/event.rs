//! The pump's input: what happens to a member.

use std::fmt::Debug;
use std::sync::Arc;

use bytes::Bytes;
use raft_core::consensus::TransferRefusal;
use raft_core::storage::LogError;
use raft_core::types::{Entry, EntryId, Membership, NodeId, StoreId};
use thiserror::Error;

use super::stop::StopReason;
use crate::{Consistency, EngineState, Envelope, SessionRequest, SnapshotError, SnapshotId};

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
        /// The answers to the commands at the positions in `ApplyBatch::recorded`,
        /// in order.
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
