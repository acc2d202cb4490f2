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
use raft_core::types::{NodeId, Term};

use super::Pump;
use super::effects::{Effects, TransferWork};
use super::event::{Clients, ReceivedSnapshot};
use super::planted::planted;
use crate::{Content, ProposeError, SnapshotId, SnapshotMessage};

/// A request that was not answered is repeated after this many ticks, 500 ms, or after three times
/// as long as the last answer took; then the pause doubles, up to the longest. On a slow network
/// the copies of an answer would otherwise delay the next answers more and more.
const ASK_AGAIN: u64 = 50;
const ASK_AGAIN_LONGEST: u64 = 3200;

/// A transfer without progress for this many ticks makes room for another offer: 1 minute if the
/// sender still leads, else 5 s, since the sender may be down.
const PATIENCE: u64 = 6000;
const PATIENCE_WITH_OTHERS: u64 = 500;

/// How often the leader is told that the state machine is being restored, in ticks: 1 s.
const RESTORING_INTERVAL: u64 = 100;

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
        id: SnapshotId,
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
    /// The tick at which the next chunk was first asked for, and the pause before it is asked for
    /// again.
    first_asked_at: u64,
    pause: u64,
}

#[cfg(test)]
impl Receiving {
    /// The number of the last write to a file.
    pub(super) fn last_write(&self) -> u64 {
        self.last_write
    }
}

impl Spooling {
    fn new(from: NodeId, id: SnapshotId, bytes: u64, now: u64) -> Spooling {
        let [asked_at, moved_at, first_asked_at] = [now; 3];
        Spooling {
            from,
            id,
            bytes,
            arrived: 0,
            writing: None,
            held: None,
            asked_at,
            moved_at,
            first_asked_at,
            pause: ASK_AGAIN,
        }
    }

    fn request(&self, most: u32) -> SnapshotMessage {
        SnapshotMessage::Request { id: self.id, offset: self.arrived, most }
    }

    /// The chunk that was asked for has arrived.
    fn note_progress(&mut self, now: u64) {
        let took = now - self.first_asked_at;
        self.pause = (3 * took).clamp(ASK_AGAIN, ASK_AGAIN_LONGEST);
        (self.moved_at, self.first_asked_at) = (now, now);
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
    ///
    /// The snapshot may include entries that were committed in the leader's term only. After a
    /// crash this member must not follow a leader of an earlier term, whose log may lack them: so
    /// its own term must be that of the offer, and durable.
    pub(super) fn on_offer(
        &mut self,
        (from, term): (NodeId, Term),
        id: SnapshotId,
        bytes: u64,
        effects: &mut Effects<C>,
    ) {
        let is_wanted = id.last.index > self.applying.applicable() && bytes > 0;
        let is_of_leader = self.raft.leader() == Some(from) && self.raft.term() == term;
        let is_timely =
            self.now >= self.receiving.paused_until && self.raft.hard_state_is_durable();
        if !is_wanted || !is_of_leader || !is_timely {
            return;
        }
        match &mut self.receiving.state {
            State::Idle => {}
            State::Spooling(spooling) if spooling.id == id => {
                spooling.from = from;
                return;
            }
            State::Spooling(spooling) => {
                let is_same = spooling.from == from;
                let patience = if is_same { PATIENCE } else { PATIENCE_WITH_OTHERS };
                if self.now - spooling.moved_at <= patience {
                    return;
                }
            }
            _ => return,
        }
        self.receiving.state = State::Spooling(Spooling::new(from, id, bytes, self.now));
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
        spooling.note_progress(self.now);
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
            spooling.first_asked_at = self.now;
            return self.request_chunk(effects);
        }
        if spooling.arrived == spooling.bytes {
            let (from, id) = (spooling.from, spooling.id);
            effects.transfers.push(TransferWork::Keep(id));
            self.receiving.state = State::Keeping { from, id };
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
        let State::Spooling(spooling) = &mut self.receiving.state else {
            return self.tick_restoring(effects);
        };
        if spooling.id.last.index <= self.applying.applicable() {
            return self.discard(effects);
        }
        if self.now - spooling.asked_at >= spooling.pause {
            spooling.pause = (2 * spooling.pause).min(ASK_AGAIN_LONGEST);
            self.request_chunk(effects);
        }
    }

    /// Tells the leader that the snapshot is being checked or restored, so that it keeps the
    /// entries that follow.
    fn tick_restoring(&mut self, effects: &mut Effects<C>) {
        let id = match &self.receiving.state {
            State::Idle | State::Spooling(_) => return,
            State::Keeping { id, .. } => *id,
            State::Kept { received, .. } | State::Restoring { received, .. } => received.taken.id(),
        };
        if let Some(leader) = self.raft.leader()
            && self.now.is_multiple_of(RESTORING_INTERVAL)
        {
            self.send(leader, Content::Snapshot(SnapshotMessage::Restoring { id }), effects);
        }
    }

    /// The file is whole, sound and durable, or not.
    pub(super) fn on_kept(
        &mut self,
        result: Result<ReceivedSnapshot, String>,
        effects: &mut Effects<C>,
    ) {
        let State::Keeping { from, id } = self.receiving.state else { return };
        match result {
            Ok(received) => {
                self.receiving.failures = 0;
                self.snapshots.note_durable(received.taken);
                self.receiving.state = State::Kept { from, received };
                self.apply_more(effects);
            }
            Err(why) => {
                let damaged = SnapshotMessage::Damaged { id };
                self.send(from, Content::Snapshot(damaged), effects);
                self.receive_failed(why, effects);
            }
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
        if last.index <= self.applying.applicable() {
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
        let ReceivedSnapshot { taken, membership, engine } = received;
        self.engine = engine;
        self.sessions.retry(self.now);
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
