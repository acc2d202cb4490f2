//! What the membership says of a peer, made into the address that the TCP transport dials.

use std::collections::BTreeMap;
use std::sync::Arc;

use bytes::Bytes;
use kontiki::{Envelope, Inbound, NodeId, TcpTransport, Transport};
use kontiki_etcd::MemberAddresses;

/// The TCP transport, with the peers' addresses taken from the settings or else out of the members'
/// metadata.
pub struct PeerAddresses {
    transport: TcpTransport,
    /// Where the settings say that members are. They may have moved since the membership was
    /// written.
    settings: BTreeMap<NodeId, MemberAddresses>,
    /// The metadata that was read last for each peer, and the address in it. It changes hardly
    /// ever, and is asked for with each message.
    known: BTreeMap<NodeId, (Bytes, Option<String>)>,
}

impl PeerAddresses {
    /// Around a transport that has not started.
    pub fn new(
        transport: TcpTransport,
        settings: BTreeMap<NodeId, MemberAddresses>,
    ) -> PeerAddresses {
        PeerAddresses { transport, settings, known: BTreeMap::new() }
    }

    fn learn(&mut self, node: NodeId, metadata: &[u8]) {
        if self.known.get(&node).is_some_and(|(read, _)| read == metadata) {
            return;
        }
        let addresses = match self.settings.get(&node) {
            Some(addresses) => Ok(addresses.clone()),
            None => MemberAddresses::decode(metadata),
        };
        let address = match addresses {
            Ok(addresses) => Some(addresses.peer_address().to_owned()),
            Err(error) => {
                tracing::warn!(%node, %error, "the membership does not say where this member is");
                None
            }
        };
        self.known.insert(node, (Bytes::copy_from_slice(metadata), address));
    }
}

impl Transport for PeerAddresses {
    fn start(&mut self, inbound: Arc<dyn Inbound>) {
        self.transport.start(inbound);
    }

    fn send(&mut self, to: NodeId, metadata: Option<&[u8]>, envelope: Envelope) -> bool {
        if let Some(metadata) = metadata {
            self.learn(to, metadata);
        }
        let address = self.known.get(&to).and_then(|(_, address)| address.as_deref());
        let address = address.filter(|_| metadata.is_some());
        self.transport.send(to, address.map(str::as_bytes), envelope)
    }
}
