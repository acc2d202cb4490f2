//! Commands whose entries are in the log, and whose clients wait for the answer.
//!
//! A client is answered when the entry with its very id is applied here. If an entry of another
//! term is applied at that index, the command was lost, and never happens: being cut from a log
//! proves nothing, only what is committed in its place does.

use std::collections::VecDeque;

use raft_core::types::{EntryId, LogIndex};

use super::event::{Claim, Clients, Failed};
use crate::{Committed, ProposeError};

/// Groups that wait, sorted by their first index.
#[derive(Debug)]
pub(super) struct Proposals<C: Clients> {
    waiting: VecDeque<Waiting<C>>,
}

/// Consecutive commands of one group: they were appended side by side, in one term.
#[derive(Debug)]
struct Waiting<C: Clients> {
    first: EntryId,
    group: C::Proposals,
    offset: usize,
    count: usize,
    deadline: u64,
}

impl<C: Clients> Proposals<C> {
    pub(super) fn new() -> Proposals<C> {
        Proposals { waiting: VecDeque::new() }
    }

    /// The group's commands stand in the log, from this entry on.
    pub(super) fn push(
        &mut self,
        first: EntryId,
        group: C::Proposals,
        count: usize,
        deadline: u64,
    ) {
        let before = self.waiting.partition_point(|other| other.first.index <= first.index);
        self.waiting.insert(before, Waiting { first, group, offset: 0, count, deadline });
    }

    /// Whether nobody waits.
    pub(super) fn is_empty(&self) -> bool {
        self.waiting.is_empty()
    }

    /// Finds who waits for entries that are about to be applied: `stands` tells whether an entry up
    /// to
    /// `upto` is one of them, `commands` are the commands among them.
    pub(super) fn claim(
        &mut self,
        commands: &[Committed],
        stands: impl Fn(EntryId) -> bool,
        upto: LogIndex,
        failed: &mut Vec<Failed<C>>,
    ) -> Vec<Claim<C>> {
        let mut claims = Vec::new();
        let mut rest = VecDeque::new();
        while let Some(waiting) = self.waiting.front()
            && waiting.first.index <= upto
        {
            let mut waiting = self.waiting.pop_front().expect("just seen");
            let reached = waiting.count.min(upto.since(waiting.first.index.prev()) as usize);
            let standing = waiting.standing(reached, &stands);
            if standing > 0 {
                claims.push(waiting.claim(standing, commands));
            }
            if standing < reached {
                failed.push(waiting.fail(ProposeError::Lost));
            } else if waiting.count > 0 {
                rest.push_back(waiting);
            }
        }
        for later in rest.into_iter().rev() {
            self.waiting.push_front(later);
        }
        claims
    }

    /// Gives up those whose deadline has passed.
    pub(super) fn expire(&mut self, now: u64, failed: &mut Vec<Failed<C>>) {
        if self.waiting.iter().all(|waiting| waiting.deadline > now) {
            return;
        }
        let all = std::mem::take(&mut self.waiting);
        for waiting in all {
            match waiting.deadline > now {
                true => self.waiting.push_back(waiting),
                false => failed.push(waiting.fail(ProposeError::Unknown)),
            }
        }
    }

    /// Gives up all: the member ends.
    pub(super) fn abandon(&mut self, failed: &mut Vec<Failed<C>>) {
        failed.extend(self.waiting.drain(..).map(|waiting| waiting.fail(ProposeError::Unknown)));
    }
}

impl<C: Clients> Waiting<C> {
    fn fail(self, error: ProposeError) -> Failed<C> {
        Failed { group: self.group, offset: self.offset, count: self.count, error }
    }

    /// How many of the first `reached` entries stand. Where one stands, those before it stand too
    /// (law L3); a change of leader may have cut the group anywhere, and then the rest never
    /// happens.
    fn standing(&self, reached: usize, stands: impl Fn(EntryId) -> bool) -> usize {
        let id = |at: usize| EntryId::new(self.first.term, self.first.index.plus(at as u64));
        let is_cut = reached > 0 && !stands(id(reached - 1));
        if is_cut { (0..reached).take_while(|at| stands(id(*at))).count() } else { reached }
    }

