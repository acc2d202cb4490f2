//! A store and a transport of the user's own, passed in.
//!
//! The store is as plain as the contract allows: a vector behind a lock, with the small verbs
//! alone; the engine's defaults make `write` and `recover` of them. The transport passes envelopes
//! through channels, and loses every fourth: Raft does not mind.
//!
//! ```text
//! cargo run --example bring_your_own
//! ```

use std::collections::BTreeMap;
use std::error::Error;
use std::ops::Range;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use async_trait::async_trait;
use kontiki::storage::{
    Detects, Durability, LogBounds, LogError, LogErrorKind, LogOp, LogReader, LogStore, Refusal,
    StableStore, Store, StoreInfo,
};
use kontiki::types::{Entry, EntryId, HardState, Identity, LogIndex, Term};
use kontiki::{
    Application, Envelope, Inbound, Membership, NodeConfig, NodeId, Transport, TypedNode,
};
use tokio::sync::mpsc;

// ---- a store ----

#[derive(Clone, Default)]
struct VecStore {
    state: Arc<Mutex<State>>,
}

#[derive(Default)]
struct State {
    identity: Option<Identity>,
    hard_state: HardState,
    boundary: EntryId,
    entries: Vec<Entry>,
}

impl State {
    fn last(&self) -> EntryId {
        self.entries.last().map_or(self.boundary, |entry| entry.id)
    }

    /// Where in the vector an index stands.
    fn at(&self, index: LogIndex) -> usize {
        index.since(self.boundary.index.next()) as usize
    }
}

impl VecStore {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[async_trait]
impl StableStore for VecStore {
    async fn load_identity(&mut self) -> Result<Option<Identity>, LogError> {
        Ok(self.state().identity)
    }

    async fn save_identity(&mut self, identity: &Identity) -> Result<(), LogError> {
        let mut state = self.state();
        if state.identity.is_some_and(|found| found != *identity) {
            return Err(LogError::refused(LogOp::Identity, Refusal::OtherIdentity));
        }
        state.identity = Some(*identity);
        Ok(())
    }

    async fn load_hard_state(&mut self) -> Result<HardState, LogError> {
        Ok(self.state().hard_state)
    }

    async fn save_hard_state(&mut self, hard_state: HardState) -> Result<(), LogError> {
        let mut state = self.state();
        if !state.hard_state.may_become(hard_state) {
            return Err(LogError::refused(LogOp::HardState, Refusal::HardStateGoesBack));
        }
        state.hard_state = hard_state;
        Ok(())
    }
}

#[async_trait]
impl LogStore for VecStore {
    fn bounds(&self) -> LogBounds {
        let state = self.state();
        LogBounds { boundary: state.boundary, last: state.last() }
    }

    async fn append(&mut self, entries: &[Entry]) -> Result<(), LogError> {
        let mut state = self.state();
        let mut last = state.last();
        for Entry { id, .. } in entries {
            let (expected, found) = (last.index.next(), id.index);
            if found != expected {
                return Err(LogError::refused(LogOp::Append, Refusal::Gap { expected, found }));
            }
            if id.term < last.term {
                return Err(LogError::refused(LogOp::Append, Refusal::FallingTerm { id: *id }));
            }
            last = *id;
        }
        state.entries.extend_from_slice(entries);
        Ok(())
    }

    async fn truncate_after(&mut self, index: LogIndex) -> Result<(), LogError> {
        let mut state = self.state();
        let boundary = state.boundary;
        if index < boundary.index {
            let refusal = Refusal::TruncateBelowBoundary { boundary };
            return Err(LogError::refused(LogOp::Truncate, refusal));
        }
        let keep = state.at(index.next());
        state.entries.truncate(keep);
        Ok(())
    }

