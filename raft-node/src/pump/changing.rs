//! A change of the membership, the whole way.
//!
//! ```text
//!   Waiting --> AddingLearners --> CatchingUp --> Committing --> answered
//!               one entry: new     rounds          the target; the core passes
//!               members are        for new         through a joint membership
//!               learners           voters          if the voters differ
//! ```
//!
//! The leader that was asked takes one stage after the other. It begins a stage that appends an
//! entry only once nothing else is open in the core, so there is one change at a time. What a
//! stage has done stays if the change fails later. The next leader knows nothing of the stages; the
//! same change can be asked for again there, and leaves out what is done already.
//!
//! A new voter is caught up by the rule of the thesis (section 4.2.1): a round ends when the voter
//! stores everything that was in the log when the round began, and it has caught up when a round
//! took less than an election timeout. After [`MAX_ROUNDS`] longer ones the change fails. So does a
//! voter that makes no progress: a wrong address must not keep a change open for ever. And one that
//! has caught up must still answer when the target is appended.
//!
//! Once the joint membership is in the log it is in force, and no leader takes it back. Up to then
//! the change may be cancelled.

use std::collections::BTreeMap;
use std::sync::Arc;

use raft_core::consensus::ChangeRefusal;
use raft_core::types::{LogIndex, Membership, MembershipParts, NodeId, Term};

use super::Pump;
use super::change::{CatchingUp, ChangeError, ChangeProgress, ChangeStage};
use super::effects::Effects;
use super::event::Clients;
use super::planted::planted;

/// In how many rounds a new voter must catch up (thesis, section 4.2.1).
const MAX_ROUNDS: u32 = 10;

/// The change that this leader makes.
#[derive(Debug)]
pub(super) struct Change<C: Clients> {
    client: C::Changes,
    target: Arc<Membership>,
    /// The term in which this member was asked.
    term: Term,
    stage: ChangeStage,
    /// The tick at which the stage began.
    since: u64,
    /// The new voters, while they catch up.
    rounds: BTreeMap<NodeId, Rounds>,
}

/// How far a new voter has caught up.
#[derive(Debug)]
struct Rounds {
    round: u32,
    /// The end of the log when the round began, and the tick.
    goal: LogIndex,
    began: u64,
    /// The last index that the voter stores, and the tick at which that rose last.
    matched: LogIndex,
    moved_at: u64,
    has_caught_up: bool,
}

/// What to do after a stage was looked at.
enum Next {
    Wait,
    Enter(ChangeStage),
    Done,
}

impl<C: Clients> Pump<C> {
    /// How far the change has come, if one is under way.
    pub fn change_progress(&self) -> Option<ChangeProgress> {
        let change = self.changing.as_ref()?;
        let rounds = change.rounds.iter().filter(|(_, rounds)| !rounds.has_caught_up);
        let catching_up = rounds.map(|(node, rounds)| CatchingUp {
            node: *node,
            round: rounds.round,
            matched: rounds.matched,
            goal: rounds.goal,
        });
        Some(ChangeProgress {
            target: Arc::clone(&change.target),
            stage: change.stage,
            catching_up: catching_up.collect(),
        })
    }

    /// A client asks for a change.
    pub(super) fn on_change_wanted(
        &mut self,
        from: Option<&Membership>,
        target: Arc<Membership>,
        client: C::Changes,
        effects: &mut Effects<C>,
    ) {
        if let Err(error) = self.check_wanted(from, &target) {
            return effects.change_answers.push((client, Err(error)));
        }
        let (term, stage, since) = (self.raft.term(), ChangeStage::Waiting, self.now);
        let rounds = BTreeMap::new();
        self.changing = Some(Change { client, target, term, stage, since, rounds });
        effects.change_stages.push(stage);
    }

    /// Refuses what can never succeed here, before anything is done for it.
    fn check_wanted(
        &self,
        from: Option<&Membership>,
        target: &Membership,
    ) -> Result<(), ChangeError> {
        if !self.raft.is_leader() {
            let hint = self.raft.leader();
            return Err(ChangeRefusal::NotLeader { hint }.into());
        }
        if self.changing.is_some() {
            return Err(ChangeRefusal::UnderWay.into());
        }
        if from.is_some_and(|from| self.raft.membership().is_none_or(|now| **now != *from)) {
            return Err(ChangeError::OtherMembership);
        }
        match self.raft.check_target(target) {
            Ok(()) | Err(ChangeRefusal::Unchanged) => self.check_programs(target),
            Err(why) => Err(why.into()),
        }
    }

