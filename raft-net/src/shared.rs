//! What all tasks of one transport share: the member's door, the peers, the counts, and the list of
//! the tasks themselves, so that none outlives the transport.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Display;
use std::net::IpAddr;
use std::sync::{Arc, Mutex};

use raft_core::types::NodeId;
use raft_node::Inbound;
use tokio::runtime::Handle;
use tokio::task::JoinSet;

use crate::counters::{Counted, Counters};
use crate::handshake::Refusal;
use crate::options::{MAX_PEERS, TcpOptions};
use crate::peer::Peer;

/// The most (peer, reason) pairs that are remembered as logged; then the memory begins anew.
const MAX_NOTED: usize = 1024;

/// What the tasks share.
pub struct Shared {
    /// The member.
    pub inbound: Arc<dyn Inbound>,
    /// How long to wait for things.
    pub options: TcpOptions,
    /// What is counted.
    pub counters: Arc<Counters>,
    peers: Mutex<BTreeMap<NodeId, Arc<Peer>>>,
    noted: Mutex<BTreeSet<(Who, Counted)>>,
    tasks: Mutex<Option<JoinSet<()>>>,
    runtime: Handle,
}

/// Whom a line of the log is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Who {
    /// A member that was dialed.
    Node(NodeId),
    /// Somebody who connected.
    Address(IpAddr),
}

impl Shared {
    /// Of a transport that works for `inbound`, on the current runtime.
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

    /// The peer of this name, unless there are too many.
    pub fn peer(&self, node: NodeId) -> Result<Arc<Peer>, Refusal> {
        let mut peers = self.peers.lock().expect("nobody panics while holding the peers");
        if let Some(peer) = peers.get(&node) {
            return Ok(Arc::clone(peer));
        }
        if peers.len() >= MAX_PEERS {
            return Err(Refusal::NoRoom);
        }
        let peer = Arc::new(Peer::new(node));
        peers.insert(node, Arc::clone(&peer));
        Ok(peer)
    }

    /// Runs a task that ends with the transport at the latest.
    pub fn spawn(&self, task: impl Future<Output = ()> + Send + 'static) {
        let mut tasks = self.tasks.lock().expect("nobody panics while holding the tasks");
        let Some(tasks) = tasks.as_mut() else { return };
        while let Some(ended) = tasks.try_join_next() {
            if let Err(error) = ended {
                tracing::error!(%error, "a task of the transport panicked: this is a bug");
            }
        }
        tasks.spawn_on(task, &self.runtime);
    }

    /// Ends all tasks; none can be added any more.
    pub fn end_tasks(&self) {
        self.tasks.lock().expect("nobody panics while holding the tasks").take();
    }

    /// Counts what went wrong with somebody, and logs it unless it was logged already.
    pub fn note(&self, who: Who, counted: Counted, error: &dyn Display) {
        self.counters.add(counted, 1);
        let mut noted = self.noted.lock().expect("nobody panics while holding the notes");
        if noted.len() >= MAX_NOTED {
            noted.clear();
        }
        if noted.insert((who, counted)) {
            tracing::warn!(peer = %who, what = ?counted, "{error}");
        }
    }

    /// All is well with somebody: what goes wrong from now on is logged again.
    pub fn forget(&self, who: Who) {
        let mut noted = self.noted.lock().expect("nobody panics while holding the notes");
        noted.retain(|(other, _)| *other != who);
    }
}

impl Display for Who {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Who::Node(node) => write!(f, "node {node}"),
            Who::Address(address) => address.fmt(f),
        }
    }
}
