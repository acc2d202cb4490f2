//! Recovery of a cluster that has lost a majority of its voters for good.
//!
//! No protocol can continue such a cluster without risk: the lost members may have committed
//! entries that no other member has. An operator can decide to continue with what one surviving
//! member holds. That makes a *new* cluster out of that member's log:
//!
//! ```text
//!   survivors' stores --compare--> the newest one --copy--> a store with another cluster id,
//!                                                           and one more entry: the membership
//!                                                           of this member alone
//! ```
//!
//! - All entries of the survivor are kept, committed or not. Those after its commit index may have
//!   been acknowledged to a client, and as the only voter it commits them all.
//! - The log to continue with holds everything that any survivor knows to be committed
//!   ([`Survivor::lacks_committed_of`]). Among those logs it is the newest one, by the rule by
//!   which voters compare logs (section 5.4.1 of the paper, [`Survivor::is_newer_than`]). The
//!   second rule alone is not enough: an entry of an old term may have been committed by an entry
//!   of a later term that only lost members hold, and a survivor that knows it may have an older
//!   log than another one that never had the entry.
//! - The new cluster id keeps the lost members out. If one of them comes back, it refuses, and is
//!   refused by, every member of the new cluster, so the two can never mix their logs.
//!
//! Deliberately absent: files. The source is not changed, so a recovery may be tried again; the
//! tool `kontiki recover` does it for members' directories.

use raft_core::consensus::MAX_NUMBER;
use raft_core::storage::record::encode_membership;
use raft_core::storage::{Inspection, LogBounds};
use raft_core::types::{
    ClusterId, Entry, EntryId, EntryKind, HardState, Identity, LogIndex, Membership,
    MembershipParts, Term, TermRun,
};
use thiserror::Error;
use xxhash_rust::xxh3::Xxh3;

use crate::SnapshotHead;
use crate::bootstrap::random_number;

/// Why a store cannot be the one with which a cluster continues. Nothing was changed.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum RecoverError {
    /// The store belongs to no cluster yet.
    #[error("it belongs to no cluster: nothing was ever written to it")]
    Blank,
    /// Neither the log nor the snapshot has a membership.
    #[error("it holds no membership: it never received the log of its cluster")]
    NoMembership,
    /// The log lacks the last entry of the snapshot: the member was stopped while it installed one.
    #[error(
        "its snapshot ends at entry {snapshot}, which its log, whose end is {last}, does not hold: \
         it was stopped while it installed that snapshot"
    )]
    SnapshotAhead {
        /// The last entry of the snapshot.
        snapshot: EntryId,
        /// The last entry of the log.
        last: EntryId,
    },
    /// The log begins after an entry that no snapshot includes.
    #[error("its log begins after entry {boundary}, and it has no sound snapshot up to there")]
    MissingPrefix {
        /// The entry after which the log begins.
        boundary: EntryId,
    },
    /// Terms or indexes are used up.
    #[error("its log has reached the greatest index or term")]
    Exhausted,
}

/// What a member that survived holds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Survivor {
    /// The member.
    pub identity: Identity,
    /// Its term and vote.
    pub hard_state: HardState,
    /// The last entry of its log.
    pub last: EntryId,
    /// Everything up to this entry is known to be committed. More may be.
    pub commit: EntryId,
    /// The terms of the entries of its log.
    terms: Terms,
    /// The newest membership in its log, or else that of its snapshot.
    pub membership: Membership,
}

/// The terms of the entries of a log.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Terms {
    bounds: LogBounds,
    runs: Vec<TermRun>,
}

impl Terms {
    /// The term of an entry; `None` if it lies before the boundary or after the end.
    fn at(&self, index: LogIndex) -> Option<Term> {
        let LogBounds { boundary, last } = self.bounds;
        if index == boundary.index {
            return Some(boundary.term);
        }
        if index < boundary.index || index > last.index {
            return None;
        }
        self.runs.iter().rev().find(|run| run.first <= index).map(|run| run.term)
    }
}

