//! A transport between members of one process: for tests, examples and single-process clusters.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use raft_core::types::NodeId;

use crate::{Envelope, Inbound, Transport};

/// A network inside one process. Members find each other by id.
#[derive(Clone, Default)]
pub struct InProcessNetwork {
    members: Arc<Mutex<BTreeMap<NodeId, Arc<dyn Inbound>>>>,
}

impl InProcessNetwork {
    /// A network without members.
    pub fn new() -> InProcessNetwork {
        InProcessNetwork::default()
    }

    /// A member's way into the network; it joins when its node starts, and leaves when it ends.
    pub fn transport(&self) -> Box<dyn Transport> {
        Box::new(InProcessTransport { network: self.clone(), own: None })
    }

    fn members(&self) -> MutexGuard<'_, BTreeMap<NodeId, Arc<dyn Inbound>>> {
        self.members.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

struct InProcessTransport {
    network: InProcessNetwork,
    own: Option<Arc<dyn Inbound>>,
}

impl Transport for InProcessTransport {
    fn start(&mut self, inbound: Arc<dyn Inbound>) {
        self.network.members().insert(inbound.identity().node, Arc::clone(&inbound));
        self.own = Some(inbound);
    }

    fn send(&mut self, to: NodeId, _address: Option<&[u8]>, envelope: Envelope) {
        let Some(own) = &self.own else { return };
        let peer = self.network.members().get(&to).cloned();
        // The peer checks who comes, as it would in a handshake.
        if let Some(peer) = peer
            && peer.greet(own.identity()).is_ok()
        {
            peer.deliver(own.identity().node, envelope);
        }
    }
}

impl Drop for InProcessTransport {
    fn drop(&mut self) {
        let Some(own) = self.own.take() else { return };
        let mut members = self.network.members();
        let node = own.identity().node;
        // A member that was started again under the same id has taken this one's place.
        if members.get(&node).is_some_and(|there| Arc::ptr_eq(there, &own)) {
            members.remove(&node);
        }
    }
}
