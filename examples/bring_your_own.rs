//! A cluster with a store and a transport of the application's own.
//!
//! The store is a durable journal in one file, in less than two hundred lines; it passes the whole
//! conformance suite (`tests/journal.rs`). The transport passes envelopes through channels and
//! loses every fourth envelope, which Raft tolerates.
//!
//! ```text
//! cargo run --example bring_your_own
//! ```

#[path = "bring_your_own/journal.rs"]
mod journal;

use std::collections::{BTreeMap, BTreeSet};
use std::error::Error;
use std::sync::Arc;

use kontiki::{
    Application, Envelope, Inbound, Membership, NodeConfig, NodeId, Transport, TypedNode,
};
use serde::{Deserialize, Serialize};
use tokio::sync::mpsc;

use journal::Journal;

// ---- a transport ----

type Post = (NodeId, Envelope);

/// A transport with a channel to every member, which loses every fourth envelope.
struct Channels {
    own: NodeId,
    peers: BTreeMap<NodeId, mpsc::Sender<Post>>,
    receiver: Option<mpsc::Receiver<Post>>,
    sent: u64,
}

impl Transport for Channels {
    fn start(&mut self, inbound: Arc<dyn Inbound>) {
        let Some(mut receiver) = self.receiver.take() else { return };
        tokio::spawn(async move {
            while let Some((from, envelope)) = receiver.recv().await {
                inbound.deliver(from, envelope);
            }
        });
    }

    fn send(&mut self, to: NodeId, _address: Option<&[u8]>, envelope: Envelope) -> bool {
        self.sent += 1;
        if self.sent.is_multiple_of(4) {
            // The envelope is accepted and lost on the way, which a transport may do.
            return true;
        }
        // A full channel refuses the envelope, so the member can report at once that it was not
        // sent.
        let Some(peer) = self.peers.get(&to) else { return false };
        peer.try_send((self.own, envelope)).is_ok()
    }

    fn retain(&mut self, _members: &BTreeSet<NodeId>) {
        // The members of this cluster never change.
    }

    fn connect(&mut self, _node: NodeId, _address: Option<&[u8]>) {
        // There are no connections, so there is nothing to compare.
    }
}

// ---- a cluster of three members ----

#[derive(Clone, Serialize, Deserialize)]
struct Sum(u64);

impl Application for Sum {
    type Command = u64;
    type Response = u64;
    type Query = ();
    type Answer = u64;

    fn apply(&mut self, number: u64) -> u64 {
        self.0 += number;
        self.0
    }

    fn read(&self, (): ()) -> u64 {
        self.0
    }
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Box<dyn Error>> {
    let ids: Vec<NodeId> = (1..=3).filter_map(NodeId::new).collect();
    let membership = Membership::of_voters(ids.iter().map(|id| (*id, "".into())))?;
    let (peers, receivers): (BTreeMap<_, _>, Vec<_>) = ids
        .iter()
        .map(|id| {
            let (sender, receiver) = mpsc::channel(1024);
            ((*id, sender), receiver)
        })
        .unzip();
    let dir = tempfile::tempdir()?;
    let mut nodes = Vec::new();
    for (own, receiver) in ids.into_iter().zip(receivers) {
        let mut store = Journal::open(&dir.path().join(own.to_string()))?;
        kontiki::bootstrap(&mut store, "own", own, &membership).await?;
        let transport = Channels { own, peers: peers.clone(), receiver: Some(receiver), sent: 0 };
        let (store, transport) = (Box::new(store), Box::new(transport));
        nodes.push(TypedNode::start(NodeConfig::default(), store, transport, Sum(0)).await?);
    }
    let leader = nodes[0].node().wait_for_leader().await.ok_or("the member ended")?;
    let leading = &nodes[leader.get() as usize - 1];
    for number in 1..=100 {
        leading.propose(&number).await?;
    }
    let sum = leading.read(&()).await?;
    println!("the sum of 1 to 100 is {sum}");
    assert_eq!(sum, 5050);
    Ok(())
}
