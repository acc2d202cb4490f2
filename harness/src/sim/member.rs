//! One member: a pump, its store, its state machine, its clock, and the operations that wait for an
//! answer from it.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use raft_core::consensus::{self, Config, Start};
use raft_core::storage::record::encode_membership;
use raft_core::storage::{LogError, Recovered, WriteBatch};
use raft_core::types::{
    ClusterId, Entry, EntryId, EntryKind, Identity, LogIndex, Membership, NodeId, StoreId, Term,
};
use raft_node::pump::{ApplyBatch, Clients, Event, Fetch, FetchId, Pump};
use raft_node::{EngineState, FIRST_LEVEL, version_of_level};

use crate::checks::convergence::View;
use crate::digest::Digest;
use crate::rng::Rng;
use crate::sim::machine::Registers;
use crate::sim::plan::{HostPlan, Plan};
use crate::sim::planted::{Planted, StoreBug};
use crate::sim::snapshots::{File, Shelf};
use crate::sim::store_host::{SimulatedDisk, StoreHost};
use crate::sim::{TICK, Time};

/// How the pump identifies its clients here: by the number of the first operation of a group.
#[derive(Debug)]
pub(crate) struct Requests;

impl Clients for Requests {
    type Proposals = u64;
    type Reads = u64;
    type Snapshots = u64;
    type Changes = u64;
    type Sessions = u64;
}

/// The version of the wire format that this program speaks, and that of an older program, which
/// cannot read every membership.
pub(crate) const NEW: u16 = raft_node::PROTOCOL_VERSION;
pub(crate) const OLD: u16 = 1;

/// One member, which may be running or down.
pub(crate) struct Member {
    pub(crate) id: NodeId,
    /// The number of the current process. Events of an earlier process are dropped.
    pub(crate) process: u64,
    pub(crate) pump: Option<Pump<Requests>>,
    pub(crate) host: StoreHost,
    pub(crate) machine: Registers,
    /// The state machine before its last batch, for a planted bug.
    pub(crate) machine_before: Registers,
    /// The batch that the state machine is applying.
    pub(crate) applying: Option<ApplyBatch<Requests>>,
    /// Its snapshot files, and whether its state machine is being restored from one.
    pub(crate) shelf: Shelf,
    pub(crate) is_restoring: bool,
    /// The file that was received last, until the state machine is restored from it.
    pub(crate) to_restore: Option<Arc<File>>,
    /// Events that wait for a turn.
    pub(crate) mailbox: Vec<Event<Requests>>,
    /// The operations that wait for an answer from this member.
    pub(crate) waiting: BTreeSet<u64>,
    /// The changes of the membership that this member was asked for and has not answered.
    pub(crate) changing: BTreeSet<u64>,
    /// The calls of requests of sessions that this member has not answered.
    pub(crate) calls: BTreeSet<u64>,
    /// The writes that hold a share of this member's quota of waiting proposals.
    pub(crate) holding: BTreeSet<u64>,
    /// Until when it is busy with its last turn, and until when it is paused.
    pub(crate) busy_until: Time,
    pub(crate) paused_until: Time,
    /// Whether its next turn is scheduled, and whether it is in a turn now.
    pub(crate) turn_scheduled: bool,
    pub(crate) in_turn: bool,
    /// Reads of entries in progress, each with the term of its last entry at the time it began.
    pub(crate) reads: BTreeMap<FetchId, (Fetch, Option<Term>)>,
    /// The factor by which its disk is slowed down, and until when.
    pub(crate) slowness: (u64, Time),
    /// When it stopped, and when its last write began.
    pub(crate) stopped_at: Time,
    pub(crate) writing_since: Time,
    /// How many writes this process has begun, and how many of them have ended.
    pub(crate) writes_begun: u64,
    pub(crate) writes_finished: u64,
    /// The writes that were in flight when it stopped; empty while it is running.
    pub(crate) left_in_flight: Vec<WriteBatch>,
    /// Whether it led when its role last changed.
    pub(crate) led: bool,
    /// Whether it stopped because acknowledged data was lost. It then does not start again.
    pub(crate) has_lost_data: bool,
    /// The version of its program.
    pub(crate) version: u16,
    /// The members with which its process has shaken hands.
    pub(crate) met: BTreeSet<NodeId>,
    /// Whether it stopped because it was removed.
    pub(crate) was_removed: bool,
    tick: Time,
    /// A moment since which its clock has run at this speed, and what the clock showed then.
    clock: (Time, Time),
    /// The rate of writes of snapshot files that fail, per million.
    failed_files: u64,
    /// Whether the calm phase has begun: its disk has no long delays and no failures.
    is_calm: bool,
    plan: HostPlan,
    /// One stream of random numbers for the disk, and one for the clock, the processor and the
    /// state machine.
    disk_rng: Rng,
    clock_rng: Rng,
}

