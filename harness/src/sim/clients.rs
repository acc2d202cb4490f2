//! Clients: each sends a request, waits for the answer, pauses, and sends the next, at any member.
//!
//! Some requests go to a member that believes it leads, even if it no longer does. Some clients
//! stop waiting and send another request to any member; the first answer may still arrive. A client
//! whose member stops gets no answer, as over a broken connection.

use std::time::Duration;

use raft_core::types::LogIndex;
use raft_node::Consistency;

use crate::rng::Rng;
use crate::sim::machine::KEYS;
use crate::sim::plan::{ClientPlan, LeasePlan, Plan};
use crate::sim::{TICK, Time};

#[derive(Debug)]
pub(crate) struct Workload {
    plan: ClientPlan,
    rng: Rng,
    leases: LeasePlan,
    /// Draws what reads may show.
    read_rng: Rng,
    /// The answers that each client waits for.
    waits: Vec<Wait>,
}

/// The group of operations that a client waits for, and how many of them have no answer yet.
#[derive(Clone, Copy, Debug, Default)]
struct Wait {
    group: u64,
    count: u64,
    open: u64,
}

/// The next request of a client.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Request {
    pub(crate) is_read: bool,
    /// How many commands are proposed together.
    pub(crate) count: u64,
}

impl Workload {
    pub(crate) fn new(plan: &Plan) -> Workload {
        let stream = |part| Rng::stream(plan.seed, part, 0);
        let waits = vec![Wait::default(); plan.clients.count as usize];
        Workload {
            plan: plan.clients.clone(),
            rng: stream("clients"),
            leases: plan.leases.clone(),
            read_rng: stream("consistency"),
            waits,
        }
    }

    /// Draws what the next read of a client may show; the client has seen everything up to an
    /// index.
    pub(crate) fn consistency(&mut self, seen: LogIndex, election_ticks: u32) -> Consistency {
        let rng = &mut self.read_rng;
        if rng.happens(self.leases.by_lease) {
            Consistency::Lease
        } else if rng.happens(self.leases.at_least) {
            Consistency::AtLeast { index: seen }
        } else if rng.happens(self.leases.local) {
            let ticks = rng.between(0, u64::from(2 * election_ticks));
            Consistency::Local { max_age: Duration::from_micros(ticks * TICK) }
        } else {
            Consistency::Linearizable
        }
    }

    /// The numbers of the clients.
    pub(crate) fn clients(&self) -> std::ops::Range<u64> {
        0..self.plan.count
    }

    /// Draws the next request of a client.
    pub(crate) fn next_request(&mut self) -> Request {
        let is_read = self.rng.happens(self.plan.reads);
        let count = if is_read { 1 } else { self.rng.between(1, self.plan.group) };
        Request { is_read, count }
    }

    /// Draws whether a client calls a request of its session again that it has the answer to.
    pub(crate) fn asks_again(&mut self) -> bool {
        self.rng.below(8) == 0
    }

    /// Draws how long a client waits before it calls its requests again, unless it waits without
    /// limit.
    pub(crate) fn patience(&mut self) -> Option<Time> {
        (self.plan.patience > 0).then(|| self.rng.heavy(self.plan.patience))
    }

    /// Draws the register of the next operation.
    pub(crate) fn key(&mut self) -> u64 {
        self.rng.below(KEYS)
    }

    /// Draws the number of padding bytes in the next command.
    pub(crate) fn padding(&mut self) -> usize {
        self.rng.between(0, self.plan.padding) as usize
    }

    /// Draws the member to send a request to, from those that are running and those that lead.
    pub(crate) fn choose(&mut self, running: &[usize], leading: &[usize]) -> Option<usize> {
        let at_leader = self.rng.happens(self.plan.at_leader) && !leading.is_empty();
        let choices = if at_leader { leading } else { running };
        (!choices.is_empty()).then(|| self.rng.one_of(choices))
    }

    /// Records that a client waits for a group of `count` answers. Returns how long it waits, or
    /// `None` if it waits without limit.
    pub(crate) fn waits(&mut self, client: u64, group: u64, count: u64) -> Option<Time> {
        *self.waits.get_mut(client as usize)? = Wait { group, count, open: count };
        (self.plan.patience > 0).then(|| self.rng.heavy(self.plan.patience))
    }

    /// Records that the client has the answer to an operation. Returns how long it then pauses
    /// before its next request, or `None` if it waits for other answers or had stopped waiting for
    /// this one.
    pub(crate) fn answered(&mut self, client: u64, number: u64) -> Option<Time> {
        let wait = self.waits.get_mut(client as usize)?;
        if wait.open == 0 || !(wait.group..wait.group + wait.count).contains(&number) {
            return None;
        }
        wait.open -= 1;
        (wait.open == 0).then(|| self.think())
    }

    /// The client stops waiting for a group. Returns whether it was still waiting for that group.
    pub(crate) fn gives_up(&mut self, client: u64, group: u64) -> bool {
        let wait = &mut self.waits[client as usize];
        let waits = wait.group == group && wait.open > 0;
        wait.open *= u64::from(!waits);
        waits
    }

    /// Draws how long a client pauses.
    pub(crate) fn think(&mut self) -> Time {
        self.rng.heavy(self.plan.think)
    }
}
