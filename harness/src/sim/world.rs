//! The world: a queue of events, and what each of them does.
//!
//! Members, network and clients are in separate files, and this module connects them. Each
//! input of a member goes through `turns`, where the laws are checked. The effects of a
//! turn are carried out in `effects`.

mod clients;
mod effects;
mod faults;
mod lost_disks;
mod messages;
mod operator;
mod programs;
mod queue;
mod reads;
mod removal;
mod sessions;
mod snapshots;
mod turns;

use std::cmp::Reverse;
use std::collections::{BTreeMap, BinaryHeap};

use raft_core::storage::{LogError, LogErrorKind};
use raft_core::types::{EntryId, LogIndex, NodeId, Term};
use raft_node::pump::{Event, Fetch, FetchId};
use raft_node::{Consistency, Content, Envelope};

use self::messages::{Line, content_digest};
use self::queue::{Scheduled, WorldEvent};
use self::snapshots::Files;
use crate::checks::laws::Laws;
use crate::checks::order::Operations;
use crate::checks::{Check, Violation, hold};
use crate::rng::Rng;
use crate::sim::clients::Workload;
use crate::sim::journal::Journal;
use crate::sim::marks::{Mark, Marks};
use crate::sim::member::Member;
use crate::sim::nemesis::Nemesis;
use crate::sim::network::{Network, Origin, Packet};
use crate::sim::operator::Operator;
use crate::sim::planted::{Planted, StoreBug};
use crate::sim::sessions::Sessions;
use crate::sim::{DiskFactory, Plan, Time};

/// The maximum number of events that may wait. A few hundred are usual; a number above this limit
/// means that messages multiply.
const MAX_QUEUED_EVENTS: usize = 50_000;

/// A whole cluster and everything around it.
pub(crate) struct World {
    pub(crate) plan: Plan,
    pub(crate) journal: Journal,
    pub(crate) marks: Marks,
    pub(crate) laws: Laws,
    pub(crate) operations: Operations,
    /// The number of events that the pumps were given.
    pub(crate) inputs: u64,
    pub(super) members: Vec<Member>,
    event_queue: BinaryHeap<Reverse<Scheduled>>,
    /// The number of events that were ever scheduled. Events of equal time are ordered by it.
    sequence: u64,
    network: Network,
    workload: Workload,
    sessions: Sessions,
    nemesis: Nemesis,
    operator: Operator,
    /// The members that campaigned because their leader told them to, by the term of the campaign.
    campaigns_in_transfer: BTreeMap<Term, NodeId>,
    /// The number of changes of the membership that were asked for, and whether those that were
    /// answered have succeeded.
    changes: u64,
    change_answers: BTreeMap<u64, bool>,
    /// Whether the calm phase has begun, in which no fault is injected.
    calm: bool,
    /// Whether a majority of the members have lost their disks, so that the laws of the cluster no
    /// longer hold.
    lost_disks: bool,
    /// The number of network partitions so far. An event that heals an earlier partition must not
    /// heal the current one.
    cuts: u64,
    /// Each snapshot file that was ever written.
    files: Files,
    /// The hash over the engine's state after each entry at which a snapshot was taken.
    engines: BTreeMap<EntryId, u64>,
    /// What reads may show that need not be linearizable or may use a lease.
    consistencies: BTreeMap<u64, Consistency>,
    /// The newest state that each client has read.
    seen: BTreeMap<u64, LogIndex>,
    planted: Option<Planted>,
    arrivals: Vec<(Time, Packet)>,
}

impl World {
    /// Creates a cluster and starts all its members.
    pub(crate) fn new(
        plan: Plan,
        disks: &DiskFactory<'_>,
        planted: Option<Planted>,
        inspects_promises: bool,
        prints_events: bool,
    ) -> Result<World, Violation> {
        let stream = |part| Rng::stream(plan.seed, part, 0);
        let nodes = plan.nodes();
        let ids = (1..=nodes).filter_map(NodeId::new);
        let disk = |id: NodeId| disks(id.get(), Rng::stream(plan.seed, "platter", id.get()));
        let mut world = World {
            journal: Journal::new(prints_events),
            marks: Marks::default(),
            laws: Laws::new(nodes, inspects_promises),
            operations: Operations::default(),
            inputs: 0,
            members: ids.map(|id| Member::new(id, &plan, disk(id), planted)).collect(),
            event_queue: BinaryHeap::new(),
            sequence: 0,
            network: Network::new(plan.network.clone(), nodes, stream("network")),
            sessions: Sessions::new(plan.clients.count),
            workload: Workload::new(&plan),
            nemesis: Nemesis::new(plan.faults.clone(), nodes, stream("nemesis")),
            operator: Operator::new(plan.operator.clone(), nodes, stream("operator")),
            campaigns_in_transfer: BTreeMap::new(),
            changes: 0,
            change_answers: BTreeMap::new(),
            calm: false,
            lost_disks: false,
            cuts: 0,
            files: Files::default(),
            engines: BTreeMap::new(),
            consistencies: BTreeMap::new(),
            seen: BTreeMap::new(),
            planted,
            arrivals: Vec::new(),
            plan,
        };
        world.start_all()?;
        Ok(world)
    }

