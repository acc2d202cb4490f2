//! The laws about several members, or about one member across restarts.
//!
//! Each law has a table that is updated after each input of a member: the leader of each term (L1),
//! the votes (L7), the predecessor of each entry (L3), the committed entries (L5, L11), the states
//! of the state machines (L5). A table collects facts of different members, and of one member
//! before and after a restart. A fact that contradicts an earlier one is a violation.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use raft_core::consensus::{Body, Message, PeerStatus, Raft, RoleName, SoftState};
use raft_core::storage::{Recovered, WriteBatch};
use raft_core::types::{EntryId, HardState, LogIndex, Membership, NodeId, Term};

use super::memberships::{decides, may_follow};
use super::promises::{Covered, DiskImage, check_promise, membership_in};
use super::violation::hold;
use super::{Check, Violation};
use crate::digest::Digest;

/// The facts that were observed about a cluster.
#[derive(Debug)]
pub struct Laws {
    members: Vec<Member>,
    leaders: BTreeMap<Term, NodeId>,
    votes: BTreeMap<(Term, u64), NodeId>,
    /// Each entry that was ever durable on any disk.
    entries: HashMap<EntryId, Known>,
    /// The terms of the committed entries, from index 1 on.
    committed: Vec<Term>,
    /// The memberships that were ever durable on any disk.
    memberships: BTreeMap<EntryId, Membership>,
    /// The state of the state machines, as a hash, after the command at an index.
    machines: HashMap<LogIndex, u64>,
    /// Whether promises are compared with disks. If `false`, only the consequences of a broken
    /// promise are found.
    inspects_promises: bool,
}

/// An entry's predecessor and contents.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Known {
    term_before: Term,
    contents: u64,
}

/// The observed state of one member.
#[derive(Clone, Debug, Default)]
struct Member {
    disk: DiskImage,
    term: Term,
    /// The commit index of this process.
    commit: LogIndex,
    /// Whether it led in its term after its last input.
    led: bool,
    /// The membership in force before its last input, if there was one, and its index.
    before: Option<(LogIndex, Arc<Membership>)>,
    /// The membership in force after its last input.
    now: Option<(LogIndex, Arc<Membership>)>,
}

impl Laws {
    /// Creates the tables of the nodes 1 to `nodes`, with blank disks.
    pub fn new(nodes: u64, inspects_promises: bool) -> Laws {
        Laws {
            members: vec![Member::default(); nodes as usize],
            leaders: BTreeMap::new(),
            votes: BTreeMap::new(),
            entries: HashMap::new(),
            committed: Vec::new(),
            memberships: BTreeMap::new(),
            machines: HashMap::new(),
            inspects_promises,
        }
    }

    /// Whether promises are compared with disks.
    pub fn inspects_promises(&self) -> bool {
        self.inspects_promises
    }

    /// The data that the member's disk surely holds.
    pub fn disk(&self, node: NodeId) -> &DiskImage {
        &self.members[position(node)].disk
    }

    /// The last index known to be committed by any member.
    pub fn committed(&self) -> LogIndex {
        LogIndex::new(self.committed.len() as u64)
    }

    /// Whether a committed membership has left out a node whose id was used. Its id is never used
    /// again, so it was removed for good.
    pub fn was_removed(&self, node: NodeId) -> bool {
        let next = self.committed().next();
        self.members.iter().any(|member| {
            let newest = member.disk.membership_before(next);
            newest.is_some_and(|(at, membership)| {
                let committed = self.committed.get(at.prev().get() as usize).copied();
                let is_committed = member.disk.term(*at) == committed;
                is_committed && !membership.contains(node) && node <= membership.highest()
            })
        })
    }

    /// Whether another member asked for votes in this term.
    pub fn asked_by_other(&self, term: Term, node: NodeId) -> bool {
        let in_term = (term, 0)..=(term, u64::MAX);
        self.votes.range(in_term).any(|((_, voter), vote)| *voter == vote.get() && *vote != node)
    }

    // ---- disks ----

