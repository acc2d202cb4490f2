//! The transport over TCP.

use std::collections::{BTreeMap, BTreeSet};
use std::net::{SocketAddr, TcpListener};
use std::sync::Arc;

use raft_core::types::NodeId;
use raft_node::{Content, Envelope, Inbound, SnapshotMessage, Transport};
use thiserror::Error;

use crate::counters::{Counted, Counters};
use crate::options::{BULK_PAUSE, TcpOptions};
use crate::peer::{Lane, Peer, Pushed};
use crate::shared::Shared;
use crate::{acceptor, dialer};

/// Carries envelopes over TCP: one bounded queue for each peer, at most one dialed connection to
/// it, and each connection used in both directions, whichever side dialed it. While a snapshot is
/// sent, there is a second queue and a second dialed connection for its parts.
///
/// A peer's address, as `send` is given it, is `host:port` in UTF-8. Dropping the transport ends
/// all of its tasks, and with them its connections and its listener.
pub struct TcpTransport {
    listener: Option<TcpListener>,
    address: SocketAddr,
    options: TcpOptions,
    counters: Arc<Counters>,
    shared: Option<Arc<Shared>>,
    peers: BTreeMap<NodeId, Arc<Peer>>,
    /// The bulk lanes of peers that were sent parts of snapshots.
    bulk: BTreeMap<NodeId, Arc<Peer>>,
}

/// Why a transport could not be bound.
#[derive(Debug, Error)]
#[error("cannot listen for peers on {address}: {source}; another program may use that port")]
pub struct BindError {
    /// The address at which it should have listened.
    pub address: String,
    /// The system's error.
    pub source: std::io::Error,
}

impl TcpTransport {
    /// Listens at `address` (`host:port`; port 0 for any free one). Connections wait until `start`.
    pub fn bind(address: &str, options: TcpOptions) -> Result<TcpTransport, BindError> {
        let failed = |source| BindError { address: address.to_owned(), source };
        let listener = TcpListener::bind(address).map_err(failed)?;
        listener.set_nonblocking(true).map_err(failed)?;
        Ok(TcpTransport {
            address: listener.local_addr().map_err(failed)?,
            listener: Some(listener),
            options,
            counters: Arc::new(Counters::new()),
            shared: None,
            peers: BTreeMap::new(),
            bulk: BTreeMap::new(),
        })
    }

    /// The address at which it listens.
    pub fn local_address(&self) -> SocketAddr {
        self.address
    }

    /// The counts. A caller may keep them when it gives the transport away.
    pub fn counters(&self) -> Arc<Counters> {
        Arc::clone(&self.counters)
    }

    /// The number of peers in its list: those to which it sends, and others that are connected.
    pub fn known_peers(&self) -> usize {
        self.shared.as_ref().map_or(0, |shared| shared.known_peers())
    }

    /// The number of connections that only parts of snapshots are sent on.
    pub fn bulk_connections(&self) -> usize {
        self.bulk.values().filter(|peer| peer.is_connected()).count()
    }

    /// The peer with this id. A peer without an address is not in the membership: it only receives
    /// answers, on the connection that it made, and is not kept after that connection has ended.
    fn peer(&mut self, shared: &Shared, node: NodeId, has_address: bool) -> Option<Arc<Peer>> {
        if let Some(peer) = self.peers.get(&node) {
            return Some(Arc::clone(peer));
        }
        if !has_address {
            return shared.known_peer(node);
        }
        let peer = shared.addressed_peer(node);
        self.peers.insert(node, Arc::clone(&peer));
        Some(peer)
    }
}

impl TcpTransport {
    /// The bulk lane of a peer. `None` if the peer has no address to dial, or could not be reached
    /// there lately: then the ordinary connection must do.
    fn bulk_lane(&mut self, node: NodeId, address: Option<&[u8]>) -> Option<Arc<Peer>> {
        address?;
        let new = || Arc::new(Peer::new(node, Lane::Bulk));
        let peer = self.bulk.entry(node).or_insert_with(new);
        (!peer.has_failed_within(BULK_PAUSE)).then(|| Arc::clone(peer))
    }

    /// Queues an envelope, and starts to dial the peer if no task does. Returns whether it waits.
    fn push(
        &self,
        shared: &Arc<Shared>,
        peer: Arc<Peer>,
        address: Option<&[u8]>,
        envelope: Envelope,
    ) -> bool {
        let dropped = match peer.push(envelope, address) {
            Pushed::Queued => return true,
            Pushed::QueuedWithoutDialer => {
                begin_dialer(shared, peer);
                return true;
            }
            Pushed::Full => Counted::DroppedFull,
            Pushed::NoRoute => Counted::DroppedNoRoute,
        };
        self.counters.add(dropped, 1);
        false
    }
}

impl Transport for TcpTransport {
    fn start(&mut self, inbound: Arc<dyn Inbound>) {
        let listener = self.listener.take().expect("a transport is started once");
        let listener = tokio::net::TcpListener::from_std(listener);
        let listener = listener.expect("a listening socket on a runtime with I/O");
        let counters = Arc::clone(&self.counters);
        let shared = Arc::new(Shared::new(inbound, self.options, counters));
        shared.spawn(acceptor::run(Arc::clone(&shared), listener));
        self.shared = Some(shared);
    }

    fn send(&mut self, to: NodeId, address: Option<&[u8]>, envelope: Envelope) -> bool {
        let shared = self.shared.clone().expect("a transport is started before it sends");
        if let (true, Some(peer)) = (is_bulk(&envelope), self.bulk_lane(to, address)) {
            return self.push(&shared, peer, address, envelope);
        }
        let Some(peer) = self.peer(&shared, to, address.is_some()) else {
            self.counters.add(Counted::DroppedNoRoute, 1);
            return false;
        };
        self.push(&shared, peer, address, envelope)
    }

    fn retain(&mut self, members: &BTreeSet<NodeId>) {
        let Some(shared) = &self.shared else { return };
        let stays = |node: &NodeId, peer: &mut Arc<Peer>| {
            let stays = members.contains(node);
            if !stays {
                shared.forget_address(peer);
            }
            stays
        };
        self.peers.retain(stays);
        self.bulk.retain(stays);
    }

    fn connect(&mut self, node: NodeId, address: Option<&[u8]>) {
        let shared = self.shared.clone().expect("a transport is started before it connects");
        let Some(address) = address else { return };
        if let Some(peer) = self.peer(&shared, node, true)
            && peer.connect(address)
        {
            begin_dialer(&shared, peer);
        }
    }
}

/// Starts the task that dials a peer.
fn begin_dialer(shared: &Arc<Shared>, peer: Arc<Peer>) {
    let ended = peer.begin_dialer();
    shared.spawn(dialer::run(Arc::clone(shared), peer, ended));
}

/// Whether an envelope is large and may wait: a part of a snapshot.
fn is_bulk(envelope: &Envelope) -> bool {
    matches!(&envelope.content, Content::Snapshot(SnapshotMessage::Chunk { .. }))
}

impl Drop for TcpTransport {
    fn drop(&mut self) {
        if let Some(shared) = &self.shared {
            shared.end_tasks();
        }
    }
}
