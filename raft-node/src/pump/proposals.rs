//! Commands whose entries are in the log, and whose clients wait for the answer.
//!
//! A client is answered when the entry with exactly its id is applied here. If an entry of another
//! term is applied at that index, the command is lost and will never be applied. That an entry was
//! truncated proves nothing; only another entry committed in its place does.
//!
//! A client that has waited too long is answered that the outcome is unknown. Its command stays
//! here, and counts against the quota, until the outcome is known: the entry is in memory as long
//! as a slow disk has not written it, so if the deadline gave the quota back, clients could fill
//! the memory with one more quota at each deadline. Only a command whose entry is not in this
//! member's log gives its quota back at the deadline.

use std::collections::VecDeque;

use raft_core::types::{EntryId, LogIndex};

use super::effects::{Claim, Effects, Failed, Settled};
use super::event::Clients;
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
    /// The clients were answered that the outcome is unknown.
    is_overdue: bool,
}

impl<C: Clients> Proposals<C> {
    pub(super) fn new() -> Proposals<C> {
        Proposals { waiting: VecDeque::new() }
    }

    /// Adds `count` of the group's commands, from `offset` on, which are in the log from this entry
    /// on.
    pub(super) fn push(
        &mut self,
        first: EntryId,
        group: C::Proposals,
        offset: usize,
        count: usize,
        deadline: u64,
    ) {
        let before = self.waiting.partition_point(|other| other.first.index <= first.index);
        let is_overdue = false;
        let waiting = Waiting { first, group, offset, count, deadline, is_overdue };
        self.waiting.insert(before, waiting);
    }

    /// Whether no client waits.
    pub(super) fn is_empty(&self) -> bool {
        self.waiting.is_empty()
    }

    /// Finds the clients that wait for entries that are about to be applied: `stands` returns
    /// whether the entry with an id is one of them, and `commands` are the commands among them.
    pub(super) fn claim(
        &mut self,
        commands: &[Committed],
        stands: impl Fn(EntryId) -> bool,
        upto: LogIndex,
        effects: &mut Effects<C>,
    ) -> Vec<Claim<C>> {
        let mut claims = Vec::new();
        let mut rest = VecDeque::new();
        while let Some(waiting) = self.waiting.front()
            && waiting.first.index <= upto
        {
            let mut waiting = self.waiting.pop_front().expect("just seen");
            let reached = waiting.count.min(upto.since(waiting.first.index.prev()) as usize);
            let in_log = waiting.count_in_log(reached, &stands);
            let is_overdue = waiting.is_overdue;
            let mut push = |claim: Claim<C>| {
                if is_overdue {
                    let Claim { group, offset, count, .. } = claim;
                    effects.settled.push(Settled { group, offset, count });
                } else {
                    claims.push(claim);
                }
            };
            if in_log == waiting.count {
                push(waiting.claim_whole(commands));
                continue;
            }
            if in_log > 0 {
                push(waiting.claim(in_log, commands));
            }
            if in_log < reached {
                waiting.fail(ProposeError::Lost, effects);
            } else if waiting.count > 0 {
                rest.push_back(waiting);
            }
        }
        for later in rest.into_iter().rev() {
            self.waiting.push_front(later);
        }
        claims
    }

    /// Answers the clients whose deadline has passed that the outcome is unknown. Those whose
    /// entries are not in this member's log, according to `stands`, are removed: no memory is held
    /// for them here, and if the log does not grow, nothing would ever be applied at their indexes.
    pub(super) fn expire(
        &mut self,
        now: u64,
        stands: impl Fn(EntryId) -> bool,
        effects: &mut Effects<C>,
    ) {
        if self.waiting.iter().all(|waiting| waiting.deadline > now) {
            return;
        }
        for mut waiting in std::mem::take(&mut self.waiting) {
            if waiting.deadline <= now && !stands(waiting.first) {
                waiting.fail(ProposeError::Unknown, effects);
                continue;
            }
            if waiting.deadline <= now && !waiting.is_overdue {
                waiting.is_overdue = true;
                effects.overdue.push(Failed {
                    group: waiting.group.clone(),
                    offset: waiting.offset,
                    count: waiting.count,
                    error: ProposeError::Unknown,
                });
            }
            self.waiting.push_back(waiting);
        }
    }