    /// A write of the member is durable.
    pub fn on_durable(&mut self, node: NodeId, batch: &WriteBatch) -> Result<(), Violation> {
        let disk = &mut self.members[position(node)].disk;
        let before = disk.hard_state();
        disk.apply(batch)?;
        hold(before.may_become(disk.hard_state()), Check::Monotonic, || {
            format!("the disk of {node} went from {before} to {}", disk.hard_state())
        })?;
        let hinted = batch.commit_hint.map(|hint| (hint, disk.logged_term(hint)));
        for entry in &batch.append {
            let term_before = disk.logged_term(entry.id.index.prev()).unwrap_or_default();
            let known = Known { term_before, contents: Digest::of((entry.kind, &entry.payload)) };
            let first = *self.entries.entry(entry.id).or_insert(known);
            hold(first == known, Check::LogMatching, || {
                format!("{node} holds {} with {known:?}, another holds it with {first:?}", entry.id)
            })?;
        }
        for entry in &batch.append {
            let Some((index, membership)) = membership_in(entry) else { continue };
            self.check_step(node, index, &membership)?;
            self.memberships.insert(entry.id, membership);
        }
        match hinted {
            Some((hint, term)) if self.inspects_promises => self.check_hint(node, hint, term),
            _ => Ok(()),
        }
    }

    /// A snapshot of the member is durable. It includes committed entries only.
    pub fn on_snapshot(&mut self, node: NodeId, last: EntryId) -> Result<(), Violation> {
        let count = last.index.get() as usize;
        let known = count.checked_sub(1).and_then(|at| self.committed.get(at));
        hold(known == Some(&last.term), Check::SoundSnapshot, || {
            format!("{node} has a snapshot up to {last}, committed there is {known:?}")
        })?;
        let terms = self.committed[..count].to_vec();
        let is_committed = |id: &EntryId| {
            (id.index.get() as usize).checked_sub(1).and_then(|at| terms.get(at)) == Some(&id.term)
        };
        let memberships = self.memberships.iter().filter(|(id, _)| is_committed(id));
        let mut memberships: Vec<_> =
            memberships.map(|(id, membership)| (id.index, membership.clone())).collect();
        memberships.sort_by_key(|(index, _)| *index);
        self.members[position(node)].disk.cover(Covered { terms, memberships });
        Ok(())
    }

    /// Checks that a membership may follow the one before it, which is committed.
    fn check_step(&self, node: NodeId, at: LogIndex, next: &Membership) -> Result<(), Violation> {
        let Some((index, before)) = self.disk(node).membership_before(at) else { return Ok(()) };
        hold(*index <= self.committed() && may_follow(before, next), Check::OneChange, || {
            format!("on the disk of {node}, {next} at {at} follows {before} at {index}")
        })
    }

    /// Checks that the entry at a disk's commit hint is the committed one. Recovery applies that
    /// entry and all before it without asking any member.
    fn check_hint(&self, node: NodeId, hint: LogIndex, own: Option<Term>) -> Result<(), Violation> {
        let Some(position) = hint.get().checked_sub(1) else { return Ok(()) };
        let committed = self.committed.get(position as usize).copied();
        hold(own.is_some() && own == committed, Check::CommitHint, || {
            format!("the disk of {node} has hint {hint} with {own:?}, committed is {committed:?}")
        })
    }

    /// The member's store was opened again. Any number of the writes in flight, counted from the
    /// first, may have become durable. Returns that number.
    pub fn on_recovered(
        &mut self,
        node: NodeId,
        in_flight: &[WriteBatch],
        recovered: &Recovered,
    ) -> Result<usize, Violation> {
        for survived in 0..=in_flight.len() {
            if self.members[position(node)].disk.equals(recovered) {
                let member = &mut self.members[position(node)];
                let disk = std::mem::take(&mut member.disk);
                let term = disk.hard_state().term;
                let hint = recovered.commit_hint;
                let own = disk.logged_term(hint);
                *member = Member { disk, term, ..Member::default() };
                if self.inspects_promises {
                    self.check_hint(node, hint, own)?;
                }
                return Ok(survived);
            }
            if let Some(batch) = in_flight.get(survived) {
                self.on_durable(node, batch)?;
            }
        }
        let what = format!("the store of {node} recovers {recovered:?}, which was never written");
        Err(Violation::new(Check::StoreContract, what))
    }

    // ---- what members send and report ----