impl Member {
    pub(crate) fn new(
        id: NodeId,
        plan: &Plan,
        disk: Box<dyn SimulatedDisk>,
        planted: Option<Planted>,
    ) -> Member {
        let mut clock_rng = Rng::stream(plan.seed, "clock", id.get());
        Member {
            id,
            process: 0,
            pump: None,
            host: StoreHost::new(disk, Planted::of_store(planted)),
            machine: Registers::new(plan.host.durable_machine),
            machine_before: Registers::default(),
            applying: None,
            shelf: Shelf::default(),
            is_restoring: false,
            to_restore: None,
            mailbox: Vec::new(),
            waiting: BTreeSet::new(),
            changing: BTreeSet::new(),
            calls: BTreeSet::new(),
            holding: BTreeSet::new(),
            busy_until: 0,
            paused_until: 0,
            turn_scheduled: false,
            in_turn: false,
            reads: BTreeMap::new(),
            slowness: (1, 0),
            stopped_at: 0,
            writing_since: 0,
            writes_begun: 0,
            writes_finished: 0,
            left_in_flight: Vec::new(),
            tick: drifted(&mut clock_rng, plan.host.drift),
            clock: (0, 0),
            led: false,
            has_lost_data: false,
            failed_files: plan.snapshots.failed,
            version: if plan.operator.old_programs >> id.get() & 1 == 1 { OLD } else { NEW },
            met: BTreeSet::new(),
            was_removed: false,
            is_calm: false,
            plan: plan.host.clone(),
            disk_rng: Rng::stream(plan.seed, "disk", id.get()),
            clock_rng,
        }
    }

    /// Bootstraps the store: writes the identity and the membership. Returns the batch that was
    /// written.
    pub(crate) fn bootstrap(&mut self, members: u64) -> Result<WriteBatch, LogError> {
        self.host.open()?;
        let voters = (1..=members).filter_map(NodeId::new);
        let membership = Membership::of_voters(voters.map(|node| (node, Default::default())))
            .expect("a membership of voters only is valid");
        let id = EntryId::new(Term::ZERO, LogIndex::new(1));
        let first = Entry::new(id, EntryKind::Membership, encode_membership(&membership));
        let batch = WriteBatch::of_entries(vec![first]);
        self.host.write_first(identity(self.id), batch.clone())?;
        self.host.crash(&mut self.disk_rng);
        Ok(batch)
    }

    /// Writes the identity of a node that may join later: its store has no entries.
    pub(crate) fn save_identity(&mut self) -> Result<(), LogError> {
        self.host.open()?;
        self.host.save_identity(identity(self.id))?;
        self.host.crash(&mut self.disk_rng);
        Ok(())
    }

    /// Replaces its disk by a blank one, and prepares it as for the first start.
    pub(crate) fn lose_disks(
        &mut self,
        disk: Box<dyn SimulatedDisk>,
        members: u64,
    ) -> Result<(), LogError> {
        self.host = StoreHost::new(disk, None);
        self.machine = Registers::new(self.plan.durable_machine);
        self.shelf = Shelf::default();
        self.left_in_flight.clear();
        self.was_removed = false;
        if self.id.get() <= members {
            self.bootstrap(members).map(drop)
        } else {
            self.save_identity()
        }
    }

    /// Opens the store and returns the state that it recovers.
    pub(crate) fn open(&mut self) -> Result<Recovered, LogError> {
        Ok(self.host.open()?.1)
    }

    /// The last entry that its state machine has when it starts.
    pub(crate) fn reached(&self) -> LogIndex {
        let snapshot = self.shelf.durable().map_or(LogIndex::ZERO, |file| file.id.last.index);
        self.machine.applied_index().max(snapshot)
    }

