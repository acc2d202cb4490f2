//! Forwarding: a follower hands its clients' proposals to the leader, one hop.
//!
//! A forward must never append twice what a client proposed once. So a forward names the term in
//! which its sender knows the receiver to lead, and the leader accepts it in exactly that term; and
//! the forward carries the sender's start number and a rising sequence number, each of which the
//! leader accepts once. The leader does not answer a forward that it skips, because it cannot know
//! whether it accepted an earlier copy.
//!
//! The leader answers at append, with the id of the first entry; from then on the follower waits
//! for that id as if it had appended the entry itself.

use std::collections::{BTreeMap, VecDeque};

use bytes::Bytes;
use raft_core::types::{EntryId, NodeId, Term};

use super::Pump;
use super::effects::{Effects, Failed};
use super::event::Clients;
use super::planted::planted;
use super::turn_proposals::Origin;
use crate::{Content, Forward, ForwardAnswer, ProposeError};

/// Forwards on their way out, and those that came in.
#[derive(Debug)]
pub(super) struct Forwarding<C: Clients> {
    start: u64,
    last_sequence: u64,
    unanswered: VecDeque<Unanswered<C>>,
    /// The last sequence number accepted of each start of each member, in the term of this
    /// leadership.
    taken: BTreeMap<(NodeId, u64), u64>,
    taken_in: Term,
}

/// A forward that the leader has not answered.
#[derive(Debug)]
pub(super) struct Unanswered<C: Clients> {
    sequence: u64,
    to: NodeId,
    term: Term,
    pub(super) group: C::Proposals,
    /// The first command of the group that is in this forward.
    pub(super) offset: usize,
    pub(super) count: usize,
    pub(super) deadline: u64,
}

/// The part of a group that goes into one forward.
#[derive(Debug)]
struct Part {
    commands: Vec<Bytes>,
    offset: usize,
}

/// Splits a group's commands into parts of at most so many commands and bytes; a command that is
/// larger than that has a part of its own.
fn parts(commands: Vec<Bytes>, most_commands: usize, most_bytes: u64) -> Vec<Part> {
    let all_bytes: u64 = commands.iter().map(|command| command.len() as u64).sum();
    if commands.len() <= most_commands && all_bytes <= most_bytes {
        return vec![Part { commands, offset: 0 }];
    }
    let mut parts = Vec::new();
    let mut part = Part { commands: Vec::new(), offset: 0 };
    let mut bytes = 0;
    for (at, command) in commands.into_iter().enumerate() {
        let size = command.len() as u64;
        let is_full = part.commands.len() >= most_commands || bytes + size > most_bytes;
        if is_full && !part.commands.is_empty() {
            let next = Part { commands: Vec::new(), offset: at };
            parts.push(std::mem::replace(&mut part, next));
            bytes = 0;
        }
        bytes += size;
        part.commands.push(command);
    }
    parts.push(part);
    parts
}

impl<C: Clients> Forwarding<C> {
    /// `start` is random, so that no other start of this member has it.
    pub(super) fn new(start: u64) -> Forwarding<C> {
        Forwarding {
            start,
            last_sequence: 0,
            unanswered: VecDeque::new(),
            taken: BTreeMap::new(),
            taken_in: Term::ZERO,
        }
    }

    // ---- the follower's side ----

    /// Wraps a part of a group as a forward for the leader of this term.
    fn wrap(
        &mut self,
        to: NodeId,
        term: Term,
        part: Part,
        group: C::Proposals,
        deadline: u64,
    ) -> Forward {
        self.last_sequence += 1;
        let Part { commands, offset } = part;
        let sequence = self.last_sequence;
        let count = commands.len();
        let forward = Unanswered { sequence, to, term, group, offset, count, deadline };
        self.unanswered.push_back(forward);
        Forward { term, start: self.start, sequence, commands }
    }

    /// The forward that an answer is for, if this member waits for it.
    pub(super) fn settle(&mut self, from: NodeId, answer: &ForwardAnswer) -> Option<Unanswered<C>> {
        if answer.start != self.start {
            return None;
        }
        let is_it =
            |forward: &Unanswered<C>| forward.sequence == answer.sequence && forward.to == from;
        let at = self.unanswered.iter().position(is_it)?;
        self.unanswered.remove(at)
    }

    /// Another leader is known: waits for the answers of earlier leaders until this tick at most. A
    /// leader that handed over, or was removed, is still there, and its answer is on its way. One
    /// that crashed does not answer, and its clients need not wait until their deadline.
    pub(super) fn on_new_term(&mut self, term: Term, until: u64) {
        for forward in self.unanswered.iter_mut().filter(|forward| forward.term < term) {
            forward.deadline = forward.deadline.min(until);
        }
    }

    /// Gives up the forwards that have waited too long: they may have been appended.
    pub(super) fn expire(&mut self, now: u64, failed: &mut Vec<Failed<C>>) {
        self.give_up(|forward| forward.deadline <= now, failed);
    }

