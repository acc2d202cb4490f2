//! Receives a snapshot of the leader, and installs it.
//!
//! ```text
//!   offer --> Spooling --whole--> Keeping --durable--> Kept --machine idle--> Restoring
//!                ^  |                                                            |
//!                +--+ request, chunk, spooled                                    +--> install
//! ```
//!
//! The bytes go to a file, chunk by chunk: the next chunk is asked for while the last one is
//! written, and no more than two are in memory. A request that is not answered is repeated, so a
//! transfer goes on after a lost message, a broken connection, or a restart of the sender. Once
//! whole, the file is checked and made durable under its name. Only then is the state machine
//! restored from it, and at last the log is reset, or purged, by one write (section 7 of the paper,
//! Figure 13; K30). A crash leaves the old state, or a durable snapshot ahead of the log, with
//! which the next start repeats the rest.
//!
//! A member that catches up by entries meanwhile drops what it received. A snapshot that cannot be
//! received is tried again later, with a pause that doubles; it never stops the member. A state
//! machine that cannot be restored does.
//!
//! Deliberately absent: files and threads.

use bytes::Bytes;
use raft_core::consensus::Input;
use raft_core::types::NodeId;

use super::Pump;
use super::event::{Clients, Effects, ReceivedSnapshot, TransferWork};
use super::planted::planted;
use crate::{Content, ProposeError, SnapshotId, SnapshotMessage};

/// A request that was not answered is repeated after this many ticks: 500 ms.
const ASK_AGAIN: u64 = 50;

/// A transfer without progress for this many ticks makes room for another offer: 5 s.
const PATIENCE: u64 = 500;

/// The shortest and the longest pause after a snapshot that could not be received, in ticks: 1 s
/// and 1 minute.
const FIRST_PAUSE: u64 = 100;
const LONGEST_PAUSE: u64 = 6000;

/// The snapshot that this member receives.
#[derive(Debug, Default)]
pub(super) struct Receiving {
    state: State,
    /// The number of the last write to a file. A write that belonged to an earlier transfer may be
    /// reported during the next one.
    last_write: u64,
    /// How often in a row a snapshot could not be received.
    failures: u32,
    /// No offer is accepted before this tick.
    paused_until: u64,
}

#[derive(Debug, Default)]
enum State {
    #[default]
    Idle,
    Spooling(Spooling),
    /// The file is being checked and made durable.
    Keeping {
        from: NodeId,
    },
    /// The file waits until the state machine has no batch.
    Kept {
        from: NodeId,
        received: ReceivedSnapshot,
    },
    /// The state machine is being restored from the file.
    Restoring {
        from: NodeId,
        received: ReceivedSnapshot,
    },
}

/// A file that is being received.
#[derive(Debug)]
struct Spooling {
    from: NodeId,
    id: SnapshotId,
    /// The size of the whole file.
    bytes: u64,
    /// How many bytes have arrived.
    arrived: u64,
    /// The number of the write in progress.
    writing: Option<u64>,
    /// A chunk that waits until the one before it is written, and its offset.
    held: Option<(u64, Bytes)>,
    /// The tick of the last request, and of the last progress.
    asked_at: u64,
    moved_at: u64,
}

#[cfg(test)]
impl Receiving {
    /// The number of the last write to a file.
    pub(super) fn last_write(&self) -> u64 {
        self.last_write
    }
}

impl Spooling {
    fn request(&self, most: u32) -> SnapshotMessage {
        SnapshotMessage::Request { id: self.id, offset: self.arrived, most }
    }

    /// Whether a request is open: bytes are missing, and there is memory for them.
    fn is_asking(&self) -> bool {
        self.arrived < self.bytes && self.held.is_none()
    }

    /// Takes a chunk that has arrived, or the one that waits, to be written next.
    fn spool(&mut self, number: &mut u64, offset: u64, bytes: Bytes) -> TransferWork {
        *number += 1;
        self.writing = Some(*number);
        TransferWork::Spool { number: *number, id: self.id, offset, bytes }
    }
}

impl<C: Clients> Pump<C> {
    /// The leader offers a snapshot. It is not wanted if everything in it may be applied here
    /// already.
    pub(super) fn on_offer(
        &mut self,
        from: NodeId,
        id: SnapshotId,
        bytes: u64,
        effects: &mut Effects<C>,
    ) {
        let is_wanted = id.last.index > self.applying.applicable() && bytes > 0;
        let is_timely = self.raft.leader() == Some(from) && self.now >= self.receiving.paused_until;
        if !is_wanted || !is_timely {
            return;
        }
        match &mut self.receiving.state {
            State::Idle => {}
            State::Spooling(spooling) if spooling.id == id => {
                spooling.from = from;
                return;
            }
            State::Spooling(spooling) if self.now - spooling.moved_at > PATIENCE => {}
            _ => return,
        }
        let (asked_at, moved_at) = (self.now, self.now);
        let (arrived, writing, held) = (0, None, None);
        let spooling = Spooling { from, id, bytes, arrived, writing, held, asked_at, moved_at };
        self.receiving.state = State::Spooling(spooling);
        self.request_chunk(effects);
    }

    /// Asks for the next bytes, if any are missing and there is memory for them.
    fn request_chunk(&mut self, effects: &mut Effects<C>) {
        let State::Spooling(spooling) = &mut self.receiving.state else { return };
        if spooling.is_asking() {
            spooling.asked_at = self.now;
            let request = spooling.request(self.limits.snapshot_chunk_bytes);
            let to = spooling.from;
            self.send(to, Content::Snapshot(request), effects);
        }
    }

