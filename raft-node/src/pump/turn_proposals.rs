//! The proposals of one turn, and their clients.
//!
//! All commands of a turn become one append. Their clients are remembered in the order of the
//! commands: once the core has given the entries their ids, this member's own clients wait for
//! those ids, and each follower that forwarded commands is sent the first id of its own.
//!
//! A leader whose disk is slow holds no more than [`Limits::unwritten_bytes`](super::Limits). Its
//! entries may be committed by its followers' disks alone, and clients continue as soon as they are
//! answered, so no other limit bounds what a leader holds in memory for its own disk. Commands of
//! its own clients are held until the disk has caught up; forwarded ones are refused.
//!
//! While a leader hands over, or is losing its vote, commands of its own clients are held, too.
//! They are proposed if the transfer is abandoned, and forwarded once the next leader is known. A
//! member that was removed does not learn which member that is: it refuses them, and names the
//! voter that it asked to campaign.

use std::collections::VecDeque;

use bytes::Bytes;
use raft_core::consensus::{Body, Input, Message, Refusal, RoleName};
use raft_core::types::{Entry, EntryId, EntryKind, LogSpan, NodeId};

use super::effects::{Effects, Failed};
use super::event::Clients;
use super::{Pump, TransferError};
use crate::{Content, ForwardAnswer, ProposeError};

/// The proposals of one turn.
///
/// Invariant: the counts of `origins` add up to the number of `commands`.
#[derive(Debug)]
pub(super) struct TurnProposals<C: Clients> {
    /// In the order in which they will be in the log.
    commands: Vec<Bytes>,
    /// Where the commands came from, in the same order.
    origins: Vec<Origin<C>>,
    /// The kinds of those commands that are no commands of the application, by their positions,
    /// which rise.
    kinds: Vec<(usize, EntryKind)>,
    /// The payload bytes of the commands.
    bytes: u64,
    /// Own clients' commands that no turn has proposed yet, since the disk is behind or this leader
    /// hands over.
    held: VecDeque<Held<C>>,
    /// Until when held commands wait for the leader that comes after this one.
    next_leader_until: u64,
    /// The member to which this one hands its leadership over, until that has an outcome.
    handed_to: Option<NodeId>,
    /// The member that this one last asked to campaign.
    pub(super) asked_to_campaign: Option<NodeId>,
}

/// A group of own clients that waits for the disk, or for the next leader.
#[derive(Debug)]
struct Held<C: Clients> {
    commands: Vec<Bytes>,
    group: C::Proposals,
    bytes: u64,
    deadline: u64,
}

/// Consecutive commands that came from one place.
#[derive(Debug)]
pub(super) enum Origin<C: Clients> {
    /// Clients of this member.
    Own { group: C::Proposals, count: usize },
    /// A follower, which is sent this answer.
    Forwarded { from: NodeId, answer: ForwardAnswer, count: usize },
    /// The engine, for itself, or for requests of sessions, which another member may have
    /// forwarded: no entry is waited for by its id.
    Engine { from: Option<NodeId>, count: usize },
}

impl<C: Clients> TurnProposals<C> {
    pub(super) fn new() -> TurnProposals<C> {
        TurnProposals {
            commands: Vec::new(),
            origins: Vec::new(),
            kinds: Vec::new(),
            bytes: 0,
            held: VecDeque::new(),
            next_leader_until: 0,
            handed_to: None,
            asked_to_campaign: None,
        }
    }

    /// Adds commands after those of the turn so far.
    pub(super) fn add(&mut self, origin: Origin<C>, commands: Vec<Bytes>) {
        self.origins.push(origin);
        self.bytes += size(&commands);
        if self.commands.is_empty() {
            self.commands = commands;
        } else {
            self.commands.extend(commands);
        }
    }

    /// Adds payloads of another kind than commands of the application.
    pub(super) fn add_of_kind(&mut self, kind: EntryKind, origin: Origin<C>, payloads: Vec<Bytes>) {
        let first = self.commands.len();
        self.kinds.extend((first..first + payloads.len()).map(|position| (position, kind)));
        self.add(origin, payloads);
    }

    /// Sets the kinds of the entries that the turn's commands became.
    pub(super) fn set_kinds(&mut self, entries: &mut [Entry]) {
        for (position, kind) in self.kinds.drain(..) {
            entries[position].kind = kind;
        }
    }

    /// Notes to which member this one sent a request to campaign.
    pub(super) fn note_sent(&mut self, to: NodeId, message: &Message) {
        if message.body == Body::TimeoutNow {
            self.asked_to_campaign = Some(to);
        }
    }

    /// Gives up commands that were held for too long: nothing happened to them.
    pub(super) fn expire(&mut self, now: u64, failed: &mut Vec<Failed<C>>) {
        while let Some(held) = self.held.front()
            && held.deadline <= now
        {
            let held = self.held.pop_front().expect("just seen");
            failed.push(held.fail(ProposeError::Busy));
        }
    }

