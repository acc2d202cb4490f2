//! Members that were removed: connections that are refused, and what a removed member does then.
//!
//! A transport closes its connections with a member that it knows to be removed, and refuses new
//! ones with a verdict. Messages that are on their way, and those on a connection that is not
//! closed yet, still arrive.

use raft_core::types::NodeId;
use raft_node::pump::Event;

use super::{World, WorldEvent};
use crate::checks::{Check, Violation, hold};
use crate::sim::TICK;
use crate::sim::marks::Mark;

impl World {
    /// Whether a member refuses the connection on which a message came. During the storm some of
    /// the messages of removed members still arrive.
    pub(super) fn refuses(&mut self, at: usize, from: NodeId) -> bool {
        self.knows_as_removed(at, from) && (self.calm || self.operator.refuses())
    }

    /// Whether a member knows that a node was removed.
    fn knows_as_removed(&self, at: usize, node: NodeId) -> bool {
        let Some(pump) = &self.members[at].pump else { return false };
        let mut connected = pump.connected_memberships();
        let highest = connected.clone().next().map(|committed| committed.highest());
        highest.is_some_and(|highest| node <= highest) && connected.all(|now| !now.contains(node))
    }

    /// A member refuses a connection of a removed node, which learns the reason, if the network
    /// lets it.
    pub(super) fn refuse(&mut self, at: usize, node: NodeId) {
        let by = self.members[at].id;
        if !self.network.connects(by, node) || !self.network.connects(node, by) {
            return;
        }
        let member = node.get() as usize - 1;
        let process = self.members[member].process;
        self.schedule(TICK, WorldEvent::TellRemoved { member, process, by });
    }

    /// A member connects to others, which may refuse it.
    pub(super) fn connect(&mut self, at: usize, nodes: Vec<NodeId>) {
        let from = self.members[at].id;
        for node in nodes {
            let to = node.get() as usize - 1;
            if self.knows_as_removed(to, from) {
                self.refuse(to, from);
            }
        }
    }

    /// A member learns that another one has refused it.
    pub(super) fn tell_removed(&mut self, at: usize, by: NodeId) -> Result<(), Violation> {
        let id = self.members[at].id.get();
        self.journal.note(id, ("removed", by), format_args!("is told by {by} that it was removed"));
        self.enqueue(at, Event::Removed { by })
    }

    /// A member stops because it was removed, which must be true.
    pub(super) fn check_removed(&mut self, at: usize, by: Option<NodeId>) -> Result<(), Violation> {
        let id = self.members[at].id;
        self.members[at].was_removed = true;
        let mark = if by.is_some() { Mark::RemovalTold } else { Mark::RemovalInOwnLog };
        self.marks.hit(mark);
        hold(self.lost_disks || self.laws.was_removed(id), Check::OneChange, || {
            format!("{id} stops, and no committed membership has left it out")
        })
    }

    /// Whether a member that is down does not start again. One that was removed is started again
    /// during the storm, by mistake, and must stop again.
    pub(super) fn stays_down(&self, at: usize) -> bool {
        let member = &self.members[at];
        member.has_lost_data || (self.calm && member.was_removed)
    }

    /// A node that was removed, and still runs although a member that it knows could tell it.
    pub(crate) fn removed_and_running(&self) -> Option<NodeId> {
        let present: Vec<NodeId> =
            self.present_members().into_iter().map(|at| self.members[at].id).collect();
        let could_learn = |at: &usize| {
            let Some(pump) = &self.members[*at].pump else { return false };
            let mut live = pump.raft().live_memberships();
            !present.contains(&self.members[*at].id)
                && live.any(|known| present.iter().any(|node| known.contains(*node)))
        };
        let runs = (0..self.members.len())
            .find(|at| self.laws.was_removed(self.members[*at].id) && could_learn(at));
        runs.map(|at| self.members[at].id)
    }
}