    fn start_all(&mut self) -> Result<(), Violation> {
        for member in 0..self.members.len() {
            let id = self.members[member].id;
            if id.get() <= self.plan.members {
                let first = self.members[member].bootstrap(self.plan.members);
                self.laws.on_durable(id, &first.map_err(|error| store_failed(id, &error))?)?;
            } else {
                let joined = self.members[member].save_identity();
                joined.map_err(|error| store_failed(id, &error))?;
            }
            self.start(member, Vec::new())?;
        }
        for client in self.workload.clients() {
            let think = self.workload.think();
            self.schedule(think, WorldEvent::SendRequest { client });
        }
        if self.nemesis.injects_faults() {
            let pause = self.nemesis.pause();
            self.schedule(pause, WorldEvent::NextFault);
        }
        self.schedule_next_request_of_operator();
        Ok(())
    }

    /// Takes the next event from the queue and handles it.
    pub(crate) fn advance(&mut self) -> Result<(), Violation> {
        let Reverse(next) =
            self.event_queue.pop().expect("the next tick of a clock is always scheduled");
        hold(self.event_queue.len() < MAX_QUEUED_EVENTS, Check::BoundedWork, || {
            format!("{} events are waiting, so messages multiply", self.event_queue.len())
        })?;
        self.journal.now = next.at;
        match next.event {
            WorldEvent::Tick { member, process } if self.is_running(member, process) => {
                self.tick(member)
            }
            WorldEvent::Wake { member, process } if self.is_running(member, process) => {
                self.members[member].turn_scheduled = false;
                self.run_turns(member)
            }
            WorldEvent::Written { member, process, number } => {
                while self.is_running(member, process)
                    && self.members[member].writes_finished < number
                {
                    self.finish_write(member)?;
                }
                Ok(())
            }
            WorldEvent::Read { member, process, fetch } if self.is_running(member, process) => {
                self.finish_read(member, fetch)
            }
            WorldEvent::Applied { member, process } if self.is_running(member, process) => {
                let event = self.finish_apply(member)?;
                self.enqueue(member, event)
            }
            WorldEvent::SnapshotWritten { member, process } if self.is_running(member, process) => {
                self.finish_snapshot(member)
            }
            WorldEvent::FileWork { member, process, number }
                if self.is_running(member, process) =>
            {
                self.do_file_work(member, number)
            }
            WorldEvent::Restored { member, process } if self.is_running(member, process) => {
                self.finish_restore(member)
            }
            WorldEvent::Arrive(packet) => self.arrive(*packet),
            WorldEvent::SendRequest { client } => self.send_request(client),
            WorldEvent::GiveUp { client, group } => {
                if self.workload.gives_up(client, group) {
                    self.send_request(client)
                } else {
                    Ok(())
                }
            }
            WorldEvent::TellRemoved { member, process, by } if self.is_running(member, process) => {
                self.tell_removed(member, by)
            }
            WorldEvent::RetrySession { client } => self.retry_session(client),
            WorldEvent::NextFault => self.inject_next_fault(),
            WorldEvent::OperatorRequest => self.make_request_of_operator(),
            WorldEvent::InjectFault(fault) if !self.calm => self.inject(fault),
            WorldEvent::Heal { cut } => {
                self.heal(cut);
                Ok(())
            }
            WorldEvent::Start { member }
                if !self.members[member].is_up() && !self.stays_down(member) =>
            {
                self.restart(member)
            }
            _ => Ok(()),
        }
    }

    /// The current simulated time.
    pub(crate) fn now(&self) -> Time {
        self.journal.now
    }

    fn schedule(&mut self, after: Time, event: WorldEvent) {
        self.sequence += 1;
        let at = self.now() + after;
        self.event_queue.push(Reverse(Scheduled { at, sequence: self.sequence, event }));
    }

    fn is_running(&self, member: usize, process: u64) -> bool {
        self.members[member].is_up() && self.members[member].process == process
    }

    fn tick(&mut self, at: usize) -> Result<(), Violation> {
        let member = &self.members[at];
        let process = member.process;
        let tick = member.tick();
        let id = member.id.get();
        self.schedule(tick, WorldEvent::Tick { member: at, process });
        let member = &self.members[at];
        if member.paused_until > self.now() {
            return Ok(());
        }
        if let Some(pump) = &member.pump
            && member.host.in_flight().next().is_some()
            && self.now() - member.writing_since > Time::from(self.plan.config.stall_ticks) * tick
        {
            self.marks.hit_if(pump.status().disk_stalled, Mark::DiskStalled);
        }
        self.journal.hash_only(id, "tick");
        self.enqueue(at, Event::Tick)
    }

