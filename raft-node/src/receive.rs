//! The member's own side of the door that transports knock at.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use raft_core::types::{Identity, NodeId};
use tracing::error;

use crate::engine::{Shared, known_store};
use crate::pump::Event;
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
        let known = known_store(&self.0, peer);
        if known != peer.store {
            let stranger = Stranger::OtherStore { node, theirs: peer.store, known };
            error!(node = %ours.node, "{stranger}");
            return Err(stranger);
        }
        Ok(())
    }

    fn deliver(&self, from: NodeId, envelope: Envelope) {
        self.deliver_all(from, &mut vec![envelope]);
    }

    fn deliver_all(&self, from: NodeId, envelopes: &mut Vec<Envelope>) {
        let shared = &self.0;
        if shared.has_ended() {
            return envelopes.clear();
        }
        envelopes.retain(|envelope| shared.finds_room(envelope));
        if !envelopes.is_empty() {
            let event = |envelope| Event::Deliver { from, envelope };
            shared.post_all(envelopes.drain(..).map(event));
        }
    }
}

impl Shared {
    /// Whether there is room for an envelope among those that no turn has taken yet; if so, the
    /// room is taken.
    fn finds_room(&self, envelope: &Envelope) -> bool {
        let size = envelope.size();
        let before = self.inbound_bytes.fetch_add(size, Ordering::Relaxed);
        let fits = before == 0 || before + size <= self.limits.inbound_bytes;
        if !fits {
            self.inbound_bytes.fetch_sub(size, Ordering::Relaxed);
            self.inbound_dropped.fetch_add(1, Ordering::Relaxed);
        }
        fits
    }
}

impl Envelope {
    /// About how many bytes of memory the envelope holds.
    pub fn size(&self) -> u64 {
        /// What an envelope holds besides payloads, and each entry or command besides its bytes.
        const FIXED: u64 = 64;
        let payload = match &self.content {
            Content::Raft { entries, .. } => {
                entries.iter().map(|entry| entry.size() + FIXED).sum::<u64>()
            }
            Content::Forward(forward) => {
                forward.commands.iter().map(|command| command.len() as u64 + FIXED).sum()
            }
            Content::ForwardAnswer(_) => 0,
        };
        payload + FIXED
    }
}
