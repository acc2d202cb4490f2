//! The world: an agenda of events, and what each of them does.
//!
//! Members, network and clients are in files of their own; this file connects them. Every input of
//! a member goes through [`World::turn`], where the laws are checked. The effects of a turn are
//! carried out in `effects`.

mod clients;
mod effects;
mod faults;
mod lost_memory;
mod messages;

use std::cmp::Reverse;
use std::collections::BinaryHeap;

use raft_core::storage::{LogError, LogErrorKind};
use raft_core::types::{NodeId, Term};
use raft_node::pump::{Effects, Event, Fetch, FetchId, Pump};
use raft_node::{Content, Envelope};

use self::messages::{Line, content_digest, is_honest};
use crate::checks::laws::Laws;
use crate::checks::order::Orders;
use crate::checks::{Check, Violation, hold};
use crate::rng::Rng;
use crate::sim::clients::Workload;
use crate::sim::journal::Journal;
use crate::sim::marks::{Mark, Marks};
use crate::sim::member::Member;
use crate::sim::nemesis::{Fault, Nemesis};
use crate::sim::network::{Network, Origin, Parcel};
use crate::sim::planted::{Planted, StoreBug};
use crate::sim::{DiskFactory, Plan, Time};

/// The most events that may be scheduled. A few hundred are usual; more means that messages
/// multiply.
const MAX_AGENDA: usize = 50_000;

/// The bytes of a command without padding.
const MOST_COMMAND_BYTES: u64 = 16;

/// What a member has not written.
#[derive(Clone, Copy, Debug)]
struct Backlog {
    bytes: u64,
    /// The term in which it leads, if it does.
    leads_in: Option<Term>,
}

impl Backlog {
    fn of(pump: &Pump<crate::sim::member::Requests>) -> Backlog {
        let raft = pump.raft();
        let leads_in = raft.is_leader().then(|| raft.term());
        Backlog { bytes: pump.unwritten_bytes(), leads_in }
    }
}

/// A whole cluster and everything around it.
pub(crate) struct World {
    pub(crate) plan: Plan,
    pub(crate) journal: Journal,
    pub(crate) marks: Marks,
    pub(crate) laws: Laws,
    pub(crate) orders: Orders,
    /// How many events were stepped into pumps.
    pub(crate) inputs: u64,
    pub(super) members: Vec<Member>,
    agenda: BinaryHeap<Reverse<Scheduled>>,
    /// Counts what was put on the agenda, so that equal times keep their order.
    sequence: u64,
    network: Network,
    workload: Workload,
    nemesis: Nemesis,
    /// Whether faults have stopped.
    calm: bool,
    /// Whether a majority lost their disks, so that the laws of the cluster no longer hold.
    lost_memory: bool,
    /// Counts the partitions of the network, so that healing an old one does not heal a new one.
    cuts: u64,
    planted: Option<Planted>,
    arrivals: Vec<(Time, Parcel)>,
}

/// An event on the agenda.
#[derive(Debug)]
struct Scheduled {
    at: Time,
    sequence: u64,
    what: Happening,
}

/// What may happen. Members are named by their place; an event of a process is dropped if the
/// member has another process by then.
#[derive(Debug)]
enum Happening {
    Tick { member: usize, process: u64 },
    Wake { member: usize, process: u64 },
    Arrive(Box<Parcel>),
    Written { member: usize, process: u64, number: u64 },
    Read { member: usize, process: u64, fetch: FetchId },
    Applied { member: usize, process: u64 },
    Ask { client: u64 },
    GiveUp { client: u64, group: u64 },
    NextFault,
    Inflict(Fault),
    Heal { cut: u64 },
    Start { member: usize },
}

