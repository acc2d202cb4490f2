//! One peer in the transport: the envelopes that wait for it, its address, and its connections.
//!
//! One lock guards all of it; it is held for a few instructions and never across an await. The
//! transport writes to the newest connection, because after a restart of the peer only that one
//! works. It reads from the others until they end.
//!
//! The parts of a snapshot have a queue and a connection of their own, the *bulk lane*, so that
//! heartbeats and entries never wait behind megabytes. The transport dials it when there is a part
//! to send, and closes it when no part was sent for a while. The peer need not know which of its
//! connections that is: it only receives there what it would receive anyway.

use std::sync::{Arc, Mutex, MutexGuard};
use std::time::{Duration, Instant};

use raft_core::types::NodeId;
use raft_node::Envelope;
use tokio::sync::{Notify, oneshot};

use crate::options::{MAX_LINKS_PER_PEER, MAX_WRITE_BYTES};
use crate::queue::SendQueue;

/// A member of the cluster other than this one.
#[derive(Debug)]
pub struct Peer {
    /// Its id.
    pub node: NodeId,
    /// What is sent to it here.
    pub lane: Lane,
    state: Mutex<State>,
    /// Wakes the task that dials.
    dial: Notify,
}

/// What the connections of a peer carry.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Lane {
    /// Everything but the parts of snapshots.
    Main,
    /// The parts of snapshots.
    Bulk,
}

#[derive(Debug, Default)]
struct State {
    queue: SendQueue,
    address: Vec<u8>,
    /// The connections whose handshake has succeeded, the newest last.
    links: Vec<Arc<Link>>,
    /// Dropping it ends the task that dials; `None` if there is no such task.
    dialer: Option<oneshot::Sender<()>>,
    /// Whether the member sends to this peer.
    is_addressed: bool,
    /// When the peer could not be reached last, if it was not reached since.
    failed_at: Option<Instant>,
    /// Whether the peer is a member no longer: its connections end once the queue is written.
    is_leaving: bool,
    /// Whether to connect although no envelope waits.
    is_wanted: bool,
}

/// One connection with the peer, after its handshake.
#[derive(Debug, Default)]
pub struct Link {
    /// Wakes the writer.
    pub wake: Notify,
    /// Notified when the connection must end.
    pub close: Notify,
}

/// The result of queueing an envelope.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Pushed {
    /// It waits in the queue.
    Queued,
    /// It waits in the queue, and no task dials this peer yet.
    QueuedWithoutDialer,
    /// Dropped: the queue is full.
    Full,
    /// Dropped: there is neither a connection nor an address.
    NoRoute,
}

impl Peer {
    /// A peer of which only the id is known.
    pub fn new(node: NodeId, lane: Lane) -> Peer {
        Peer { node, lane, state: Mutex::default(), dial: Notify::new() }
    }

    /// Whether the last attempt to reach the peer failed, less than this time ago.
    pub fn has_failed_within(&self, time: Duration) -> bool {
        self.state().failed_at.is_some_and(|failed| failed.elapsed() < time)
    }

    /// Notes that the member sends to this peer.
    pub fn note_addressed(&self) {
        let mut state = self.state();
        state.is_addressed = true;
        state.is_leaving = false;
    }

    /// Registers a task that dials this peer. The task must end when the returned receiver is
    /// ready.
    pub fn begin_dialer(&self) -> oneshot::Receiver<()> {
        let (ends, ended) = oneshot::channel();
        self.state().dialer = Some(ends);
        ended
    }

    /// Notes that the peer is a member no longer: its address is removed. If it is connected, the
    /// waiting envelopes are written first, and then its connections end; otherwise the task that
    /// dials it ends, and the envelopes are returned.
    pub fn forget_address(&self) -> Vec<Envelope> {
        let mut state = self.state();
        state.is_addressed = false;
        state.is_leaving = true;
        state.address.clear();
        if state.links.is_empty() {
            state.dialer = None;
            return state.queue.take_all();
        }
        state.links.iter().for_each(|link| link.wake.notify_one());
        Vec::new()
    }