    /// The member sends a message.
    pub fn on_send(
        &mut self,
        from: NodeId,
        to: NodeId,
        message: &Message,
    ) -> Result<(), Violation> {
        let vote = match &message.body {
            Body::Vote { .. } => Some(from),
            Body::VoteResponse { granted: true } => Some(to),
            _ => None,
        };
        if let Some(vote) = vote {
            let first = *self.votes.entry((message.term, from.get())).or_insert(vote);
            hold(first == vote, Check::OneVote, || {
                format!("{from} voted for {first} and for {vote} in term {}", message.term)
            })?;
        }
        if self.inspects_promises {
            check_promise(self.disk(from), from, to, message)
        } else {
            Ok(())
        }
    }

    /// The role, the term or the leader of the member has changed.
    pub fn on_soft_state(&mut self, node: NodeId, soft_state: SoftState) -> Result<(), Violation> {
        if soft_state.role != RoleName::Leader {
            return Ok(());
        }
        let term = soft_state.term;
        let first = *self.leaders.entry(term).or_insert(node);
        hold(first == node, Check::ElectionSafety, || {
            format!("{first} and {node} both lead in term {term}")
        })?;
        self.check_elected(node, term)
    }

    /// Checks that a majority has voted for the new leader, including itself.
    fn check_elected(&self, node: NodeId, term: Term) -> Result<(), Violation> {
        if !self.inspects_promises {
            return Ok(());
        }
        let own = HardState { term, vote: Some(node) };
        let voted = |voter: NodeId| {
            if voter == node {
                self.disk(node).hard_state() == own
            } else {
                self.votes.get(&(term, voter.get())) == Some(&node)
            }
        };
        let Member { before, now, .. } = &self.members[position(node)];
        let mut in_force = before.iter().chain(now);
        hold(in_force.any(|(_, live)| decides(live, voted)), Check::ElectionSafety, || {
            let live: Vec<String> = before.iter().chain(now).map(|(_, m)| m.to_string()).collect();
            format!("{node} leads in term {term} without the votes of a majority of {live:?}")
        })
    }

    /// The member is about to apply its log up to `upto`, and to answer the clients.
    pub fn on_release(&self, node: NodeId, upto: LogIndex) -> Result<(), Violation> {
        let last = self.disk(node).last();
        hold(upto <= last || !self.inspects_promises, Check::DurablePromise, || {
            format!("{node} applies up to {upto}, but its disk holds up to {last}")
        })
    }

    /// The member applied the commands of a batch. `hashes` are the index of each command and the
    /// hash of the state machine after it.
    pub fn on_apply(
        &mut self,
        node: NodeId,
        hashes: impl IntoIterator<Item = (LogIndex, u64)>,
    ) -> Result<(), Violation> {
        for (index, state) in hashes {
            let first = *self.machines.entry(index).or_insert(state);
            hold(first == state, Check::SameMachine, || {
                format!("the state machine of {node} differs from another's after {index}")
            })?;
        }
        Ok(())
    }

    // ---- the states of members ----

    /// Checks the member's state after an input.
    pub fn on_state(&mut self, node: NodeId, raft: &Raft) -> Result<(), Violation> {
        let member = &mut self.members[position(node)];
        let index = raft.status().membership_index;
        member.before = member.now.take();
        member.now = raft.membership().map(|now| (index, Arc::clone(now)));
        let before = member.commit;
        let led = member.led && member.term == raft.term();
        let term = member.term;
        let commit = raft.commit();
        hold(raft.term() >= term && commit >= before, Check::Monotonic, || {
            format!("{node} went from term {term} commit {before} to {} {commit}", raft.term())
        })?;
        let now = member.now.as_ref();
        let is_newer = |(at, old): &(LogIndex, Arc<Membership>)| {
            *at < index && now.is_some_and(|(_, now)| now != old)
        };
        let changed = member.before.as_ref().is_some_and(is_newer);
        let elected = raft.is_leader() && !led;
        (member.term, member.commit, member.led) = (raft.term(), commit, raft.is_leader());
        if elected {
            self.check_complete(node, raft)?;
        }
        if raft.is_leader() {
            check_may_lead(raft, index, led && changed)?;
        }
        if commit > before {
            self.check_committed(node, raft, before, led)?;
        }
        Ok(())
    }