    /// Starts a process from the state that the store recovered.
    pub(crate) fn start(
        &mut self,
        now: Time,
        plan: &Plan,
        recovered: Recovered,
        planted: Option<Planted>,
    ) {
        self.clock = (now, self.clock_at(now));
        self.tick = drifted(&mut self.clock_rng, self.plan.drift);
        let boundary = recovered.bounds.boundary;
        let durable = self.shelf.durable();
        let snapshot = durable.map_or(LogIndex::ZERO, |file| file.id.last.index);
        let base = durable.filter(|_| (1..=snapshot.get()).contains(&boundary.index.get()));
        let base = base.map(|file| Arc::clone(&file.membership));
        let engine = durable.map(|file| file.engine.clone()).unwrap_or_default();
        let machine_has = match Planted::of_store(planted) {
            Some(StoreBug::LastCommandAppliedAgain) => self.reached().prev(),
            _ => self.reached(),
        };
        let share = |(index, membership)| (index, Arc::new(membership));
        let start = Start {
            hard_state: recovered.hard_state,
            boundary,
            last: recovered.bounds.last.index,
            term_runs: recovered.term_runs,
            base,
            memberships: recovered.memberships.into_iter().map(share).collect(),
            commit: recovered.commit_hint.max(machine_has).max(boundary.index),
            applied: snapshot.min(machine_has).max(boundary.index),
            now: self.clock_shows(now),
        };
        let seed = self.clock_rng.draw();
        let config = Config {
            id: self.id,
            seed,
            #[cfg(feature = "mutants")]
            mutant: Planted::of_core(planted),
            ..plan.config.clone()
        };
        let start_number = self.clock_rng.draw();
        let limits = plan.limits.clone();
        let mut pump = Pump::new(identity(self.id), config, limits, start, start_number);
        pump.resume(engine, machine_has);
        if self.version == OLD {
            pump.read_memberships_up_to(1);
            pump.support_levels_up_to(FIRST_LEVEL);
        }
        self.pump = Some(pump);
        if let Some(pump) = self.pump.as_mut().filter(|_| plan.snapshots.are_taken) {
            pump.enable_snapshots(self.shelf.durable().map(|file| file.taken()));
        }
        #[cfg(feature = "mutants")]
        if let (Some(Planted::Pump(bug)), Some(pump)) = (planted, &mut self.pump) {
            pump.plant(bug);
        }
    }

    /// Crashes. Returns the writes that were in flight and the operations that waited for an
    /// answer.
    pub(crate) fn crash(&mut self, now: Time) -> (Vec<WriteBatch>, BTreeSet<u64>) {
        self.pump = None;
        self.led = false;
        self.process += 1;
        self.machine.crash();
        self.met.clear();
        self.applying = None;
        (self.is_restoring, self.to_restore) = (false, None);
        self.shelf.crash(&mut self.disk_rng);
        self.mailbox.clear();
        self.holding.clear();
        self.changing.clear();
        self.reads.clear();
        (self.busy_until, self.paused_until) = (0, 0);
        (self.turn_scheduled, self.stopped_at) = (false, now);
        (self.writes_begun, self.writes_finished) = (0, 0);
        (self.host.crash(&mut self.disk_rng), std::mem::take(&mut self.waiting))
    }

    /// The term of an entry in its present log.
    pub(crate) fn term_at(&self, index: LogIndex) -> Option<Term> {
        self.pump.as_ref().and_then(|pump| pump.raft().term_at(index))
    }

    /// Its term, if it is running.
    pub(crate) fn term(&self) -> Term {
        self.pump.as_ref().map_or(Term::ZERO, |pump| pump.raft().term())
    }

    /// Whether it is running, and its log begins after this entry.
    pub(crate) fn has_purged(&self, index: LogIndex) -> bool {
        self.pump.as_ref().is_some_and(|pump| index < pump.raft().boundary().index)
    }

    /// Whether it is running.
    pub(crate) fn is_up(&self) -> bool {
        self.pump.is_some()
    }

    /// Whether it believes that it leads.
    pub(crate) fn leads(&self) -> bool {
        self.pump.as_ref().is_some_and(|pump| pump.raft().is_leader())
    }

    /// When its next turn may start.
    pub(crate) fn ready_at(&self) -> Time {
        self.busy_until.max(self.paused_until)
    }

    /// What its clock shows at a moment, in microseconds.
    fn clock_at(&self, now: Time) -> Time {
        let (since, shown) = self.clock;
        shown + (now - since) * TICK / self.tick
    }

    /// What its clock shows at a moment.
    pub(crate) fn clock_shows(&self, now: Time) -> consensus::Time {
        consensus::Time::from_micros(self.clock_at(now))
    }

    /// The length of a tick of its clock.
    pub(crate) fn tick(&self) -> Time {
        self.tick
    }

