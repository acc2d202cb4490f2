//! Waiting reads: each waits for the leader's commit index, and then until that index is applied.
//!
//! One question is open at a time. Reads that arrive meanwhile share the next one, since the answer
//! to a question covers only what arrived before it was asked (law L15). So the number of questions
//! does not grow with the number of readers.
//!
//! Reads that a lease may answer wait for no question at a leader that has a lease. Reads that need
//! not be linearizable ask nothing: they wait until their index is applied.

use std::collections::VecDeque;
use std::time::Duration;

use raft_core::consensus::{Input, ReadId};
use raft_core::types::LogIndex;

use super::Pump;
use super::effects::Effects;
use super::event::Clients;
use crate::{Consistency, ReadError};

impl<C: Clients> Pump<C> {
    /// Clients want to read.
    pub(super) fn on_read(
        &mut self,
        consistency: Consistency,
        group: C::Reads,
        effects: &mut Effects<C>,
    ) {
        let waiting = Waiting { group, deadline: self.now + self.limits.read_ticks };
        match consistency {
            Consistency::Linearizable => self.reads.arrived.push(waiting),
            Consistency::Lease => self.reads.by_lease.push(waiting),
            Consistency::AtLeast { index } => self.reads.wait_for(index, vec![waiting]),
            Consistency::Local { max_age } => {
                let known = self.raft.known_commit();
                let age = known.map(|(at, _)| Duration::from_micros(self.raft.now().since(at)));
                match known.filter(|_| age.is_some_and(|age| age <= max_age)) {
                    Some((_, index)) => self.reads.wait_for(index, vec![waiting]),
                    None => effects.failed_reads.push((waiting.group, ReadError::TooOld { age })),
                }
            }
        }
    }

    /// Gives reads an index by the lease, if this member has one, and asks about all others.
    pub(super) fn ask_about_reads(&mut self, effects: &mut Effects<C>) {
        if !self.reads.by_lease.is_empty()
            && let Some(index) = self.raft.lease_index()
        {
            let groups = std::mem::take(&mut self.reads.by_lease);
            self.counters.reads_by_lease += groups.len() as u64;
            self.reads.wait_for(index, groups);
        }
        if let Some((read, by_lease)) = self.reads.ask(self.raft.doubts_leader()) {
            self.step(Input::ReadIndex { read, by_lease }, effects);
        }
    }
}

/// Groups of reads, by the stage that they have reached.
#[derive(Debug)]
pub(super) struct Reads<C: Clients> {
    last_id: u64,
    /// Reads that arrived since the open question was asked.
    arrived: Vec<Waiting<C>>,
    /// Those among them that a lease may answer.
    by_lease: Vec<Waiting<C>>,
    open: Option<Open<C>>,
    /// Sorted by index.
    confirmed: VecDeque<Confirmed<C>>,
}

#[derive(Debug)]
struct Waiting<C: Clients> {
    group: C::Reads,
    deadline: u64,
}

/// The question that the protocol has not answered. It stays open even if all its groups were given
/// up, since the answer may still come.
#[derive(Debug)]
struct Open<C: Clients> {
    id: ReadId,
    groups: Vec<Waiting<C>>,
}

#[derive(Debug)]
struct Confirmed<C: Clients> {
    index: LogIndex,
    groups: Vec<Waiting<C>>,
}

impl<C: Clients> Reads<C> {
    /// `start` is random: an answer to a read of an earlier start of this member, still on its way,
    /// must not count as the answer to a read of this one (law L15).
    pub(super) fn new(start: u64) -> Reads<C> {
        Reads {
            last_id: start,
            arrived: Vec::new(),
            by_lease: Vec::new(),
            open: None,
            confirmed: VecDeque::new(),
        }
    }

    /// The name of a question for all reads that have arrived, and whether a lease may answer it;
    /// `None` if no read waits, or if a question is open already. With `anyway`, a question is
    /// asked even if no read waits.
    pub(super) fn ask(&mut self, anyway: bool) -> Option<(ReadId, bool)> {
        let by_lease = self.arrived.is_empty() && !anyway;
        let is_needed = !by_lease || !self.by_lease.is_empty();
        if !is_needed || self.open.is_some() {
            return None;
        }
        self.last_id = self.last_id.wrapping_add(1);
        let id = ReadId(self.last_id);
        let mut groups = std::mem::take(&mut self.arrived);
        groups.append(&mut self.by_lease);
        self.open = Some(Open { id, groups });
        Some((id, by_lease))
    }

    /// Adds the reads that arrive to the question that is open already.
    #[cfg(feature = "mutants")]
    pub(super) fn join_open_question(&mut self) {
        if let Some(open) = &mut self.open {
            open.groups.append(&mut self.arrived);
        }
    }

    /// The reads may be served once `index` is applied.
    pub(super) fn confirm(&mut self, id: ReadId, index: LogIndex) {
        if let Some(Open { groups, .. }) = self.open.take_if(|open| open.id == id) {
            self.wait_for(index, groups);
        }
    }

    /// These reads may be served once `index` is applied.
    fn wait_for(&mut self, index: LogIndex, groups: Vec<Waiting<C>>) {
        let before = self.confirmed.partition_point(|other| other.index <= index);
        if !groups.is_empty() {
            self.confirmed.insert(before, Confirmed { index, groups });
        }
    }