impl World {
    /// A cluster at its first start.
    pub(crate) fn new(
        plan: Plan,
        disks: &DiskFactory<'_>,
        planted: Option<Planted>,
        inspects_promises: bool,
        aloud: bool,
    ) -> Result<World, Violation> {
        let stream = |part| Rng::stream(plan.seed, part, 0);
        let ids = (1..=plan.members).filter_map(NodeId::new);
        let disk = |id: NodeId| disks(id.get(), Rng::stream(plan.seed, "platter", id.get()));
        let mut world = World {
            journal: Journal::new(aloud),
            marks: Marks::default(),
            laws: Laws::new(plan.members, inspects_promises),
            orders: Orders::default(),
            inputs: 0,
            members: ids.map(|id| Member::new(id, &plan, disk(id), planted)).collect(),
            agenda: BinaryHeap::new(),
            sequence: 0,
            network: Network::new(plan.network.clone(), plan.members, stream("network")),
            workload: Workload::new(plan.clients.clone(), stream("clients")),
            nemesis: Nemesis::new(plan.faults.clone(), plan.members, stream("nemesis")),
            calm: false,
            lost_memory: false,
            cuts: 0,
            planted,
            arrivals: Vec::new(),
            plan,
        };
        world.begin()?;
        Ok(world)
    }

    fn begin(&mut self) -> Result<(), Violation> {
        for member in 0..self.members.len() {
            let id = self.members[member].id;
            let first = self.members[member].bootstrap(self.plan.members);
            self.laws.on_durable(id, &first.map_err(|error| store_failed(id, &error))?)?;
            self.start(member, Vec::new())?;
        }
        for client in self.workload.clients() {
            let think = self.workload.think();
            self.schedule(think, Happening::Ask { client });
        }
        if self.nemesis.has_faults() {
            let pause = self.nemesis.pause();
            self.schedule(pause, Happening::NextFault);
        }
        Ok(())
    }

    /// Handles the next event.
    pub(crate) fn advance(&mut self) -> Result<(), Violation> {
        let Reverse(next) = self.agenda.pop().expect("clocks tick for ever");
        hold(self.agenda.len() < MAX_AGENDA, Check::BoundedWork, || {
            format!("{} events are scheduled: messages multiply", self.agenda.len())
        })?;
        self.journal.now = next.at;
        match next.what {
            Happening::Tick { member, process } if self.runs(member, process) => self.tick(member),
            Happening::Wake { member, process } if self.runs(member, process) => {
                self.members[member].wakes = false;
                self.wake_member(member)
            }
            Happening::Written { member, process, number } => {
                while self.runs(member, process) && self.members[member].writes_finished < number {
                    self.finish_write(member)?;
                }
                Ok(())
            }
            Happening::Read { member, process, fetch } if self.runs(member, process) => {
                self.finish_read(member, fetch)
            }
            Happening::Applied { member, process } if self.runs(member, process) => {
                let event = self.finish_apply(member)?;
                self.hand(member, event)
            }
            Happening::Arrive(parcel) => self.arrive(*parcel),
            Happening::Ask { client } => self.ask(client),
            Happening::GiveUp { client, group } => {
                if self.workload.gives_up(client, group) {
                    self.ask(client)
                } else {
                    Ok(())
                }
            }
            Happening::NextFault => self.inject_fault(),
            Happening::Inflict(fault) if !self.calm => self.inflict(fault),
            Happening::Heal { cut } => {
                self.heal(cut);
                Ok(())
            }
            Happening::Start { member }
                if !self.members[member].is_up() && !self.members[member].has_lost_data =>
            {
                self.restart(member)
            }
            _ => Ok(()),
        }
    }

    /// The time.
    pub(crate) fn now(&self) -> Time {
        self.journal.now
    }

    fn schedule(&mut self, after: Time, what: Happening) {
        self.sequence += 1;
        let at = self.now() + after;
        self.agenda.push(Reverse(Scheduled { at, sequence: self.sequence, what }));
    }

    fn runs(&self, member: usize, process: u64) -> bool {
        self.members[member].is_up() && self.members[member].process == process
    }

