//! Carries out the effects of a turn of the pump: the write first, then the sends, then all others.

use raft_core::consensus::{Body, RoleName, SoftState};
use raft_core::storage::LogOp;
use raft_core::types::{EntryId, LogIndex, NodeId};
use raft_node::pump::{ApplyBatch, Effects, Event, Failed, Fetch, StopReason};
use raft_node::{Content, Envelope, Fatal, ProposeError, ReadError, Replies, StateMachine};

use super::messages::Line;
use super::{World, WorldEvent};
use crate::checks::{Check, Violation, hold};
use crate::sim::TICK;
use crate::sim::machine::Command;
use crate::sim::marks::Mark;
use crate::sim::member::Requests;
use crate::sim::nemesis::Fault;
use crate::sim::planted::{Planted, StoreBug};

impl World {
    pub(super) fn carry_out(
        &mut self,
        at: usize,
        effects: Effects<Requests>,
    ) -> Result<(), Violation> {
        if let Some(batch) = effects.write {
            self.begin_write(at, batch)?;
        }
        let from = self.members[at].id;
        let mut granted = false;
        for (to, envelope) in effects.sends {
            granted |= self.check_send(from, to, &envelope)?;
            self.send(from, to, envelope);
        }
        self.connect(at, effects.connects);
        self.begin_reads(at, effects.fetches)?;
        let stepped_down = !effects.soft_states.is_empty();
        self.marks
            .hit_if(stepped_down && !effects.failed_reads.is_empty(), Mark::ReadsAcrossStepDown);
        for soft_state in effects.soft_states {
            self.on_soft_state(at, soft_state)?;
        }
        for failed in effects.failed {
            self.fail_proposals(at, &failed)?;
            self.release_quota(at, failed.group, failed.offset, failed.count)?;
        }
        for overdue in effects.overdue {
            self.fail_proposals(at, &overdue)?;
        }
        for settled in effects.settled {
            self.release_quota(at, settled.group, settled.offset, settled.count)?;
        }
        for (call, outcome) in effects.session_answers {
            self.answer_call(at, call, outcome)?;
        }
        for why in effects.refused_changes {
            self.note_refused_step(at, &why);
        }
        for (client, result) in effects.change_answers {
            self.answer_change(at, client, result)?;
        }
        for (to, why) in effects.failed_transfers {
            self.note_failed_transfer(at, to, &why);
        }
        if let Some(outcome) = effects.installed {
            self.note_installed(at, outcome);
        }
        let restores = effects.restore.is_some();
        self.begin_snapshot_work(at, effects.snapshot, effects.transfers, restores)?;
        if let Some(batch) = effects.apply {
            self.begin_apply(at, batch)?;
        }
        for (number, index) in effects.served {
            self.serve(at, number, index)?;
        }
        for (number, error) in effects.failed_reads {
            self.fail_read(at, number, &error);
        }
        if self.members[at].pump.as_ref().is_some_and(|pump| pump.has_ended()) {
            self.check_all_answered(at)?;
        }
        if let Some(reason) = effects.stop {
            self.check_stop(at, &reason)?;
            let down = if self.calm { TICK } else { self.nemesis.duration() };
            self.crash(at, down)?;
        } else if granted && let Some(down) = self.nemesis.upon_vote() {
            self.schedule(0, WorldEvent::InjectFault(Fault::Crash { member: from.get(), down }));
        }
        Ok(())
    }

    // ---- the disk ----

    fn begin_write(
        &mut self,
        at: usize,
        batch: raft_core::storage::WriteBatch,
    ) -> Result<(), Violation> {
        let now = self.now();
        self.mark_memberships(at, &batch);
        self.marks.hit_if(batch.purge_upto.is_some(), Mark::LogPurged);
        self.marks.hit_if(batch.reset.is_some(), Mark::InstallReplacedTheLog);
        let member = &mut self.members[at];
        if let Some(cut) = batch.truncate_after {
            let removed = self.laws.disk(member.id).last().get().saturating_sub(cut.get());
            self.marks.hit_if(removed >= 2, Mark::TruncatedTwoOrMore);
        }
        self.journal.note(
            member.id.get(),
            ("writes", batch.hard_state, batch.reset, batch.truncate_after, &batch.append),
            format_args!(
                "disk: writes {:?}, truncate after {:?}, {} entries",
                batch.hard_state,
                batch.truncate_after,
                batch.append.len()
            ),
        );
        member.writing_since = now;
        if member.fails_next_write() {
            member.host.fail_next_write();
        }
        member.host.begin(batch);
        member.writes_begun += 1;
        let process = member.process;
        let number = member.writes_begun;
        let time = member.write_time(now);
        self.schedule(time, WorldEvent::Written { member: at, process, number });
        match Planted::of_store(self.planted) {
            Some(StoreBug::DurableReportedBeforeSync) => self.enqueue(at, Event::Written(Ok(()))),
            _ => Ok(()),
        }
    }

