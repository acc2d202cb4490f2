//! Random batches that fit any log.
//!
//! A draft holds choices as numbers that are relative to a log: how far from its end, how much
//! above its term. So a draft stays sound when the drafts before it are left out, and a sequence
//! can be shrunk.

use proptest::prelude::*;
use raft_core::storage::{LogBounds, WriteBatch};
use raft_core::types::{Entry, EntryId, HardState, LogIndex};

use super::place::Lacks;
use super::samples::{hard_state, id, index, sized_entry};

/// The facts about a log that a draft needs to become a batch for it.
#[derive(Clone, Debug)]
pub struct LogOutline {
    /// Where the log begins and ends.
    pub bounds: LogBounds,
    /// Its term and vote.
    pub hard_state: HardState,
    /// The highest index that it may know to be committed.
    pub committed: LogIndex,
    /// The ids of its entries.
    pub ids: Vec<EntryId>,
}

/// Choices that are relative to a log.
#[derive(Clone, Debug)]
pub struct Draft {
    /// How far the term rises, and the vote; 0 is no vote.
    pub vote: Option<(u64, u64)>,
    /// How far from the end a reset goes.
    pub reset: Option<u64>,
    /// How far from the end the log is truncated.
    pub truncate: Option<u64>,
    /// The payloads of the entries.
    pub sizes: Vec<usize>,
    /// How far the term rises before they are appended.
    pub rise: u64,
    /// How many of the entries are purged.
    pub purge: Option<u64>,
    /// The commit hint.
    pub hint: Option<u64>,
}

/// Drafts whose payloads have up to a few hundred bytes, and sometimes several thousand.
pub fn draft() -> impl Strategy<Value = Draft> {
    let size = prop_oneof![4 => 0..60usize, 2 => 60..700usize, 1 => 700..9000usize];
    (
        prop::option::weighted(0.3, (0..3u64, 0..3u64)),
        prop::option::weighted(0.05, 0..16u64),
        prop::option::weighted(0.3, 0..16u64),
        prop::collection::vec(size, 0..6),
        0..2u64,
        prop::option::weighted(0.25, 0..16u64),
        prop::option::weighted(0.3, 0..40u64),
    )
        .prop_map(|(vote, reset, truncate, sizes, rise, purge, hint)| Draft {
            vote,
            reset,
            truncate,
            sizes,
            rise,
            purge,
            hint,
        })
}

impl Draft {
    /// The same for a store that is declared to lack resets, or for one that does not.
    pub(crate) fn for_store(&self, lacks: Lacks) -> Draft {
        let reset = self.reset.filter(|_| !lacks.reset);
        Draft { reset, ..self.clone() }
    }

    /// The batch that the draft becomes for a log; `mark` goes into the payloads, so that two
    /// entries with one id can be distinguished.
    pub fn batch_for(&self, log: &LogOutline, mark: u64) -> WriteBatch {
        let vote = |(rise, vote)| hard_state(log.hard_state.term.get() + rise, vote);
        let mut batch = WriteBatch {
            hard_state: self.vote.map(vote).filter(|new| log.hard_state.may_become(*new)),
            commit_hint: self.hint.map(index),
            ..WriteBatch::default()
        };
        let LogBounds { mut boundary, mut last } = log.bounds;
        let mut ids = log.ids.clone();
        if let Some(step) = self.reset {
            boundary = id((last.index.get() + step).saturating_sub(4), last.term.get());
            last = boundary;
            batch.reset = Some(boundary);
            ids.clear();
        }
        if let Some(back) = self.truncate {
            // Sometimes past the end, where a truncation does nothing. Committed entries are never
            // removed.
            let committed = if batch.reset.is_some() { index(0) } else { log.committed };
            let cut = index((last.index.get() + 2).saturating_sub(back));
            let cut = cut.max(boundary.index).max(committed);
            batch.truncate_after = Some(cut);
            ids.retain(|id| id.index <= cut);
            last = ids.last().copied().unwrap_or(boundary);
        }
        let term = last.term.get() + self.rise;
        batch.append = (last.index.get() + 1..)
            .zip(&self.sizes)
            .map(|(at, size)| sized_entry(at, term, mark, *size))
            .collect::<Vec<Entry>>();
        ids.extend(batch.append.iter().map(|entry| entry.id));
        batch.purge_upto = self.purge.and_then(|step| match step {
            0 => Some(boundary),
            // If the step is large enough, everything: stores often fail on an empty log.
            _ => ids.get(step as usize - 1).or(ids.last()).copied(),
        });
        batch
    }
}