    /// Checks that a new leader has all entries that were committed before its election. It
    /// suffices to compare the last of them: logs that share an entry id are equal up to it, which
    /// `on_durable` checks.
    fn check_complete(&self, node: NodeId, raft: &Raft) -> Result<(), Violation> {
        let last = self.committed();
        let Some(term) = self.committed.last() else { return Ok(()) };
        hold(
            *term >= raft.term() || raft.term_at(last) == Some(*term),
            Check::LeaderCompleteness,
            || format!("{node} leads in term {} without {last}@{term}", raft.term()),
        )
    }

    fn check_committed(
        &mut self,
        node: NodeId,
        raft: &Raft,
        before: LogIndex,
        led: bool,
    ) -> Result<(), Violation> {
        let commit = raft.commit();
        hold(
            !led || !self.inspects_promises || raft.term_at(commit) == Some(raft.term()),
            Check::DurableMajority,
            || format!("{node} commits {commit} of an older term by counting copies"),
        )?;
        for index in before.get() + 1..=commit.get() {
            let index = LogIndex::new(index);
            // What a snapshot has replaced was committed before.
            if index < raft.boundary().index {
                hold(index <= self.committed(), Check::CommittedForEver, || {
                    format!("{node} commits {index}, which it does not have")
                })?;
                continue;
            }
            let term = raft.term_at(index).unwrap_or_default();
            match self.committed.get(index.get() as usize - 1).copied() {
                Some(known) => hold(known == term, Check::CommittedForEver, || {
                    format!("{node} commits {index}@{term}, where {index}@{known} was committed")
                })?,
                None => self.commit(node, EntryId::new(term, index), led)?,
            }
        }
        Ok(())
    }

    /// An entry is first known to be committed: checks that it is durable on a majority. A leader
    /// that left a joint membership with its last input had committed everything up to that
    /// membership before, so this is counted with the joint one.
    fn commit(&mut self, node: NodeId, id: EntryId, led: bool) -> Result<(), Violation> {
        self.committed.push(id.term);
        let Member { before, now, .. } = &self.members[position(node)];
        let counts_now = |(at, _): &&(LogIndex, Arc<Membership>)| !led || id.index > *at;
        let now = now.as_ref().filter(|_| before.as_ref().is_none_or(|b| counts_now(&b)));
        let is_durable = before.iter().chain(now).any(|(_, live)| self.is_durable(id, live));
        hold(is_durable, Check::DurableMajority, || {
            let live: Vec<String> = before.iter().chain(now).map(|(_, m)| m.to_string()).collect();
            format!("{node} commits {id}, which is not durable on a majority of {live:?}")
        })
    }

    /// Whether the disks of a majority surely hold an entry.
    pub fn is_durable(&self, id: EntryId, membership: &Membership) -> bool {
        decides(membership, |node| self.disk(node).holds(id))
    }

    /// Checks that a leader's match index of each peer in its term is not above what the peer's
    /// disk holds.
    pub fn check_peers(
        &self,
        node: NodeId,
        raft: &Raft,
        peers: &[PeerStatus],
    ) -> Result<(), Violation> {
        for peer in peers.iter().filter(|_| self.inspects_promises) {
            let disk = self.disk(peer.id);
            let same_term = disk.hard_state().term == raft.term();
            let matched = peer.matched;
            let own = raft.term_at(peer.matched);
            let is_purged = matched < raft.boundary().index;
            hold(!same_term || is_purged || disk.term(matched) == own, Check::MatchIndex, || {
                format!("{node} assumes that {} matches up to {matched}", peer.id)
            })?;
        }
        Ok(())
    }
}

/// Checks that a leader votes in its membership once that is committed, and that a leader that has
/// just appended a membership has committed an entry of its own term.
fn check_may_lead(raft: &Raft, at: LogIndex, changed: bool) -> Result<(), Violation> {
    let Some(now) = raft.membership() else { return Ok(()) };
    let node = raft.id();
    let is_removed = at <= raft.commit() && !now.is_joint() && !now.is_voter(node);
    hold(!is_removed, Check::OneChange, || format!("{node} leads, and {now} is committed"))?;
    let commit = raft.term_at(raft.commit());
    hold(!changed || commit == Some(raft.term()), Check::OneChange, || {
        format!("{node} appends {now} before it has committed an entry of its term")
    })
}

fn position(node: NodeId) -> usize {
    node.get() as usize - 1
}

#[cfg(test)]
mod tests;
