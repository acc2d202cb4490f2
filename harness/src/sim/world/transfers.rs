//! Leadership transfers: the operator's requests, and what became of them.

use raft_core::types::{NodeId, Term};
use raft_node::TransferError;
use raft_node::pump::Event;

use super::{World, WorldEvent};
use crate::checks::Violation;
use crate::sim::marks::Mark;

impl World {
    /// Schedules the operator's next request, unless it makes none.
    pub(super) fn schedule_next_transfer(&mut self) {
        if let Some(pause) = self.operator.pause() {
            self.schedule(pause, WorldEvent::NextTransfer);
        }
    }

    /// The operator asks a member to hand over.
    pub(super) fn request_next_transfer(&mut self) -> Result<(), Violation> {
        if self.calm {
            return Ok(());
        }
        self.schedule_next_transfer();
        let leader = self.leader().map(|at| self.members[at].id.get());
        let request = self.operator.next_request(leader);
        self.request_transfer(request.member as usize - 1, request.to)
    }

    /// A member is asked to hand over to another one.
    pub(crate) fn request_transfer(&mut self, at: usize, to: NodeId) -> Result<(), Violation> {
        let id = self.members[at].id.get();
        self.journal.note(id, ("transfer", to), format_args!("is asked to hand over to {to}"));
        if self.members[at].is_up() { self.enqueue(at, Event::Transfer { to }) } else { Ok(()) }
    }

    /// The position of a member that leads, if there is one.
    pub(crate) fn leader(&self) -> Option<usize> {
        self.members.iter().position(|member| member.leads())
    }

    /// A leadership transfer did not succeed.
    pub(super) fn note_failed_transfer(&mut self, at: usize, to: NodeId, why: &TransferError) {
        self.marks.hit_if(*why == TransferError::Abandoned, Mark::TransferAbandoned);
        let id = self.members[at].id.get();
        let text = why.to_string();
        self.journal.note(id, ("no transfer", to, &text), format_args!("to {to}: {text}"));
    }

    /// A member asks for votes because its leader told it to.
    pub(super) fn note_campaign_in_transfer(&mut self, node: NodeId, term: Term) {
        self.campaigns_in_transfer.insert(term, node);
    }

    /// Whether a new leader campaigned because the leader before it had told it to.
    pub(super) fn won_by_transfer(&self, node: NodeId, term: Term) -> bool {
        self.campaigns_in_transfer.get(&term) == Some(&node)
    }
}
