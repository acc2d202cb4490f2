//! The receiving side of a member, as its transport sees it.

use raft_core::types::{ClusterId, Identity, NodeId, StoreId};
use thiserror::Error;

use super::Envelope;

/// What a transport tells a member, and asks it.
///
/// For each connection a transport asks [`admit`](Inbound::admit) when it learns what the peer says
/// that it is, and calls [`confirm`](Inbound::confirm) once both sides have accepted each other.
/// Only then it delivers.
pub trait Inbound: Send + Sync {
    /// The member itself; what a transport says in its handshake.
    fn identity(&self) -> Identity;

    /// Whether a peer that presents itself so may talk to this member. Changes nothing: anything
    /// that reaches the port can present itself.
    ///
    /// # Errors
    /// It may not. The transport closes the connection, and may ask again for a new one.
    fn admit(&self, peer: Identity) -> Result<(), PeerRejected>;

    /// Both sides have accepted each other. A member remembers the peer's store now.
    ///
    /// # Errors
    /// The peer may not talk to this member after all, since another connection was confirmed with
    /// another store in the meantime. The transport closes the connection.
    fn confirm(&self, peer: Identity) -> Result<(), PeerRejected>;

    /// Whether a node is in the membership in force, as far as this member knows. A transport
    /// keeps capacity for members.
    fn is_member(&self, _node: NodeId) -> bool {
        true
    }

    /// Takes what a peer sent; `from` is the id from the handshake. Never blocks: what exceeds the
    /// member's limits is dropped and counted. The member may take a turn before this returns, so
    /// a transport holds no lock here that its own `send` needs.
    fn deliver(&self, from: NodeId, envelope: Envelope);

    /// Takes, in order, all that one read brought, and leaves `envelopes` empty. A member that
    /// can take many at the price of one wake does so.
    fn deliver_all(&self, from: NodeId, envelopes: &mut Vec<Envelope>) {
        envelopes.drain(..).for_each(|envelope| self.deliver(from, envelope));
    }

    /// Takes back, and leaves `envelopes` empty, what the transport took for a peer and drops, if
    /// not one byte of it can have reached the peer. Never blocks. Clients then learn at once that
    /// nothing happened. A transport that does not know must not call this.
    fn not_sent(&self, _to: NodeId, envelopes: &mut Vec<Envelope>) {
        envelopes.clear();
    }
}

/// Why a peer may not talk to a member.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum PeerRejected {
    /// The peer belongs to another cluster.
    #[error("node {node} belongs to cluster {theirs}, this member to cluster {ours}")]
    OtherCluster {
        /// The peer.
        node: NodeId,
        /// Its cluster.
        theirs: ClusterId,
        /// This member's cluster.
        ours: ClusterId,
    },
    /// The peer claims this member's own id.
    #[error("another process claims to be node {0}, which is this member")]
    OwnId(NodeId),
    /// The peer was here with another store before: it has lost what it promised (its directory was
    /// removed, or its store was volatile), so it must not vote as if it remembered.
    #[error(
        "node {node} came with store {theirs}, but was here with store {known}: it has lost its \
         log and must come back as a new member"
    )]
    OtherStore {
        /// The peer.
        node: NodeId,
        /// The store it came with.
        theirs: StoreId,
        /// The store it had.
        known: StoreId,
    },
}
