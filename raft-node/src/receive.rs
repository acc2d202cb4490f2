//! The member's own side of the door that transports knock at.

use std::sync::Arc;

use raft_core::types::{Identity, NodeId};
use tracing::error;

use crate::shared::Shared;
use crate::{Content, Envelope, Inbound, Stranger};

impl Shared {
    /// Lets the transport begin.
    pub(crate) fn start_transport(self: &Arc<Shared>) {
        let inbound: Arc<dyn Inbound> = Arc::new(Door(Arc::clone(self)));
        self.with_transport(|transport| transport.start(inbound));
    }
}

/// Handed to the transport, which drops it when it ends.
struct Door(Arc<Shared>);

impl Inbound for Door {
    fn identity(&self) -> Identity {
        self.0.identity
    }

    fn greet(&self, peer: Identity) -> Result<(), Stranger> {
        let ours = self.0.identity;
        let node = peer.node;
        if peer.cluster != ours.cluster {
            return Err(Stranger::OtherCluster { node, theirs: peer.cluster, ours: ours.cluster });
        }
        if node == ours.node {
            return Err(Stranger::OwnId(node));
        }
        let known = self.0.known_store(peer);
        if known != peer.store {
            let stranger = Stranger::OtherStore { node, theirs: peer.store, known };
            error!(node = %ours.node, "{stranger}");
            return Err(stranger);
        }
        Ok(())
    }

    fn deliver(&self, from: NodeId, envelope: Envelope) {
        self.take_in(from, std::iter::once(envelope));
    }

    fn deliver_all(&self, from: NodeId, envelopes: &mut Vec<Envelope>) {
        self.take_in(from, envelopes.drain(..));
    }
}

impl Door {
    /// What arrives is worth a turn of who brings it: no task is woken for it.
    fn take_in(&self, from: NodeId, envelopes: impl Iterator<Item = Envelope>) {
        let shared = &self.0;
        if !shared.is_finished() {
            shared.inbox.deliver(from, envelopes, shared.limits.inbound_bytes);
            shared.drive_fed();
        }
    }
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
            Content::ForwardAnswer(_) => 0,
        };
        payload + FIXED
    }
}