    /// Gives up all: the member ends.
    pub(super) fn abandon(&mut self, failed: &mut Vec<Failed<C>>) {
        self.give_up(|_| true, failed);
    }

    fn give_up(&mut self, hopeless: impl Fn(&Unanswered<C>) -> bool, failed: &mut Vec<Failed<C>>) {
        if !self.unanswered.iter().any(&hopeless) {
            return;
        }
        for forward in std::mem::take(&mut self.unanswered) {
            if hopeless(&forward) {
                failed.push(forward.fail(ProposeError::Unknown));
            } else {
                self.unanswered.push_back(forward);
            }
        }
    }

    // ---- the leader's side ----

    /// Whether a forward may be a copy of one that this member accepted when it led in that term.
    /// It is not answered, not even refused, because the origin would then answer its client that
    /// nothing happened.
    pub(super) fn may_have_accepted(&self, from: NodeId, forward: &Forward) -> bool {
        let last = self.taken.get(&(from, forward.start));
        let known = last.is_some_and(|last| forward.sequence <= *last);
        forward.term < self.taken_in || (forward.term == self.taken_in && known)
    }

    /// Whether a leader of this term accepts the forward: it is neither meant for another term nor
    /// a possible duplicate.
    pub(super) fn takes(&mut self, from: NodeId, forward: &Forward, term: Term) -> bool {
        if self.taken_in != term {
            self.taken.clear();
            self.taken_in = term;
        }
        let last = self.taken.entry((from, forward.start)).or_insert(0);
        let is_new = forward.sequence > *last;
        *last = forward.sequence.max(*last);
        is_new
    }
}

impl<C: Clients> Unanswered<C> {
    pub(super) fn fail(self, error: ProposeError) -> Failed<C> {
        Failed { group: self.group, offset: self.offset, count: self.count, error }
    }
}

impl<C: Clients> Pump<C> {
    /// Hands a group to the leader, in parts: one message of many megabytes would delay this
    /// member's acknowledgements.
    pub(super) fn forward(
        &mut self,
        leader: NodeId,
        commands: Vec<Bytes>,
        group: C::Proposals,
        effects: &mut Effects<C>,
    ) {
        self.counters.forwarded += commands.len() as u64;
        let term = self.raft.term();
        let deadline = self.now + self.limits.proposal_ticks;
        let most_commands = self.limits.forward_commands;
        for mut part in parts(commands, most_commands, self.limits.append_bytes) {
            if planted!(self, ForwardOffsetForgotten) {
                part.offset = 0;
            }
            let forward = self.forwarding.wrap(leader, term, part, group.clone(), deadline);
            self.send(leader, Content::Forward(forward), effects);
        }
    }

    /// Gives up the forwards that have waited too long.
    pub(super) fn expire_forwards(&mut self, effects: &mut Effects<C>) {
        let before = effects.failed.len();
        self.forwarding.expire(self.now, &mut effects.failed);
        if planted!(self, UnansweredForwardFailed) {
            let error = ProposeError::NotLeader { hint: None };
            effects.failed[before..].iter_mut().for_each(|failed| failed.error = error.clone());
        }
    }

    /// Accepts a follower's proposals, in exactly the term that the forward names.
    pub(super) fn on_forward(&mut self, from: NodeId, forward: Forward, effects: &mut Effects<C>) {
        let leads = self.raft.is_leader() && self.raft.term() == forward.term;
        if !leads && self.forwarding.may_have_accepted(from, &forward) {
            return;
        }
        let answer = answer(&forward, None);
        if !leads || !self.is_acceptable(&forward) {
            return self.send(from, Content::ForwardAnswer(answer), effects);
        }
        // A forward that is refused for its size counts as accepted, too: a copy that comes when
        // there is room must not be appended after the origin's client was answered that nothing
        // happened.
        let is_new = self.forwarding.takes(from, &forward, forward.term);
        if !is_new && !planted!(self, ForwardTakenTwice) {
            return;
        }
        if !self.has_room_for_forward(&forward) {
            return self.send(from, Content::ForwardAnswer(answer), effects);
        }
        let count = forward.commands.len();
        self.proposed.add(Origin::Forwarded { from, answer, count }, forward.commands);
    }

    fn is_acceptable(&self, forward: &Forward) -> bool {
        let fits = |command: &Bytes| command.len() as u64 <= self.limits.command_bytes;
        !forward.commands.is_empty() && forward.commands.iter().all(fits)
    }

    /// Whether this leader has room for the forward's bytes, and is not handing over. Commands of
    /// its own clients that are held go first.
    fn has_room_for_forward(&self, forward: &Forward) -> bool {
        let size = forward.commands.iter().map(|command| command.len() as u64).sum();
        let has_room = !self.holds_proposals() && !self.hands_over() && self.has_room_for(size);
        has_room || planted!(self, ForwardsWithoutLimit)
    }

