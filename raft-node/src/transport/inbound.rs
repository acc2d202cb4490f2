//! The receiving side of a member, as its transport sees it.

use raft_core::types::{ClusterId, Identity, NodeId, StoreId};
use thiserror::Error;

use super::Envelope;

/// The calls of a transport to a member.
///
/// For each connection a transport calls [`admit`](Inbound::admit) when the peer has presented its
/// identity, and [`confirm`](Inbound::confirm) once both sides have accepted each other. Only then
/// does it deliver.
pub trait Inbound: Send + Sync {
    /// The member's identity, which a transport presents in its handshake.
    fn identity(&self) -> Identity;

    /// Whether a peer that presents this identity may talk to this member. Changes nothing:
    /// anything that reaches the port can present an identity.
    ///
    /// # Errors
    /// The peer may not talk to this member. The transport closes the connection, and may ask again
    /// for a new one.
    fn admit(&self, peer: Identity) -> Result<(), PeerRejected>;

    /// The lowest version of the wire format that a peer's program must speak. It rises with the
    /// feature level of the cluster: an older program could not read what it would be sent. A
    /// transport refuses such a peer before it asks [`admit`](Inbound::admit).
    fn lowest_version(&self) -> u16 {
        1
    }

    /// Both sides have accepted each other. The member records the peer's store. `version` is the
    /// highest version of the wire format that the peer's program speaks
    /// ([`PROTOCOL_VERSION`](crate::PROTOCOL_VERSION) is this program's): it tells which entries
    /// that program reads.
    ///
    /// # Errors
    /// The peer may not talk to this member after all, since another connection was confirmed with
    /// another store in the meantime. The transport closes the connection.
    fn confirm(&self, peer: Identity, version: u16) -> Result<(), PeerRejected>;

    /// A member that this one has connected to refused it with [`PeerRejected::Removed`]. This
    /// member stops. Never blocks.
    fn told_removed(&self, _by: NodeId) {}

    /// Whether a node is a member, as far as this member knows. A transport keeps capacity for
    /// members.
    fn is_member(&self, _node: NodeId) -> bool {
        true
    }

    /// Accepts what a peer sent; `from` is the id from the handshake. Never blocks: what exceeds
    /// the member's limits is dropped and counted. The member may take a turn before this returns,
    /// so a transport must hold no lock here that its own `send` needs.
    fn deliver(&self, from: NodeId, envelope: Envelope);

    /// Accepts, in order, all envelopes that one read brought, and leaves `envelopes` empty. A
    /// member may accept many of them with a single wake.
    fn deliver_all(&self, from: NodeId, envelopes: &mut Vec<Envelope>) {
        envelopes.drain(..).for_each(|envelope| self.deliver(from, envelope));
    }

    /// Takes back envelopes that the transport accepted for a peer and now drops, and leaves
    /// `envelopes` empty. Only for envelopes of which not one byte can have reached the peer:
    /// clients then learn at once that nothing happened. A transport that is not certain of this
    /// must not call this method. Never blocks.
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
    /// The peer was a member, or has an id that can no longer be a member's, and the membership
    /// that leaves it out is committed. A transport passes this on to the peer, which stops
    /// ([`Inbound::told_removed`]).
    #[error("node {0} was removed from the cluster, and its id is never used again")]
    Removed(NodeId),
    /// The peer claims this member's own id.
    #[error("another process claims to be node {0}, which is this member")]
    OwnId(NodeId),
    /// The peer had another store before: it has lost the votes and entries that it acknowledged
    /// (its directory was removed, or its store was volatile), so it must not vote as if it still
    /// had them.
    #[error(
        "node {node} came with store {theirs}, but was here with store {known}: it has lost its \
         log and must come back as a new member"
    )]
    OtherStore {
        /// The peer.
        node: NodeId,
        /// The store that it has now.
        theirs: StoreId,
        /// The store that it had before.
        known: StoreId,
    },
}