    fn arrive(&mut self, packet: Packet) -> Result<(), Violation> {
        let at = packet.to.get() as usize - 1;
        let member = &self.members[at];
        let is_stale = packet.process.is_some_and(|process| process != member.process);
        if is_stale || !member.is_up() {
            return Ok(());
        }
        if self.refuses(at, packet.from) {
            self.refuse(at, packet.from);
            return Ok(());
        }
        let from = packet.from.get() as usize - 1;
        if !self.programs_may_connect(at, from) {
            return self.refuse_older_program(at, from);
        }
        self.shake_hands(at, from);
        let Some(pump) = &self.members[at].pump else { return Ok(()) };
        if let Content::Raft { message, .. } = &packet.envelope.content {
            self.marks.hit_if(message.term < pump.raft().term(), Mark::OldTermDelivered);
        }
        let Packet { from, to, envelope, origin, .. } = packet;
        self.marks.hit_if(origin == Origin::Duplicate, Mark::DuplicateDelivered);
        self.marks.hit_if(origin == Origin::Archive, Mark::ArchiveDelivered);
        let why = if origin == Origin::First { "" } else { " again" };
        let digest = content_digest(&envelope.content);
        self.journal.note(
            to.get(),
            ("arrives", from, digest),
            format_args!("<- {from}{why} {}", Line(&envelope.content)),
        );
        self.enqueue(at, Event::Deliver { from, envelope })
    }

    /// Gives an envelope to the network, and schedules its arrivals.
    pub(super) fn send(&mut self, from: NodeId, to: NodeId, envelope: Envelope) {
        let is_forward = matches!(envelope.content, Content::Forward(_));
        let process = is_forward.then(|| self.members[to.get() as usize - 1].process);
        let packet = Packet { from, to, envelope, process, origin: Origin::First };
        let mut arrivals = std::mem::take(&mut self.arrivals);
        self.network.send(self.journal.now, packet, &mut arrivals);
        for (at, packet) in arrivals.drain(..) {
            self.schedule(at - self.now(), WorldEvent::Arrive(Box::new(packet)));
        }
        self.arrivals = arrivals;
    }

    // ---- operations that take time ----

    fn finish_write(&mut self, at: usize) -> Result<(), Violation> {
        let member = &mut self.members[at];
        let id = member.id;
        member.writes_finished += 1;
        let (batch, result) = member.host.finish();
        self.journal.note(
            id.get(),
            ("durable", batch.append.len(), result.is_ok()),
            format_args!("disk: {}", if result.is_ok() { "durable" } else { "failed" }),
        );
        match &result {
            Ok(()) if self.lost_disks => {}
            Ok(()) => self.laws.on_durable(id, &batch)?,
            Err(error) if error.kind != LogErrorKind::Io => return Err(store_failed(id, error)),
            Err(_) => {}
        }
        match Planted::of_store(self.planted) {
            Some(StoreBug::DurableReportedBeforeSync) if result.is_ok() => Ok(()),
            Some(StoreBug::FailureReportedAsDurable) => self.enqueue(at, Event::Written(Ok(()))),
            _ => self.enqueue(at, Event::Written(result)),
        }
    }

    fn finish_read(&mut self, at: usize, fetch: FetchId) -> Result<(), Violation> {
        let member = &mut self.members[at];
        let Some((fetch, term)) = member.reads.remove(&fetch) else { return Ok(()) };
        let Fetch { id, first, last, max_bytes } = fetch;
        self.marks.hit_if(member.term_at(last) != term, Mark::FetchRaced);
        let fails = member.fails_read();
        let result = member.host.read(first, last, max_bytes, fails);
        self.marks.hit(Mark::ColdFetch);
        match &result {
            Err(_) if fails => self.marks.hit(Mark::ReadFailed),
            Err(error) if !says_absent(error) => return Err(store_failed(member.id, error)),
            Err(_) | Ok(_) => {}
        }
        let FetchId(number) = id;
        self.journal.hash_only(member.id.get(), ("fetched", number, result.is_ok()));
        self.enqueue(at, Event::Fetched { fetch: id, result })
    }
}

/// Whether the store answered that it does not have the entries, which may happen.
fn says_absent(error: &LogError) -> bool {
    matches!(error.kind, LogErrorKind::Compacted { .. } | LogErrorKind::Unavailable { .. })
}

pub(super) fn store_failed(node: NodeId, error: &LogError) -> Violation {
    Violation::new(Check::StoreContract, format!("the store of {node} failed: {error:?}"))
}
