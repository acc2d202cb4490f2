//! The operator of the cluster: asks members to hand their leadership over.
//!
//! Most requests go to the leader. The others go to any member, which may be a deposed leader that
//! does not know it yet, and name any member, the receiver itself included.

use raft_core::types::NodeId;

use crate::rng::Rng;
use crate::sim::Time;
use crate::sim::plan::OperatorPlan;

#[derive(Debug)]
pub(crate) struct Operator {
    plan: OperatorPlan,
    rng: Rng,
    members: u64,
}

/// A request to one member.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct TransferRequest {
    /// The member that is asked.
    pub(crate) member: u64,
    /// The member that is to lead.
    pub(crate) to: NodeId,
}

impl Operator {
    pub(crate) fn new(plan: OperatorPlan, members: u64, rng: Rng) -> Operator {
        Operator { plan, rng, members }
    }

    /// Draws the time until the next request; `None` if there are no requests.
    pub(crate) fn pause(&mut self) -> Option<Time> {
        (self.plan.interval > 0).then(|| self.rng.heavy(self.plan.interval))
    }

    /// Draws the next request. `leader` is the current leader, if there is one.
    pub(crate) fn next_request(&mut self, leader: Option<u64>) -> TransferRequest {
        let any_member = self.rng.between(1, self.members);
        let at_leader = self.rng.happens(self.plan.at_leader);
        let member = leader.filter(|_| at_leader).unwrap_or(any_member);
        let to = NodeId::new(self.rng.between(1, self.members)).expect("not zero");
        TransferRequest { member, to }
    }
}
