//! The snapshot files of one member, in memory: the durable one, the one that is being written, and
//! the one that is being received.
//!
//! It does what the directory and the threads of a real member do, with simulated time. A power cut
//! keeps the durable file. A file that was about to become durable may be durable or lost.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;

use bytes::Bytes;
use raft_core::types::{Membership, NodeId};
use raft_node::pump::{ReceivedSnapshot, SnapshotPlan, TakenSnapshot, TransferWork};
use raft_node::{EngineState, SnapshotId};

use crate::rng::Rng;
use crate::sim::machine::Registers;

/// A whole snapshot file.
#[derive(Debug)]
pub(crate) struct File {
    pub(crate) id: SnapshotId,
    /// The member that took it.
    pub(crate) writer: NodeId,
    pub(crate) membership: Arc<Membership>,
    pub(crate) engine: EngineState,
    pub(crate) machine: Registers,
    bytes: Bytes,
}

impl File {
    pub(crate) fn new(plan: SnapshotPlan, writer: NodeId, salt: u64, machine: Registers) -> File {
        let SnapshotPlan { last, membership, engine } = plan;
        let mut bytes = salt.to_le_bytes().to_vec();
        bytes.extend(machine.encode());
        let (id, bytes) = (SnapshotId { last, salt }, bytes.into());
        File { id, writer, membership, engine, machine, bytes }
    }

    /// The file as the pump knows it.
    pub(crate) fn taken(&self) -> TakenSnapshot {
        let SnapshotId { last, salt } = self.id;
        TakenSnapshot { last, salt, bytes: self.bytes.len() as u64 }
    }

    /// The file as a receiver's pump learns of it.
    pub(crate) fn received(&self) -> ReceivedSnapshot {
        let (membership, engine) = (Arc::clone(&self.membership), self.engine.clone());
        ReceivedSnapshot { taken: self.taken(), membership, engine }
    }
}

/// The files of one member.
#[derive(Debug, Default)]
pub(crate) struct Shelf {
    /// The newest durable file.
    durable: Option<Arc<File>>,
    /// The file that is being written.
    pub(crate) writing: Option<Arc<File>>,
    /// The files that peers are receiving.
    sent: BTreeMap<SnapshotId, Arc<File>>,
    /// What was received so far of a file.
    received: Option<(SnapshotId, Vec<u8>)>,
    /// Work that was not done yet, the oldest first.
    pub(crate) work: VecDeque<TransferWork>,
    /// How many pieces of work were done by this process.
    pub(crate) done: u64,
}

impl Shelf {
    /// The newest durable file.
    pub(crate) fn durable(&self) -> Option<&Arc<File>> {
        self.durable.as_ref()
    }

    /// The file is durable, and replaces an older one.
    pub(crate) fn keep(&mut self, file: Arc<File>) {
        let is_newer = |durable: &Arc<File>| durable.id.last.index < file.id.last.index;
        if self.durable.as_ref().is_none_or(is_newer) {
            self.durable = Some(file);
        }
    }

    /// Cuts the power. The file that was being written may become durable.
    pub(crate) fn crash(&mut self, rng: &mut Rng) {
        let written = self.writing.take().filter(|_| rng.coin());
        written.into_iter().for_each(|file| self.keep(file));
        *self = Shelf { durable: self.durable.take(), ..Shelf::default() };
    }

    /// Reads bytes of a file that is durable, or that a peer is receiving.
    pub(crate) fn read(&mut self, id: SnapshotId, offset: u64, most: u32) -> Option<Bytes> {
        let durable = self.durable.iter().find(|file| file.id == id);
        let file = match (self.sent.get(&id), durable) {
            (Some(open), _) => Arc::clone(open),
            (None, Some(durable)) => Arc::clone(durable),
            (None, None) => return None,
        };
        let from = file.bytes.len().min(offset as usize);
        let to = file.bytes.len().min(from + most as usize);
        let bytes = file.bytes.slice(from..to);
        self.sent.insert(id, file);
        Some(bytes)
    }

    /// No peer receives this file any more.
    pub(crate) fn release(&mut self, id: SnapshotId) {
        self.sent.remove(&id);
    }

    /// Adds bytes to the file that is being received.
    pub(crate) fn spool(&mut self, id: SnapshotId, offset: u64, more: &[u8]) -> Result<(), String> {
        if offset == 0 {
            self.received = Some((id, Vec::new()));
        }
        match &mut self.received {
            Some((of, bytes)) if *of == id && bytes.len() as u64 == offset => {
                bytes.extend(more);
                Ok(())
            }
            other => Err(format!("{id} does not end at {offset}: {other:?}")),
        }
    }

    /// Discards what was received.
    pub(crate) fn discard(&mut self) {
        self.received = None;
    }

    /// Whether what was received is exactly this file.
    pub(crate) fn has_received(&self, file: &File) -> bool {
        let received = self.received.as_ref();
        received.is_some_and(|(id, bytes)| *id == file.id && bytes[..] == file.bytes[..])
    }
}
