//! Reads that wait: first for the leader's word on what is committed, then for it to be applied.

use std::collections::VecDeque;

use raft_core::consensus::ReadId;
use raft_core::types::LogIndex;

use super::event::Clients;
use crate::ReadError;

/// Groups of reads, by how far they are.
#[derive(Debug)]
pub(super) struct Reads<C: Clients> {
    last_id: u64,
    /// Came in this turn; asked about together at its end.
    pub(super) arrived: Vec<C::Reads>,
    asked: VecDeque<Asked<C>>,
    confirmed: VecDeque<Confirmed<C>>,
}

#[derive(Debug)]
struct Asked<C: Clients> {
    id: ReadId,
    groups: Vec<C::Reads>,
    deadline: u64,
}

#[derive(Debug)]
struct Confirmed<C: Clients> {
    index: LogIndex,
    groups: Vec<C::Reads>,
    deadline: u64,
}

impl<C: Clients> Reads<C> {
    /// `start` is random: an answer to a read of an earlier start of this member, still on its way,
    /// must not be taken for the answer to a read of this one (law L15).
    pub(super) fn new(start: u64) -> Reads<C> {
        Reads {
            last_id: start,
            arrived: Vec::new(),
            asked: VecDeque::new(),
            confirmed: VecDeque::new(),
        }
    }

    /// One name for all that arrived in this turn.
    pub(super) fn ask(&mut self, deadline: u64) -> Option<ReadId> {
        if self.arrived.is_empty() {
            return None;
        }
        self.last_id = self.last_id.wrapping_add(1);
        let id = ReadId(self.last_id);
        let groups = std::mem::take(&mut self.arrived);
        self.asked.push_back(Asked { id, groups, deadline });
        Some(id)
    }

    /// The reads may be served once `index` is applied.
    pub(super) fn confirm(&mut self, id: ReadId, index: LogIndex) {
        if let Some(at) = self.asked.iter().position(|asked| asked.id == id) {
            let Asked { groups, deadline, .. } = self.asked.remove(at).expect("just found");
            let before = self.confirmed.partition_point(|other| other.index <= index);
            self.confirmed.insert(before, Confirmed { index, groups, deadline });
        }
    }

    /// The reads cannot be served.
    pub(super) fn refuse(&mut self, id: ReadId) -> Vec<C::Reads> {
        match self.asked.iter().position(|asked| asked.id == id) {
            Some(at) => self.asked.remove(at).map_or_else(Vec::new, |asked| asked.groups),
            None => Vec::new(),
        }
    }

    /// The reads for which enough is applied now.
    pub(super) fn serve(&mut self, applied: LogIndex, served: &mut Vec<(C::Reads, LogIndex)>) {
        while let Some(confirmed) = self.confirmed.front()
            && confirmed.index <= applied
        {
            let Confirmed { index, groups, .. } = self.confirmed.pop_front().expect("just seen");
            served.extend(groups.into_iter().map(|group| (group, index)));
        }
    }

    /// Gives up those whose deadline has passed, or all where `now` is `None`.
    pub(super) fn give_up(
        &mut self,
        now: Option<u64>,
        error: &ReadError,
        failed: &mut Vec<(C::Reads, ReadError)>,
    ) {
        let hopeless = |deadline: u64| now.is_none_or(|now| deadline <= now);
        let mut fail = |groups: Vec<C::Reads>| {
            failed.extend(groups.into_iter().map(|group| (group, error.clone())));
        };
        for asked in std::mem::take(&mut self.asked) {
            match hopeless(asked.deadline) {
                true => fail(asked.groups),
                false => self.asked.push_back(asked),
            }
        }
        for confirmed in std::mem::take(&mut self.confirmed) {
            match hopeless(confirmed.deadline) {
                true => fail(confirmed.groups),
                false => self.confirmed.push_back(confirmed),
            }
        }
        if now.is_none() {
            fail(std::mem::take(&mut self.arrived));
        }
    }

    /// Whether nobody waits.
    pub(super) fn is_empty(&self) -> bool {
        self.asked.is_empty() && self.confirmed.is_empty() && self.arrived.is_empty()
    }
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

    /// The names of the first reads of a start with this number.
    fn names(start: u64) -> Vec<ReadId> {
        let mut reads = Reads::<Numbers>::new(start);
        let mut ask = |group| {
            reads.arrived.push(group);
            reads.ask(100).expect("one has arrived")
        };
        vec![ask(1), ask(2), ask(3)]
    }

    #[test]
    fn a_late_answer_to_an_earlier_start_names_no_read_of_this_one() {
        let (earlier, this) = (names(7_000), names(u64::MAX - 1));
        assert!(earlier.iter().all(|name| !this.contains(name)), "{earlier:?} and {this:?}");
    }
}
