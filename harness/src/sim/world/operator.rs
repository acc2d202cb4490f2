//! The operator's requests, and what became of them: leadership transfers and changes of the
//! membership.

use std::sync::Arc;

use raft_core::consensus::RoleName;
use raft_core::storage::WriteBatch;
use raft_core::types::{Membership, NodeId, Term};
use raft_node::pump::Event;
use raft_node::{ChangeError, TransferError};

use super::{World, WorldEvent};
use crate::checks::promises::membership_in;
use crate::checks::{Check, Violation, hold};
use crate::sim::marks::Mark;
use crate::sim::member::OLD;
use crate::sim::operator::Request;

impl World {
    /// Schedules the operator's next request, unless it makes none.
    pub(super) fn schedule_next_request_of_operator(&mut self) {
        if let Some(pause) = self.operator.pause() {
            self.schedule(pause, WorldEvent::OperatorRequest);
        }
    }

    /// The operator asks a node for something.
    pub(super) fn make_request_of_operator(&mut self) -> Result<(), Violation> {
        if self.calm {
            return Ok(());
        }
        self.schedule_next_request_of_operator();
        let leader = self.leader().map(|at| self.members[at].id.get());
        let at = self.operator.receiver(leader) as usize - 1;
        let Some(pump) = &self.members[at].pump else { return Ok(()) };
        let request = self.operator.request(pump.raft().membership().map(|known| &**known));
        let id = self.members[at].id.get();
        self.journal.note(id, &request, format_args!("is asked for {request:?}"));
        match request {
            Request::Transfer(to) => self.request_transfer(at, to),
            // An older program knows no changes.
            _ if self.members[at].version == OLD => Ok(()),
            Request::Step(target) => self.enqueue(at, Event::StepMembership { target }),
            Request::Change(target) => self.request_change(at, target).map(drop),
            Request::Cancel => self.enqueue(at, Event::CancelChange),
        }
    }

    /// A member is asked to change the membership, the whole way. Returns the name of the request.
    pub(crate) fn request_change(
        &mut self,
        at: usize,
        target: Arc<Membership>,
    ) -> Result<u64, Violation> {
        self.changes += 1;
        let client = self.changes;
        self.members[at].changing.insert(client);
        self.enqueue(at, Event::ChangeMembership { from: None, target, client })?;
        Ok(client)
    }

    /// A member answers a request to change the membership. If it has succeeded, the membership is
    /// committed.
    pub(super) fn answer_change(
        &mut self,
        at: usize,
        client: u64,
        result: Result<Arc<Membership>, ChangeError>,
    ) -> Result<(), Violation> {
        let member = &mut self.members[at];
        let id = member.id;
        hold(member.changing.remove(&client), Check::Outcome, || {
            format!("{id} answers change {client} twice")
        })?;
        let text = match &result {
            Ok(membership) => membership.to_string(),
            Err(why) => why.to_string(),
        };
        self.journal.note(id.get(), ("change", client, &text), format_args!("change: {text}"));
        let mark = match &result {
            Ok(_) => Mark::ChangeSucceeded,
            Err(ChangeError::TooSlow(_) | ChangeError::NoProgress(_)) => Mark::VoterNotCaughtUp,
            Err(ChangeError::Cancelled) => Mark::ChangeCancelled,
            Err(ChangeError::LeaderChanged { .. }) => Mark::ChangeLost,
            Err(_) => Mark::ChangeRefused,
        };
        self.marks.hit(mark);
        self.change_answers.insert(client, result.is_ok());
        let Some(raft) = self.members[at].pump.as_ref().map(|pump| pump.raft()) else {
            return Ok(());
        };
        let is_committed = raft.membership_index() <= self.laws.committed();
        let is_it = result.as_ref().is_ok_and(|now| raft.membership() == Some(now));
        hold(result.is_err() || self.lost_disks || (is_committed && is_it), Check::Outcome, || {
            format!("{id} answers that {text} is the membership, which is not committed")
        })
    }

    /// A change that must succeed in a cluster at rest, and the leader to ask for it: a node joins
    /// as a voter, or a voter that does not lead becomes a learner.
    pub(crate) fn change_at_rest(&self) -> Option<(usize, Arc<Membership>)> {
        let present = self.present_members();
        let at = present.iter().copied().find(|at| self.members[*at].leads())?;
        let now = self.members[at].pump.as_ref()?.raft().membership()?;
        let is_old = |at: &usize| self.members[*at].version == OLD;
        if present.iter().any(is_old) || self.plan.operator.changes == 0 {
            return None;
        }
        let mut target = now.target();
        let newcomer = self
            .members
            .iter()
            .find(|other| other.id > now.highest() && other.is_up() && other.version != OLD);
        match newcomer {
            Some(newcomer) => target.set_voter(newcomer.id, Default::default()),
            None => {
                let own = self.members[at].id;
                let other = target.voters.iter().copied().find(|node| *node != own)?;
                target.set_learner(other, Default::default());
            }
        }
        Some((at, Arc::new(Membership::new(target).ok()?)))
    }