    // ---- inputs ----

    /// Delivers an event to a member. It takes a turn at once, unless it is busy.
    pub(super) fn hand(
        &mut self,
        member: usize,
        event: Event<crate::sim::member::Requests>,
    ) -> Result<(), Violation> {
        self.members[member].mailbox.push(event);
        self.wake_member(member)
    }

    /// Lets a member take a turn with what arrived, now or as soon as it can.
    fn wake_member(&mut self, member: usize) -> Result<(), Violation> {
        while self.members[member].is_up()
            && !self.members[member].mailbox.is_empty()
            && !self.members[member].turns
            && !self.members[member].wakes
        {
            let ready = self.members[member].ready_at();
            if ready > self.now() {
                let process = self.members[member].process;
                self.members[member].wakes = true;
                self.schedule(ready - self.now(), Happening::Wake { member, process });
            } else {
                self.turn(member)?;
            }
        }
        Ok(())
    }

    /// One turn of a member's pump, with everything that arrived; then the laws.
    fn turn(&mut self, at: usize) -> Result<(), Violation> {
        let member = &mut self.members[at];
        member.turns = true;
        member.busy_until = self.journal.now + self.plan.host.turn;
        let mut events = std::mem::take(&mut member.mailbox);
        self.inputs += events.len() as u64;
        let mut effects = Effects::default();
        let pump = member.pump.as_mut().expect("a member that runs");
        let before = Backlog::of(pump);
        pump.turn(&mut events, &mut effects);
        pump.raft().check_laws();
        let after = Backlog::of(pump);
        member.mailbox = events;
        self.check_backlog(at, before, after)?;
        self.check_turn(at)?;
        self.carry_out(at, effects)?;
        self.members[at].turns = false;
        Ok(())
    }

    /// A leader accepts no more commands than its disk keeps up with; the commands of one request
    /// are accepted together if the disk is idle.
    fn check_backlog(&self, at: usize, before: Backlog, after: Backlog) -> Result<(), Violation> {
        let leads_on = before.leads_in == after.leads_in && after.leads_in.is_some();
        let clients = &self.plan.clients;
        let request = clients.group * (MOST_COMMAND_BYTES + clients.padding);
        let most = self.plan.limits.unwritten_bytes.max(request).max(before.bytes);
        hold(!leads_on || after.bytes <= most, Check::BoundedMemory, || {
            let id = self.members[at].id;
            format!("{id} leads with {} unwritten bytes, {} before", after.bytes, before.bytes)
        })
    }

    fn check_turn(&mut self, at: usize) -> Result<(), Violation> {
        if self.lost_memory {
            return Ok(());
        }
        let member = &self.members[at];
        let pump = member.pump.as_ref().expect("a member that runs");
        self.laws.on_state(member.id, pump.raft())?;
        if pump.raft().is_leader() {
            let ahead = pump.raft().commit() > self.laws.disk(member.id).last();
            self.marks.hit_if(ahead, Mark::CommittedBeforeOwnSync);
            self.laws.check_peers(member.id, pump.raft(), &pump.status().peers)?;
        }
        let counters = pump.counters();
        let unsound = counters.rejected.keys().find(|why| !is_honest(**why));
        match (unsound, counters.malformed) {
            (None, 0) => Ok(()),
            (why, malformed) => {
                let what = format!("{} got {why:?}, malformed: {malformed}", member.id);
                Err(Violation::new(Check::SoundMessages, what))
            }
        }
    }

    fn tick(&mut self, at: usize) -> Result<(), Violation> {
        let member = &self.members[at];
        let process = member.process;
        let tick = member.tick();
        let id = member.id.get();
        self.schedule(tick, Happening::Tick { member: at, process });
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
        self.hand(at, Event::Tick)
    }