    /// The first `count` commands are answered by `commands`; the others wait on.
    fn claim(&mut self, count: usize, commands: &[Committed]) -> Claim<C> {
        let position = commands.partition_point(|command| command.id.index < self.first.index);
        let claim = Claim { group: self.group.clone(), offset: self.offset, position, count };
        self.first.index = self.first.index.plus(count as u64);
        self.offset += count;
        self.count -= count;
        claim
    }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use raft_core::types::Term;

    use super::*;

    #[derive(Debug)]
    struct Numbers;

    impl Clients for Numbers {
        type Proposals = u64;
        type Reads = u64;
    }

    fn id(index: u64, term: u64) -> EntryId {
        EntryId::new(Term::new(term), LogIndex::new(index))
    }

    fn commands(ids: &[EntryId]) -> Vec<Committed> {
        ids.iter().map(|id| Committed { id: *id, command: Bytes::new() }).collect()
    }

    /// What is claimed, as (group, offset, position, count), and what failed, as (group, offset,
    /// count).
    type Outcome = (Vec<(u64, usize, usize, usize)>, Vec<(u64, usize, usize)>);

    /// Applies entries with these ids.
    fn claim(proposals: &mut Proposals<Numbers>, ids: &[EntryId]) -> Outcome {
        let mut failed = Vec::new();
        let stands = |id| ids.contains(&id);
        let upto = ids.last().expect("entries").index;
        let claims = proposals.claim(&commands(ids), stands, upto, &mut failed);
        let claims = claims.iter().map(|c| (c.group, c.offset, c.position, c.count)).collect();
        (claims, failed.iter().map(|f| (f.group, f.offset, f.count)).collect())
    }

    #[test]
    fn a_group_is_answered_in_parts() {
        let mut proposals = Proposals::<Numbers>::new();
        proposals.push(id(3, 1), 7, 3, 100);
        let first = claim(&mut proposals, &[id(2, 1), id(3, 1), id(4, 1)]);
        assert_eq!(first, (vec![(7, 0, 1, 2)], vec![]));
        let second = claim(&mut proposals, &[id(5, 1), id(6, 1)]);
        assert_eq!(second, (vec![(7, 2, 0, 1)], vec![]));
        assert!(proposals.is_empty());
    }

    #[test]
    fn a_command_is_lost_only_where_another_is_applied() {
        let mut proposals = Proposals::<Numbers>::new();
        proposals.push(id(3, 1), 7, 2, 100);
        proposals.push(id(3, 4), 8, 1, 100);
        let claimed = claim(&mut proposals, &[id(3, 4)]);
        assert_eq!(claimed, (vec![(8, 0, 0, 1)], vec![(7, 0, 2)]));
    }

    #[test]
    fn a_group_that_a_change_of_leader_cut_is_answered_in_part() {
        let mut proposals = Proposals::<Numbers>::new();
        proposals.push(id(3, 1), 7, 3, 100);
        let claimed = claim(&mut proposals, &[id(3, 1), id(4, 2)]);
        assert_eq!(claimed, (vec![(7, 0, 0, 1)], vec![(7, 1, 2)]), "nobody answers 4@1 with 4@2");
        assert!(proposals.is_empty());
    }

    #[test]
    fn a_deadline_leaves_the_outcome_unknown() {
        let mut proposals = Proposals::<Numbers>::new();
        proposals.push(id(3, 1), 7, 2, 10);
        proposals.push(id(5, 1), 8, 2, 11);
        let mut failed = Vec::new();
        proposals.expire(10, &mut failed);
        assert_eq!(failed.len(), 1);
        assert_eq!((failed[0].group, &failed[0].error), (7, &ProposeError::Unknown));
        assert!(!proposals.is_empty());
    }
}
