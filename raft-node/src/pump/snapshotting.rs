//! When a snapshot is taken, and the clients that asked for one.
//!
//! A snapshot is taken when enough entries, or enough bytes of payloads, were applied since the
//! last one, or when a client asks. It is pinned between two batches of the state machine, and
//! written beside the traffic; one at a time. A snapshot that cannot be written is tried again
//! later, with a pause that doubles; it never stops the member.
//!
//! The cost of a snapshot grows with the size of the state. So if the last snapshot is larger than
//! `snapshot_bytes`, the next one is due only once payloads of half its size were applied. While
//! the size of the state stays the same, snapshots then write at most two bytes for each byte of
//! payloads. Entries of sessions count whether or not they run a command: the log holds them, too.
//!
//! Deliberately absent: the bytes of a snapshot, and the purge of the log that it includes.

use std::sync::Arc;

use raft_core::types::{EntryId, LogIndex};

use super::effects::{Effects, SnapshotPlan};
use super::event::{Clients, TakenSnapshot};
use super::{Limits, Pump};
use crate::{SnapshotError, SnapshotId};

/// The most clients that may wait for the snapshot that is being written, and for the next one.
const MAX_WAITING: usize = 64;

/// The shortest and the longest pause after a snapshot that failed, in ticks: 1 s and 1 minute.
const FIRST_PAUSE: u64 = 100;
const LONGEST_PAUSE: u64 = 6000;

/// The snapshots of a member.
#[derive(Debug)]
pub(super) struct Snapshotting<C: Clients> {
    state: State<C>,
    newest: Option<TakenSnapshot>,
    /// Whether a receiver found the newest snapshot damaged: then another one is taken at once.
    is_suspect: bool,
    /// The payload bytes of the commands, and of the engine's own entries, that were applied since
    /// the newest snapshot was pinned.
    bytes: u64,
    /// Clients that wait for a snapshot that includes everything up to now. Empty while `Off`.
    waiting: Vec<C::Snapshots>,
    /// How often in a row a snapshot failed.
    failures: u32,
    /// No snapshot is due by itself before this tick.
    paused_until: u64,
}

#[derive(Debug)]
enum State<C: Clients> {
    /// There is no directory for snapshots, or the state machine takes none.
    Off,
    Idle,
    Taking(Taking<C>),
}

/// A snapshot that is being written.
#[derive(Debug)]
struct Taking<C: Clients> {
    last: EntryId,
    /// What [`Snapshotting::bytes`] was when it was pinned.
    bytes: u64,
    clients: Vec<C::Snapshots>,
}

impl<C: Clients> Snapshotting<C> {
    pub(super) fn off() -> Snapshotting<C> {
        Snapshotting {
            state: State::Off,
            newest: None,
            is_suspect: false,
            bytes: 0,
            waiting: Vec::new(),
            failures: 0,
            paused_until: 0,
        }
    }

    /// The last entry of the snapshot that is being written.
    #[cfg(test)]
    pub(super) fn under_way(&self) -> Option<EntryId> {
        match &self.state {
            State::Taking(taking) => Some(taking.last),
            State::Off | State::Idle => None,
        }
    }

    /// The newest snapshot that is durable here.
    pub(super) fn newest(&self) -> Option<TakenSnapshot> {
        self.newest
    }

    /// Whether this member has a directory for snapshots.
    pub(super) fn is_on(&self) -> bool {
        !matches!(self.state, State::Off)
    }

    /// A snapshot is durable here: one that was taken, or one that was received.
    pub(super) fn note_durable(&mut self, taken: TakenSnapshot) {
        // Of two with the same last entry, the directory reports the one that it kept.
        if self.newest.is_none_or(|newest| newest.last.index <= taken.last.index) {
            self.newest = Some(taken);
            self.is_suspect = false;
        }
    }

    /// A receiver found this snapshot damaged.
    pub(super) fn suspect(&mut self, id: SnapshotId) {
        self.is_suspect |= self.newest.is_some_and(|newest| newest.id() == id);
    }

    /// The state machine was restored from a snapshot that was received.
    pub(super) fn note_restored(&mut self) {
        self.bytes = 0;
    }

    /// Counts the payloads of a batch, whether or not the state machine is given them.
    pub(super) fn note_batch(&mut self, bytes: impl Iterator<Item = u64>) {
        if !matches!(self.state, State::Off) {
            self.bytes += bytes.sum::<u64>();
        }
    }

    /// Whether a snapshot is to be pinned now, when everything up to `applied` is applied.
    fn is_due(&self, applied: LogIndex, now: u64, limits: &Limits) -> bool {
        let (before, size) = self.newest.map_or((LogIndex::ZERO, 0), |newest| {
            let TakenSnapshot { last, bytes, .. } = newest;
            (last.index, bytes)
        });
        let entries = applied.since(before);
        if !matches!(self.state, State::Idle) || applied == LogIndex::ZERO {
            return false;
        }
        if self.is_suspect && now >= self.paused_until {
            return true;
        }
        if entries == 0 {
            return false;
        }
        let has_grown = self.bytes >= limits.snapshot_bytes.max(size / 2);
        let is_small = size <= limits.snapshot_bytes;
        let is_late = has_grown || (entries >= limits.snapshot_entries && is_small);
        !self.waiting.is_empty() || (is_late && now >= self.paused_until)
    }
}

