//! A member promises only what its disk holds durably.
//!
//! For each member this module keeps a copy of what its disk surely holds: the term, the vote, and
//! the term of each entry. Each message is compared with that copy when it is sent (L6, L7). A
//! promise that is not durable causes harm only after a rare crash; this check finds it as soon as
//! it is made.

use raft_core::consensus::{Body, Message, Verdict};
use raft_core::storage::record::decode_membership;
use raft_core::storage::{Recovered, WriteBatch};
use raft_core::types::{Entry, EntryId, EntryKind, HardState, LogIndex, Membership, NodeId, Term};

use super::violation::hold;
use super::{Check, Violation};

/// The data that one member's disk surely holds.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct DiskImage {
    hard_state: HardState,
    /// The terms of the log's entries, from index 1 on, those that were purged included.
    terms: Vec<Term>,
    /// The memberships among them.
    memberships: Vec<(LogIndex, Membership)>,
    /// The last entry that was purged.
    boundary: LogIndex,
    /// The terms and the memberships of what the newest durable snapshot includes.
    covered: Covered,
}

/// The committed entries that a durable snapshot includes.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Covered {
    /// The terms of the entries, from index 1 on.
    pub terms: Vec<Term>,
    /// The memberships among them.
    pub memberships: Vec<(LogIndex, Membership)>,
}

impl DiskImage {
    /// The term and the vote.
    pub fn hard_state(&self) -> HardState {
        self.hard_state
    }

    /// The index of the last entry that the log holds, or the snapshot.
    pub fn last(&self) -> LogIndex {
        LogIndex::new(self.terms.len().max(self.covered.terms.len()) as u64)
    }

    /// A snapshot is durable.
    pub fn cover(&mut self, covered: Covered) {
        if covered.terms.len() > self.covered.terms.len() {
            self.covered = covered;
        }
    }

    /// The term of an entry. The term at index 0 is zero.
    pub fn term(&self, index: LogIndex) -> Option<Term> {
        match index.get() {
            0 => Some(Term::ZERO),
            at => {
                let covered = self.covered.terms.get(at as usize - 1);
                covered.or_else(|| self.terms.get(at as usize - 1)).copied()
            }
        }
    }

    /// The term of an entry in the log, whatever the snapshot includes.
    pub fn logged_term(&self, index: LogIndex) -> Option<Term> {
        self.terms.get((index.get() as usize).checked_sub(1)?).copied()
    }

    /// The newest membership before an entry, and its index.
    pub fn membership_before(&self, index: LogIndex) -> Option<&(LogIndex, Membership)> {
        self.memberships.iter().rev().find(|(at, _)| *at < index)
    }

    /// Whether the disk holds the entry with this id.
    pub fn holds(&self, id: EntryId) -> bool {
        self.term(id.index) == Some(id.term)
    }

    /// Applies a batch that has become durable.
    ///
    /// # Errors
    /// The batch drops committed entries that no durable snapshot includes.
    pub fn apply(&mut self, batch: &WriteBatch) -> Result<(), Violation> {
        if let Some(boundary) = batch.reset {
            self.check_covers(boundary)?;
            self.terms = self.covered.terms[..boundary.index.get() as usize].to_vec();
            self.memberships = self.covered.memberships.clone();
            self.memberships.retain(|(at, _)| *at <= boundary.index);
            self.boundary = boundary.index;
        }
        self.hard_state = batch.hard_state.unwrap_or(self.hard_state);
        if let Some(cut) = batch.truncate_after {
            self.terms.truncate(cut.get() as usize);
            self.memberships.retain(|(at, _)| *at <= cut);
        }
        self.terms.extend(batch.append.iter().map(|entry| entry.id.term));
        self.memberships.extend(batch.append.iter().filter_map(membership_in));
        if let Some(upto) = batch.purge_upto {
            self.check_covers(upto)?;
            self.boundary = self.boundary.max(upto.index);
        }
        Ok(())
    }

