//! Sends the newest snapshot to peers that no entries can help.
//!
//! A leader offers its newest snapshot to each such peer, again and again, and a member that is
//! asked for a part of one of its files reads it and sends it, whatever its role. The receiver asks
//! for each part, so this side keeps no state that the transfer depends on: it only remembers which
//! peers are receiving, to limit their number, to keep their files readable, and to hold the purge
//! back. One read is in progress at a time, and none while the bytes of this second are spent.
//!
//! Deliberately absent: files and threads, and what the receiver does.

use std::collections::BTreeMap;

use bytes::Bytes;
use raft_core::types::{LogIndex, NodeId};

use super::Pump;
use super::effects::{Effects, TransferWork};
use super::event::Clients;
use crate::{Content, SnapshotId, SnapshotMessage};

/// Ticks in a second.
const SECOND: u64 = 100;

/// How many ticks pass between two offers to a peer: 200 ms.
const OFFER_INTERVAL: u64 = 20;

/// A peer that has not asked for anything for this many ticks makes room for another peer: 5 s.
const PATIENCE: u64 = 500;

/// So many ticks after the last message of a peer that still needs a snapshot, its file is closed,
/// and the entries that follow are not kept for it any more: 1 minute. A peer that is restoring its
/// state machine says so every second.
const NEEDY_PATIENCE: u64 = 6000;

/// The peers that receive a snapshot from this member.
#[derive(Debug, Default)]
pub(super) struct Sending {
    streams: BTreeMap<NodeId, Stream>,
    /// The peer that was served last; the next one in order is served next.
    served: Option<NodeId>,
    /// Whether a read is in progress.
    is_reading: bool,
    /// How many bytes may be read now. Below 0 after a read of more than that.
    allowance: i64,
}

/// A peer that is receiving.
#[derive(Debug)]
struct Stream {
    id: SnapshotId,
    /// Whether the peer is one of those that may receive now. Another one waits.
    admitted: bool,
    /// What the peer asked for and was not read yet.
    wanted: Option<(u64, u32)>,
    /// The tick at which the peer asked last.
    asked_at: u64,
    /// The tick of its last message.
    heard_at: u64,
}

impl Sending {
    /// The end of the oldest snapshot that a peer is receiving: the peer needs the entries after
    /// it.
    pub(super) fn needed_after(&self) -> LogIndex {
        let ends = self.streams.values().map(|stream| stream.id.last.index);
        ends.min().unwrap_or(LogIndex::new(u64::MAX))
    }

    /// Whether a peer is receiving a snapshot, waits until it may, or is restoring its state
    /// machine from one.
    pub(super) fn is_receiving(&self, peer: NodeId) -> bool {
        self.streams.contains_key(&peer)
    }

    /// How many peers have asked lately.
    fn busy(&self, now: u64) -> usize {
        let asks = |stream: &&Stream| {
            stream.admitted && (stream.wanted.is_some() || now - stream.asked_at <= PATIENCE)
        };
        self.streams.values().filter(asks).count()
    }

    /// The next peer that waits for bytes, in turn.
    fn next(&mut self) -> Option<(NodeId, SnapshotId, u64, u32)> {
        let after = self.served;
        let waits = |(_, stream): &(&NodeId, &mut Stream)| stream.wanted.is_some();
        let mut all = self.streams.iter_mut();
        let later = all.by_ref().find(|one| Some(*one.0) > after && waits(one));
        let (node, stream) = match later {
            Some(found) => found,
            None => self.streams.iter_mut().find(waits)?,
        };
        let (offset, most) = stream.wanted.take()?;
        Some((*node, stream.id, offset, most))
    }

    /// Forgets a peer; returns its file if no other peer receives it.
    fn end(&mut self, peer: NodeId) -> Option<SnapshotId> {
        let id = self.streams.remove(&peer)?.id;
        let is_used = self.streams.values().any(|stream| stream.id == id);
        (!is_used).then_some(id)
    }
}

impl<C: Clients> Pump<C> {
    /// A message of a transfer arrived.
    pub(super) fn on_snapshot_message(
        &mut self,
        from: NodeId,
        message: SnapshotMessage,
        effects: &mut Effects<C>,
    ) {
        if !self.snapshots.is_on() {
            return;
        }
        match message {
            SnapshotMessage::Offer { term, id, bytes } => {
                self.on_offer((from, term), id, bytes, effects);
            }
            SnapshotMessage::Request { id, offset, most } => {
                self.on_request(from, id, (offset, most), effects);
            }
            SnapshotMessage::Chunk { id, offset, bytes } => {
                self.on_chunk(id, offset, bytes, effects);
            }
            SnapshotMessage::Gone { id } => self.on_gone(from, id, effects),
            SnapshotMessage::Restoring { id } => self.on_restoring(from, id),
            SnapshotMessage::Damaged { id } => self.snapshots.suspect(id),
        }
    }