    async fn purge_upto(&mut self, upto: EntryId) -> Result<(), LogError> {
        let mut state = self.state();
        let last = state.last();
        if upto.index > last.index {
            return Err(LogError::refused(LogOp::Purge, Refusal::PurgeBeyondLast { last }));
        }
        if upto.index > state.boundary.index {
            let found = state.entries[state.at(upto.index)].id;
            if found != upto {
                return Err(LogError::refused(LogOp::Purge, Refusal::OtherTerm { found }));
            }
            let gone = state.at(upto.index.next());
            state.entries.drain(..gone);
            state.boundary = upto;
        }
        Ok(())
    }

    async fn reset(&mut self, boundary: EntryId) -> Result<(), LogError> {
        let mut state = self.state();
        state.entries.clear();
        state.boundary = boundary;
        Ok(())
    }

    fn reader(&self) -> Box<dyn LogReader> {
        Box::new(self.clone())
    }
}

#[async_trait]
impl LogReader for VecStore {
    async fn read(
        &mut self,
        range: Range<LogIndex>,
        max_bytes: u64,
    ) -> Result<Vec<Entry>, LogError> {
        let state = self.state();
        let (boundary, last) = (state.boundary, state.last().index);
        let kind = match range {
            Range { start, end } if end < start => LogErrorKind::Refused(Refusal::InvertedRange),
            Range { start, end } if end == start => return Ok(Vec::new()),
            Range { start, .. } if start <= boundary.index => LogErrorKind::Compacted { boundary },
            Range { end, .. } if end > last.next() => LogErrorKind::Unavailable { last },
            Range { start, end } => {
                let wanted = &state.entries[state.at(start)..state.at(end)];
                let mut bytes = 0;
                let fits = |entry: &&Entry| {
                    bytes += entry.size();
                    entry.id.index == start || bytes <= max_bytes
                };
                return Ok(wanted.iter().take_while(fits).cloned().collect());
            }
        };
        Err(LogError::new(LogOp::Read, kind))
    }

    async fn term(&mut self, index: LogIndex) -> Result<Term, LogError> {
        if index == self.state().boundary.index {
            return Ok(self.state().boundary.term);
        }
        let entries = self.read(index..index.next(), 0).await?;
        Ok(entries[0].id.term)
    }
}

impl Store for VecStore {
    fn info(&self) -> StoreInfo {
        StoreInfo {
            backend: "vec".into(),
            durability: Durability::Volatile,
            atomic_batch: false,
            may_block: false,
            detects: Detects::Nothing,
            sync_verb: "none".into(),
            format_version: 1,
        }
    }
}

// ---- a transport ----

type Post = (NodeId, Envelope);

/// Channels to every member, and a bad memory.
struct Channels {
    own: NodeId,
    peers: BTreeMap<NodeId, mpsc::Sender<Post>>,
    inbox: Option<mpsc::Receiver<Post>>,
    sent: u64,
}

impl Transport for Channels {
    fn start(&mut self, inbound: Arc<dyn Inbound>) {
        let Some(mut inbox) = self.inbox.take() else { return };
        tokio::spawn(async move {
            while let Some((from, envelope)) = inbox.recv().await {
                inbound.deliver(from, envelope);
            }
        });
    }

    fn send(&mut self, to: NodeId, _address: Option<&[u8]>, envelope: Envelope) {
        self.sent += 1;
        if !self.sent.is_multiple_of(4)
            && let Some(peer) = self.peers.get(&to)
        {
            // A full channel drops, as a transport may.
            let _ = peer.try_send((self.own, envelope));
        }
    }
}

// ---- and a cluster of them ----

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
    let (peers, inboxes): (BTreeMap<_, _>, Vec<_>) = ids
        .iter()
        .map(|id| {
            let (sender, receiver) = mpsc::channel(1024);
            ((*id, sender), receiver)
        })
        .unzip();
    let mut nodes = Vec::new();
    for (own, inbox) in ids.into_iter().zip(inboxes) {
        let mut store = VecStore::default();
        kontiki::bootstrap(&mut store, "own", own, &membership).await?;
        let transport = Channels { own, peers: peers.clone(), inbox: Some(inbox), sent: 0 };
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