    fn check_covers(&self, upto: EntryId) -> Result<(), Violation> {
        let term = (upto.index.get() as usize).checked_sub(1).map(|at| self.covered.terms.get(at));
        hold(term.flatten() == Some(&upto.term), Check::SoundSnapshot, || {
            let last = self.covered.terms.len();
            format!("the log is dropped up to {upto}, the durable snapshot ends at {last}")
        })
    }

    /// Whether a store that was opened recovers exactly this state.
    pub fn equals(&self, recovered: &Recovered) -> bool {
        let mut runs = recovered.term_runs.iter().peekable();
        let EntryId { term, index: boundary } = recovered.bounds.boundary;
        let mut term = term;
        let written = self.terms.iter().zip(1..).skip(boundary.get() as usize);
        self.hard_state == recovered.hard_state
            && self.boundary == boundary
            && self.terms.len() as u64 == recovered.bounds.last.index.get()
            && written.into_iter().all(|(own, index)| {
                if let Some(run) = runs.next_if(|run| run.first.get() == index) {
                    term = run.term;
                }
                *own == term
            })
    }
}

/// The membership in an entry, if it is one, and the entry's index.
pub fn membership_in(entry: &Entry) -> Option<(LogIndex, Membership)> {
    let is_one = entry.kind == EntryKind::Membership;
    let decoded = is_one.then(|| decode_membership(&entry.payload).ok())??;
    Some((entry.id.index, decoded))
}

/// Checks that a message promises only what the sender's disk surely holds.
pub fn check_promise(
    disk: &DiskImage,
    from: NodeId,
    to: NodeId,
    message: &Message,
) -> Result<(), Violation> {
    let held = disk.hard_state();
    let facts = || format!("{from} -> {to}: {message}, but its disk holds {held}");
    let voted = |vote| held == HardState { term: message.term, vote: Some(vote) };
    match &message.body {
        Body::PreVote { .. } | Body::PreVoteResponse { .. } => Ok(()),
        Body::Vote { .. } => hold(voted(from), Check::DurablePromise, facts),
        Body::VoteResponse { granted: true } => hold(voted(to), Check::DurablePromise, facts),
        Body::AppendResponse { verdict: Verdict::Accepted { matched }, .. } => {
            let durable = held.term == message.term && *matched <= disk.last();
            hold(durable, Check::DurablePromise, || format!("{}, up to {}", facts(), disk.last()))
        }
        _ => hold(message.term <= held.term, Check::DurablePromise, facts),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn node(number: u64) -> NodeId {
        NodeId::new(number).expect("not zero")
    }

    fn disk(term: u64, vote: Option<u64>) -> DiskImage {
        let hard_state = HardState { term: Term::new(term), vote: vote.map(node) };
        DiskImage { hard_state, terms: vec![Term::new(1); 4], ..DiskImage::default() }
    }

    fn granted(term: u64) -> Message {
        Message::new(Term::new(term), Body::VoteResponse { granted: true })
    }

    fn accepted(matched: u64) -> Message {
        let matched = LogIndex::new(matched);
        let round = raft_core::consensus::Round(0);
        let body = Body::AppendResponse { verdict: Verdict::Accepted { matched }, round };
        Message::new(Term::new(2), body)
    }

    #[test]
    fn a_vote_that_is_not_durable_is_found() {
        let check = |disk: &DiskImage, message| check_promise(disk, node(1), node(2), &message);
        assert_eq!(check(&disk(3, Some(2)), granted(3)), Ok(()));
        assert!(check(&disk(3, None), granted(3)).is_err());
        assert!(check(&disk(3, Some(3)), granted(3)).is_err());
        assert!(check(&disk(2, Some(2)), granted(3)).is_err());
    }

    #[test]
    fn an_acknowledgement_that_is_not_durable_is_found() {
        let check = |disk: &DiskImage, message| check_promise(disk, node(1), node(2), &message);
        assert_eq!(check(&disk(2, None), accepted(4)), Ok(()));
        assert!(check(&disk(2, None), accepted(5)).is_err());
        assert!(check(&disk(1, None), accepted(4)).is_err());
    }
}
