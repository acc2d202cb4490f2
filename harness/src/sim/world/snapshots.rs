//! Snapshots of members: taken, sent, received and installed, and the start from one.

use std::collections::BTreeMap;
use std::sync::Arc;

use raft_core::storage::{Recovered, WriteBatch};
use raft_core::types::{EntryId, HardState, LogIndex, Term};
use raft_node::pump::{Event, SnapshotPlan, TransferWork};
use raft_node::{SnapshotError, SnapshotId};

use super::{World, WorldEvent, store_failed};
use crate::checks::{Check, Violation, hold};
use crate::sim::marks::Mark;
use crate::sim::member::{Requests, digest_of};
use crate::sim::planted::{Planted, StoreBug};
use crate::sim::snapshots::File;

/// Each file that was ever written, by its name.
pub(super) type Files = BTreeMap<SnapshotId, Arc<File>>;

impl World {
    /// Begins what a turn asks for: a snapshot, work with files, a restore.
    pub(super) fn begin_snapshot_work(
        &mut self,
        at: usize,
        plan: Option<SnapshotPlan>,
        transfers: Vec<TransferWork>,
        restores: bool,
    ) -> Result<(), Violation> {
        if let Some(plan) = plan {
            self.begin_snapshot(at, plan)?;
        }
        self.begin_file_work(at, transfers);
        if restores {
            self.begin_restore(at);
        }
        Ok(())
    }

    /// Pins the state of a member's state machine, and begins to write it.
    fn begin_snapshot(&mut self, at: usize, mut plan: SnapshotPlan) -> Result<(), Violation> {
        self.check_engine(at, &plan)?;
        if Planted::of_store(self.planted) == Some(StoreBug::SessionsLeftOutOfSnapshot) {
            plan.engine.sessions = Default::default();
        }
        let salt = self.sequence;
        let member = &mut self.members[at];
        let machine = match Planted::of_store(self.planted) {
            Some(StoreBug::SnapshotOneBatchBehind) => member.machine_before.clone(),
            _ => member.machine.clone(),
        };
        let file = Arc::new(File::new(plan, member.id, salt, machine));
        self.files.insert(file.id, Arc::clone(&file));
        self.journal.note(
            member.id.get(),
            ("takes a snapshot", file.id),
            format_args!("takes snapshot {}", file.id),
        );
        member.shelf.writing = Some(file);
        let (process, time) = (member.process, member.write_time(self.journal.now));
        self.schedule(time, WorldEvent::SnapshotWritten { member: at, process });
        match (Planted::of_store(self.planted), &self.members[at].shelf.writing) {
            (Some(StoreBug::SnapshotReportedBeforeSync), Some(file)) => {
                let taken = file.taken();
                self.enqueue(at, Event::Snapshotted(Ok(taken)))
            }
            _ => Ok(()),
        }
    }

    /// The engine's state after an entry is the same on all members.
    fn check_engine(&mut self, at: usize, plan: &SnapshotPlan) -> Result<(), Violation> {
        let member = &self.members[at];
        let digest = digest_of(&plan.engine, member.machine.durable);
        let first = *self.engines.entry(plan.last).or_insert(digest);
        hold(first == digest || self.lost_disks, Check::ExactlyOnce, || {
            format!(
                "the sessions of {} after {} differ from another member's",
                member.id, plan.last
            )
        })
    }

    /// The snapshot that a member writes is durable, or has failed.
    pub(super) fn finish_snapshot(&mut self, at: usize) -> Result<(), Violation> {
        let fails = self.members[at].fails_file();
        let Some(file) = self.members[at].shelf.writing.take() else { return Ok(()) };
        if fails {
            self.marks.hit(Mark::SnapshotFailed);
            let failed = SnapshotError::Failed("an injected failure".to_owned());
            return self.enqueue(at, Event::Snapshotted(Err(failed)));
        }
        let taken = file.taken();
        self.keep(at, file)?;
        if Planted::of_store(self.planted) == Some(StoreBug::SnapshotReportedBeforeSync) {
            return Ok(());
        }
        self.enqueue(at, Event::Snapshotted(Ok(taken)))
    }

    /// A file is durable under its name.
    fn keep(&mut self, at: usize, file: Arc<File>) -> Result<(), Violation> {
        let member = &mut self.members[at];
        member.shelf.keep(Arc::clone(&file));
        if self.lost_disks { Ok(()) } else { self.laws.on_snapshot(member.id, file.id.last) }
    }

