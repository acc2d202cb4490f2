//! What all parts of a running member share: the inbox, the engine, and what people see.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use raft_core::types::{Identity, NodeId, StoreId};
use tokio::sync::{broadcast, watch};

use crate::Transport;
use crate::engine::Engine;
use crate::inbox::Inbox;
use crate::pump::{Event, Limits};
use crate::room::Room;
use crate::status::{NodeEvent, NodeStatus};
use crate::waiters::Waiters;

/// One running member.
pub(crate) struct Shared {
    pub(crate) identity: Identity,
    pub(crate) limits: Limits,
    pub(crate) inbox: Arc<Inbox>,
    pub(crate) proposals_room: Room,
    pub(crate) reads_room: Room,
    pub(crate) status: watch::Sender<Arc<NodeStatus>>,
    pub(crate) events: broadcast::Sender<NodeEvent>,
    /// The store ids with which peers have been seen.
    peers: Mutex<BTreeMap<NodeId, StoreId>>,
    /// Nothing is left for the driver.
    is_finished: AtomicBool,
    /// Only ever tried; see `turns`.
    pub(crate) engine: Mutex<Engine>,
}

impl Shared {
    pub(crate) fn new(
        identity: Identity,
        limits: Limits,
        inbox: Arc<Inbox>,
        engine: Engine,
        status: watch::Sender<Arc<NodeStatus>>,
    ) -> Shared {
        /// Events that a slow observer may lag behind before it misses the oldest.
        const EVENTS: usize = 256;
        Shared {
            identity,
            inbox,
            proposals_room: Room::new(limits.proposals, limits.proposal_bytes),
            reads_room: Room::new(limits.reads, 0),
            status,
            events: broadcast::Sender::new(EVENTS),
            peers: Mutex::default(),
            is_finished: AtomicBool::new(false),
            engine: Mutex::new(engine),
            limits,
        }
    }

    /// Brings an event, and wakes the driver.
    pub(crate) fn post(&self, event: Event<Waiters>) {
        self.inbox.push(event);
        self.inbox.driver.notify_one();
    }

    /// Brings an event, and takes the turn for it.
    pub(crate) fn take_in(self: &Arc<Shared>, event: Event<Waiters>) {
        self.inbox.push(event);
        self.drive_fed();
    }

    /// The member has ended, and so have its workers that are polled in place.
    pub(crate) fn finish(&self) {
        self.is_finished.store(true, Ordering::Release);
        self.inbox.driver.notify_one();
    }

    /// Whether nothing is left for the driver.
    pub(crate) fn is_finished(&self) -> bool {
        self.is_finished.load(Ordering::Acquire)
    }

    /// Does something with the transport, before the first turn.
    pub(crate) fn with_transport(&self, act: impl FnOnce(&mut dyn Transport)) {
        let mut engine = self.engine.lock().unwrap_or_else(PoisonError::into_inner);
        engine.with_transport(act);
    }

    /// The store with which a peer was here first: this one, if it was never here.
    pub(crate) fn known_store(&self, peer: Identity) -> StoreId {
        let mut peers = self.peers.lock().unwrap_or_else(PoisonError::into_inner);
        *peers.entry(peer.node).or_insert(peer.store)
    }
}