    /// Draws how long a write that begins now takes.
    pub(crate) fn write_time(&mut self, now: Time) -> Time {
        let usual = self.disk_time(self.plan.write);
        self.slowed(usual, now)
    }

    /// Draws how long a read of entries that begins now takes.
    pub(crate) fn read_time(&mut self, now: Time) -> Time {
        let usual = self.disk_time(self.plan.read);
        self.slowed(usual, now)
    }

    fn slowed(&self, usual: Time, now: Time) -> Time {
        let (factor, until) = self.slowness;
        if until > now { usual.saturating_mul(factor).min(usual + until - now) } else { usual }
    }

    /// Draws whether the read of entries that ends now fails.
    pub(crate) fn fails_read(&mut self) -> bool {
        self.disk_rng.happens(self.plan.failed_reads)
    }

    /// Draws the time of a disk operation that typically takes `typical`. In the calm phase it
    /// never takes longer, because a long delay could exceed a client's deadline.
    fn disk_time(&mut self, typical: Time) -> Time {
        if self.is_calm {
            self.disk_rng.between(typical / 2, typical)
        } else {
            self.disk_rng.heavy(typical)
        }
    }

    /// Draws whether the next write fails.
    pub(crate) fn fails_next_write(&mut self) -> bool {
        self.disk_rng.happens(self.plan.failed_writes)
    }

    /// Draws whether the file of a snapshot cannot be written.
    pub(crate) fn fails_file(&mut self) -> bool {
        !self.is_calm && self.disk_rng.happens(self.failed_files)
    }

    /// Draws whether the state machine fails to apply its current batch.
    pub(crate) fn fails_apply(&mut self) -> bool {
        self.clock_rng.happens(self.plan.failed_applies)
    }

    /// Begins the calm phase: the member's disk, clock and state machine no longer fail.
    pub(crate) fn calm(&mut self, now: Time) {
        self.is_calm = true;
        self.host.calm();
        self.plan.failed_writes = 0;
        self.plan.failed_reads = 0;
        self.plan.failed_applies = 0;
        self.plan.drift = 0;
        self.clock = (now, self.clock_at(now));
        self.plan.write = self.plan.write.min(500);
        self.plan.read = self.plan.read.min(500);
        self.tick = TICK;
        self.slowness = (1, 0);
        self.paused_until = self.paused_until.min(now);
        self.turn_scheduled = false;
    }

    /// What it announces in a handshake.
    pub(crate) fn announcement(&self) -> Event<Requests> {
        let store = identity(self.id).store;
        Event::Announced { node: self.id, store, version: self.version }
    }

    /// The lowest version that a program must speak to connect with it.
    pub(crate) fn lowest_version(&self) -> u16 {
        self.pump.as_ref().map_or(1, |pump| version_of_level(pump.feature_level()))
    }

    /// Draws whether a restart installs the newest program.
    pub(crate) fn maybe_upgrade(&mut self) {
        if self.version == OLD && self.clock_rng.coin() {
            self.version = NEW;
        }
    }

    /// The hash over the engine's state. A state machine that keeps its state may make a member
    /// lose answers, so without them if there is one.
    fn engine_digest(&self) -> u64 {
        let pump = self.pump.as_ref();
        pump.map_or(0, |pump| digest_of(pump.engine(), self.machine.durable))
    }

    /// The state that the check for convergence reads; `None` if the member is down.
    pub(crate) fn view(&self) -> Option<View> {
        let pump = self.pump.as_ref()?;
        Some(View {
            status: pump.status(),
            applied: pump.applied(),
            machine: self.machine.chain(),
            is_writing: self.host.in_flight().next().is_some(),
            is_waited_for: !(self.waiting.is_empty()
                && self.changing.is_empty()
                && self.calls.is_empty()),
            engine: self.engine_digest(),
            holds_quota: !self.holding.is_empty(),
        })
    }
}

fn identity(node: NodeId) -> Identity {
    Identity { cluster: ClusterId(7), node, store: StoreId(node.get()) }
}

fn drifted(rng: &mut Rng, drift: u64) -> Time {
    let most = TICK * drift / 1_000_000;
    TICK - most / 2 + rng.between(0, most)
}

/// The hash over an engine's state, with the answers or without.
pub(crate) fn digest_of(engine: &EngineState, without_answers: bool) -> u64 {
    let sessions = &engine.sessions;
    let bytes =
        if without_answers { sessions.without_answers().encode() } else { sessions.encode() };
    Digest::of((engine.level, bytes))
}
