//! Carries out the core's outputs, one after another.

use std::sync::Arc;

use bytes::Bytes;
use raft_core::consensus::{Appended, Input, Message, Output, Removal, SoftState, Source, Write};
use raft_core::storage::WriteBatch;
use raft_core::storage::record::{decode_membership, encode_membership};
use raft_core::types::{Entry, EntryId, EntryKind, LogIndex, Membership, NodeId};

use super::effects::Effects;
use super::event::Clients;
use super::planted::planted;
use super::tail_cache::Reach;
use super::turn_proposals::hint;
use super::{Pump, StopReason, TransferError};
use crate::{Content, Entries, Envelope, ReadError};

impl<C: Clients> Pump<C> {
    /// Steps the core, and carries out all that follows from it.
    pub(super) fn step(&mut self, input: Input, effects: &mut Effects<C>) {
        self.queue(input);
        self.carry_out_queued(effects);
    }

    /// Carries out the core's outputs so far, and all that follows from them.
    pub(super) fn carry_out_queued(&mut self, effects: &mut Effects<C>) {
        if self.todo.is_empty() {
            return;
        }
        // Two lists are used alternately, so that both keep their memory from step to step.
        let spare = std::mem::take(&mut self.spare);
        let mut outputs = std::mem::replace(&mut self.todo, spare);
        while !outputs.is_empty() {
            for output in outputs.drain(..) {
                self.carry_out(output, effects);
            }
            // The outputs that the core added in the meantime.
            std::mem::swap(&mut outputs, &mut self.todo);
        }
        self.spare = outputs;
    }

    /// Steps the core; its outputs are queued.
    pub(super) fn queue(&mut self, input: Input) {
        self.raft.step(input, &mut self.todo);
    }

    fn carry_out(&mut self, output: Output, effects: &mut Effects<C>) {
        match output {
            Output::Write(write) => self.write(write, effects),
            Output::Send { to, message } => {
                self.proposed.note_sent(to, &message);
                self.send(to, Content::Raft { message, entries: Entries::default() }, effects);
            }
            Output::SendEntries { to, message, send } => {
                self.send_entries(to, message, send, effects);
            }
            Output::Apply { upto } => self.applying.release(upto),
            Output::ProposalRefused(refusal) => self.refuse_turn(refusal, effects),
            Output::ReadReady { read, index } => self.reads.confirm(read, index),
            Output::ReadRefused { read, refusal } => {
                let error = ReadError::NotLeader { hint: hint(refusal) };
                for group in self.reads.refuse(read) {
                    effects.failed_reads.push((group, error.clone()));
                }
            }
            Output::TransferRefused { to, why } => {
                effects.failed_transfers.push((to, TransferError::Refused(why)));
            }
            // The end of the turn reports it.
            Output::TransferAbandoned { .. } => {}
            Output::ChangeRefused(why) => effects.refused_changes.push(why.into()),
            Output::Became(soft_state) => self.became(soft_state, effects),
            Output::Rejected { why, .. } => *self.counters.rejected.entry(why).or_insert(0) += 1,
            Output::SnapshotNeeded { to } => self.offer_snapshot(to, effects),
            Output::Stop(why) => self.stop(StopReason::DataLost(why), effects),
        }
    }

    pub(super) fn send(&mut self, to: NodeId, content: Content, effects: &mut Effects<C>) {
        self.counters.sent += 1;
        effects.sends.push((to, Envelope { cluster: self.identity.cluster, content }));
    }

    // ---- writes ----

    fn write(&mut self, write: Write, effects: &mut Effects<C>) {
        let mut batch = WriteBatch { hard_state: write.hard_state, ..WriteBatch::default() };
        match write.removal {
            Some(Removal::TruncateAfter(index)) => {
                batch.truncate_after = Some(index);
                self.tail.truncate_after(index);
                // This comes before the tail evicts entries, since it must not evict entries that
                // are not written.
                self.writes.lower_to(index);
            }
            Some(Removal::Reset(boundary)) => {
                batch.reset = Some(boundary);
                self.tail.clear();
                // The entries that are on their way to the store belong to the log that is dropped,
                // so the commit index says nothing about them.
                if !planted!(self, ResetKeepsHints) {
                    self.writes.lower_to(LogIndex::ZERO);
                }
            }
            Some(Removal::PurgeUpto(upto)) => batch.purge_upto = Some(upto),
            None => {}
        }
        let entries = match write.append {
            Some(appended) => self.entries(appended, effects),
            None => Entries::default(),
        };
        self.tail.push(&entries, self.reach());
        let bytes = entries.bytes();
        if let Some(last) = entries.last() {
            self.log_size.note(last.id.index, bytes);
        }
        batch.append = entries.into_vec();
        self.writes.push(write.seq, batch, bytes, self.raft.last().index);
    }

