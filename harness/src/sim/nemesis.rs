//! The nemesis: draws which fault is injected next, at which member, and for how long.
//!
//! Faults at the leader find more bugs than faults at a random member, so the plan sets how many
//! are injected at the leader. Some are injected at the worst moment instead of a random one: at a
//! voter right after it granted a vote, at a leader right after its election.

use crate::rng::Rng;
use crate::sim::Time;
use crate::sim::plan::{FaultKind, FaultPlan};

#[derive(Debug)]
pub(crate) struct Nemesis {
    plan: FaultPlan,
    rng: Rng,
    members: u64,
}

/// A fault to inject.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Fault {
    /// Messages from one set of members to the other are lost, and if `back` is set, those in the
    /// other direction too. Bit n stands for member n.
    Cut { from: u64, to: u64, back: bool },
    /// A member crashes, and starts again after the time `down`.
    Crash { member: u64, down: Time },
    /// All members crash; they start again one after another, the first after the time `down`.
    PowerCut { down: Time },
    /// A member pauses for the time `length`.
    Pause { member: u64, length: Time },
    /// A disk takes `factor` times as long for each operation, for the time `length`. No operation
    /// takes much longer than until the end of that time.
    SlowDisk { member: u64, factor: u64, length: Time },
}

impl Nemesis {
    pub(crate) fn new(plan: FaultPlan, members: u64, rng: Rng) -> Nemesis {
        Nemesis { plan, rng, members }
    }

    /// Whether any fault is ever injected.
    pub(crate) fn injects_faults(&self) -> bool {
        self.plan.weights.iter().any(|weight| *weight > 0)
    }

    /// Draws the time until the next fault.
    pub(crate) fn pause(&mut self) -> Time {
        self.rng.heavy(self.plan.interval)
    }

    /// Draws how long a fault lasts.
    pub(crate) fn duration(&mut self) -> Time {
        self.rng.heavy(self.plan.duration)
    }

    /// Draws the next fault. `leader` is the current leader, if there is one.
    pub(crate) fn next_fault(&mut self, leader: Option<u64>) -> Option<Fault> {
        let kind = self.draw_kind()?;
        let any_member = self.rng.between(1, self.members);
        let at_leader = self.rng.happens(self.plan.at_leader);
        let target = leader.filter(|_| at_leader).unwrap_or(any_member);
        let length = self.duration();
        Some(self.shape(kind, target, length))
    }

    fn draw_kind(&mut self) -> Option<FaultKind> {
        let sum: u64 = self.plan.weights.iter().sum();
        if sum == 0 {
            return None;
        }
        let mut ticket = self.rng.below(sum);
        for (kind, weight) in FaultKind::ALL.into_iter().zip(self.plan.weights) {
            if ticket < weight {
                return Some(kind);
            }
            ticket -= weight;
        }
        None
    }

    fn shape(&mut self, kind: FaultKind, member: u64, length: Time) -> Fault {
        let all = (1 << (self.members + 1)) - 2;
        let own = 1 << member;
        let part = self.rng.draw() & all;
        match kind {
            FaultKind::Isolate => Fault::Cut { from: own, to: all & !own, back: true },
            FaultKind::OneWay => {
                if self.rng.coin() {
                    Fault::Cut { from: own, to: all & !own, back: false }
                } else {
                    Fault::Cut { from: all & !own, to: own, back: false }
                }
            }
            FaultKind::Split => Fault::Cut { from: part, to: all & !part, back: true },
            FaultKind::Bridge => {
                Fault::Cut { from: part & !own, to: all & !part & !own, back: true }
            }
            FaultKind::Crash => Fault::Crash { member, down: self.downtime(length) },
            FaultKind::PowerCut => Fault::PowerCut { down: length },
            FaultKind::Pause => Fault::Pause { member, length },
            FaultKind::SlowDisk => {
                Fault::SlowDisk { member, factor: self.rng.scale(2, 64), length }
            }
            FaultKind::StallDisk => Fault::SlowDisk { member, factor: u64::MAX, length },
        }
    }

    /// Draws how long a member stays down: hardly at all, or for the time `length`.
    fn downtime(&mut self, length: Time) -> Time {
        if self.rng.coin() { self.rng.between(100, 5_000) } else { length }
    }

    /// Decides whether a voter that just granted a vote crashes. Returns how long it then stays
    /// down.
    pub(crate) fn upon_vote(&mut self) -> Option<Time> {
        let crashes = self.rng.happens(self.plan.crash_upon_vote);
        crashes.then(|| self.rng.between(100, 5_000))
    }

    /// Decides whether a fault is injected at a member that was just elected, and which.
    pub(crate) fn upon_election(&mut self, leader: u64) -> Option<Fault> {
        if !self.rng.happens(self.plan.fault_upon_election) {
            return None;
        }
        let kind = self.rng.one_of(&[FaultKind::Isolate, FaultKind::Crash, FaultKind::OneWay]);
        let length = self.duration();
        Some(self.shape(kind, leader, length))
    }
}
