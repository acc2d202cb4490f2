//! The turns of members: each input goes through one, and the laws are checked after it.

use raft_core::types::Term;
use raft_node::pump::{Effects, Event, Pump};

use super::World;
use super::messages::may_be_caused_by_correct_members;
use super::queue::WorldEvent;
use crate::checks::{Check, Violation, hold};
use crate::sim::marks::Mark;
use crate::sim::member::Requests;

/// The most bytes of a membership, which a leader appends whatever waits for its disk.
const MOST_MEMBERSHIP_BYTES: u64 = 128;

/// The bytes of a command without padding.
const MOST_COMMAND_BYTES: u64 = 16;

/// The bytes of a request of a session before its command; a request to open one is smaller than
/// the smallest command with them.
const SESSION_HEADER_BYTES: u64 = 33;

/// The bytes that a member has not written yet.
#[derive(Clone, Copy, Debug)]
struct Backlog {
    bytes: u64,
    /// The term in which it leads, if it does.
    leads_in: Option<Term>,
}

impl Backlog {
    fn of(pump: &Pump<Requests>) -> Backlog {
        let raft = pump.raft();
        let leads_in = raft.is_leader().then(|| raft.term());
        Backlog { bytes: pump.unwritten_bytes(), leads_in }
    }
}

impl World {
    /// Adds an event to a member's mailbox. The member takes a turn at once, unless it is busy.
    pub(super) fn enqueue(
        &mut self,
        member: usize,
        event: Event<Requests>,
    ) -> Result<(), Violation> {
        self.members[member].mailbox.push(event);
        self.run_turns(member)
    }

    /// Lets a member take turns until its mailbox is empty. If it is busy, a turn is scheduled for
    /// the time when it no longer is.
    pub(super) fn run_turns(&mut self, member: usize) -> Result<(), Violation> {
        while self.members[member].is_up()
            && !self.members[member].mailbox.is_empty()
            && !self.members[member].in_turn
            && !self.members[member].turn_scheduled
        {
            let ready = self.members[member].ready_at();
            if ready > self.now() {
                let process = self.members[member].process;
                self.members[member].turn_scheduled = true;
                self.schedule(ready - self.now(), WorldEvent::Wake { member, process });
            } else {
                self.turn(member)?;
            }
        }
        Ok(())
    }

    /// Runs one turn of a member's pump with all events in its mailbox, then checks the laws.
    fn turn(&mut self, at: usize) -> Result<(), Violation> {
        let lease = self.lease_view(at);
        let member = &mut self.members[at];
        member.in_turn = true;
        member.busy_until = self.journal.now + self.plan.host.turn;
        let mut events = std::mem::take(&mut member.mailbox);
        self.inputs += events.len() as u64;
        let mut effects = Effects::default();
        let now = member.clock_shows(self.journal.now);
        let pump = member.pump.as_mut().expect("the member is running");
        let (before, level) = (Backlog::of(pump), pump.feature_level());
        pump.turn(now, &mut events, &mut effects);
        pump.raft().check_laws();
        let after = Backlog::of(pump);
        self.marks.hit_if(pump.feature_level() > level, Mark::FeatureLevelRaised);
        member.mailbox = events;
        self.check_backlog(at, before, after)?;
        self.check_turn(at)?;
        self.mark_leases(at, lease);
        self.carry_out(at, effects)?;
        self.members[at].in_turn = false;
        Ok(())
    }

    /// Checks that a leader accepts no more commands than its disk can keep up with. If the disk is
    /// idle, all commands of one request may be accepted together.
    fn check_backlog(&self, at: usize, before: Backlog, after: Backlog) -> Result<(), Violation> {
        let leads_on = before.leads_in == after.leads_in && after.leads_in.is_some();
        let clients = &self.plan.clients;
        let request = clients.group * (MOST_COMMAND_BYTES + clients.padding);
        let limits = &self.plan.limits;
        let session = MOST_COMMAND_BYTES + clients.padding + SESSION_HEADER_BYTES;
        // A member forwards requests of several clients together, also of those that have given up.
        let forward =
            (limits.forward_commands as u64 * session).min(limits.append_bytes.max(session));
        let request = if self.plan.uses_sessions { request.max(forward) } else { request };
        let most = limits.unwritten_bytes.max(request).max(before.bytes);
        let most = most + MOST_MEMBERSHIP_BYTES;
        hold(!leads_on || after.bytes <= most, Check::BoundedMemory, || {
            let id = self.members[at].id;
            format!("{id} leads with {} unwritten bytes, before: {}", after.bytes, before.bytes)
        })
    }

    fn check_turn(&mut self, at: usize) -> Result<(), Violation> {
        if self.lost_disks {
            return Ok(());
        }
        let member = &self.members[at];
        let pump = member.pump.as_ref().expect("the member is running");
        self.laws.on_state(member.id, pump.raft())?;
        if pump.raft().is_leader() {
            let ahead = pump.raft().commit() > self.laws.disk(member.id).last();
            self.marks.hit_if(ahead, Mark::CommittedBeforeOwnSync);
            self.laws.check_peers(member.id, pump.raft(), &pump.status().peers)?;
        }
        let counters = pump.counters();
        let unsound = counters.rejected.keys().find(|why| !may_be_caused_by_correct_members(**why));
        match (unsound, counters.malformed) {
            (None, 0) => Ok(()),
            (why, malformed) => {
                let what = format!("{} rejected {why:?}, malformed: {malformed}", member.id);
                Err(Violation::new(Check::SoundMessages, what))
            }
        }
    }
}