    pub(super) fn on_forward_answer(
        &mut self,
        from: NodeId,
        answer: &ForwardAnswer,
        effects: &mut Effects<C>,
    ) {
        let Some(forward) = self.forwarding.settle(from, answer) else { return };
        match answer.appended {
            None => {
                let error = self.why_refused(from, forward.term);
                effects.failed.push(forward.fail(error));
            }
            // The answer came after its entries were applied: they may be the client's, and the
            // state machine's answers to them are gone.
            Some(first) if first.index <= self.applying.claimed() => {
                effects.failed.push(forward.fail(ProposeError::Unknown));
            }
            Some(first) => {
                let Unanswered { group, offset, count, deadline, .. } = forward;
                self.proposals.push(first, group, offset, count, deadline);
            }
        }
    }

    /// The transport did not send a forward, so nothing happened, just as if the leader had refused
    /// it.
    pub(super) fn on_forward_not_sent(
        &mut self,
        to: NodeId,
        forward: &ForwardAnswer,
        effects: &mut Effects<C>,
    ) {
        if let Some(forward) = self.forwarding.settle(to, forward) {
            effects.failed.push(forward.fail(ProposeError::NotLeader { hint: None }));
        }
    }

    /// The error for a client whose forward was refused in this term. If the member that refused it
    /// still leads in that term, as far as is known here, its disk was too far behind, or it was
    /// handing over.
    fn why_refused(&self, from: NodeId, term: Term) -> ProposeError {
        let leader = self.raft.leader();
        if leader == Some(from) && self.raft.term() == term {
            ProposeError::Busy
        } else {
            ProposeError::NotLeader { hint: leader.filter(|leader| *leader != from) }
        }
    }
}

/// The answer to a forward.
fn answer(forward: &Forward, appended: Option<EntryId>) -> ForwardAnswer {
    ForwardAnswer { start: forward.start, sequence: forward.sequence, appended }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug)]
    struct Numbers;

    impl Clients for Numbers {
        type Proposals = u64;
        type Reads = u64;
        type Snapshots = u64;
        type Changes = u64;
        type Sessions = u64;
    }

    fn forward(term: u64, sequence: u64) -> Forward {
        Forward { term: Term::new(term), start: 9, sequence, commands: vec![Bytes::new()] }
    }

    #[test]
    fn a_group_is_split_by_count_and_by_bytes() {
        let sizes = |commands: &[usize], most_commands, most_bytes| -> Vec<(usize, usize)> {
            let commands = commands.iter().map(|size| Bytes::from(vec![0; *size])).collect();
            let parts = parts(commands, most_commands, most_bytes);
            parts.iter().map(|part| (part.offset, part.commands.len())).collect()
        };
        assert_eq!(sizes(&[1; 5], 2, 100), [(0, 2), (2, 2), (4, 1)]);
        assert_eq!(sizes(&[4, 4, 4], 9, 8), [(0, 2), (2, 1)]);
        assert_eq!(sizes(&[1, 9, 1], 9, 8), [(0, 1), (1, 1), (2, 1)]);
        assert_eq!(sizes(&[0; 3], 9, 1), [(0, 3)]);
    }

    /// What went wrong: such an answer removed the forward, and its clients were forgotten together
    /// with their share of the quota.
    #[test]
    fn an_answer_of_a_member_that_was_not_asked_changes_nothing() {
        let node = |number| NodeId::new(number).expect("not zero");
        let mut forwarding = Forwarding::<Numbers>::new(1);
        let part = Part { commands: vec![Bytes::new()], offset: 0 };
        let sent = forwarding.wrap(node(2), Term::new(3), part, 7, 100);
        let answer = answer(&sent, None);
        assert!(forwarding.settle(node(3), &answer).is_none());
        let settled = forwarding.settle(node(2), &answer);
        assert_eq!(settled.map(|forward| forward.group), Some(7));
    }

    #[test]
    fn a_copy_of_an_accepted_forward_is_not_refused_once_the_leadership_is_over() {
        let origin = NodeId::new(2).expect("not zero");
        let mut forwarding = Forwarding::<Numbers>::new(1);
        assert!(!forwarding.may_have_accepted(origin, &forward(3, 1)), "it never led");
        assert!(forwarding.takes(origin, &forward(3, 1), Term::new(3)));
        assert!(!forwarding.takes(origin, &forward(3, 1), Term::new(3)));
        assert!(forwarding.may_have_accepted(origin, &forward(3, 1)));
        assert!(!forwarding.may_have_accepted(origin, &forward(3, 2)), "it came too late");
        assert!(!forwarding.may_have_accepted(origin, &forward(4, 1)), "another led in term 4");
        assert!(forwarding.takes(origin, &forward(5, 2), Term::new(5)));
        assert!(
            forwarding.may_have_accepted(origin, &forward(3, 1)),
            "the record of an earlier term was removed"
        );
    }
}
