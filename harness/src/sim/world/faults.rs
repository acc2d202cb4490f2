//! Injects faults and ends them: partitions, crashes, restarts, and the calm phase.

use raft_core::storage::WriteBatch;
use raft_node::pump::{Event, FetchId};

use super::{World, WorldEvent, store_failed};
use crate::checks::convergence::View;
use crate::checks::{Check, Violation, hold};
use crate::sim::marks::Mark;
use crate::sim::member::Member;
use crate::sim::nemesis::Fault;
use crate::sim::{TICK, Time};

impl World {
    pub(super) fn inject_next_fault(&mut self) -> Result<(), Violation> {
        if self.calm {
            return Ok(());
        }
        let pause = self.nemesis.pause();
        self.schedule(pause, WorldEvent::NextFault);
        let leader = self.members.iter().find(|member| member.leads());
        let leader = leader.map(|member| member.id.get());
        match self.nemesis.next_fault(leader) {
            Some(fault) => self.inject(fault),
            None => Ok(()),
        }
    }

    pub(super) fn inject(&mut self, fault: Fault) -> Result<(), Violation> {
        self.journal.note(0, fault, format_args!("{fault:?}"));
        let now = self.now();
        match fault {
            Fault::Cut { from, to, back } => {
                let length = self.nemesis.duration();
                self.cut(from, to, back, length);
            }
            Fault::Crash { member, down } => self.crash_if_up(member as usize - 1, down)?,
            Fault::PowerCut { down } => {
                self.marks.hit(Mark::PowerCut);
                for at in 0..self.members.len() {
                    self.crash_if_up(at, down + at as Time * 100)?;
                }
            }
            Fault::Pause { member, length } => {
                self.members[member as usize - 1].paused_until = now + length;
            }
            Fault::SlowDisk { member, factor, length } => {
                self.members[member as usize - 1].slowness = (factor, now + length);
            }
        }
        Ok(())
    }

    fn cut(&mut self, from: u64, to: u64, back: bool, length: Time) {
        let has = |set: u64, node: u64| set & (1 << node) != 0;
        self.network.cut_where(|one, other| {
            (has(from, one) && has(to, other)) || (back && has(to, one) && has(from, other))
        });
        self.cuts += 1;
        self.schedule(length, WorldEvent::Heal { cut: self.cuts });
    }

    pub(super) fn heal(&mut self, cut: u64) {
        if cut == self.cuts {
            self.journal.note(0, "heals", format_args!("the network heals"));
            self.network.cut_where(|_, _| false);
        }
    }

    // ---- crashes ----

    /// Crashes a member, unless it is down or the calm phase has begun.
    fn crash_if_up(&mut self, at: usize, down: Time) -> Result<(), Violation> {
        if self.members[at].is_up() && !self.calm { self.crash(at, down) } else { Ok(()) }
    }

    /// Crashes a member. It starts again after the time `down`.
    pub(super) fn crash(&mut self, at: usize, down: Time) -> Result<(), Violation> {
        let now = self.now();
        let (in_flight, waiting) = self.members[at].crash(now);
        self.keep_through_crash(at)?;
        let id = self.members[at].id.get();
        let lost = in_flight.len();
        self.journal.note(id, ("crashes", lost), format_args!("crashes, {lost} writes in flight"));
        let votes = |batch: &WriteBatch| batch.hard_state.is_some_and(|hs| hs.vote.is_some());
        self.marks.hit_if(in_flight.iter().any(votes), Mark::CrashBeforeVoteDurable);
        let appends = |batch: &WriteBatch| !batch.append.is_empty();
        self.marks.hit_if(in_flight.iter().any(appends), Mark::CrashBeforeEntriesDurable);
        for number in waiting {
            let happened = self.operations.on_unknown(number);
            self.marks.hit_if(happened, Mark::UnknownYetCommitted);
            self.schedule_next_request(number);
        }
        self.lose_calls(at)?;
        self.members[at].left_in_flight = in_flight;
        self.schedule(down, WorldEvent::Start { member: at });
        Ok(())
    }

