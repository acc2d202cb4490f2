//! One peer as the transport sees it: what waits for it, where it is, and its connections.
//!
//! All of it is behind one lock that is held for a few instructions and never across an await. The
//! newest connection is the one that is written to: after a restart of the peer it is the one that
//! lives. Others are read from until they end.

use std::sync::{Arc, Mutex, MutexGuard};

use raft_core::types::NodeId;
use raft_node::Envelope;
use tokio::sync::{Notify, oneshot};

use crate::options::{MAX_LINKS_PER_PEER, MAX_WRITE_BYTES};
use crate::queue::SendQueue;

/// A member of the cluster other than this one.
#[derive(Debug)]
pub struct Peer {
    /// Its name.
    pub node: NodeId,
    state: Mutex<State>,
    /// Wakes the task that dials.
    dial: Notify,
}

#[derive(Debug, Default)]
struct State {
    queue: SendQueue,
    address: Vec<u8>,
    /// Handshaken connections, the newest last.
    links: Vec<Arc<Link>>,
    /// Ends the task that dials when it is dropped; none while there is no such task.
    dialer: Option<oneshot::Sender<()>>,
    /// The member sends to this peer.
    is_addressed: bool,
}

/// One connection with the peer, after its handshake.
#[derive(Debug, Default)]
pub struct Link {
    /// Wakes the writer.
    pub wake: Notify,
    /// Tells the connection to end.
    pub close: Notify,
}

/// What became of an envelope.
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
    /// A peer of which nothing is known but its name.
    pub fn new(node: NodeId) -> Peer {
        Peer { node, state: Mutex::default(), dial: Notify::new() }
    }

    /// The member sends to this peer.
    pub fn note_addressed(&self) {
        self.state().is_addressed = true;
    }

    /// A task begins to dial this peer, and ends when what this gives is ready.
    pub fn begin_dialer(&self) -> oneshot::Receiver<()> {
        let (ends, ended) = oneshot::channel();
        self.state().dialer = Some(ends);
        ended
    }

    /// The member sends to this peer no more: its address is forgotten, and the task that dials it
    /// ends, with the connection that it made. What waits goes out on a connection that the peer
    /// made, if there is one; else it is given back.
    pub fn forget_address(&self) -> Vec<Envelope> {
        let mut state = self.state();
        state.is_addressed = false;
        state.address.clear();
        state.dialer = None;
        if state.links.is_empty() { state.queue.take_all() } else { Vec::new() }
    }

    /// Whether the peer is neither connected nor sent to.
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

    /// Takes what waits, as much as one write carries, if this is the link to write to.
    pub fn take(&self, link: &Arc<Link>, taken: &mut Vec<Envelope>) {
        let mut state = self.state();
        if state.links.last().is_some_and(|newest| Arc::ptr_eq(newest, link)) {
            state.queue.take(MAX_WRITE_BYTES, taken);
        }
    }

    /// A new connection, from now on the one to write to. Where there are too many, the oldest is
    /// told to end.
    pub fn attach(&self) -> Arc<Link> {
        let link = Arc::new(Link::default());
        let mut state = self.state();
        state.links.push(Arc::clone(&link));
        if state.links.len() > MAX_LINKS_PER_PEER {
            state.links.remove(0).close.notify_one();
        }
        link.wake.notify_one();
        link
    }

    /// The connection has ended. Without another, nothing that waits can still be of use when the
    /// next one comes about; gives what is dropped, of which nothing was sent.
    pub fn detach(&self, link: &Arc<Link>) -> Vec<Envelope> {
        let mut state = self.state();
        state.links.retain(|other| !Arc::ptr_eq(other, link));
        match state.links.last() {
            Some(newest) => {
                newest.wake.notify_one();
                Vec::new()
            }
            None => state.queue.take_all(),
        }
    }

    /// Waits until something waits to be sent that only a new connection can carry; gives the
    /// address to dial.
    pub async fn wanted(&self) -> Vec<u8> {
        loop {
            {
                let state = self.state();
                if state.links.is_empty() && !state.queue.is_empty() {
                    return state.address.clone();
                }
            }
            self.dial.notified().await;
        }
    }

    /// The peer could not be reached: gives what is dropped, unless the peer has come by itself. Of
    /// what is dropped nothing was sent.
    pub fn give_up(&self) -> Vec<Envelope> {
        let mut state = self.state();
        if state.links.is_empty() { state.queue.take_all() } else { Vec::new() }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().expect("no panic while a peer is locked")
    }
}
