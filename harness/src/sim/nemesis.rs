//! The nemesis: draws which fault comes next, which member it hits, and for how long.
//!
//! Faults at the leader find more bugs than faults at a random member, so the plan says how many
//! hit the leader. Some come at the worst moment instead of a random one: for a voter right after
//! it granted a vote, for a leader right after its election.

use crate::rng::Rng;
use crate::sim::Time;
use crate::sim::plan::{FaultKind, FaultPlan};

#[derive(Debug)]
pub(crate) struct Nemesis {
    plan: FaultPlan,
    rng: Rng,
    members: u64,
}

/// A fault of the cluster.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Fault {
    /// Messages from one set of members to the other are lost; bit n stands for member n.
    Cut { from: u64, to: u64, back: bool },
    /// A member stops, and starts again after this time.
    Crash { member: u64, down: Time },
    /// All stop, and start again one after another within this time.
    PowerCut { down: Time },
    /// A member pauses.
    Pause { member: u64, length: Time },
    /// A disk is slower by a factor, at most until it recovers.
    SlowDisk { member: u64, factor: u64, length: Time },
}

impl Nemesis {
    pub(crate) fn new(plan: FaultPlan, members: u64, rng: Rng) -> Nemesis {
        Nemesis { plan, rng, members }
    }

    /// Whether there are faults at all.
    pub(crate) fn has_faults(&self) -> bool {
        self.plan.weights.iter().any(|weight| *weight > 0)
    }

    /// When the next fault comes.
    pub(crate) fn pause(&mut self) -> Time {
        self.rng.heavy(self.plan.interval)
    }

    /// How long a fault lasts.
    pub(crate) fn duration(&mut self) -> Time {
        self.rng.heavy(self.plan.duration)
    }

    /// The next fault, where `leader` leads.
    pub(crate) fn next_fault(&mut self, leader: Option<u64>) -> Option<Fault> {
        let kind = self.draw_kind()?;
        let any_member = self.rng.between(1, self.members);
        let at_leader = self.rng.happens(self.plan.at_leader);
        let victim = leader.filter(|_| at_leader).unwrap_or(any_member);
        let length = self.duration();
        Some(self.shape(kind, victim, length))
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

    /// A member comes back at once, or later.
    fn downtime(&mut self, length: Time) -> Time {
        if self.rng.coin() { self.rng.between(100, 5_000) } else { length }
    }

    /// Whether a voter crashes that just granted a vote, and for how long.
    pub(crate) fn upon_vote(&mut self) -> Option<Time> {
        let crashes = self.rng.happens(self.plan.crash_upon_vote);
        crashes.then(|| self.rng.between(100, 5_000))
    }

    /// What happens to a member that was just elected.
    pub(crate) fn upon_election(&mut self, leader: u64) -> Option<Fault> {
        if !self.rng.happens(self.plan.fault_upon_election) {
            return None;
        }
        let kind = self.rng.one_of(&[FaultKind::Isolate, FaultKind::Crash, FaultKind::OneWay]);
        let length = self.duration();
        Some(self.shape(kind, leader, length))
    }
}
