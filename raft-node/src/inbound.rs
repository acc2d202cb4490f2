//! The door through which a transport hands in what arrived.

use raft_core::types::{ClusterId, Identity, NodeId, StoreId};
use thiserror::Error;

use crate::Envelope;

/// The receiving side of a member, as its transport sees it.
pub trait Inbound: Send + Sync {
    /// Who this member is; what a transport says in its handshake.
    fn identity(&self) -> Identity;

    /// Whether a peer that presents itself so may talk to this member. A transport asks once for
    /// each connection, before it delivers anything from it.
    fn greet(&self, peer: Identity) -> Result<(), Stranger>;

    /// Takes in what a peer sent; `from` is the id from the handshake. Never blocks: what finds no
    /// room is dropped and counted. The member may take a turn before this returns, so a transport
    /// holds no lock here that its own `send` needs.
    fn deliver(&self, from: NodeId, envelope: Envelope);

    /// Takes in, in order, all that one read brought, and leaves `envelopes` empty. A member that
    /// can take many at the price of one wake does so.
    fn deliver_all(&self, from: NodeId, envelopes: &mut Vec<Envelope>) {
        envelopes.drain(..).for_each(|envelope| self.deliver(from, envelope));
    }
}

/// Why a peer is not talked to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum Stranger {
    /// The peer belongs to another cluster.
    #[error("node {node} belongs to cluster {theirs}, this member to cluster {ours}")]
    OtherCluster {
        /// Who came.
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
        /// Who came.
        node: NodeId,
        /// The store it came with.
        theirs: StoreId,
        /// The store it had.
        known: StoreId,
    },
}