    /// Schedules reads of entries, and checks that a member reads only entries that its disk holds.
    fn begin_reads(&mut self, at: usize, fetches: Vec<Fetch>) -> Result<(), Violation> {
        let now = self.now();
        for fetch in fetches {
            let member = &mut self.members[at];
            let last = self.laws.disk(member.id).last();
            let is_lawful = fetch.last <= last || !self.laws.inspects_promises() || self.lost_disks;
            hold(is_lawful, Check::StoreContract, || {
                format!("{} reads up to {}, its disk holds {last}", member.id, fetch.last)
            })?;
            let process = member.process;
            let time = member.read_time(now);
            let term = member.term_at(fetch.last);
            member.reads.insert(fetch.id, (fetch, term));
            self.schedule(time, WorldEvent::Read { member: at, process, fetch: fetch.id });
        }
        Ok(())
    }

    // ---- the end of a member ----

    /// Checks why a member stops: lawful reasons are a failed disk, a failed state machine, and
    /// that it was removed.
    fn check_stop(&mut self, at: usize, reason: &StopReason) -> Result<(), Violation> {
        match reason {
            StopReason::Store(error) if error.op == LogOp::Read => {
                self.marks.hit(Mark::ReadsGivenUp);
                Ok(())
            }
            StopReason::Store(_) => {
                self.marks.hit(Mark::WriteFailed);
                Ok(())
            }
            StopReason::StateMachine(_) => {
                self.marks.hit(Mark::ApplyFailed);
                Ok(())
            }
            StopReason::NewerMembership { id, .. } => self.check_unreadable(at, *id),
            StopReason::NewerLevel { id, .. } => self.check_newer_level(at, *id),
            StopReason::Removed { by } => self.check_removed(at, *by),
            StopReason::DataLost(_) if self.lost_disks => {
                self.members[at].has_lost_data = true;
                Ok(())
            }
            other => {
                let what = format!("{} stops: {other}", self.members[at].id);
                Err(Violation::new(Check::SoundMessages, what))
            }
        }
    }

    /// Checks that a member that has ended has answered all waiting clients, except those of the
    /// batch that the state machine is applying, and those whose requests still wait for a turn.
    fn check_all_answered(&self, at: usize) -> Result<(), Violation> {
        let member = &self.members[at];
        let mut waiting = member.waiting.clone();
        for claim in member.applying.iter().flat_map(|batch| &batch.claims) {
            let first = claim.group + claim.offset as u64;
            let answered = first..first + claim.count as u64;
            waiting.retain(|number| !answered.contains(number));
        }
        for event in &member.mailbox {
            let (first, count) = match event {
                Event::Propose { commands, group } => (*group, commands.len() as u64),
                Event::Read { group, .. } => (*group, 1),
                _ => continue,
            };
            let later = first..first + count;
            waiting.retain(|number| !later.contains(number));
        }
        let mut changing = member.changing.clone();
        for event in &member.mailbox {
            if let Event::ChangeMembership { client, .. } = event {
                changing.remove(client);
            }
        }
        let mut calls = member.calls.clone();
        for event in &member.mailbox {
            if let Event::Session { client, .. } = event {
                calls.remove(client);
            }
        }
        waiting.append(&mut calls);
        waiting.append(&mut changing);
        hold(waiting.is_empty(), Check::Outcome, || {
            format!("{} has ended, and these operations are never answered: {waiting:?}", member.id)
        })
    }

    // ---- messages ----

    /// Checks a message before it is sent. Returns whether it grants a vote.
    fn check_send(
        &mut self,
        from: NodeId,
        to: NodeId,
        envelope: &Envelope,
    ) -> Result<bool, Violation> {
        self.journal.print_only(from.get(), format_args!("-> {to} {}", Line(&envelope.content)));
        let Content::Raft { message, .. } = &envelope.content else { return Ok(false) };
        let splits = matches!(message.body, Body::Vote { .. })
            && self.laws.asked_by_other(message.term, from);
        self.marks.hit_if(splits, Mark::SplitVote);
        if matches!(message.body, Body::Vote { in_transfer: true, .. }) {
            self.note_campaign_in_transfer(from, message.term);
        }
        if !self.lost_disks {
            self.laws.on_send(from, to, message)?;
        }
        Ok(matches!(message.body, Body::VoteResponse { granted: true }))
    }

