//! What one turn proposes, and for which clients.
//!
//! All commands of a turn become one append. Their clients are remembered in the order of the
//! commands: once the core has given the entries their ids, this member's own clients wait for
//! those ids, and each follower that forwarded commands is told the first id of its own.

use bytes::Bytes;
use raft_core::consensus::{Input, Refusal};
use raft_core::types::{EntryId, LogSpan, NodeId};

use super::Pump;
use super::event::{Clients, Effects, Failed};
use crate::{Content, ForwardAnswer, ProposeError};

/// The proposals of one turn.
///
/// Invariant: the counts of `origins` add up to the number of `commands`.
#[derive(Debug)]
pub(super) struct TurnProposals<C: Clients> {
    /// In the order in which they will stand in the log.
    pub(super) commands: Vec<Bytes>,
    /// Where the commands came from, in the same order.
    pub(super) origins: Vec<Origin<C>>,
}

/// Consecutive commands that came from one place.
#[derive(Debug)]
pub(super) enum Origin<C: Clients> {
    /// Clients of this member.
    Own { group: C::Proposals, count: usize },
    /// A follower, which is owed this answer.
    Forwarded { from: NodeId, answer: ForwardAnswer, count: usize },
}

impl<C: Clients> TurnProposals<C> {
    pub(super) fn new() -> TurnProposals<C> {
        TurnProposals { commands: Vec::new(), origins: Vec::new() }
    }

    /// Adds commands behind those of the turn so far.
    pub(super) fn add(&mut self, origin: Origin<C>, commands: Vec<Bytes>) {
        self.origins.push(origin);
        if self.commands.is_empty() {
            self.commands = commands;
        } else {
            self.commands.extend(commands);
        }
    }
}

impl<C: Clients> Pump<C> {
    /// Everything that was proposed in this turn becomes one append.
    pub(super) fn propose_turn(&mut self, effects: &mut Effects<C>) {
        if self.proposed.commands.is_empty() {
            return;
        }
        let count = self.proposed.commands.len() as u64;
        let mut origins = Vec::new();
        for origin in &self.proposed.origins {
            if let Origin::Forwarded { from, .. } = origin {
                origins.push(*from);
            }
        }
        self.payloads.proposals = std::mem::take(&mut self.proposed.commands);
        self.step(Input::Propose { count, origins }, effects);
        self.payloads.proposals.clear();
        self.proposed.origins.clear();
    }

    /// The turn's commands have their ids now: own clients wait for them, forwards are answered,
    /// before the entries themselves go out.
    pub(super) fn settle_turn(&mut self, span: &LogSpan, effects: &mut Effects<C>) {
        let term = span.last_id().term;
        let mut index = span.first();
        let deadline = self.now + self.limits.proposal_ticks;
        let mut origins = std::mem::take(&mut self.proposed.origins);
        for origin in origins.drain(..) {
            let first = EntryId::new(term, index);
            match origin {
                Origin::Own { group, count } => {
                    self.proposals.push(first, group, count, deadline);
                    index = index.plus(count as u64);
                }
                Origin::Forwarded { from, mut answer, count } => {
                    answer.appended = Some(first);
                    self.send(from, Content::ForwardAnswer(answer), effects);
                    index = index.plus(count as u64);
                }
            }
        }
        self.proposed.origins = origins;
    }

    /// This member led when the turn's proposals came, and does no more.
    pub(super) fn refuse_turn(&mut self, refusal: Refusal, effects: &mut Effects<C>) {
        for origin in std::mem::take(&mut self.proposed.origins) {
            match origin {
                Origin::Own { group, count } => {
                    let error = ProposeError::NotLeader { hint: hint(refusal) };
                    effects.failed.push(Failed { group, offset: 0, count, error });
                }
                Origin::Forwarded { from, answer, .. } => {
                    self.send(from, Content::ForwardAnswer(answer), effects);
                }
            }
        }
    }
}

/// The member that may lead, as far as a refusal tells.
pub(super) fn hint(refusal: Refusal) -> Option<NodeId> {
    match refusal {
        Refusal::NotLeader { hint } | Refusal::LeaderChanged { hint } => hint,
        _ => None,
    }
}
