//! A transport between members of one process: for tests, examples and single-process clusters.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use raft_core::types::NodeId;

use super::{Envelope, Inbound, Transport};

/// A network inside one process. Members find each other by id.
#[derive(Clone, Default)]
pub struct InProcessNetwork {
    hub: Arc<Hub>,
}

#[derive(Default)]
struct Hub {
    members: Mutex<Members>,
    /// Rises when a member joins or leaves; each transport then connects again.
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
    fn connect(&mut self, own: &Arc<dyn Inbound>) {
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
    let are_admitted = own.admit(theirs).is_ok() && peer.admit(ours).is_ok();
    are_admitted && own.confirm(theirs).is_ok() && peer.confirm(ours).is_ok()
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
        self.connect(&own);
        let Some(peer) = self.peers.get(&to) else { return false };
        peer.deliver(own.identity().node, envelope);
        true
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
