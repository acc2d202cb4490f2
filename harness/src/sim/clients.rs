//! Clients: each sends a request, waits for the answer, pauses, and sends the next, at any member.
//!
//! Some requests go to a member that believes it leads, even if it no longer does. Some clients
//! stop waiting and send another request elsewhere; the answer may still come. A client whose
//! member stops gets no answer, as over a broken connection.

use crate::rng::Rng;
use crate::sim::Time;
use crate::sim::machine::KEYS;
use crate::sim::plan::ClientPlan;

#[derive(Debug)]
pub(crate) struct Workload {
    plan: ClientPlan,
    rng: Rng,
    /// What each client waits for.
    waits: Vec<Wait>,
}

/// The group of operations that a client waits for, and how many of them are open.
#[derive(Clone, Copy, Debug, Default)]
struct Wait {
    group: u64,
    count: u64,
    open: u64,
}

/// A request that is about to be made.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Request {
    pub(crate) is_read: bool,
    /// How many commands are proposed together.
    pub(crate) count: u64,
}

impl Workload {
    pub(crate) fn new(plan: ClientPlan, rng: Rng) -> Workload {
        let waits = vec![Wait::default(); plan.count as usize];
        Workload { plan, rng, waits }
    }

    /// The clients, by number.
    pub(crate) fn clients(&self) -> std::ops::Range<u64> {
        0..self.plan.count
    }

    /// The next request of a client.
    pub(crate) fn next_request(&mut self) -> Request {
        let is_read = self.rng.happens(self.plan.reads);
        let count = if is_read { 1 } else { self.rng.between(1, self.plan.group) };
        Request { is_read, count }
    }

    /// The register that the next operation is about.
    pub(crate) fn key(&mut self) -> u64 {
        self.rng.below(KEYS)
    }

    /// How many bytes of padding the next command has.
    pub(crate) fn padding(&mut self) -> usize {
        self.rng.between(0, self.plan.padding) as usize
    }

    /// The member that gets the request, from those that run and those of them that lead.
    pub(crate) fn choose(&mut self, running: &[usize], leading: &[usize]) -> Option<usize> {
        let at_leader = self.rng.happens(self.plan.at_leader) && !leading.is_empty();
        let choices = if at_leader { leading } else { running };
        (!choices.is_empty()).then(|| self.rng.one_of(choices))
    }

    /// Notes that the client waits for a group of answers. Returns for how long, unless it waits
    /// for ever.
    pub(crate) fn waits(&mut self, client: u64, group: u64, count: u64) -> Option<Time> {
        *self.waits.get_mut(client as usize)? = Wait { group, count, open: count };
        (self.plan.patience > 0).then(|| self.rng.heavy(self.plan.patience))
    }

    /// Notes that the client has the answer to an operation. Returns when it makes its next
    /// request, if it waits for no other answer.
    pub(crate) fn answered(&mut self, client: u64, number: u64) -> Option<Time> {
        let wait = self.waits.get_mut(client as usize)?;
        if wait.open == 0 || !(wait.group..wait.group + wait.count).contains(&number) {
            return None;
        }
        wait.open -= 1;
        (wait.open == 0).then(|| self.think())
    }

    /// The client stops waiting for a group. Returns true if it still waited for it.
    pub(crate) fn gives_up(&mut self, client: u64, group: u64) -> bool {
        let wait = &mut self.waits[client as usize];
        let waits = wait.group == group && wait.open > 0;
        wait.open *= u64::from(!waits);
        waits
    }

    /// How long a client pauses.
    pub(crate) fn think(&mut self) -> Time {
        self.rng.heavy(self.plan.think)
    }
}