    /// Whether a request to change the membership has succeeded; `None` if it has no answer.
    pub(crate) fn change_answer(&self, client: u64) -> Option<bool> {
        self.change_answers.get(&client).copied()
    }

    /// A member is asked to hand over to another one.
    pub(crate) fn request_transfer(&mut self, at: usize, to: NodeId) -> Result<(), Violation> {
        self.enqueue(at, Event::Transfer { to })
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

    /// A step of the membership was refused.
    pub(super) fn note_refused_step(&mut self, at: usize, why: &ChangeError) {
        let is_old = matches!(why, ChangeError::OlderProgram(_));
        self.marks.hit_if(is_old, Mark::ChangeOfOldProgram);
        let id = self.members[at].id.get();
        let text = why.to_string();
        self.journal.note(id, ("no change", &text), format_args!("no change: {text}"));
    }

    /// A member asks for votes because its leader told it to.
    pub(super) fn note_campaign_in_transfer(&mut self, node: NodeId, term: Term) {
        self.campaigns_in_transfer.insert(term, node);
    }

    /// Whether a new leader campaigned because the leader before it had told it to.
    pub(super) fn won_by_transfer(&self, node: NodeId, term: Term) -> bool {
        self.campaigns_in_transfer.get(&term) == Some(&node)
    }

    /// The members of the newest membership that a leader has, by position. Other nodes were
    /// removed or have not joined, and need not agree with anyone.
    pub(crate) fn present_members(&self) -> Vec<usize> {
        let rafts = self.members.iter().filter_map(|member| Some(member.pump.as_ref()?.raft()));
        let leader = rafts.filter(|raft| raft.is_leader()).max_by_key(|raft| raft.term());
        let membership = leader.and_then(|leader| leader.membership());
        let is_present = |at: &usize| {
            membership.is_some_and(|membership| membership.contains(self.members[*at].id))
        };
        (0..self.members.len()).filter(is_present).collect()
    }

    /// The leader of a cluster at rest, and the next voter, if there is another one.
    pub(crate) fn transfer_at_rest(&self) -> Option<(usize, usize)> {
        let present = self.present_members();
        let from = present.iter().copied().find(|at| self.members[*at].leads())?;
        let raft = self.members[from].pump.as_ref()?.raft();
        let votes =
            |at: &usize| raft.membership().is_some_and(|m| m.is_voter(self.members[*at].id));
        let voters: Vec<usize> = present.into_iter().filter(votes).collect();
        let place = voters.iter().position(|at| *at == from)?;
        let to = voters[(place + 1) % voters.len()];
        (to != from).then_some((from, to))
    }

    /// Marks the hard situations that a write shows.
    pub(super) fn mark_memberships(&mut self, at: usize, batch: &WriteBatch) {
        let disk = self.laws.disk(self.members[at].id);
        let truncated = batch.truncate_after.is_some_and(|cut| {
            let newest = disk.membership_before(disk.last().next());
            newest.is_some_and(|(index, _)| *index > cut)
        });
        self.marks.hit_if(truncated, Mark::MembershipTruncated);
        let leads = self.members[at].leads();
        for (index, next) in batch.append.iter().filter_map(membership_in) {
            let leaves_joint = |before: &Membership| before.is_joint() && !next.is_joint();
            let before = disk.membership_before(index);
            self.marks.hit_if(
                leads && before.is_some_and(|(_, before)| leaves_joint(before)),
                Mark::JointLeft,
            );
        }
    }

    /// Marks a member that leads no longer because the committed membership leaves it out, and a
    /// newcomer that leads.
    pub(super) fn mark_roles(&mut self, at: usize, role: RoleName) {
        let member = &self.members[at];
        let Some(raft) = member.pump.as_ref().map(|pump| pump.raft()) else { return };
        let votes = raft.membership().is_some_and(|now| now.is_voter(member.id));
        self.marks.hit_if(role == RoleName::Follower && member.led && !votes, Mark::LeaderRemoved);
        let joined = member.id.get() > self.plan.members;
        self.marks.hit_if(role == RoleName::Leader && joined, Mark::NewcomerLeads);
        self.members[at].led = role == RoleName::Leader;
    }
}