    /// The change is to be given up, if the voters have not begun to change.
    pub(super) fn on_cancel_change(&mut self, effects: &mut Effects<C>) {
        let is_open = |change: &Change<C>| change.stage < ChangeStage::Committing;
        if self.changing.as_ref().is_some_and(is_open) {
            self.end_change(Err(ChangeError::Cancelled), effects);
        }
    }

    fn end_change(
        &mut self,
        result: Result<Arc<Membership>, ChangeError>,
        effects: &mut Effects<C>,
    ) {
        if let Some(change) = self.changing.take() {
            effects.change_answers.push((change.client, result));
        }
    }

    /// The member ends: the client's change may have been made.
    pub(super) fn abandon_change(&mut self, effects: &mut Effects<C>) {
        self.end_change(Err(ChangeError::Closed), effects);
    }

    /// Takes the change as far as possible now.
    pub(super) fn advance_change(&mut self, effects: &mut Effects<C>) {
        while let Some(change) = &self.changing {
            let stage = change.stage;
            match self.look_at(stage, effects) {
                Ok(Next::Wait) => return,
                Ok(Next::Enter(next)) => {
                    let Some(change) = &mut self.changing else { return };
                    (change.stage, change.since) = (next, self.now);
                    effects.change_stages.push(next);
                }
                Ok(Next::Done) => {
                    let membership = self.raft.membership().expect("a member has one").clone();
                    return self.end_change(Ok(membership), effects);
                }
                Err(error) => return self.end_change(Err(error), effects),
            }
        }
    }

    /// Looks at the stage of the change, and does what it needs.
    fn look_at(
        &mut self,
        stage: ChangeStage,
        effects: &mut Effects<C>,
    ) -> Result<Next, ChangeError> {
        let Some(change) = &self.changing else { return Ok(Next::Wait) };
        if stage == ChangeStage::Committing && self.is_committed(&change.target) {
            // A leader that the change has removed no longer leads now.
            return Ok(Next::Done);
        }
        if !self.raft.is_leader() || self.raft.term() != change.term {
            if planted!(self, ChangeForgotten) {
                return Ok(Next::Wait);
            }
            return Err(ChangeError::LeaderChanged { hint: self.raft.leader() });
        }
        let is_late = self.now - change.since >= self.limits.change_ticks;
        if stage == ChangeStage::Committing {
            return if is_late { Err(ChangeError::Unfinished) } else { Ok(Next::Wait) };
        }
        match self.raft.check_may_change() {
            Err(why) if is_late && stage != ChangeStage::CatchingUp => return Err(why.into()),
            Err(_) => return Ok(Next::Wait),
            Ok(()) if !self.knows_level() && !is_late => return Ok(Next::Wait),
            Ok(()) => {}
        }
        match stage {
            ChangeStage::Waiting => self.add_learners(effects),
            ChangeStage::AddingLearners => Ok(self.begin_rounds()),
            ChangeStage::CatchingUp => self.take_rounds(effects),
            ChangeStage::Committing => Ok(Next::Wait),
        }
    }

    /// Whether the newest membership is the target, and committed.
    fn is_committed(&self, target: &Membership) -> bool {
        let (wanted, is_early) = (target.parts(), planted!(self, ChangeAnsweredEarly));
        let is_settled = self.raft.membership_index() <= self.raft.commit() || is_early;
        let is_it = |now: &Membership| {
            let now = now.parts();
            now.voters == wanted.voters
                && now.learners == wanted.learners
                && now.metadata == wanted.metadata
                && (now.outgoing.is_empty() || is_early)
        };
        is_settled && self.raft.membership().is_some_and(|now| is_it(now))
    }