    pub(super) fn restart(&mut self, at: usize) -> Result<(), Violation> {
        let down = self.now() - self.members[at].stopped_at;
        let quick = Time::from(self.plan.config.election_ticks_min) * TICK;
        self.marks.hit_if(down < quick, Mark::QuickRestart);
        self.marks.hit_if(self.members[at].machine.durable, Mark::DurableMachineRestarted);
        self.members[at].maybe_upgrade();
        // Messages of the earlier process may have arrived while it was down.
        let node = self.members[at].id;
        for other in &mut self.members {
            other.met.remove(&node);
        }
        let in_flight = std::mem::take(&mut self.members[at].left_in_flight);
        self.start(at, in_flight)
    }

    /// Starts a member from the state that its store recovers. `in_flight` are the writes whose
    /// outcome the crash left open.
    pub(super) fn start(&mut self, at: usize, in_flight: Vec<WriteBatch>) -> Result<(), Violation> {
        let member = &mut self.members[at];
        let id = member.id;
        let recovered = member.open().map_err(|error| store_failed(id, &error))?;
        let survived =
            if self.lost_disks { 0 } else { self.laws.on_recovered(id, &in_flight, &recovered)? };
        self.marks.hit_if(survived < in_flight.len(), Mark::UnsyncedWriteLost);
        self.marks.hit_if(survived > 0, Mark::UnreportedWriteSurvived);
        let recovered = self.restore_at_start(at, recovered)?;
        let member = &mut self.members[at];
        let last = recovered.bounds.last;
        let hard_state = recovered.hard_state;
        self.journal.note(
            id.get(),
            ("starts", last, hard_state, survived),
            format_args!(
                "starts with {hard_state}, last {last}, {survived} unreported writes survived"
            ),
        );
        let boundary = recovered.bounds.boundary.index;
        let reached = member.reached();
        hold(reached >= boundary, Check::SoundSnapshot, || {
            format!("the log of {id} begins after {boundary}, its state ends at {reached}")
        })?;
        let now = self.journal.now;
        member.start(now, &self.plan, recovered, self.planted);
        let process = member.process;
        let tick = member.tick();
        self.schedule(tick, WorldEvent::Tick { member: at, process });
        Ok(())
    }

    // ---- calm, and the end of a run ----

    /// Begins the calm phase: nothing fails any more, and no client sends a new request.
    pub(crate) fn calm_down(&mut self) -> Result<(), Violation> {
        self.journal.note(0, "calm", format_args!("calm: no more faults"));
        self.calm = true;
        self.network.calm();
        let now = self.now();
        for at in 0..self.members.len() {
            self.members[at].calm(now);
            if !self.members[at].is_up() {
                self.restart(at)?;
            }
            let Member { process, writes_begun: number, .. } = self.members[at];
            self.schedule(500, WorldEvent::Written { member: at, process, number });
            for event in [
                WorldEvent::SnapshotWritten { member: at, process },
                WorldEvent::FileWork { member: at, process, number: u64::MAX },
                WorldEvent::Restored { member: at, process },
            ] {
                self.schedule(500, event);
            }
            let reads: Vec<FetchId> = self.members[at].reads.keys().copied().collect();
            for fetch in reads {
                self.schedule(500, WorldEvent::Read { member: at, process, fetch });
            }
            self.run_turns(at)?;
        }
        Ok(())
    }

    /// The number of entries in the longest log.
    pub(crate) fn longest_log(&self) -> u64 {
        let pumps = self.members.iter().filter_map(|member| member.pump.as_ref());
        pumps.map(|pump| pump.raft().last().index.get()).max().unwrap_or(0)
    }

    /// A view of each member of the newest membership; `None` if one of them is down, or if there
    /// is no leader.
    pub(crate) fn views(&self) -> Option<Vec<View>> {
        let present = self.present_members();
        let views = || present.iter().map(|at| self.members[*at].view()).collect();
        if present.is_empty() { None } else { views() }
    }

    /// Closes each member, as an orderly shutdown does.
    pub(crate) fn close(&mut self) -> Result<(), Violation> {
        (0..self.members.len()).try_for_each(|at| self.enqueue(at, Event::Close))
    }
}