    /// After a crash the file that was being written may be durable.
    pub(super) fn keep_through_crash(&mut self, at: usize) -> Result<(), Violation> {
        let durable = self.members[at].shelf.durable().cloned();
        durable.map_or(Ok(()), |file| self.keep(at, file))
    }

    /// Queues work with the files of a member; one piece is done after another.
    fn begin_file_work(&mut self, at: usize, works: Vec<TransferWork>) {
        for work in works {
            let member = &mut self.members[at];
            member.shelf.work.push_back(work);
            let number = member.shelf.done + member.shelf.work.len() as u64;
            let (process, time) = (member.process, member.read_time(self.journal.now));
            self.schedule(time, WorldEvent::FileWork { member: at, process, number });
        }
    }

    /// Does a member's work with files up to this piece.
    pub(super) fn do_file_work(&mut self, at: usize, upto: u64) -> Result<(), Violation> {
        while self.members[at].shelf.done < upto {
            let member = &mut self.members[at];
            let Some(work) = member.shelf.work.pop_front() else { return Ok(()) };
            member.shelf.done += 1;
            if let Some(event) = self.transfer(at, work)? {
                self.enqueue(at, event)?;
            }
        }
        Ok(())
    }

    fn transfer(
        &mut self,
        at: usize,
        work: TransferWork,
    ) -> Result<Option<Event<Requests>>, Violation> {
        let id = self.members[at].id;
        self.journal.note(id.get(), &work, format_args!("files: {work:?}"));
        if let TransferWork::Spool { number, .. } = work
            && self.members[at].fails_file()
        {
            self.marks.hit(Mark::SnapshotNotReceived);
            self.members[at].shelf.discard();
            let result = Err("an injected failure".to_owned());
            return Ok(Some(Event::Spooled { number, result }));
        }
        let shelf = &mut self.members[at].shelf;
        Ok(match work {
            TransferWork::Read { to, id, offset, most } => {
                let read = shelf.read(id, offset, most);
                self.marks.hit_if(read.is_none(), Mark::SnapshotGone);
                Some(Event::ChunkRead { to, id, offset, result: Ok(read) })
            }
            TransferWork::Release(id) => {
                shelf.release(id);
                None
            }
            TransferWork::Spool { number, id, offset, bytes } => {
                let spooled = shelf.spool(id, offset, &bytes);
                spooled.map_err(|what| Violation::new(Check::SoundSnapshot, what))?;
                Some(Event::Spooled { number, result: Ok(()) })
            }
            TransferWork::Keep(file) => Some(Event::Kept(Ok(self.keep_received(at, file)?))),
            TransferWork::Discard => {
                shelf.discard();
                None
            }
        })
    }

    /// What a member has received must be the file that was announced.
    fn keep_received(
        &mut self,
        at: usize,
        id: SnapshotId,
    ) -> Result<raft_node::pump::ReceivedSnapshot, Violation> {
        let member = &mut self.members[at];
        let file = self.files.get(&id).filter(|file| member.shelf.has_received(file)).cloned();
        let Some(file) = file else {
            let what = format!("{} has received something else than {id}", member.id);
            return Err(Violation::new(Check::SoundSnapshot, what));
        };
        member.shelf.discard();
        let received = file.received();
        self.members[at].to_restore = Some(Arc::clone(&file));
        if Planted::of_store(self.planted) != Some(StoreBug::ReceivedFileNotKept) {
            self.keep(at, file)?;
        }
        Ok(received)
    }

    /// Begins to restore a member's state machine.
    fn begin_restore(&mut self, at: usize) {
        let member = &mut self.members[at];
        let (process, time) = (member.process, member.read_time(self.journal.now));
        self.schedule(time, WorldEvent::Restored { member: at, process });
        self.members[at].is_restoring = true;
    }

    /// A member's state machine has the state of its newest snapshot.
    pub(super) fn finish_restore(&mut self, at: usize) -> Result<(), Violation> {
        let member = &mut self.members[at];
        if !std::mem::take(&mut member.is_restoring) {
            return Ok(());
        }
        let file = member.to_restore.take().expect("a file was received");
        self.restore_machine(at, &file)?;
        self.marks.hit(Mark::SnapshotInstalled);
        self.marks.hit_if(!file.engine.sessions.is_empty(), Mark::SessionsInstalled);
        let holds_last = self.members[at].term_at(file.id.last.index) == Some(file.id.last.term);
        self.marks.hit_if(holds_last, Mark::InstallKeptTheLog);
        self.enqueue(at, Event::Restored)
    }

