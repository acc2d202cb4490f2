//! The state that all tasks of one transport share: the member, the peers, the counts, and the list
//! of the tasks themselves, so that no task outlives the transport.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Display;
use std::net::IpAddr;
use std::sync::{Arc, Mutex};

use raft_core::types::NodeId;
use raft_node::{Envelope, Inbound};
use tokio::runtime::Handle;
use tokio::task::JoinSet;

use crate::counters::{Counted, Counters};
use crate::handshake::Refusal;
use crate::options::{FAREWELL_LIMIT, MAX_PEERS, MAX_UNKNOWN_PEERS, TcpOptions};
use crate::peer::{Lane, Peer};

/// The most (peer, reason) pairs that are kept as already logged; beyond it the list is cleared.
const MAX_NOTED: usize = 1024;

/// The state that the tasks share.
pub struct Shared {
    /// The member.
    pub inbound: Arc<dyn Inbound>,
    /// The time limits.
    pub options: TcpOptions,
    /// The counts.
    pub counters: Arc<Counters>,
    peers: Mutex<BTreeMap<NodeId, Arc<Peer>>>,
    noted: Mutex<BTreeSet<(Remote, Counted)>>,
    tasks: Mutex<Option<JoinSet<()>>>,
    runtime: Handle,
}

/// The peer that a log line is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Remote {
    /// A member that was dialed.
    Node(NodeId),
    /// The other end of a connection that was accepted.
    Address(IpAddr),
}

impl Shared {
    /// The shared state of a transport for `inbound`, on the current runtime.
    pub fn new(inbound: Arc<dyn Inbound>, options: TcpOptions, counters: Arc<Counters>) -> Shared {
        Shared {
            inbound,
            options,
            counters,
            peers: Mutex::default(),
            noted: Mutex::default(),
            tasks: Mutex::new(Some(JoinSet::new())),
            runtime: Handle::current(),
        }
    }

    /// The peer with this id, to which the member sends. It is kept until
    /// [`forget_address`](Shared::forget_address).
    pub fn addressed_peer(&self, node: NodeId) -> Arc<Peer> {
        let mut peers = self.peers.lock().expect("no panic while the peers are locked");
        let peer = peers.entry(node).or_insert_with(|| Arc::new(Peer::new(node, Lane::Main)));
        peer.note_addressed();
        Arc::clone(peer)
    }

    /// The peer with this id, if it is in the list.
    pub fn known_peer(&self, node: NodeId) -> Option<Arc<Peer>> {
        self.peers.lock().expect("no panic while the peers are locked").get(&node).cloned()
    }

    /// The peer with this id, which has connected, unless there are too many. It is removed after
    /// its last connection, unless the member sends to it.
    pub fn connected_peer(&self, node: NodeId) -> Result<Arc<Peer>, Refusal> {
        let mut peers = self.peers.lock().expect("no panic while the peers are locked");
        self.check(&peers, node)?;
        let peer = peers.entry(node).or_insert_with(|| Arc::new(Peer::new(node, Lane::Main)));
        Ok(Arc::clone(peer))
    }

    /// Whether a connection with this peer may be added.
    pub fn check_capacity(&self, node: NodeId) -> Result<(), Refusal> {
        self.check(&self.peers.lock().expect("no panic while the peers are locked"), node)
    }

    /// Checks the limits for a new peer. A node that is not in the membership may be a new member
    /// of which this one has not learned yet. It may also be any program that has the cluster's id,
    /// so only a few are allowed.
    fn check(&self, peers: &BTreeMap<NodeId, Arc<Peer>>, node: NodeId) -> Result<(), Refusal> {
        if peers.contains_key(&node) {
            return Ok(());
        }
        let (max, is_like) = if self.inbound.is_member(node) {
            (MAX_PEERS, true)
        } else {
            (MAX_UNKNOWN_PEERS, false)
        };
        let alike = peers.keys().filter(|other| self.inbound.is_member(**other) == is_like);
        if alike.count() < max { Ok(()) } else { Err(Refusal::TooMany) }
    }

    /// Notes that this peer is no longer a member of the cluster. What waits for it is still
    /// written, for a while, if it is connected; then its connections end.
    pub fn forget_address(self: &Arc<Shared>, peer: &Arc<Peer>) {
        let dropped = peer.forget_address();
        self.note_unreachable(peer, dropped);
        self.forget(Remote::Node(peer.node));
        self.forget_if_unused(peer);
        let leaving = Arc::clone(peer);
        self.spawn(async move {
            tokio::time::sleep(FAREWELL_LIMIT).await;
            leaving.end_if_leaving();
        });
    }

    /// The number of peers in the list.
    pub fn known_peers(&self) -> usize {
        self.peers.lock().expect("no panic while the peers are locked").len()
    }

    /// Removes a peer that is not connected and to which the member does not send.
    pub fn forget_if_unused(&self, peer: &Arc<Peer>) {
        let mut peers = self.peers.lock().expect("no panic while the peers are locked");
        if peer.is_unused() && peers.get(&peer.node).is_some_and(|other| Arc::ptr_eq(other, peer)) {
            peers.remove(&peer.node);
        }
    }

    /// Counts envelopes that were dropped before any byte of them was sent, and returns them to the
    /// member.
    pub fn note_unreachable(&self, peer: &Peer, mut dropped: Vec<Envelope>) {
        self.counters.add(Counted::DroppedUnreachable, dropped.len());
        if !dropped.is_empty() {
            self.inbound.not_sent(peer.node, &mut dropped);
        }
    }

    /// Runs a task that ends at the latest when the transport is dropped.
    pub fn spawn(&self, task: impl Future<Output = ()> + Send + 'static) {
        let mut tasks = self.tasks.lock().expect("no panic while the tasks are locked");
        let Some(tasks) = tasks.as_mut() else { return };
        while let Some(ended) = tasks.try_join_next() {
            if let Err(error) = ended {
                tracing::error!(%error, "a task of the transport panicked: this is a bug");
            }
        }
        tasks.spawn_on(task, &self.runtime);
    }

    /// Ends all tasks; none can be added afterwards.
    pub fn end_tasks(&self) {
        self.tasks.lock().expect("no panic while the tasks are locked").take();
    }

    /// Counts what went wrong with a peer or address, and logs it unless it was logged already.
    pub fn note(&self, remote: Remote, counted: Counted, error: &dyn Display) {
        self.counters.add(counted, 1);
        let mut noted = self.noted.lock().expect("no panic while the notes are locked");
        if noted.len() >= MAX_NOTED {
            noted.clear();
        }
        if noted.insert((remote, counted)) {
            tracing::warn!(peer = %remote, what = ?counted, "{error}");
        }
    }

    /// Notes that a peer or address works again: later errors are logged again.
    pub fn forget(&self, remote: Remote) {
        let mut noted = self.noted.lock().expect("no panic while the notes are locked");
        noted.retain(|(other, _)| *other != remote);
    }
}

impl Display for Remote {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Remote::Node(node) => write!(f, "node {node}"),
            Remote::Address(address) => address.fmt(f),
        }
    }
}
