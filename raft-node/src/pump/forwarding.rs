//! Forwarding: a follower hands its clients' proposals to the leader, one hop.
//!
//! A forward must never append twice what a client proposed once. So it names the term in which its
//! sender knows the receiver to lead, and the leader takes it in exactly that term; and it carries
//! the sender's start number and a rising sequence, of which the leader takes each once. What it
//! leaves out it does not answer: it cannot know whether an earlier copy was taken.
//!
//! The leader answers at append, with the id of the first entry; from then on the follower waits
//! for that id as if it had appended it itself.

use std::collections::{BTreeMap, VecDeque};

use bytes::Bytes;
use raft_core::types::{EntryId, NodeId, Term};

use super::event::{Clients, Failed};
use crate::{Forward, ForwardAnswer, ProposeError};

/// Forwards on their way out, and those that came in.
#[derive(Debug)]
pub(super) struct Forwarding<C: Clients> {
    start: u64,
    last_sequence: u64,
    unanswered: VecDeque<Unanswered<C>>,
    /// The last sequence taken of each start of each member, in the term of this leadership.
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
    pub(super) count: usize,
    pub(super) deadline: u64,
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

    /// Wraps proposals for the leader of this term.
    pub(super) fn wrap(
        &mut self,
        to: NodeId,
        term: Term,
        commands: Vec<Bytes>,
        group: C::Proposals,
        deadline: u64,
    ) -> Forward {
        self.last_sequence += 1;
        let (sequence, count) = (self.last_sequence, commands.len());
        self.unanswered.push_back(Unanswered { sequence, to, term, group, count, deadline });
        Forward { term, start: self.start, sequence, commands }
    }

    /// The forward that an answer is for, if this member waits for it.
    pub(super) fn settle(&mut self, from: NodeId, answer: &ForwardAnswer) -> Option<Unanswered<C>> {
        if answer.start != self.start {
            return None;
        }
        let is_it = |forward: &Unanswered<C>| forward.sequence == answer.sequence;
        let at = self.unanswered.iter().position(is_it)?;
        self.unanswered.remove(at).filter(|forward| forward.to == from)
    }

    /// Gives up what the leader of an earlier term never answered: it may have been appended.
    pub(super) fn on_new_term(&mut self, term: Term, failed: &mut Vec<Failed<C>>) {
        self.give_up(|forward| forward.term < term, failed);
    }

    /// Gives up what has waited too long.
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

    /// Whether a forward may be a copy of one that this member took when it led in that term. It is
    /// not answered, not even refused: the origin would tell its client that nothing happened.
    pub(super) fn may_have_taken(&self, from: NodeId, forward: &Forward) -> bool {
        let last = self.taken.get(&(from, forward.start));
        let known = last.is_some_and(|last| forward.sequence <= *last);
        forward.term < self.taken_in || (forward.term == self.taken_in && known)
    }

    /// Whether a leader of this term takes the forward: neither meant for another term, nor a
    /// possible duplicate.
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
        Failed { group: self.group, offset: 0, count: self.count, error }
    }
}

/// The answer to a forward.
pub(super) fn answer(forward: &Forward, appended: Option<EntryId>) -> ForwardAnswer {
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
    }

    fn forward(term: u64, sequence: u64) -> Forward {
        Forward { term: Term::new(term), start: 9, sequence, commands: vec![Bytes::new()] }
    }

    #[test]
    fn a_copy_of_a_taken_forward_is_not_refused_once_the_leadership_is_over() {
        let origin = NodeId::new(2).expect("not zero");
        let mut forwarding = Forwarding::<Numbers>::new(1);
        assert!(!forwarding.may_have_taken(origin, &forward(3, 1)), "it never led");
        assert!(forwarding.takes(origin, &forward(3, 1), Term::new(3)));
        assert!(!forwarding.takes(origin, &forward(3, 1), Term::new(3)));
        assert!(forwarding.may_have_taken(origin, &forward(3, 1)));
        assert!(!forwarding.may_have_taken(origin, &forward(3, 2)), "it came too late");
        assert!(!forwarding.may_have_taken(origin, &forward(4, 1)), "another led in term 4");
        assert!(forwarding.takes(origin, &forward(5, 2), Term::new(5)));
        assert!(
            forwarding.may_have_taken(origin, &forward(3, 1)),
            "what it took then is forgotten"
        );
    }
}