    fn on_soft_state(&mut self, at: usize, soft_state: SoftState) -> Result<(), Violation> {
        let id = self.members[at].id;
        self.journal.note(id.get(), ("is", soft_state), format_args!("is {soft_state}"));
        if self.lost_disks {
            return Ok(());
        }
        self.laws.on_soft_state(id, soft_state)?;
        self.mark_roles(at, soft_state.role);
        if soft_state.role != RoleName::Leader {
            return Ok(());
        }
        self.check_no_lease(id, soft_state.term)?;
        let others = self.members.iter().filter(|other| other.id != id);
        let other_leads = others.filter(|other| other.leads()).count() > 0;
        self.marks.hit_if(other_leads, Mark::TwoLeaders);
        self.marks.hit_if(self.won_by_transfer(id, soft_state.term), Mark::TransferSucceeded);
        self.marks.hit_if(self.inherits_majority(at), Mark::OldEntryOnMajority);
        if let Some(fault) = self.nemesis.upon_election(id.get()) {
            self.schedule(0, WorldEvent::InjectFault(fault));
        }
        Ok(())
    }

    /// Whether the last entry before the new leader's own first entry is durable on a majority and
    /// not committed.
    fn inherits_majority(&self, at: usize) -> bool {
        let Some(pump) = &self.members[at].pump else { return false };
        let before = pump.raft().last().index.prev();
        let Some(term) = pump.raft().term_at(before) else { return false };
        let Some(membership) = pump.raft().membership() else { return false };
        let id = EntryId::new(term, before);
        before > self.laws.committed() && self.laws.is_durable(id, membership)
    }

    // ---- the state machine ----

    fn begin_apply(&mut self, at: usize, batch: ApplyBatch<Requests>) -> Result<(), Violation> {
        self.check_machine_is_here(at)?;
        if !self.lost_disks {
            self.laws.on_release(self.members[at].id, batch.upto)?;
        }
        self.members[at].applying = Some(batch);
        let time = self.plan.host.apply;
        if time == 0 {
            let event = self.finish_apply(at)?;
            return self.enqueue(at, event);
        }
        let process = self.members[at].process;
        self.schedule(time, WorldEvent::Applied { member: at, process });
        Ok(())
    }

    /// The machine has applied its batch: the clients are answered. Returns the event to give the
    /// pump.
    pub(super) fn finish_apply(&mut self, at: usize) -> Result<Event<Requests>, Violation> {
        let member = &mut self.members[at];
        let batch = member.applying.take().expect("the machine is applying a batch");
        let mut replies = Replies::with_capacity(batch.commands.len());
        member.machine_before = member.machine.clone();
        member.machine.fails = member.fails_apply();
        if let Err(fatal) = member.machine.apply(&batch.commands, &mut replies) {
            return self.fail_apply(at, &batch, fatal);
        }
        let (id, answers) = (member.id, replies.into_answers());
        let recorded = batch.recorded.iter().map(|position| answers[*position].clone());
        let applied = Event::Applied { recorded: recorded.collect() };
        let hashes = member.machine.take_new_hashes();
        self.journal.note(
            id.get(),
            ("applies", batch.upto, batch.commands.len()),
            format_args!("applies {} commands, up to {}", batch.commands.len(), batch.upto),
        );
        if self.lost_disks {
            return Ok(applied);
        }
        self.laws.on_apply(id, hashes)?;
        for committed in &batch.commands {
            let Some(command) = Command::decode(&committed.command) else {
                let what = format!("{id} applies bytes at {} that no client sent", committed.id);
                return Err(Violation::new(Check::Outcome, what));
            };
            let late = self.operations.on_applied(command.value, committed.id)?;
            self.marks.hit_if(late, Mark::UnknownYetCommitted);
        }
        self.answer(at, &batch, &answers)?;
        Ok(applied)
    }

