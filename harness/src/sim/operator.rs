//! The operator of the cluster: asks members to hand their leadership over, and to change the
//! membership.
//!
//! Each seed draws how many of the requests go to the leader. The others go to any node, which may
//! be a leader that does not know yet that it was deposed, or may not be a member. A transfer names
//! any node, the receiver itself included. A change starts from the membership that the receiver
//! knows, and gives some of the nodes another role: voter, learner or none. So changes come back to
//! back, name nodes that do not run or never catch up, and remove the leader.

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
    /// To change the membership to this one, the whole way.
    Change(Arc<Membership>),
    /// To take a step toward this membership.
    Step(Arc<Membership>),
    /// To give up the change that is under way.
    Cancel,
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

    /// Draws whether a member has closed its connection with a removed one already.
    pub(crate) fn refuses(&mut self) -> bool {
        self.rng.coin()
    }

    /// Draws the next request to a node that knows this membership.
    pub(crate) fn request(&mut self, known: Option<&Membership>) -> Request {
        let changes = self.rng.happens(self.plan.changes);
        let is_whole = changes && self.rng.happens(self.plan.whole_changes);
        if is_whole && self.rng.below(8) == 0 {
            return Request::Cancel;
        }
        match known.filter(|_| changes).and_then(|known| self.target(known, is_whole)) {
            Some(target) if is_whole => Request::Change(Arc::new(target)),
            Some(target) => Request::Step(Arc::new(target)),
            None => {
                let to = NodeId::new(self.rng.between(1, self.nodes));
                Request::Transfer(to.expect("not zero"))
            }
        }
    }

    /// Draws a membership that differs from the known one in one or two nodes, sometimes in more;
    /// `None` if it would have no voter. In a whole change a node that joins may vote at once.
    fn target(&mut self, known: &Membership, is_whole: bool) -> Option<Membership> {
        let few = [(); 2].map(|()| self.rng.between(1, self.nodes));
        let differs_much = self.rng.below(6) == 0;
        let mut parts = MembershipParts::default();
        for node in (1..=self.nodes).filter_map(NodeId::new) {
            let redraws = if differs_much { self.rng.coin() } else { few.contains(&node.get()) };
            let role = Role::of(node, known);
            let joins = is_whole && role == Role::None && node > known.highest();
            let next = if redraws && joins {
                self.rng.one_of(&[Role::Voter, Role::Voter, Role::Learner])
            } else if redraws {
                self.role_after(role, node, known)
            } else {
                role
            };
            match next {
                Role::Voter => drop(parts.voters.insert(node)),
                Role::Learner => drop(parts.learners.insert(node)),
                Role::None => {}
            }
        }
        Membership::new(parts).ok()
    }

    /// Draws another role for a node. Most changes are possible ones: a node joins as a learner,
    /// and becomes a voter later; a node whose id was used does not join.
    fn role_after(&mut self, role: Role, node: NodeId, known: &Membership) -> Role {
        if self.rng.below(8) == 0 {
            return self.rng.one_of(&[Role::None, Role::Learner, Role::Voter]);
        }
        match role {
            Role::None if node > known.highest() => Role::Learner,
            Role::None => Role::None,
            Role::Learner => self.rng.one_of(&[Role::Voter, Role::Voter, Role::Voter, Role::None]),
            Role::Voter => {
                self.rng.one_of(&[Role::Voter, Role::Learner, Role::Learner, Role::None])
            }
        }
    }
}

/// The part of a node in a membership.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Role {
    None,
    Learner,
    Voter,
}

impl Role {
    fn of(node: NodeId, membership: &Membership) -> Role {
        if membership.parts().voters.contains(&node) {
            Role::Voter
        } else if membership.contains(node) {
            Role::Learner
        } else {
            Role::None
        }
    }
}
