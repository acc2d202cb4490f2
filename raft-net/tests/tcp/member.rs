//! A member of these tests: a transport, and a recorder of what arrives.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use bytes::Bytes;
use raft_core::types::{ClusterId, Identity, NodeId, StoreId, Term};
use raft_net::{Counted, Counters, TcpOptions, TcpTransport};
use raft_node::{Content, Envelope, Forward, Inbound, PeerRejected, Transport};
use tokio::time::sleep;

pub const CLUSTER: ClusterId = ClusterId(7);

/// Longer than any step of these tests takes, and shorter than the time limit of the test runner.
pub const PATIENCE: Duration = Duration::from_secs(10);

/// Stands for a message of the protocol or a part of a snapshot, which have no sequence number.
pub const NO_SEQUENCE: u64 = 0;

/// A member that records what arrives.
pub struct Recorder {
    identity: Identity,
    arrived: Mutex<Vec<(NodeId, Envelope)>>,
    confirmed: Mutex<Vec<(Identity, u16)>>,
    not_sent: Mutex<Vec<(NodeId, u64)>>,
    removed: Mutex<Vec<NodeId>>,
    told_by: Mutex<Vec<NodeId>>,
}

impl Recorder {
    /// Refuses a node from now on, since it was removed.
    pub fn remove(&self, node: NodeId) {
        self.removed.lock().expect("not poisoned").push(node);
    }

    /// The members that said that this one was removed.
    pub fn told_by(&self) -> Vec<u64> {
        self.told_by.lock().expect("not poisoned").iter().map(|node| node.get()).collect()
    }
}

impl Inbound for Recorder {
    fn identity(&self) -> Identity {
        self.identity
    }

    /// Does not compare the clusters, because the transport compares them first.
    fn admit(&self, peer: Identity) -> Result<(), PeerRejected> {
        match peer.node {
            node if node == self.identity.node => Err(PeerRejected::OwnId(node)),
            node if self.removed.lock().expect("not poisoned").contains(&node) => {
                Err(PeerRejected::Removed(node))
            }
            node if peer.store == StoreId(666) => {
                Err(PeerRejected::OtherStore { node, theirs: peer.store, known: StoreId(1) })
            }
            _ => Ok(()),
        }
    }

    fn confirm(&self, peer: Identity, version: u16) -> Result<(), PeerRejected> {
        self.confirmed.lock().expect("not poisoned").push((peer, version));
        Ok(())
    }

    fn told_removed(&self, by: NodeId) {
        self.told_by.lock().expect("not poisoned").push(by);
    }

    /// Nodes with ids of three digits are not in the membership.
    fn is_member(&self, node: NodeId) -> bool {
        node.get() < 100
    }

    fn not_sent(&self, to: NodeId, envelopes: &mut Vec<Envelope>) {
        let mut not_sent = self.not_sent.lock().expect("not poisoned");
        not_sent.extend(envelopes.drain(..).map(|envelope| (to, sequence(&envelope))));
    }

    fn deliver(&self, from: NodeId, envelope: Envelope) {
        self.arrived.lock().expect("not poisoned").push((from, envelope));
    }
}

/// A member: its recorder and its transport.
pub struct Member {
    pub recorder: Arc<Recorder>,
    pub transport: TcpTransport,
    pub counters: Arc<Counters>,
}

impl Member {
    pub fn new(number: u64) -> Member {
        Member::of(CLUSTER, number, "127.0.0.1:0")
    }

    pub fn of(cluster: ClusterId, number: u64, address: &str) -> Member {
        let identity = Identity { cluster, node: node(number), store: StoreId(number) };
        let recorder = Arc::new(Recorder {
            identity,
            arrived: Mutex::default(),
            confirmed: Mutex::default(),
            not_sent: Mutex::default(),
            removed: Mutex::default(),
            told_by: Mutex::default(),
        });
        let mut transport = TcpTransport::bind(address, options()).expect("a free port");
        let counters = transport.counters();
        transport.start(Arc::clone(&recorder) as Arc<dyn Inbound>);
        Member { recorder, transport, counters }
    }

    pub fn address(&self) -> SocketAddr {
        self.transport.local_address()
    }

    pub fn send(&mut self, to: u64, address: Option<SocketAddr>, sequence: u64) -> bool {
        let address = address.map(|address| address.to_string());
        let address = address.as_deref().map(str::as_bytes);
        let cluster = self.recorder.identity.cluster;
        self.transport.send(node(to), address, envelope(cluster, sequence, 256))
    }

    /// The sequence numbers of envelopes that were returned as not sent.
    pub fn not_sent(&self) -> Vec<u64> {
        let not_sent = self.recorder.not_sent.lock().expect("not poisoned");
        not_sent.iter().map(|(_, sequence)| *sequence).collect()
    }

    /// The peers that were confirmed.
    pub fn confirmed(&self) -> Vec<u64> {
        let confirmed = self.recorder.confirmed.lock().expect("not poisoned");
        confirmed.iter().map(|(peer, _)| peer.node.get()).collect()
    }

    /// The versions that the confirmed peers have announced.
    pub fn confirmed_versions(&self) -> Vec<u16> {
        let confirmed = self.recorder.confirmed.lock().expect("not poisoned");
        confirmed.iter().map(|(_, version)| *version).collect()
    }

    /// The senders and sequence numbers of envelopes that arrived.
    pub fn arrived(&self) -> Vec<(u64, u64)> {
        let arrived = self.recorder.arrived.lock().expect("not poisoned");
        arrived.iter().map(|(from, envelope)| (from.get(), sequence(envelope))).collect()
    }

    /// How many parts of snapshots arrived.
    pub fn parts(&self) -> usize {
        let arrived = self.recorder.arrived.lock().expect("not poisoned");
        let is_part = |content: &Content| matches!(content, Content::Snapshot(_));
        arrived.iter().filter(|(_, envelope)| is_part(&envelope.content)).count()
    }

    pub fn count(&self, counted: Counted) -> u64 {
        self.counters.get(counted)
    }
}

pub fn options() -> TcpOptions {
    TcpOptions {
        handshake_timeout: Duration::from_secs(1),
        keep_alive_every: Duration::from_millis(50),
        idle_limit: Duration::from_secs(2),
        ..TcpOptions::default()
    }
}

pub fn node(number: u64) -> NodeId {
    NodeId::new(number).expect("not zero")
}

pub fn envelope(cluster: ClusterId, sequence: u64, bytes: usize) -> Envelope {
    let commands = vec![Bytes::from(vec![sequence as u8; bytes])];
    let forward = Forward { term: Term::new(1), start: 1, sequence, commands };
    Envelope { cluster, content: Content::Forward(forward) }
}

pub fn sequence(envelope: &Envelope) -> u64 {
    match &envelope.content {
        Content::Forward(forward) => forward.sequence,
        Content::Raft { .. } => NO_SEQUENCE,
        Content::Snapshot(_) | Content::SessionForward(_) => NO_SEQUENCE,
        Content::ForwardAnswer(other) => panic!("{other:?} was never sent"),
    }
}

pub async fn eventually(what: &str, mut holds: impl FnMut() -> bool) {
    let begin = Instant::now();
    while !holds() {
        assert!(begin.elapsed() < PATIENCE, "waited in vain: {what}");
        sleep(Duration::from_millis(5)).await;
    }
}