    fn arrive(&mut self, parcel: Parcel) -> Result<(), Violation> {
        let at = parcel.to.get() as usize - 1;
        let member = &self.members[at];
        let Some(pump) = &member.pump else { return Ok(()) };
        if parcel.process.is_some_and(|process| process != member.process) {
            return Ok(());
        }
        if let Content::Raft { message, .. } = &parcel.envelope.content {
            self.marks.hit_if(message.term < pump.raft().term(), Mark::OldTermDelivered);
        }
        let Parcel { from, to, envelope, origin, .. } = parcel;
        self.marks.hit_if(origin == Origin::Duplicate, Mark::DuplicateDelivered);
        self.marks.hit_if(origin == Origin::Archive, Mark::ArchiveDelivered);
        let why = if origin == Origin::First { "" } else { " again" };
        let digest = content_digest(&envelope.content);
        self.journal.note(
            to.get(),
            ("arrives", from, digest),
            format_args!("<- {from}{why} {}", Line(&envelope.content)),
        );
        self.hand(at, Event::Deliver { from, envelope })
    }

    /// Sends an envelope on its way.
    pub(super) fn send(&mut self, from: NodeId, to: NodeId, envelope: Envelope) {
        let is_forward = matches!(envelope.content, Content::Forward(_));
        let process = is_forward.then(|| self.members[to.get() as usize - 1].process);
        let parcel = Parcel { from, to, envelope, process, origin: Origin::First };
        let mut arrivals = std::mem::take(&mut self.arrivals);
        self.network.send(self.journal.now, parcel, &mut arrivals);
        for (at, parcel) in arrivals.drain(..) {
            self.schedule(at - self.now(), Happening::Arrive(Box::new(parcel)));
        }
        self.arrivals = arrivals;
    }

    // ---- what takes time ----

    fn finish_write(&mut self, at: usize) -> Result<(), Violation> {
        let member = &mut self.members[at];
        let id = member.id;
        member.writes_finished += 1;
        let (batch, said) = member.host.finish();
        self.journal.note(
            id.get(),
            ("durable", batch.append.len(), said.is_ok()),
            format_args!("disk: {}", if said.is_ok() { "durable" } else { "failed" }),
        );
        match &said {
            Ok(()) if self.lost_memory => {}
            Ok(()) => self.laws.on_durable(id, &batch)?,
            Err(error) if error.kind != LogErrorKind::Io => return Err(store_failed(id, error)),
            Err(_) => {}
        }
        match Planted::of_store(self.planted) {
            Some(StoreBug::DurableReportedBeforeSync) if said.is_ok() => Ok(()),
            Some(StoreBug::FailureReportedAsDurable) => self.hand(at, Event::Written(Ok(()))),
            _ => self.hand(at, Event::Written(said)),
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
            Err(error) if !is_answer(error) => return Err(store_failed(member.id, error)),
            Err(_) | Ok(_) => {}
        }
        let FetchId(number) = id;
        self.journal.hash_only(member.id.get(), ("fetched", number, result.is_ok()));
        self.hand(at, Event::Fetched { fetch: id, result })
    }
}

/// Whether the store answered that the entries are not there, which may happen.
fn is_answer(error: &LogError) -> bool {
    matches!(error.kind, LogErrorKind::Compacted { .. } | LogErrorKind::Unavailable { .. })
}

pub(super) fn store_failed(node: NodeId, error: &LogError) -> Violation {
    Violation::new(Check::StoreContract, format!("the store of {node}: {error:?}"))
}

impl PartialEq for Scheduled {
    fn eq(&self, other: &Scheduled) -> bool {
        self.sequence == other.sequence
    }
}

impl Eq for Scheduled {}

impl PartialOrd for Scheduled {
    fn partial_cmp(&self, other: &Scheduled) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Scheduled {
    fn cmp(&self, other: &Scheduled) -> std::cmp::Ordering {
        (self.at, self.sequence).cmp(&(other.at, other.sequence))
    }
}