    /// Whether a connection with the peer must end, since it has nothing more to write and the peer
    /// is a member no longer.
    pub fn ends(&self, link: &Arc<Link>) -> bool {
        let state = self.state();
        let is_newest = state.links.last().is_some_and(|newest| Arc::ptr_eq(newest, link));
        state.is_leaving && (state.queue.is_empty() || !is_newest)
    }

    /// Ends the connections with a peer that is a member no longer, whatever it has not read.
    pub fn end_if_leaving(&self) {
        let state = self.state();
        if state.is_leaving {
            state.links.iter().for_each(|link| link.close.notify_one());
        }
    }

    /// Whether there is a connection with the peer.
    pub fn is_connected(&self) -> bool {
        !self.state().links.is_empty()
    }

    /// Whether the peer is not connected and the member does not send to it.
    pub fn is_unused(&self) -> bool {
        let state = self.state();
        state.links.is_empty() && !state.is_addressed
    }

    /// Queues an envelope and wakes the task that will send it.
    pub fn push(&self, envelope: Envelope, address: Option<&[u8]>) -> Pushed {
        let mut state = self.state();
        if let Some(address) = address
            && state.address != address
        {
            state.address = address.to_vec();
        }
        let link = state.links.last().cloned();
        if link.is_none() && address.is_none() {
            return Pushed::NoRoute;
        }
        if !state.queue.push(envelope) {
            return Pushed::Full;
        }
        match link {
            Some(link) => link.wake.notify_one(),
            None if state.dialer.is_none() => return Pushed::QueuedWithoutDialer,
            None => self.dial.notify_one(),
        }
        Pushed::Queued
    }

    /// Wakes the task that dials this peer if there is no connection. Returns whether there is no
    /// such task yet.
    pub fn connect(&self, address: &[u8]) -> bool {
        let mut state = self.state();
        if state.address != address {
            state.address = address.to_vec();
        }
        if !state.links.is_empty() {
            return false;
        }
        state.is_wanted = true;
        self.dial.notify_one();
        state.dialer.is_none()
    }

    /// Takes as many waiting envelopes as one write carries, if this is the link to write to.
    pub fn take(&self, link: &Arc<Link>, taken: &mut Vec<Envelope>) {
        let mut state = self.state();
        if state.links.last().is_some_and(|newest| Arc::ptr_eq(newest, link)) {
            state.queue.take(MAX_WRITE_BYTES, taken);
        }
    }

    /// Adds a new connection, which is written to from now on. If there are too many, the oldest
    /// must end.
    pub fn attach(&self) -> Arc<Link> {
        let link = Arc::new(Link::default());
        let mut state = self.state();
        state.links.push(Arc::clone(&link));
        state.failed_at = None;
        if state.links.len() > MAX_LINKS_PER_PEER {
            state.links.remove(0).close.notify_one();
        }
        link.wake.notify_one();
        link
    }

    /// Removes a connection that has ended. If it was the last one, the waiting envelopes are
    /// dropped, since they will be stale when the next connection exists. Returns the dropped
    /// envelopes; no byte of them was sent.
    pub fn detach(&self, link: &Arc<Link>) -> Vec<Envelope> {
        let mut state = self.state();
        state.links.retain(|other| !Arc::ptr_eq(other, link));
        match state.links.last() {
            Some(newest) => {
                newest.wake.notify_one();
                Vec::new()
            }
            None => {
                if state.is_leaving {
                    state.dialer = None;
                }
                state.queue.take_all()
            }
        }
    }

    /// Waits until there are envelopes that only a new connection can carry, or a connection is
    /// wanted for itself; returns the address to dial.
    pub async fn wanted(&self) -> Vec<u8> {
        loop {
            {
                let mut state = self.state();
                let is_wanted = std::mem::take(&mut state.is_wanted);
                if state.links.is_empty() && (is_wanted || !state.queue.is_empty()) {
                    return state.address.clone();
                }
            }
            self.dial.notified().await;
        }
    }

    /// Notes that the peer could not be reached. Returns the envelopes that are dropped, or none if
    /// the peer has connected in the meantime. No byte of them was sent.
    pub fn give_up(&self) -> Vec<Envelope> {
        let mut state = self.state();
        state.failed_at = Some(Instant::now());
        if state.links.is_empty() { state.queue.take_all() } else { Vec::new() }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().expect("no panic while a peer is locked")
    }
}
