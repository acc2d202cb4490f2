//! The nemesis: draws which fault comes next, which member it strikes, and for how long.
//!
//! Faults that strike the leader find more than faults that strike any member, so the plan says how
//! many do. Some strike at the worst moment instead of at a random one: a voter right after it
//! granted a vote, a leader right after its election.

use crate::sim::plan::{FaultKind, FaultPlan};
use crate::sim::{Rng, Time};

#[derive(Debug)]
pub(crate) struct Nemesis {
    plan: FaultPlan,
    rng: Rng,
    members: u64,
}

/// What is to be done to the cluster.
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
    /// A disk takes so many times as long, at most until it is well again.
    SlowDisk { member: u64, factor: u64, length: Time },
}

impl Nemesis {
    pub(crate) fn new(plan: FaultPlan, members: u64, rng: Rng) -> Nemesis {
        Nemesis { plan, rng, members }
    }

    /// Whether faults come at all.
    pub(crate) fn strikes(&self) -> bool {
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

    /// Whether a voter crashes that just granted a vote; for how long.
    pub(crate) fn upon_vote(&mut self) -> Option<Time> {
        let strikes = self.rng.happens(self.plan.crash_upon_vote);
        strikes.then(|| self.rng.between(100, 5_000))
    }

    /// What happens to a member that was just elected.
    pub(crate) fn upon_election(&mut self, leader: u64) -> Option<Fault> {
        if !self.rng.happens(self.plan.strike_upon_election) {
            return None;
        }
        let kind = self.rng.one_of(&[FaultKind::Isolate, FaultKind::Crash, FaultKind::OneWay]);
        let length = self.duration();
        Some(self.shape(kind, leader, length))
    }
}