    /// A snapshot replaces the entries up to `upto`. This member never learns whether the commands
    /// that wait there are among them, so `error` must say that the outcome is unknown.
    pub(super) fn skip_upto(
        &mut self,
        upto: LogIndex,
        error: &ProposeError,
        effects: &mut Effects<C>,
    ) {
        for mut waiting in std::mem::take(&mut self.waiting) {
            let skipped = upto.since(waiting.first.index.prev()) as usize;
            if skipped > 0 {
                waiting.split_off_first(skipped).fail(error.clone(), effects);
            }
            if waiting.count > 0 {
                self.waiting.push_back(waiting);
            }
        }
    }

    /// Gives up all: the member ends.
    pub(super) fn abandon(&mut self, effects: &mut Effects<C>) {
        for waiting in self.waiting.drain(..) {
            waiting.fail(ProposeError::Unknown, effects);
        }
    }
}

impl<C: Clients> Waiting<C> {
    /// Reports that the commands failed, or that their outcome will never be known.
    fn fail(self, error: ProposeError, effects: &mut Effects<C>) {
        let Waiting { group, offset, count, is_overdue, .. } = self;
        if is_overdue {
            effects.settled.push(Settled { group, offset, count });
        } else {
            effects.failed.push(Failed { group, offset, count, error });
        }
    }

    /// Splits the first commands off, as many as there are up to `count`.
    fn split_off_first(&mut self, count: usize) -> Waiting<C> {
        let count = count.min(self.count);
        let (group, offset) = (self.group.clone(), self.offset);
        let Waiting { first, deadline, is_overdue, .. } = *self;
        self.first.index = first.index.plus(count as u64);
        self.offset += count;
        self.count -= count;
        Waiting { first, group, offset, count, deadline, is_overdue }
    }

    /// How many of the first `reached` entries are in the log. If one is, those before it are, too
    /// (law L3); a change of leader may have truncated the group anywhere, and then the rest will
    /// never be applied.
    fn count_in_log(&self, reached: usize, stands: impl Fn(EntryId) -> bool) -> usize {
        let id = |at: usize| EntryId::new(self.first.term, self.first.index.plus(at as u64));
        let is_truncated = reached > 0 && !stands(id(reached - 1));
        if is_truncated { (0..reached).take_while(|at| stands(id(*at))).count() } else { reached }
    }

    /// All commands are answered by `commands`.
    fn claim_whole(self, commands: &[Committed]) -> Claim<C> {
        let position = self.position_in(commands);
        Claim { group: self.group, offset: self.offset, position, count: self.count }
    }

    /// The position of the first command among `commands`.
    fn position_in(&self, commands: &[Committed]) -> usize {
        commands.partition_point(|command| command.id.index < self.first.index)
    }

    /// The first `count` commands are answered by `commands`; the others continue to wait.
    fn claim(&mut self, count: usize, commands: &[Committed]) -> Claim<C> {
        let position = self.position_in(commands);
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
        type Snapshots = u64;
        type Changes = u64;
        type Sessions = u64;
    }

    fn id(index: u64, term: u64) -> EntryId {
        EntryId::new(Term::new(term), LogIndex::new(index))
    }

    fn commands(ids: &[EntryId]) -> Vec<Committed> {
        ids.iter().map(|id| Committed { id: *id, command: Bytes::new() }).collect()
    }

    /// The claims, as (group, offset, position, count), and the failures, as (group, offset,
    /// count).
    type Outcome = (Vec<(u64, usize, usize, usize)>, Vec<(u64, usize, usize)>);

    /// Applies entries with these ids.
    fn claim(proposals: &mut Proposals<Numbers>, ids: &[EntryId]) -> Outcome {
        let mut effects = Effects::default();
        let stands = |id| ids.contains(&id);
        let upto = ids.last().expect("entries").index;
        let claims = proposals.claim(&commands(ids), stands, upto, &mut effects);
        let claims = claims.iter().map(|c| (c.group, c.offset, c.position, c.count)).collect();
        (claims, effects.failed.iter().map(|f| (f.group, f.offset, f.count)).collect())
    }

