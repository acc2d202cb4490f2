//! The messages between members, and the trait of the transport that carries them.

mod entries;
mod in_process;
mod inbound;
mod snapshot;

use std::collections::BTreeSet;
use std::sync::Arc;

use bytes::Bytes;
use raft_core::consensus::Message;
use raft_core::types::{ClusterId, EntryId, EntryKind, NodeId, Term};

pub use self::entries::Entries;
pub use self::in_process::InProcessNetwork;
pub use self::inbound::{Inbound, PeerRejected};
pub use self::snapshot::{SnapshotId, SnapshotMessage};

/// The highest version of the wire format (`docs/formats/wire.md`) that this program speaks. A
/// program that speaks a version also reads every record that was new with it.
pub const PROTOCOL_VERSION: u16 = 5;

/// One thing sent from member to member.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Envelope {
    /// The sender's cluster. A member accepts nothing from another cluster.
    pub cluster: ClusterId,
    /// The content.
    pub content: Content,
}

/// What an envelope holds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Content {
    /// A message of the protocol; for an append, exactly the entries of its span.
    Raft {
        /// The message.
        message: Message,
        /// The entries that the message's span names, in order; none for other messages.
        entries: Entries,
    },
    /// Proposals of a follower's clients, on their way to the leader.
    Forward(Forward),
    /// The leader's answer to a [`Forward`].
    ForwardAnswer(ForwardAnswer),
    /// Requests of sessions of a follower's clients, on their way to the leader: the kind and the
    /// payload of each. They are not answered, and may arrive any number of times.
    SessionForward(Vec<(EntryKind, Bytes)>),
    /// A step of the transfer of a snapshot. A transport should send it on a connection of its own:
    /// heartbeats and entries must not wait behind megabytes.
    Snapshot(SnapshotMessage),
}

/// Proposals that a follower forwards to its leader: one hop, never further.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Forward {
    /// The term in which the sender knows the receiver to lead. In any other term the receiver does
    /// not accept them.
    pub term: Term,
    /// A random number drawn at the sender's start, so that its sequence may start again.
    pub start: u64,
    /// Rises with each forward of one start. The receiver accepts each number once.
    pub sequence: u64,
    /// The commands.
    pub commands: Vec<Bytes>,
}

/// The leader's answer to a [`Forward`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ForwardAnswer {
    /// The forward's start number.
    pub start: u64,
    /// The forward's sequence number.
    pub sequence: u64,
    /// The id of the first command's entry, when all were appended, one after another; `None` when
    /// none was, and nothing happened.
    pub appended: Option<EntryId>,
}

/// Carries envelopes between members. May lose, delay and reorder them, but never delivers one
/// twice and never changes one.
pub trait Transport: Send {
    /// Starts the transport. It passes what arrives to `inbound`. Called once, before any `send`,
    /// on the runtime that the member runs on.
    fn start(&mut self, inbound: Arc<dyn Inbound>);

    /// Sends an envelope, without blocking and without a guarantee that it arrives. Returns whether
    /// the transport accepted it; `false` means that the peer certainly never receives it.
    /// `address` is the peer's metadata in the membership; without one, the peer's own connection
    /// is used, if there is any.
    ///
    /// A transport may later drop an envelope that it accepted; if it knows that no byte of it was
    /// sent, it returns the envelope to [`Inbound::not_sent`].
    fn send(&mut self, to: NodeId, address: Option<&[u8]>, envelope: Envelope) -> bool;

    /// These are the members now, those that are being removed included: a transport may forget
    /// what it keeps for other nodes, once it has sent what it accepted for them. It ends its
    /// connections with nodes that are members no longer; if they connect again, they learn that
    /// they were removed. It must still carry what is sent to other nodes afterwards, since the
    /// membership that this member knows may be older than the cluster's.
    fn retain(&mut self, members: &BTreeSet<NodeId>);

    /// Connects to a member unless a connection exists, so that the two compare their identities
    /// again. A member that hears nothing from the others learns in this way that it was removed.
    fn connect(&mut self, node: NodeId, address: Option<&[u8]>);
}

impl Envelope {
    /// About how many bytes of memory the envelope holds.
    pub fn size(&self) -> u64 {
        /// What an envelope holds besides payloads, and each entry or command besides its bytes.
        const FIXED: u64 = 64;
        let payload = match &self.content {
            Content::Raft { entries, .. } => entries.bytes() + entries.len() as u64 * FIXED,
            Content::Forward(forward) => {
                forward.commands.iter().map(|command| command.len() as u64 + FIXED).sum()
            }
            Content::SessionForward(requests) => {
                requests.iter().map(|(_, payload)| payload.len() as u64 + FIXED).sum()
            }
            Content::ForwardAnswer(_) => 0,
            Content::Snapshot(message) => message.bytes(),
        };
        payload + FIXED
    }
}
