//! A transport between members of one process: for tests, examples and single-process clusters.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use raft_core::types::NodeId;

use super::{Envelope, Inbound, PROTOCOL_VERSION, PeerRejected, Transport};

/// A network inside one process. Members find each other by id.
#[derive(Clone, Default)]
pub struct InProcessNetwork {
    hub: Arc<Hub>,
}

#[derive(Default)]
struct Hub {
    members: Mutex<Members>,
    /// Rises when a member joins or leaves the network, and when the membership of a cluster
    /// changes; each transport then connects again.
    changes: AtomicU64,
}

type Members = BTreeMap<NodeId, Arc<dyn Inbound>>;

impl InProcessNetwork {
    /// A network without members.
    pub fn new() -> InProcessNetwork {
        InProcessNetwork::default()
    }

    /// A member's transport in the network; it joins when its node starts, and leaves when it ends.
    pub fn transport(&self) -> Box<dyn Transport> {
        let (hub, own) = (Arc::clone(&self.hub), None);
        Box::new(InProcessTransport { hub, own, peers: Members::new(), as_of: 0 })
    }
}

impl Hub {
    /// Adds or removes a member.
    fn change(&self, act: impl FnOnce(&mut Members)) {
        act(&mut self.members());
        self.changes.fetch_add(1, Ordering::Release);
    }

    fn members(&self) -> MutexGuard<'_, Members> {
        self.members.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

struct InProcessTransport {
    hub: Arc<Hub>,
    own: Option<Arc<dyn Inbound>>,
    /// The members with which a handshake succeeded.
    peers: Members,
    /// The number of changes that `peers` reflects.
    as_of: u64,
}

impl InProcessTransport {
    /// Connects with all members that are there, with a handshake for each.
    fn meet_all(&mut self, own: &Arc<dyn Inbound>) {
        let changes = self.hub.changes.load(Ordering::Acquire);
        if self.as_of != changes {
            self.as_of = changes;
            self.peers = self.hub.members().clone();
            self.peers.retain(|node, peer| *node != own.identity().node && shake_hands(own, peer));
        }
    }
}

/// Whether both sides accept each other; then both remember it.
fn shake_hands(own: &Arc<dyn Inbound>, peer: &Arc<dyn Inbound>) -> bool {
    let (ours, theirs) = (own.identity(), peer.identity());
    let are_admitted = admits(own, peer) && admits(peer, own);
    are_admitted
        && own.confirm(theirs, PROTOCOL_VERSION).is_ok()
        && peer.confirm(ours, PROTOCOL_VERSION).is_ok()
}

/// Whether a member admits another one, which is told if it was removed.
fn admits(one: &Arc<dyn Inbound>, other: &Arc<dyn Inbound>) -> bool {
    match one.admit(other.identity()) {
        Err(PeerRejected::Removed(_)) => {
            other.told_removed(one.identity().node);
            false
        }
        verdict => verdict.is_ok(),
    }
}

impl Transport for InProcessTransport {
    fn start(&mut self, inbound: Arc<dyn Inbound>) {
        let node = inbound.identity().node;
        self.hub.change(|members| {
            members.insert(node, Arc::clone(&inbound));
        });
        self.own = Some(inbound);
    }

    fn send(&mut self, to: NodeId, _address: Option<&[u8]>, envelope: Envelope) -> bool {
        let Some(own) = self.own.clone() else { return false };
        self.meet_all(&own);
        let Some(peer) = self.peers.get(&to) else { return false };
        peer.deliver(own.identity().node, envelope);
        true
    }

    fn retain(&mut self, _members: &BTreeSet<NodeId>) {
        // All members shake hands again, since a handshake may have another outcome now.
        self.hub.change(|_| {});
    }

    fn connect(&mut self, _node: NodeId, _address: Option<&[u8]>) {
        if let Some(own) = self.own.clone() {
            self.meet_all(&own);
        }
    }
}

impl Drop for InProcessTransport {
    fn drop(&mut self) {
        let Some(own) = self.own.take() else { return };
        let node = own.identity().node;
        self.hub.change(|members| {
            // A member that was started again under the same id may have replaced this one.
            if members.get(&node).is_some_and(|there| Arc::ptr_eq(there, &own)) {
                members.remove(&node);
            }
        });
    }
}