    #[test]
    fn a_group_is_answered_in_parts() {
        let mut proposals = Proposals::<Numbers>::new();
        proposals.push(id(3, 1), 7, 0, 3, 100);
        let first = claim(&mut proposals, &[id(2, 1), id(3, 1), id(4, 1)]);
        assert_eq!(first, (vec![(7, 0, 1, 2)], vec![]));
        let second = claim(&mut proposals, &[id(5, 1), id(6, 1)]);
        assert_eq!(second, (vec![(7, 2, 0, 1)], vec![]));
        assert!(proposals.is_empty());
    }

    #[test]
    fn a_command_is_lost_only_where_another_is_applied() {
        let mut proposals = Proposals::<Numbers>::new();
        proposals.push(id(3, 1), 7, 0, 2, 100);
        proposals.push(id(3, 4), 8, 0, 1, 100);
        let claimed = claim(&mut proposals, &[id(3, 4)]);
        assert_eq!(claimed, (vec![(8, 0, 0, 1)], vec![(7, 0, 2)]));
    }

    #[test]
    fn a_group_that_a_change_of_leader_truncated_is_answered_in_part() {
        let mut proposals = Proposals::<Numbers>::new();
        proposals.push(id(3, 1), 7, 0, 3, 100);
        let claimed = claim(&mut proposals, &[id(3, 1), id(4, 2)]);
        assert_eq!(claimed, (vec![(7, 0, 0, 1)], vec![(7, 1, 2)]), "4@1 is not answered with 4@2");
        assert!(proposals.is_empty());
    }

    /// What went wrong: the quota was given back at the deadline, while the entries were still in
    /// memory.
    #[test]
    fn a_deadline_leaves_the_outcome_unknown_and_the_quota_taken() {
        let mut proposals = Proposals::<Numbers>::new();
        proposals.push(id(3, 1), 7, 0, 2, 10);
        proposals.push(id(5, 1), 8, 0, 2, 11);
        let mut effects = Effects::default();
        proposals.expire(10, |_| true, &mut effects);
        let overdue: Vec<_> =
            effects.overdue.iter().map(|f| (f.group, f.count, &f.error)).collect();
        assert_eq!(overdue, [(7, 2, &ProposeError::Unknown)]);
        proposals.expire(10, |_| true, &mut effects);
        assert_eq!(effects.overdue.len(), 1, "a client is answered once");
        assert!(effects.failed.is_empty() && effects.settled.is_empty());
        let all = [id(3, 1), id(4, 1), id(5, 1), id(6, 1)];
        let upto = LogIndex::new(6);
        let claims = proposals.claim(&commands(&all), |id| all.contains(&id), upto, &mut effects);
        assert_eq!(claims.iter().map(|claim| claim.group).collect::<Vec<_>>(), [8]);
        let settled: Vec<_> =
            effects.settled.iter().map(|s| (s.group, s.offset, s.count)).collect();
        assert_eq!(settled, [(7, 0, 2)]);
        assert!(proposals.is_empty());
    }

    #[test]
    fn an_overdue_command_that_is_lost_gives_its_quota_back() {
        let mut proposals = Proposals::<Numbers>::new();
        proposals.push(id(3, 1), 7, 0, 1, 10);
        let mut effects = Effects::default();
        proposals.expire(10, |_| true, &mut effects);
        assert_eq!(claim(&mut proposals, &[id(3, 2)]), (vec![], vec![]));
        for (index, group) in [(4, 8), (5, 9)] {
            proposals.push(id(index, 1), group, 0, 1, 10);
        }
        proposals.expire(10, |_| true, &mut effects);
        proposals.expire(11, |id| id.index.get() != 4, &mut effects);
        assert_eq!(effects.settled.iter().map(|s| s.group).collect::<Vec<_>>(), [8]);
        proposals.abandon(&mut effects);
        assert_eq!(effects.settled.iter().map(|s| s.group).collect::<Vec<_>>(), [8, 9]);
    }
}