    /// The machine could not apply its batch: its clients learn no outcome, and the member must
    /// stop.
    fn fail_apply(
        &mut self,
        at: usize,
        batch: &ApplyBatch<Requests>,
        fatal: Fatal,
    ) -> Result<Event<Requests>, Violation> {
        let id = self.members[at].id.get();
        self.journal.note(id, ("fails to apply", batch.upto), format_args!("machine: {fatal}"));
        for claim in &batch.claims {
            let first = claim.group + claim.offset as u64;
            for number in first..first + claim.count as u64 {
                self.operations.on_unknown(number);
                self.release_quota(at, number, 0, 1)?;
                self.resolve(at, number);
            }
        }
        Ok(match Planted::of_store(self.planted) {
            Some(StoreBug::ApplyErrorSwallowed) => {
                let recorded = vec![Default::default(); batch.recorded.len()];
                Event::Applied { recorded }
            }
            _ => Event::Stop(StopReason::StateMachine(fatal)),
        })
    }

    fn answer(
        &mut self,
        at: usize,
        batch: &ApplyBatch<Requests>,
        answers: &[bytes::Bytes],
    ) -> Result<(), Violation> {
        for claim in &batch.claims {
            for step in 0..claim.count {
                let number = claim.group + (claim.offset + step) as u64;
                let position = claim.position + step;
                let (Some(answer), Some(command)) =
                    (answers.get(position), batch.commands.get(position))
                else {
                    let what = format!("the batch has no answer for write {number}");
                    return Err(Violation::new(Check::Outcome, what));
                };
                self.operations.on_done(number, command.id, word(answer))?;
                self.release_quota(at, number, 0, 1)?;
                let leads = self.members[at].leads();
                self.marks.hit_if(!leads, Mark::ForwardAnswered);
                self.resolve(at, number);
            }
        }
        Ok(())
    }

    // ---- clients ----

    fn serve(&mut self, at: usize, number: u64, index: LogIndex) -> Result<(), Violation> {
        self.check_machine_is_here(at)?;
        let member = &self.members[at];
        let key = [self.operations.request(number).key as u8];
        let value = match Planted::of_store(self.planted) {
            Some(StoreBug::ReadOneBatchBehind) => member.machine_before.read(&key),
            _ => member.machine.read(&key),
        };
        let applied = member.pump.as_ref().map(|pump| pump.applied()).unwrap_or_default();
        self.marks.hit_if(!member.leads(), Mark::FollowerRead);
        self.journal.note(
            member.id.get(),
            ("serves", number, word(&value)),
            format_args!("serves read {number}: {} at {applied}", word(&value)),
        );
        let value = word(&value);
        if self.check_read(number, applied, index)? {
            self.operations.on_read(number, applied, value)?;
        } else {
            self.operations.on_unknown(number);
        }
        self.resolve(at, number);
        Ok(())
    }

    fn fail_read(&mut self, at: usize, number: u64, error: &ReadError) {
        let id = self.members[at].id.get();
        self.journal.note(id, ("unread", number), format_args!("read {number}: {error}"));
        self.mark_failed_read(number, error);
        self.operations.on_unknown(number);
        self.resolve(at, number);
    }

    /// Releases the share of the member's quota that each of these commands holds. A command that
    /// releases it twice is a violation.
    fn release_quota(
        &mut self,
        at: usize,
        group: u64,
        offset: usize,
        count: usize,
    ) -> Result<(), Violation> {
        let member = &mut self.members[at];
        let first = group + offset as u64;
        for number in first..first + count as u64 {
            hold(member.holding.remove(&number), Check::Outcome, || {
                format!("write {number} releases quota that it does not hold")
            })?;
        }
        Ok(())
    }

    fn fail_proposals(&mut self, at: usize, failed: &Failed<Requests>) -> Result<(), Violation> {
        let Failed { group, offset, count, error } = failed;
        let id = self.members[at].id.get();
        self.journal.note(
            id,
            ("fails", group, offset, count),
            format_args!("write {group}, {count} from {offset}: {error}"),
        );
        for number in group + *offset as u64..group + (*offset + *count) as u64 {
            self.marks.hit_if(*error == ProposeError::Lost, Mark::CommandLost);
            if *error == ProposeError::Unknown {
                let happened = self.operations.on_unknown(number);
                self.marks.hit_if(happened, Mark::UnknownYetCommitted);
            } else {
                self.operations.on_failed(number)?;
            }
            self.resolve(at, number);
        }
        Ok(())
    }
}

pub(super) fn word(bytes: &[u8]) -> u64 {
    bytes.try_into().map_or(u64::MAX, u64::from_le_bytes)
}
