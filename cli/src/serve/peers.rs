//! Turns the address of a peer in the membership into the address that the TCP transport connects
//! to.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use bytes::Bytes;
use kontiki::{Envelope, Inbound, NodeId, TcpTransport, Transport};

use super::listed::Listed;

/// The TCP transport, with the peers' addresses from the members' metadata.
pub struct PeerAddresses {
    transport: TcpTransport,
    /// The members' addresses in the settings.
    listed: Listed,
    /// The last metadata of each peer, and the address in it. It rarely changes, and each message
    /// needs it.
    known: BTreeMap<NodeId, (Bytes, Option<String>)>,
}

impl PeerAddresses {
    /// Wraps a transport that has not started.
    pub fn new(transport: TcpTransport, listed: Listed) -> PeerAddresses {
        PeerAddresses { transport, listed, known: BTreeMap::new() }
    }

    fn learn(&mut self, node: NodeId, metadata: Option<&[u8]>) {
        let Some(metadata) = metadata else { return };
        if self.known.get(&node).is_some_and(|(read, _)| read == metadata) {
            return;
        }
        let address = match self.listed.addresses(node, metadata) {
            Ok(addresses) => {
                let used = addresses.peer_address();
                if let Some(listed) = self.listed.unused(node, &addresses) {
                    tracing::warn!(%node, used, listed, "the settings list another address of a \
                        member than the membership has; `kontiki member set-address` changes it");
                }
                Some(used.to_owned())
            }
            Err(error) => {
                tracing::warn!(%node, %error, "the membership has no valid address of a member");
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
        self.learn(to, metadata);
        self.transport.send(to, known_address(&self.known, to, metadata), envelope)
    }

    fn retain(&mut self, members: &BTreeSet<NodeId>) {
        self.known.retain(|node, _| members.contains(node));
        self.transport.retain(members);
    }

    fn connect(&mut self, node: NodeId, metadata: Option<&[u8]>) {
        self.learn(node, metadata);
        self.transport.connect(node, known_address(&self.known, node, metadata));
    }
}

/// The address of a peer that has metadata.
fn known_address<'a>(
    known: &'a BTreeMap<NodeId, (Bytes, Option<String>)>,
    node: NodeId,
    metadata: Option<&[u8]>,
) -> Option<&'a [u8]> {
    let (_, address) = known.get(&node).filter(|_| metadata.is_some())?;
    address.as_deref().map(str::as_bytes)
}