    fn reach(&self) -> Reach {
        Reach {
            written: self.writes.written(),
            applied: self.applying.applied(),
            stored_by_all: self.raft.stored_by_all(),
        }
    }

    /// Gives the ids of appended entries their payloads.
    fn entries(&mut self, appended: Appended, effects: &mut Effects<C>) -> Entries {
        let span = appended.span;
        match appended.source {
            Source::Noop => vec![Entry::new(span.last_id(), EntryKind::Noop, Bytes::new())].into(),
            Source::Membership(membership) => {
                let payload = encode_membership(&membership);
                vec![Entry::new(span.last_id(), EntryKind::Membership, payload)].into()
            }
            Source::Append => {
                let entries = std::mem::take(&mut self.payloads.append);
                let part = entries.into_part(span.first(), span.last());
                part.expect("what is appended is what arrived")
            }
            Source::Proposals => {
                self.settle_turn(&span, effects);
                let commands = std::mem::take(&mut self.payloads.proposals);
                self.counters.proposed += commands.len() as u64;
                let ids = ids_from(EntryId::new(span.last_id().term, span.first()));
                let entry = |(id, command)| Entry::new(id, EntryKind::Command, command);
                let mut entries = ids.zip(commands).map(entry).collect::<Vec<Entry>>();
                self.proposed.set_kinds(&mut entries);
                entries.into()
            }
        }
    }

    // ---- what arrives ----

    /// A message of the protocol. Its entries must be those that it names; memberships among them
    /// go to the core by value.
    pub(super) fn on_raft(
        &mut self,
        from: NodeId,
        message: Message,
        entries: Entries,
        effects: &mut Effects<C>,
    ) {
        let memberships = match memberships(&entries, self.reads_memberships) {
            Ok(memberships) if names_all(&message, &entries) => memberships,
            // An older message is refused for its term.
            Err(Unreadable::Newer { id, version }) if message.term >= self.raft.term() => {
                return self.stop(StopReason::NewerMembership { id, version }, effects);
            }
            _ => {
                self.counters.malformed += 1;
                return;
            }
        };
        if message.term >= self.raft.term() && !self.supports_all(&entries, effects) {
            return;
        }
        self.payloads.append = entries;
        self.step(Input::Message { from, message, memberships }, effects);
        self.payloads.append = Entries::default();
    }

    fn became(&mut self, soft_state: SoftState, effects: &mut Effects<C>) {
        effects.soft_states.push(soft_state);
        if soft_state.leader.is_some() {
            let until = self.now + self.election_ticks;
            self.forwarding.on_new_term(soft_state.term, until);
        }
    }
}

fn ids_from(first: EntryId) -> impl Iterator<Item = EntryId> {
    (0..).map(move |offset| EntryId::new(first.term, first.index.plus(offset)))
}

/// Whether the entries are exactly those that the message names.
fn names_all(message: &Message, entries: &[Entry]) -> bool {
    match message.span() {
        Some(span) => {
            span.len() == entries.len() as u64 && super::tail_cache::begin_span(entries, span)
        }
        None => entries.is_empty(),
    }
}

/// Why the memberships among entries cannot be read.
enum Unreadable {
    Malformed,
    Newer { id: EntryId, version: u8 },
}

/// The memberships among entries, if all of them have at most this version and decode.
fn memberships(
    entries: &[Entry],
    newest: u8,
) -> Result<Vec<(LogIndex, Arc<Membership>)>, Unreadable> {
    let of_kind = entries.iter().filter(|entry| entry.kind == EntryKind::Membership);
    let decoded = |entry: &Entry| {
        let id = entry.id;
        let version = entry.payload.first().copied().unwrap_or_default();
        if version > newest {
            return Err(Unreadable::Newer { id, version });
        }
        match decode_membership(&entry.payload) {
            Ok(membership) => Ok((id.index, Arc::new(membership))),
            Err(_) => Err(Unreadable::Malformed),
        }
    };
    of_kind.map(decoded).collect()
}