    /// The reads cannot be served.
    pub(super) fn refuse(&mut self, id: ReadId) -> Vec<C::Reads> {
        let refused = self.open.take_if(|open| open.id == id);
        let groups = refused.map_or_else(Vec::new, |open| open.groups);
        groups.into_iter().map(|waiting| waiting.group).collect()
    }

    /// Moves the reads whose index is applied now to `served`. They see no entry after `claimed`,
    /// the last one that the state machine was given.
    pub(super) fn serve(
        &mut self,
        applied: LogIndex,
        claimed: LogIndex,
        served: &mut Vec<(C::Reads, LogIndex)>,
    ) {
        while let Some(confirmed) = self.confirmed.front()
            && confirmed.index <= applied
        {
            let Confirmed { groups, .. } = self.confirmed.pop_front().expect("just seen");
            served.extend(groups.into_iter().map(|waiting| (waiting.group, claimed)));
        }
    }

    /// Gives up those whose deadline has passed.
    pub(super) fn expire(&mut self, now: u64, failed: &mut Vec<(C::Reads, ReadError)>) {
        self.give_up(|waiting| waiting.deadline <= now, &ReadError::Timeout, failed);
    }

    /// Gives up all: the member ends.
    pub(super) fn abandon(&mut self, failed: &mut Vec<(C::Reads, ReadError)>) {
        self.give_up(|_| true, &ReadError::Closed, failed);
    }

    fn give_up(
        &mut self,
        is_hopeless: impl Fn(&Waiting<C>) -> bool,
        error: &ReadError,
        failed: &mut Vec<(C::Reads, ReadError)>,
    ) {
        let open = self.open.iter_mut().map(|open| &mut open.groups);
        let confirmed = self.confirmed.iter_mut().map(|confirmed| &mut confirmed.groups);
        let arrived = [&mut self.arrived, &mut self.by_lease];
        for groups in arrived.into_iter().chain(open).chain(confirmed) {
            let hopeless = groups.extract_if(.., |waiting| is_hopeless(waiting));
            failed.extend(hopeless.map(|waiting| (waiting.group, error.clone())));
        }
        self.confirmed.retain(|confirmed| !confirmed.groups.is_empty());
    }

    /// Whether no read waits.
    pub(super) fn is_empty(&self) -> bool {
        let is_open = self.open.as_ref().is_some_and(|open| !open.groups.is_empty());
        let has_arrived = !self.arrived.is_empty() || !self.by_lease.is_empty();
        !is_open && self.confirmed.is_empty() && !has_arrived
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    impl Reads<Numbers> {
        fn arrive(&mut self, group: u64, deadline: u64) {
            self.arrived.push(Waiting { group, deadline });
        }

        fn asked(&mut self) -> Option<ReadId> {
            self.ask(false).map(|(id, _)| id)
        }
    }

    #[derive(Debug)]
    struct Numbers;

    impl Clients for Numbers {
        type Proposals = u64;
        type Reads = u64;
        type Snapshots = u64;
        type Changes = u64;
        type Sessions = u64;
    }

    /// The names of the first reads of a start with this number.
    fn names(start: u64) -> Vec<ReadId> {
        let mut reads = Reads::<Numbers>::new(start);
        let mut ask = |group| {
            reads.arrive(group, 100);
            let id = reads.asked().expect("one has arrived");
            reads.refuse(id);
            id
        };
        vec![ask(1), ask(2), ask(3)]
    }

    #[test]
    fn a_late_answer_to_an_earlier_start_names_no_read_of_this_one() {
        let earlier = names(7_000);
        let this = names(u64::MAX - 1);
        assert!(earlier.iter().all(|name| !this.contains(name)), "{earlier:?} and {this:?}");
    }

    /// What went wrong: each turn asked a question of its own, all of them were repeated until they
    /// were answered, and a leader that paused for a moment was flooded.
    #[test]
    fn reads_that_arrive_while_a_question_is_open_share_the_next() {
        let mut reads = Reads::<Numbers>::new(0);
        reads.arrive(1, 100);
        let first = reads.asked().expect("a question");
        reads.arrive(2, 100);
        reads.arrive(3, 100);
        assert_eq!(reads.asked(), None);
        reads.confirm(first, LogIndex::new(5));
        let second = reads.asked().expect("the next question");
        let mut served = Vec::new();
        reads.serve(LogIndex::new(5), LogIndex::new(5), &mut served);
        assert_eq!(served, [(1, LogIndex::new(5))], "the first answer covers no later read");
        reads.confirm(second, LogIndex::new(5));
        reads.serve(LogIndex::new(5), LogIndex::new(5), &mut served);
        assert_eq!(served.len(), 3);
        assert!(reads.is_empty());
    }

    #[test]
    fn a_question_whose_readers_gave_up_stays_open() {
        let mut reads = Reads::<Numbers>::new(0);
        reads.arrive(1, 10);
        let first = reads.asked().expect("a question");
        let mut failed = Vec::new();
        reads.expire(10, &mut failed);
        assert_eq!(failed, [(1, ReadError::Timeout)]);
        assert!(reads.is_empty());
        reads.arrive(2, 30);
        assert_eq!(reads.asked(), None, "the core still asks about the first");
        reads.confirm(first, LogIndex::new(5));
        assert!(reads.asked().is_some());
    }
}
