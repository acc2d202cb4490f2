//! The network: which members can reach each other, how long messages take, and which of them are
//! lost or duplicated.
//!
//! Protocol messages may be lost, delayed, reordered, duplicated, and delivered again much later,
//! even to a member that was restarted in the meantime; messages for late delivery are kept in the
//! archive. A forwarded proposal is bound to the process that it was sent to, as to a connection. A
//! duplicate of it may arrive soon after it, but never at another process, since a transport never
//! sends a frame twice.

use raft_core::types::NodeId;
use raft_node::{Content, Envelope};

use crate::rng::Rng;
use crate::sim::Time;
use crate::sim::plan::NetworkPlan;

/// The number of old messages in the archive. A new message replaces a random one, so that some
/// messages become very old.
const ARCHIVE: usize = 256;

/// One in this many messages goes to the archive.
const ARCHIVE_SHARE: u64 = 6;

/// A message in transit.
#[derive(Clone, Debug)]
pub(crate) struct Packet {
    pub(crate) from: NodeId,
    pub(crate) to: NodeId,
    pub(crate) envelope: Envelope,
    /// The process that may receive it, if no other process may.
    pub(crate) process: Option<u64>,
    /// Which copy of the message this is.
    pub(crate) origin: Origin,
}

/// Which copy of a message a packet carries.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Origin {
    First,
    Duplicate,
    Archive,
}

#[derive(Debug)]
pub(crate) struct Network {
    plan: NetworkPlan,
    rng: Rng,
    members: u64,
    /// Pairs (from, to) that cannot reach each other, as a matrix.
    cut: Vec<bool>,
    /// When the last message of each pair arrives, for ordered delivery.
    last_arrival: Vec<Time>,
    archive: Vec<Packet>,
}

impl Network {
    pub(crate) fn new(plan: NetworkPlan, members: u64, rng: Rng) -> Network {
        let pairs = (members * members) as usize;
        Network {
            plan,
            rng,
            members,
            cut: vec![false; pairs],
            last_arrival: vec![0; pairs],
            archive: Vec::new(),
        }
    }

    /// Sends a message. Adds to `arrivals` each copy that will arrive, with the time of its
    /// arrival.
    pub(crate) fn send(&mut self, now: Time, packet: Packet, arrivals: &mut Vec<(Time, Packet)>) {
        if self.rng.happens(self.plan.archive) && !self.archive.is_empty() {
            let old = self.archive[self.rng.below(self.archive.len() as u64) as usize].clone();
            if self.connects(old.from, old.to) {
                arrivals.push((now + self.plan.delay, old));
            }
        }
        self.archive_some(&packet);
        if !self.connects(packet.from, packet.to) || self.rng.happens(self.plan.loss) {
            return;
        }
        let at = self.arrival(now, &packet);
        if self.rng.happens(self.plan.duplicate) {
            let again = at + self.rng.heavy(self.plan.delay);
            let copy = Packet { origin: Origin::Duplicate, ..packet.clone() };
            arrivals.push((again, copy));
        }
        arrivals.push((at, packet));
    }

    fn archive_some(&mut self, packet: &Packet) {
        let is_protocol = matches!(packet.envelope.content, Content::Raft { .. });
        if self.plan.archive == 0 || !is_protocol || self.rng.below(ARCHIVE_SHARE) > 0 {
            return;
        }
        let kept = Packet { origin: Origin::Archive, ..packet.clone() };
        if self.archive.len() < ARCHIVE {
            self.archive.push(kept)
        } else {
            self.archive[self.rng.below(ARCHIVE as u64) as usize] = kept
        }
    }

    fn arrival(&mut self, now: Time, packet: &Packet) -> Time {
        let late = self.rng.happens(self.plan.late);
        let delay = if late {
            self.rng.heavy(self.plan.late_delay)
        } else {
            self.rng.between(self.plan.delay / 2, self.plan.delay * 2)
        };
        let pair = self.pair(packet.from, packet.to);
        let mut at = now + delay;
        if self.plan.ordered {
            at = at.max(self.last_arrival[pair] + 1);
            self.last_arrival[pair] = at;
        }
        at
    }

    fn pair(&self, from: NodeId, to: NodeId) -> usize {
        ((from.get() - 1) * self.members + to.get() - 1) as usize
    }

    /// Whether messages from one member may reach the other.
    pub(crate) fn connects(&self, from: NodeId, to: NodeId) -> bool {
        !self.cut[self.pair(from, to)]
    }

    /// Disconnects each pair of members for which `is_cut` holds, and reconnects all others.
    pub(crate) fn cut_where(&mut self, is_cut: impl Fn(u64, u64) -> bool) {
        for from in 1..=self.members {
            for to in 1..=self.members {
                let pair = ((from - 1) * self.members + to - 1) as usize;
                self.cut[pair] = from != to && is_cut(from, to);
            }
        }
    }

    /// From now on no message is lost, repeated or late, and messages between two members arrive in
    /// the order in which they were sent, as on one connection. In another order, the answer to a
    /// forward could arrive after its entries were applied, and its client would be told that the
    /// outcome is unknown.
    pub(crate) fn calm(&mut self) {
        self.cut_where(|_, _| false);
        self.plan.ordered = true;
        self.last_arrival.fill(0);
        self.plan.loss = 0;
        self.plan.duplicate = 0;
        self.plan.late = 0;
        self.plan.archive = 0;
        self.plan.delay = self.plan.delay.min(1_000);
    }
}