    /// Offers the newest snapshot to a peer.
    pub(super) fn offer_snapshot(&mut self, to: NodeId, effects: &mut Effects<C>) {
        let Some(newest) = self.snapshots.newest() else { return };
        let (term, id) = (self.raft.term(), newest.id());
        let offer = SnapshotMessage::Offer { term, id, bytes: newest.bytes };
        self.send(to, Content::Snapshot(offer), effects);
    }

    /// Repeats offers, forgets peers that have stopped asking, and sends what may be sent now.
    pub(super) fn tick_sending(&mut self, effects: &mut Effects<C>) {
        if self.now.is_multiple_of(OFFER_INTERVAL) {
            let peers: Vec<NodeId> = self.raft.peers_in_need_of_a_snapshot().collect();
            peers.into_iter().for_each(|peer| self.offer_snapshot(peer, effects));
        }
        if self.sending.streams.is_empty() {
            return;
        }
        let rate = self.limits.snapshot_bytes_per_second;
        let gained = (rate / SECOND).max(1) as i64;
        // No more than a tenth of a second's bytes go at once.
        let most = (rate / 10).max(self.limits.snapshot_chunk_bytes.into()) as i64;
        self.sending.allowance = (self.sending.allowance + gained).min(most);
        for peer in self.peers_that_are_done() {
            self.end_stream(peer, effects);
        }
        self.read_for_next(effects);
    }

    /// The peers that have stopped asking, and that do not need a snapshot of this leader any more
    /// or have been silent for too long.
    fn peers_that_are_done(&self) -> Vec<NodeId> {
        let needy: Vec<NodeId> = self.raft.peers_in_need_of_a_snapshot().collect();
        let is_done = |(peer, stream): &(&NodeId, &Stream)| {
            let patience = if needy.contains(peer) { NEEDY_PATIENCE } else { PATIENCE };
            self.now - stream.heard_at > patience
        };
        self.sending.streams.iter().filter(is_done).map(|(peer, _)| *peer).collect()
    }

    fn end_stream(&mut self, peer: NodeId, effects: &mut Effects<C>) {
        let unused = self.sending.end(peer);
        effects.transfers.extend(unused.map(TransferWork::Release));
    }

    /// A peer asks for a part of a file. While as many peers as the limit allows are receiving,
    /// nothing is sent, and the peer asks again.
    fn on_request(
        &mut self,
        from: NodeId,
        id: SnapshotId,
        (offset, most): (u64, u32),
        effects: &mut Effects<C>,
    ) {
        let known = self.sending.streams.get(&from);
        let was_admitted = known.is_some_and(|stream| stream.admitted);
        if known.is_some_and(|known| known.id != id) {
            self.end_stream(from, effects);
        }
        let has_room = self.sending.busy(self.now) < self.limits.snapshot_streams;
        let admitted = was_admitted || has_room;
        let wanted = (offset, most.clamp(1, self.limits.snapshot_chunk_bytes));
        let (wanted, now) = (admitted.then_some(wanted), self.now);
        let stream = Stream { id, admitted, wanted, asked_at: now, heard_at: now };
        self.sending.streams.insert(from, stream);
        self.read_for_next(effects);
    }

    /// A peer is restoring its state machine from a snapshot, perhaps one that another member sent.
    fn on_restoring(&mut self, from: NodeId, id: SnapshotId) {
        let heard_at = self.now;
        let new = || Stream { id, admitted: false, wanted: None, asked_at: 0, heard_at };
        let stream = self.sending.streams.entry(from).or_insert_with(new);
        if stream.id == id {
            stream.heard_at = heard_at;
        }
    }

    fn read_for_next(&mut self, effects: &mut Effects<C>) {
        if self.sending.is_reading || self.sending.allowance <= 0 {
            return;
        }
        if let Some((to, id, offset, most)) = self.sending.next() {
            self.sending.served = Some(to);
            self.sending.is_reading = true;
            effects.transfers.push(TransferWork::Read { to, id, offset, most });
        }
    }

    /// Bytes for a peer were read, or the file is not there any more: then the peer has to begin
    /// with another one. If the file could not be read, nothing is sent, and the peer asks again.
    pub(super) fn on_chunk_read(
        &mut self,
        to: NodeId,
        id: SnapshotId,
        offset: u64,
        result: Result<Option<Bytes>, String>,
        effects: &mut Effects<C>,
    ) {
        self.sending.is_reading = false;
        match result {
            Ok(Some(bytes)) if !bytes.is_empty() => {
                self.counters.snapshot_bytes_sent += bytes.len() as u64;
                self.sending.allowance -= bytes.len() as i64;
                let chunk = SnapshotMessage::Chunk { id, offset, bytes };
                self.send(to, Content::Snapshot(chunk), effects);
            }
            Ok(_) => {
                if self.sending.streams.get(&to).is_some_and(|stream| stream.id == id) {
                    self.end_stream(to, effects);
                }
                self.send(to, Content::Snapshot(SnapshotMessage::Gone { id }), effects);
            }
            Err(_) => self.counters.failed_fetches += 1,
        }
        self.read_for_next(effects);
    }
}