    /// Bytes of a file arrived. Only those that were asked for last are taken; others are answers
    /// to a request that was repeated.
    pub(super) fn on_chunk(
        &mut self,
        id: SnapshotId,
        offset: u64,
        bytes: Bytes,
        effects: &mut Effects<C>,
    ) {
        let State::Spooling(spooling) = &mut self.receiving.state else { return };
        let is_same = spooling.id == id || planted!(self, ChunkOfAnotherFile);
        if !is_same || spooling.arrived != offset || !spooling.is_asking() {
            return;
        }
        let length = bytes.len() as u64;
        if length == 0 || length > spooling.bytes - offset {
            self.counters.malformed += 1;
            return;
        }
        spooling.arrived += length;
        spooling.moved_at = self.now;
        if spooling.writing.is_some() {
            spooling.held = Some((offset, bytes));
        } else {
            let number = &mut self.receiving.last_write;
            effects.transfers.push(spooling.spool(number, offset, bytes));
        }
        self.request_chunk(effects);
    }

    /// A chunk is in the file, or the file cannot be written.
    pub(super) fn on_spooled(
        &mut self,
        number: u64,
        result: Result<(), String>,
        effects: &mut Effects<C>,
    ) {
        let State::Spooling(spooling) = &mut self.receiving.state else { return };
        if spooling.writing != Some(number) {
            return;
        }
        spooling.writing = None;
        if let Err(why) = result {
            return self.receive_failed(why, effects);
        }
        if let Some((offset, bytes)) = spooling.held.take() {
            let number = &mut self.receiving.last_write;
            effects.transfers.push(spooling.spool(number, offset, bytes));
            return self.request_chunk(effects);
        }
        if spooling.arrived == spooling.bytes {
            let (from, id) = (spooling.from, spooling.id);
            effects.transfers.push(TransferWork::Keep(id));
            self.receiving.state = State::Keeping { from };
        }
    }

    /// The sender does not have the file any more.
    pub(super) fn on_gone(&mut self, from: NodeId, id: SnapshotId, effects: &mut Effects<C>) {
        match &self.receiving.state {
            State::Spooling(spooling) if (spooling.from, spooling.id) == (from, id) => {}
            _ => return,
        }
        self.discard(effects);
    }

    fn discard(&mut self, effects: &mut Effects<C>) {
        self.receiving.state = State::Idle;
        effects.transfers.push(TransferWork::Discard);
    }

    fn receive_failed(&mut self, why: String, effects: &mut Effects<C>) {
        let pause = FIRST_PAUSE << self.receiving.failures.min(16);
        self.receiving.paused_until = self.now + pause.min(LONGEST_PAUSE);
        self.receiving.failures += 1;
        effects.installed = Some(Err(why));
        self.discard(effects);
    }

    /// Repeats a request that was not answered, and gives up a transfer that is not needed any
    /// more.
    pub(super) fn tick_receiving(&mut self, effects: &mut Effects<C>) {
        let State::Spooling(spooling) = &self.receiving.state else { return };
        if spooling.id.last.index <= self.applying.applicable() {
            return self.discard(effects);
        }
        if self.now - spooling.asked_at >= ASK_AGAIN {
            self.request_chunk(effects);
        }
    }

    /// The file is whole, sound and durable, or not.
    pub(super) fn on_kept(
        &mut self,
        result: Result<ReceivedSnapshot, String>,
        effects: &mut Effects<C>,
    ) {
        let State::Keeping { from } = self.receiving.state else { return };
        match result {
            Ok(received) => {
                self.receiving.failures = 0;
                self.snapshots.note_durable(received.taken);
                self.receiving.state = State::Kept { from, received };
                self.apply_more(effects);
            }
            Err(why) => self.receive_failed(why, effects),
        }
    }

    /// Has the state machine restored if a snapshot was received that is ahead of it. The state
    /// machine has no batch.
    pub(super) fn restore_if_received(&mut self, effects: &mut Effects<C>) {
        if !matches!(self.receiving.state, State::Kept { .. }) {
            return;
        }
        let state = std::mem::take(&mut self.receiving.state);
        let State::Kept { from, received } = state else { return };
        let last = received.taken.last;
        if last.index <= self.applying.applied() {
            return;
        }
        self.fetching.forget_apply();
        self.applying.begin_restore();
        effects.restore = Some(last);
        self.receiving.state = State::Restoring { from, received };
    }

    /// The state machine has the state of the snapshot: now the log begins after it.
    pub(super) fn on_restored(&mut self, effects: &mut Effects<C>) {
        let state = std::mem::take(&mut self.receiving.state);
        let State::Restoring { from, received } = state else { return };
        let ReceivedSnapshot { taken, membership } = received;
        self.applying.end_restore(taken.last.index);
        self.snapshots.note_restored();
        let lost = planted!(self, SkippedAnsweredAsLost);
        let error = if lost { ProposeError::Lost } else { ProposeError::Unknown };
        self.proposals.skip_upto(taken.last.index, &error, effects);
        self.counters.snapshots_installed += 1;
        effects.installed = Some(Ok(taken));
        self.step(Input::Install { from, last: taken.last, membership }, effects);
    }
}