    /// A state machine that is being restored is elsewhere.
    pub(super) fn check_machine_is_here(&self, at: usize) -> Result<(), Violation> {
        let member = &self.members[at];
        hold(!member.is_restoring, Check::SoundSnapshot, || {
            format!("{} uses its state machine while it is restored", member.id)
        })
    }

    /// Whether the leader has purged what this member needs next.
    pub(crate) fn needs_snapshot(&self, at: usize) -> bool {
        let leader = self.leader().and_then(|leader| self.members[leader].pump.as_ref());
        let id = self.members[at].id;
        leader.is_some_and(|pump| pump.raft().peers_in_need_of_a_snapshot().any(|peer| peer == id))
    }

    /// How many snapshots of others this process of a member has installed.
    pub(crate) fn installs(&self, at: usize) -> u64 {
        let pump = self.members[at].pump.as_ref();
        pump.map_or(0, |pump| pump.counters().snapshots_installed)
    }

    /// Notes what became of a snapshot of another member.
    pub(super) fn note_installed(
        &mut self,
        at: usize,
        outcome: Result<raft_node::TakenSnapshot, String>,
    ) {
        let joined = self.members[at].id.get() > self.plan.members;
        self.marks.hit_if(outcome.is_ok() && joined, Mark::NewcomerInstalled);
        let id = self.members[at].id.get();
        self.journal.note(id, ("installs", outcome.is_ok()), format_args!("installs {outcome:?}"));
    }

    fn restore_machine(&mut self, at: usize, file: &File) -> Result<(), Violation> {
        let member = &mut self.members[at];
        member.machine.restore(&file.machine);
        member.machine_before = member.machine.clone();
        let id = member.id.get();
        self.journal.note(id, ("restores", file.id), format_args!("restores {}", file.id));
        let hash = self.members[at].machine.last_hash();
        if self.lost_disks { Ok(()) } else { self.laws.on_apply(self.members[at].id, hash) }
    }

    /// Restores the state machine of a member that starts from its newest snapshot, and repeats the
    /// reset of the log if the log does not reach it, as the node does (`restore.rs` there).
    pub(super) fn restore_at_start(
        &mut self,
        at: usize,
        recovered: Recovered,
    ) -> Result<Recovered, Violation> {
        let member = &self.members[at];
        let Some(file) = member.shelf.durable().cloned() else { return Ok(recovered) };
        let last = file.id.last;
        let has = member.machine.applied_index();
        self.marks.hit_if(!file.engine.sessions.is_empty(), Mark::SessionsRestored);
        if has < last.index {
            self.restore_machine(at, &file)?;
        }
        if reaches(&recovered, last) || has > last.index {
            return Ok(recovered);
        }
        let id = self.members[at].id;
        let is_sound = file.writer != id && recovered.commit_hint < last.index;
        hold(is_sound || self.lost_disks, Check::SoundSnapshot, || {
            format!("the log of {id} does not reach {}, which {} took", file.id, file.writer)
        })?;
        self.marks.hit(Mark::InstallRepeated);
        let raised = HardState { term: last.term, vote: None };
        let hard_state = (recovered.hard_state.term < last.term).then_some(raised);
        let batch = WriteBatch { hard_state, ..WriteBatch::of_reset(last) };
        let member = &mut self.members[at];
        let reset = member.host.write_at_once(batch.clone());
        let recovered = reset.map_err(|error| store_failed(id, &error))?;
        if !self.lost_disks {
            self.laws.on_durable(id, &batch)?;
        }
        Ok(recovered)
    }
}

/// Whether the log holds this entry, or has purged it.
fn reaches(recovered: &Recovered, id: EntryId) -> bool {
    id.index < recovered.bounds.boundary.index || term_at(recovered, id.index) == Some(id.term)
}

fn term_at(recovered: &Recovered, index: LogIndex) -> Option<Term> {
    let bounds = recovered.bounds;
    if index == bounds.boundary.index {
        return Some(bounds.boundary.term);
    }
    let run = recovered.term_runs.iter().rev().find(|run| run.first <= index);
    run.filter(|_| index <= bounds.last.index).map(|run| run.term)
}
