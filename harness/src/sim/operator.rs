//! The operator of the cluster: asks members to hand their leadership over, and to change the
//! membership.
//!
//! Most requests go to the leader. The others go to any node, which may be a deposed leader that
//! does not know it yet, or no member. A transfer names any node, the receiver itself included. A
//! change starts from the membership that the receiver knows, and gives some of the nodes another
//! part: voter, learner or none. So changes come back to back, name nodes that do not run or never
//! catch up, and remove the leader.

use std::sync::Arc;

use raft_core::types::{Membership, MembershipParts, NodeId};

use crate::rng::Rng;
use crate::sim::Time;
use crate::sim::plan::OperatorPlan;

#[derive(Debug)]
pub(crate) struct Operator {
    plan: OperatorPlan,
    rng: Rng,
    nodes: u64,
}

/// What a member is asked for.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Request {
    /// To hand over to this member.
    Transfer(NodeId),
    /// To change the membership to this one.
    Change(Arc<Membership>),
}

impl Operator {
    pub(crate) fn new(plan: OperatorPlan, nodes: u64, rng: Rng) -> Operator {
        Operator { plan, rng, nodes }
    }

    /// Draws the time until the next request; `None` if there are no requests.
    pub(crate) fn pause(&mut self) -> Option<Time> {
        (self.plan.interval > 0).then(|| self.rng.heavy(self.plan.interval))
    }

    /// Draws the node that gets the next request. `leader` is the current leader, if there is one.
    pub(crate) fn receiver(&mut self, leader: Option<u64>) -> u64 {
        let any_node = self.rng.between(1, self.nodes);
        let at_leader = self.rng.happens(self.plan.at_leader);
        leader.filter(|_| at_leader).unwrap_or(any_node)
    }

    /// Draws the next request to a node that knows this membership.
    pub(crate) fn request(&mut self, known: Option<&Membership>) -> Request {
        let changes = self.rng.happens(self.plan.changes);
        match known.filter(|_| changes).and_then(|known| self.target(known)) {
            Some(target) => Request::Change(Arc::new(target)),
            None => {
                let to = NodeId::new(self.rng.between(1, self.nodes));
                Request::Transfer(to.expect("not zero"))
            }
        }
    }

    /// Draws a membership that differs from the known one in a few nodes, or `None` if it would
    /// have no voter.
    fn target(&mut self, known: &Membership) -> Option<Membership> {
        let mut parts = MembershipParts::default();
        for node in (1..=self.nodes).filter_map(NodeId::new) {
            let redraws = self.rng.below(4) == 0;
            let may_join = known.contains(node) || node > known.highest() || self.rng.below(8) == 0;
            let votes = known.parts().voters.contains(&node);
            match self.rng.below(5) {
                0 | 1 if redraws && may_join => drop(parts.learners.insert(node)),
                2 | 3 if redraws && may_join => drop(parts.voters.insert(node)),
                _ if redraws => {}
                _ if votes => drop(parts.voters.insert(node)),
                _ if known.contains(node) => drop(parts.learners.insert(node)),
                _ => {}
            }
        }
        Membership::new(parts).ok()
    }
}