    /// Gives up all: the member ends.
    pub(super) fn abandon(&mut self, failed: &mut Vec<Failed<C>>) {
        for origin in self.origins.drain(..) {
            if let Origin::Own { group, count } = origin {
                failed.push(Failed { group, offset: 0, count, error: ProposeError::Closed });
            }
        }
        self.commands.clear();
        self.kinds.clear();
        self.bytes = 0;
        failed.extend(self.held.drain(..).map(|held| held.fail(ProposeError::Closed)));
    }
}

impl<C: Clients> Held<C> {
    fn fail(self, error: ProposeError) -> Failed<C> {
        Failed { group: self.group, offset: 0, count: self.commands.len(), error }
    }
}

impl<C: Clients> Pump<C> {
    /// Whether this member refuses every command of its own clients, since it knows no leader and
    /// does not expect to know one soon. What it does not refuse may be held, so the quota must
    /// limit it.
    pub fn refuses_proposals(&self) -> bool {
        self.raft.leader().is_none() && !self.awaits_next_leader()
    }

    /// Clients of this member propose commands.
    pub(super) fn on_propose(
        &mut self,
        commands: Vec<Bytes>,
        group: C::Proposals,
        effects: &mut Effects<C>,
    ) {
        let soft_state = self.raft.soft_state();
        match (soft_state.role, soft_state.leader) {
            (RoleName::Leader, _) => self.propose_or_hold(commands, group),
            (_, Some(leader)) => self.forward(leader, commands, group, effects),
            (_, None) if self.awaits_next_leader() => self.hold(commands, group),
            (_, None) => {
                let asked = self.proposed.asked_to_campaign;
                let hint = asked.filter(|_| self.raft.is_removed());
                let error = ProposeError::NotLeader { hint };
                effects.failed.push(Failed { group, offset: 0, count: commands.len(), error });
            }
        }
    }

    fn propose_or_hold(&mut self, commands: Vec<Bytes>, group: C::Proposals) {
        let bytes = size(&commands);
        if self.holds_proposals() || !self.has_room_for(bytes) || self.hands_over() {
            return self.hold(commands, group);
        }
        let origin = Origin::Own { group, count: commands.len() };
        self.proposed.add(origin, commands);
    }

    fn hold(&mut self, commands: Vec<Bytes>, group: C::Proposals) {
        let bytes = size(&commands);
        let deadline = self.now + self.limits.proposal_ticks;
        self.proposed.held.push_back(Held { commands, group, bytes, deadline });
    }

    /// Whether this leader is handing over or losing its vote, and accepts no proposals.
    pub(super) fn hands_over(&self) -> bool {
        self.raft.transfer_target().is_some() || self.raft.is_leaving()
    }

    /// While this leader hands over, moves the deadline until which its clients' commands wait for
    /// the next leader to one election timeout from now.
    pub(super) fn note_transfer(&mut self) {
        if self.hands_over() {
            self.proposed.next_leader_until = self.now + self.election_ticks;
        }
        if let Some(to) = self.raft.transfer_target() {
            self.proposed.handed_to = Some(to);
        }
    }

    /// Reports a transfer as failed if it is over and this member leads, or if no leader became
    /// known before the deadline. If another member leads, its id shows how the transfer ended.
    fn note_end_of_transfer(&mut self, effects: &mut Effects<C>) {
        if self.is_between_leaders() {
            return;
        }
        let Some(to) = self.proposed.handed_to.take() else { return };
        if self.raft.is_leader() || self.raft.leader().is_none() {
            effects.failed_transfers.push((to, TransferError::Abandoned));
        }
    }

    /// Whether proposals wait for the outcome of a transfer, or for the leader after it.
    fn is_between_leaders(&self) -> bool {
        self.hands_over() || self.awaits_next_leader()
    }

    /// Whether this member has just handed over, and the next leader is not known yet. Its clients'
    /// commands wait for that leader.
    fn awaits_next_leader(&self) -> bool {
        self.raft.leader().is_none()
            && self.now < self.proposed.next_leader_until
            && !self.raft.is_removed()
    }

    /// Whether own clients' commands are held.
    pub(super) fn holds_proposals(&self) -> bool {
        !self.proposed.held.is_empty()
    }

    /// Whether a leader accepts so many more bytes now. With an idle disk it accepts any number.
    pub(super) fn has_room_for(&self, bytes: u64) -> bool {
        let unwritten = self.writes.unwritten_bytes() + self.proposed.bytes;
        unwritten == 0 || unwritten + bytes <= self.limits.unwritten_bytes
    }