impl Survivor {
    /// What an inspected store holds, and the newest sound snapshot beside it.
    ///
    /// # Errors
    /// The cluster cannot continue with this store. The damage of a damaged log is in the
    /// inspection, and is not looked at here.
    pub fn of(
        inspection: &Inspection,
        snapshot: Option<&SnapshotHead>,
    ) -> Result<Survivor, RecoverError> {
        let identity = inspection.identity.ok_or(RecoverError::Blank)?;
        let found = &inspection.recovered;
        let (bounds, runs) = (found.bounds, found.term_runs.clone());
        let (last, terms) = (bounds.last, Terms { bounds, runs });
        let mut commit = found.commit_hint.min(last.index).max(bounds.boundary.index);
        let included = snapshot.map_or(EntryId::ZERO, |snapshot| snapshot.last);
        if included.index < bounds.boundary.index {
            return Err(RecoverError::MissingPrefix { boundary: bounds.boundary });
        }
        if included != EntryId::ZERO && terms.at(included.index) != Some(included.term) {
            return Err(RecoverError::SnapshotAhead { snapshot: included, last });
        }
        commit = commit.max(included.index);
        let in_log = found.memberships.last().map(|(_, membership)| membership);
        let membership = in_log.or(snapshot.map(|snapshot| &snapshot.membership));
        let membership = membership.ok_or(RecoverError::NoMembership)?.clone();
        let hard_state = found.hard_state;
        let commit = EntryId::new(terms.at(commit).unwrap_or(last.term), commit);
        Ok(Survivor { identity, hard_state, last, commit, terms, membership })
    }

    /// Whether another survivor knows an entry to be committed that this log does not hold. What
    /// lies before the boundary of a log is committed, and is in its snapshot.
    pub fn lacks_committed_of(&self, other: &Survivor) -> bool {
        let EntryId { term, index } = other.commit;
        let has_purged = index < self.terms.bounds.boundary.index;
        !has_purged && self.terms.at(index) != Some(term)
    }

    /// Whether this member's log is newer than another one's: its last entry has a later term, or
    /// the same term and a greater index (section 5.4.1 of the paper).
    pub fn is_newer_than(&self, other: &Survivor) -> bool {
        let newness = |survivor: &Survivor| (survivor.last.term, survivor.last.index);
        newness(self) > newness(other)
    }

    /// How many entries of its log are not known to be committed.
    pub fn undecided(&self) -> u64 {
        self.last.index.since(self.commit.index)
    }
}

/// What the store of a new cluster holds besides the entries of the survivor.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Recovery {
    /// The same node and store, of a cluster with another id.
    pub identity: Identity,
    /// A term that no member of the old cluster was seen in, without a vote.
    pub hard_state: HardState,
    /// The entry after the survivor's last one: the membership of this node alone.
    pub entry: Entry,
}

impl Recovery {
    /// Plans the new cluster. Each call returns another cluster id, so that two recoveries from one
    /// directory never take each other for the same cluster.
    ///
    /// The node keeps its id, and the greatest id that was ever used is kept: the ids of lost
    /// members are not used again.
    ///
    /// # Errors
    /// [`RecoverError::Exhausted`]
    pub fn of(survivor: &Survivor) -> Result<Recovery, RecoverError> {
        let Survivor { identity, hard_state, last, membership, .. } = survivor;
        let term = hard_state.term.max(last.term);
        if term.get().max(last.index.get()) >= MAX_NUMBER {
            return Err(RecoverError::Exhausted);
        }
        let term = Term::new(term.get() + 1);
        let id = EntryId::new(term, last.index.next());
        let alone = encode_membership(&alone(*identity, membership));
        Ok(Recovery {
            identity: Identity { cluster: another_cluster(identity.cluster), ..*identity },
            hard_state: HardState { term, vote: None },
            entry: Entry::new(id, EntryKind::Membership, alone),
        })
    }

    /// The head of the survivor's snapshot in the new cluster; the application's bytes stay the
    /// same.
    pub fn snapshot_head(&self, of: &SnapshotHead) -> SnapshotHead {
        SnapshotHead { writer: self.identity, salt: random_number(), ..of.clone() }
    }
}

/// The membership of one node, which keeps its address.
fn alone(identity: Identity, before: &Membership) -> Membership {
    let node = identity.node;
    let metadata = before.metadata(node).map(|data| (node, data.clone()));
    let parts = MembershipParts {
        voters: [node].into(),
        metadata: metadata.into_iter().collect(),
        stores: [(node, identity.store)].into(),
        highest: Some(before.highest().max(node)),
        ..MembershipParts::default()
    };
    Membership::new(parts).expect("one voter is a sound membership")
}

fn another_cluster(before: ClusterId) -> ClusterId {
    let mut digest = Xxh3::new();
    digest.update(b"recovered");
    digest.update(&before.0.to_le_bytes());
    digest.update(&random_number().to_le_bytes());
    ClusterId(digest.digest())
}

#[cfg(test)]
mod tests;