impl<C: Clients> Pump<C> {
    /// From now on snapshots are taken; the newest one that there is includes `newest`.
    pub fn enable_snapshots(&mut self, newest: Option<TakenSnapshot>) {
        self.snapshots.state = State::Idle;
        self.snapshots.newest = newest;
    }

    /// The newest snapshot that is durable here.
    pub fn newest_snapshot(&self) -> Option<TakenSnapshot> {
        self.snapshots.newest
    }

    /// A client wants a snapshot that includes everything that is applied now.
    pub(super) fn on_snapshot_wanted(&mut self, client: C::Snapshots, effects: &mut Effects<C>) {
        let applied = self.applying.applied();
        let snapshots = &mut self.snapshots;
        let refused = match &mut snapshots.state {
            State::Off => SnapshotError::Unsupported,
            _ if applied == LogIndex::ZERO => SnapshotError::NothingApplied,
            State::Taking(taking)
                if taking.last.index == applied && taking.clients.len() < MAX_WAITING =>
            {
                return taking.clients.push(client);
            }
            _ if snapshots.waiting.len() < MAX_WAITING => return snapshots.waiting.push(client),
            _ => SnapshotError::Busy,
        };
        effects.snapshot_answers.push((client, Err(refused)));
    }

    /// Pins a snapshot if one is due. The state machine is idle.
    pub(super) fn snapshot_if_due(&mut self, effects: &mut Effects<C>) {
        let applied = self.applying.applied();
        if let Some(newest) = self.snapshots.newest
            && newest.last.index == applied
            && !self.snapshots.is_suspect
        {
            let current = self.snapshots.waiting.drain(..).map(|client| (client, Ok(newest.last)));
            return effects.snapshot_answers.extend(current);
        }
        // A durable state machine may be ahead of the entries that the engine has seen.
        let is_ahead = self.applying.machine_has() > applied;
        if is_ahead || !self.snapshots.is_due(applied, self.now, &self.limits) {
            return;
        }
        let term = self.raft.term_at(applied).expect("L9: what is applied is not purged");
        let last = EntryId::new(term, applied);
        let Some(membership) = self.raft.membership_at(applied).map(Arc::clone) else {
            let unknown = SnapshotError::Failed(format!("no membership is known at {applied}"));
            let waiting = self.snapshots.waiting.drain(..);
            let answers = waiting.map(|client| (client, Err(unknown.clone())));
            return effects.snapshot_answers.extend(answers);
        };
        let clients = std::mem::take(&mut self.snapshots.waiting);
        let taking = Taking { last, bytes: self.snapshots.bytes, clients };
        self.snapshots.state = State::Taking(taking);
        let engine = self.engine.clone();
        effects.snapshot = Some(SnapshotPlan { last, membership, engine });
    }

    /// The snapshot that was pinned is durable, or failed.
    pub(super) fn on_snapshotted(
        &mut self,
        result: Result<TakenSnapshot, SnapshotError>,
        effects: &mut Effects<C>,
    ) {
        let snapshots = &mut self.snapshots;
        let State::Taking(taking) = std::mem::replace(&mut snapshots.state, State::Idle) else {
            return;
        };
        let Taking { last, bytes: pinned_bytes, clients } = taking;
        let answer = result.as_ref().map(|_| last).map_err(Clone::clone);
        let mut answered = clients;
        match result {
            Ok(taken) => {
                snapshots.note_durable(taken);
                snapshots.bytes = snapshots.bytes.saturating_sub(pinned_bytes);
                snapshots.failures = 0;
                self.counters.snapshots_taken += 1;
                effects.snapshot_outcome = Some(Ok(taken));
            }
            Err(SnapshotError::Unsupported) => {
                snapshots.state = State::Off;
                answered.append(&mut snapshots.waiting);
            }
            Err(error) => {
                let pause = FIRST_PAUSE << snapshots.failures.min(16);
                snapshots.paused_until = self.now + pause.min(LONGEST_PAUSE);
                snapshots.failures += 1;
                self.counters.snapshots_failed += 1;
                effects.snapshot_outcome = Some(Err(error));
            }
        }
        let answers = answered.into_iter().map(|client| (client, answer.clone()));
        effects.snapshot_answers.extend(answers);
        self.purge_if_due(effects);
    }

    /// The member ends: nothing is written any more.
    pub(super) fn abandon_snapshots(&mut self, effects: &mut Effects<C>) {
        let snapshots = &mut self.snapshots;
        let mut clients = std::mem::take(&mut snapshots.waiting);
        if let State::Taking(taking) = std::mem::replace(&mut snapshots.state, State::Off) {
            clients.extend(taking.clients);
        }
        let answers = clients.into_iter().map(|client| (client, Err(SnapshotError::Closed)));
        effects.snapshot_answers.extend(answers);
    }
}
