//! Committed entries on their way to the state machine.
//!
//! The state machine has one batch at a time, in the order of the log; entries that are committed
//! while it works go into the next batch. While it is being restored from a snapshot it has none.

use bytes::Bytes;
use raft_core::types::{Entry, EntryId, EntryKind, LogIndex};

use super::effects::{ApplyBatch, Effects};
use super::event::Clients;
use super::fetching::Purpose;
use super::planted::planted;
use super::{Pump, StopReason};
use crate::Committed;

/// The progress of the state machine.
#[derive(Debug)]
pub(super) struct Applying {
    applied: LogIndex,
    /// The last entry of the batch that the state machine has now, else the last applied.
    /// Invariant: at least `applied`.
    claimed: LogIndex,
    /// The last entry that may be applied.
    applicable: LogIndex,
    /// The last entry that the state machine had applied when the member started. Entries up to
    /// here are not given to it again.
    machine_has: LogIndex,
    /// Whether the next entries are being read from the store.
    fetching: bool,
    /// Whether the state machine is being restored from a snapshot.
    is_restoring: bool,
}

impl Applying {
    pub(super) fn new(applied: LogIndex) -> Applying {
        Applying {
            applied,
            claimed: applied,
            applicable: applied,
            machine_has: applied,
            fetching: false,
            is_restoring: false,
        }
    }

    /// The last entry that the machine has applied.
    pub(super) fn applied(&self) -> LogIndex {
        self.applied
    }

    /// The last entry for which the waiting clients were already looked up.
    pub(super) fn claimed(&self) -> LogIndex {
        self.claimed
    }

    /// The state machine has applied everything up to here already.
    pub(super) fn resume(&mut self, machine_has: LogIndex) {
        self.machine_has = machine_has;
    }

    /// The last entry that the state machine had applied when the member started.
    pub(super) fn machine_has(&self) -> LogIndex {
        self.machine_has
    }

    /// Everything up to `upto` may be applied.
    pub(super) fn release(&mut self, upto: LogIndex) {
        self.applicable = self.applicable.max(upto);
    }

    /// The last entry that may be applied.
    pub(super) fn applicable(&self) -> LogIndex {
        self.applicable
    }

    /// Whether the state machine is being restored: it neither applies nor reads.
    pub(super) fn is_restoring(&self) -> bool {
        self.is_restoring
    }

    /// The state machine is restored from now on, until [`Applying::end_restore`].
    pub(super) fn begin_restore(&mut self) {
        self.is_restoring = true;
        self.fetching = false;
    }

    /// The state machine has the state after the entry at `last`.
    pub(super) fn end_restore(&mut self, last: LogIndex) {
        (self.is_restoring, self.applied, self.claimed) = (false, last, last);
        self.applicable = self.applicable.max(last);
    }

    /// Whether the state machine has no batch.
    fn is_idle(&self) -> bool {
        self.claimed == self.applied && !self.is_restoring
    }

    fn is_ready(&self) -> bool {
        self.is_idle() && self.applied < self.applicable && !self.fetching
    }
}

impl<C: Clients> Pump<C> {
    /// The state machine has applied its batch, and has given these answers to the commands of
    /// sessions.
    pub(super) fn on_applied(&mut self, recorded: &[Bytes], effects: &mut Effects<C>) {
        self.applying.applied = self.applying.claimed;
        self.settle_session_batch(recorded, effects);
        self.apply_more(effects);
    }

    /// Hands the state machine its next batch, if it is free and there is one; before that, pins a
    /// snapshot if one is due.
    pub(super) fn apply_more(&mut self, effects: &mut Effects<C>) {
        if self.applying.is_idle() {
            self.restore_if_received(effects);
        }
        if self.applying.is_idle() {
            self.snapshot_if_due(effects);
        }
        if !self.applying.is_ready() {
            return;
        }
        let first = self.applying.applied.next();
        let last = self.applying.applicable;
        let max_bytes = self.limits.apply_bytes;
        let Some(upto) = self.tail.fitting(first, last, max_bytes) else {
            self.applying.fetching = true;
            return self.fetch(Purpose::Apply, first, last, max_bytes, effects);
        };
        let mut commands = Vec::with_capacity(upto.since(first) as usize + 1);
        let mut special = Vec::new();
        for piece in self.tail.pieces(first, upto) {
            add_commands(piece, &mut commands, &mut special);
        }
        self.apply(first, upto, commands, special, effects);
    }

    /// Entries for the state machine came from the store.
    pub(super) fn on_fetched_to_apply(
        &mut self,
        result: Result<Vec<Entry>, raft_core::storage::LogError>,
        effects: &mut Effects<C>,
    ) {
        self.applying.fetching = false;
        match result {
            Ok(entries) => {
                let Some(last) = entries.last() else { return };
                let first = entries[0].id.index;
                let upto = last.id.index;
                let mut commands = Vec::with_capacity(entries.len());
                let mut special = Vec::new();
                add_commands(&entries, &mut commands, &mut special);
                self.apply(first, upto, commands, special, effects);
            }
            Err(error) => self.stop(StopReason::Store(error), effects),
        }
    }

    /// Committed entries are never truncated, so the entries that were read are the committed ones.
    fn apply(
        &mut self,
        first: LogIndex,
        upto: LogIndex,
        mut commands: Vec<Committed>,
        special: Vec<Entry>,
        effects: &mut Effects<C>,
    ) {
        assert_eq!(first, self.applying.applied.next(), "L8: entries are applied in order, once");
        if first <= self.applying.machine_has {
            commands.retain(|command| command.id.index > self.applying.machine_has);
        }
        let plain = commands.iter().map(|one| one.command.len() as u64);
        let others = special.iter().map(|entry| entry.payload.len() as u64);
        self.snapshots.note_batch(plain.chain(others));
        let mut recorded = Vec::new();
        if !special.is_empty() {
            let plain = commands.len();
            for entry in &special {
                if let Err(reason) = self.apply_to_engine(entry, &mut commands) {
                    return self.stop(reason, effects);
                }
            }
            if commands.len() > plain {
                commands.sort_by_key(|command| command.id.index);
                recorded = self.session_batch.positions_in(&commands);
            }
        }
        let careless = planted!(self, LostAnsweredAsDone);
        let stands = |id: EntryId| careless || stands_among(&commands, id);
        let claims = self.proposals.claim(&commands, stands, upto, effects);
        self.counters.applied += commands.len() as u64;
        self.applying.claimed = upto;
        if commands.is_empty() {
            return self.on_applied(&[], effects);
        }
        effects.apply = Some(ApplyBatch { commands, claims, recorded, upto });
    }
}

/// Whether the command with this id is among those that are applied.
fn stands_among(commands: &[Committed], id: EntryId) -> bool {
    let at = commands.binary_search_by_key(&id.index, |command| command.id.index);
    at.is_ok_and(|at| commands[at].id == id)
}

/// Adds the commands among entries, and those that are not for the state machine.
fn add_commands(entries: &[Entry], commands: &mut Vec<Committed>, special: &mut Vec<Entry>) {
    use EntryKind::{Command, Membership, Noop};
    let is_special = |entry: &&Entry| !matches!(entry.kind, Command | Noop | Membership);
    special.extend(entries.iter().filter(is_special).cloned());
    // Two passes: a single pass that also clones is slower than both, since it may stop at each
    // entry.
    let of_clients = entries.iter().filter(|entry| entry.kind == Command);
    commands.extend(of_clients.map(committed));
}

fn committed(entry: &Entry) -> Committed {
    Committed { id: entry.id, command: entry.payload.clone() }
}