    /// Proposes what was held, in order, as far as the disk has caught up. If this member no longer
    /// leads, its clients' commands go where new ones would.
    pub(super) fn take_held_proposals(&mut self, effects: &mut Effects<C>) {
        self.note_transfer();
        self.note_end_of_transfer(effects);
        if self.is_between_leaders() {
            return;
        }
        if !self.raft.is_leader() {
            for held in std::mem::take(&mut self.proposed.held) {
                self.on_propose(held.commands, held.group, effects);
            }
        }
        while let Some(held) = self.proposed.held.front()
            && self.has_room_for(held.bytes)
        {
            let held = self.proposed.held.pop_front().expect("just seen");
            let origin = Origin::Own { group: held.group, count: held.commands.len() };
            self.proposed.add(origin, held.commands);
        }
    }

    /// Everything that was proposed in this turn becomes one append.
    pub(super) fn propose_turn(&mut self, effects: &mut Effects<C>) {
        if self.proposed.commands.is_empty() {
            return;
        }
        if self.is_between_leaders() {
            return self.put_turn_back(effects);
        }
        let count = self.proposed.commands.len() as u64;
        let mut origins = Vec::new();
        for origin in &self.proposed.origins {
            match origin {
                Origin::Forwarded { from, .. } => origins.push(*from),
                Origin::Engine { from, .. } => origins.extend(*from),
                Origin::Own { .. } => {}
            }
        }
        self.payloads.proposals = std::mem::take(&mut self.proposed.commands);
        self.proposed.bytes = 0;
        self.step(Input::Propose { count, origins }, effects);
        self.payloads.proposals.clear();
        self.proposed.origins.clear();
    }

    /// This leader was asked to hand over after the turn's proposals had come: own clients'
    /// commands are held before those that came later, and forwarded ones are refused.
    fn put_turn_back(&mut self, effects: &mut Effects<C>) {
        let mut commands = std::mem::take(&mut self.proposed.commands).into_iter();
        self.proposed.bytes = 0;
        let kinds = std::mem::take(&mut self.proposed.kinds);
        if kinds.iter().any(|(_, kind)| *kind == EntryKind::FeatureLevel) {
            self.forget_appended_level();
        }
        self.sessions.retry(self.now);
        let later = std::mem::take(&mut self.proposed.held);
        for origin in std::mem::take(&mut self.proposed.origins) {
            match origin {
                Origin::Own { group, count } => {
                    self.hold(commands.by_ref().take(count).collect(), group);
                }
                Origin::Forwarded { from, answer, count } => {
                    commands.by_ref().take(count).for_each(drop);
                    self.send(from, Content::ForwardAnswer(answer), effects);
                }
                Origin::Engine { count, .. } => commands.by_ref().take(count).for_each(drop),
            }
        }
        self.proposed.held.extend(later);
    }

    /// The turn's commands have their ids now: own clients wait for them, and forwards are answered
    /// before the entries themselves are sent.
    pub(super) fn settle_turn(&mut self, span: &LogSpan, effects: &mut Effects<C>) {
        let term = span.last_id().term;
        let mut index = span.first();
        let deadline = self.now + self.limits.proposal_ticks;
        let mut origins = std::mem::take(&mut self.proposed.origins);
        for origin in origins.drain(..) {
            let first = EntryId::new(term, index);
            match origin {
                Origin::Own { group, count } => {
                    self.proposals.push(first, group, 0, count, deadline);
                    index = index.plus(count as u64);
                }
                Origin::Forwarded { from, mut answer, count } => {
                    answer.appended = Some(first);
                    self.send(from, Content::ForwardAnswer(answer), effects);
                    index = index.plus(count as u64);
                }
                Origin::Engine { count, .. } => index = index.plus(count as u64),
            }
        }
        self.proposed.origins = origins;
    }

    /// This member led when the turn's proposals came, and no longer does.
    pub(super) fn refuse_turn(&mut self, refusal: Refusal, effects: &mut Effects<C>) {
        self.proposed.kinds.clear();
        self.forget_appended_level();
        self.sessions.retry(self.now);
        for origin in std::mem::take(&mut self.proposed.origins) {
            match origin {
                Origin::Own { group, count } => {
                    let error = ProposeError::NotLeader { hint: hint(refusal) };
                    effects.failed.push(Failed { group, offset: 0, count, error });
                }
                Origin::Forwarded { from, answer, .. } => {
                    self.send(from, Content::ForwardAnswer(answer), effects);
                }
                Origin::Engine { .. } => {}
            }
        }
    }
}

fn size(commands: &[Bytes]) -> u64 {
    commands.iter().map(|command| command.len() as u64).sum()
}

/// The member that may lead, if a refusal names one.
pub(super) fn hint(refusal: Refusal) -> Option<NodeId> {
    match refusal {
        Refusal::NotLeader { hint } | Refusal::LeaderChanged { hint } => hint,
        _ => None,
    }
}