    /// Adds the nodes of the target that are no members yet, as learners.
    fn add_learners(&mut self, effects: &mut Effects<C>) -> Result<Next, ChangeError> {
        let (Some(now), Some(change)) = (self.raft.membership(), &self.changing) else {
            return Ok(Next::Wait);
        };
        let mut parts = MembershipParts { highest: None, ..now.parts().clone() };
        for node in change.target.members().filter(|node| !now.contains(*node)) {
            parts.learners.insert(node);
            parts.metadata.extend(change.target.metadata(node).map(|data| (node, data.clone())));
        }
        if parts.learners.len() == now.parts().learners.len() {
            return Ok(self.begin_rounds());
        }
        self.check_voters_now()?;
        let with_learners = Membership::new(parts).map_err(ChangeRefusal::Unsound)?;
        self.take_step(&with_learners, effects)?;
        Ok(Next::Enter(ChangeStage::AddingLearners))
    }

    /// Begins the first round of each new voter.
    fn begin_rounds(&mut self) -> Next {
        let (now, last) = (self.now, self.raft.last().index);
        let votes = |node: &NodeId| self.raft.membership().is_some_and(|m| m.is_voter(*node));
        let Some(change) = &self.changing else { return Next::Wait };
        let new = change.target.parts().voters.iter().copied().filter(|node| !votes(node));
        let begin = |node| {
            let matched = self.raft.matched(node).unwrap_or_default();
            let has_caught_up = planted!(self, CatchUpSkipped);
            let (round, goal) = (1, last);
            (node, Rounds { round, goal, began: now, matched, moved_at: now, has_caught_up })
        };
        let rounds = new.map(begin).collect();
        if let Some(change) = &mut self.changing {
            change.rounds = rounds;
        }
        Next::Enter(ChangeStage::CatchingUp)
    }

    /// Looks how far the new voters have caught up; once all have, appends the target.
    fn take_rounds(&mut self, effects: &mut Effects<C>) -> Result<Next, ChangeError> {
        let Some(change) = &mut self.changing else { return Ok(Next::Wait) };
        let mut are_ready = true;
        for (node, rounds) in &mut change.rounds {
            let matched = self.raft.matched(*node).unwrap_or_default();
            // What a voter has stored stays known after it fell silent.
            let answers = self.raft.answers(*node);
            let is_ready = rounds.has_caught_up && answers;
            if matched > rounds.matched || self.sending.is_receiving(*node) || is_ready {
                (rounds.matched, rounds.moved_at) = (matched, self.now);
            }
            if answers {
                rounds.look(*node, self.raft.last().index, self.now, self.election_ticks)?;
            }
            let is_ready = rounds.has_caught_up && answers;
            let is_stuck = self.now - rounds.moved_at >= self.limits.change_ticks;
            if is_stuck && !is_ready {
                return Err(ChangeError::NoProgress(*node));
            }
            are_ready &= is_ready;
        }
        if !are_ready {
            return Ok(Next::Wait);
        }
        let (target, since) = (Arc::clone(&change.target), change.since);
        self.check_programs(&target)?;
        match self.take_step(&target, effects) {
            // A leader that was just elected has not heard all members yet.
            Err(ChangeError::Refused(ChangeRefusal::VoterSilent(_)))
                if self.now - since < self.election_ticks =>
            {
                Ok(Next::Wait)
            }
            Ok(()) | Err(ChangeError::Refused(ChangeRefusal::Unchanged)) => {
                Ok(Next::Enter(ChangeStage::Committing))
            }
            Err(error) => Err(error),
        }
    }

    /// Appends a membership, or learns why not.
    fn take_step(
        &mut self,
        next: &Membership,
        effects: &mut Effects<C>,
    ) -> Result<(), ChangeError> {
        let refused = effects.refused_changes.len();
        self.step_membership(next, effects)?;
        match effects.refused_changes.get(refused) {
            Some(_) => Err(effects.refused_changes.remove(refused)),
            None => Ok(()),
        }
    }
}

impl Rounds {
    /// Ends the round if its goal is stored, and begins the next one if it took too long.
    fn look(
        &mut self,
        node: NodeId,
        last: LogIndex,
        now: u64,
        election_ticks: u64,
    ) -> Result<(), ChangeError> {
        if self.has_caught_up || self.matched < self.goal {
            return Ok(());
        }
        if now - self.began < election_ticks {
            self.has_caught_up = true;
            return Ok(());
        }
        if self.round == MAX_ROUNDS {
            return Err(ChangeError::TooSlow(node));
        }
        (self.round, self.goal, self.began) = (self.round + 1, last, now);
        Ok(())
    }
}
