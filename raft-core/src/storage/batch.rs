//! A batch of changes: the unit of writing, which becomes durable or is lost as a whole.

use alloc::boxed::Box;
use alloc::vec::Vec;

use serde::{Deserialize, Serialize};

use crate::types::{Entry, EntryId, HardState, LogIndex};

/// The most payload that [`WriteBatch::then`] gathers in one batch, in bytes. A single batch that
/// is larger on its own is written as it is.
pub const MAX_BATCH_BYTES: u64 = 4 << 20;

/// Changes that are applied in the order of the fields and become durable together.
///
/// Its serde form is for a store's own files.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct WriteBatch {
    /// First: the new term and vote.
    pub hard_state: Option<HardState>,
    /// Then: the whole log replaced by this boundary.
    pub reset: Option<EntryId>,
    /// Then: every entry after this index removed.
    pub truncate_after: Option<LogIndex>,
    /// Then: these entries appended.
    pub append: Vec<Entry>,
    /// Then: every entry up to this one purged.
    pub purge_upto: Option<EntryId>,
    /// Last: an index known to be committed, which a store may drop. It counts up to the last entry
    /// of the log after this batch.
    pub commit_hint: Option<LogIndex>,
}

impl WriteBatch {
    /// A batch that appends entries and does nothing else.
    pub fn of_entries(append: Vec<Entry>) -> WriteBatch {
        WriteBatch { append, ..WriteBatch::default() }
    }

    /// A batch that saves a term and vote, and does nothing else.
    pub fn of_hard_state(hard_state: HardState) -> WriteBatch {
        WriteBatch { hard_state: Some(hard_state), ..WriteBatch::default() }
    }

    /// A batch that replaces the log by a boundary, and does nothing else.
    pub fn of_reset(boundary: EntryId) -> WriteBatch {
        WriteBatch { reset: Some(boundary), ..WriteBatch::default() }
    }

    /// A batch that removes a suffix, and does nothing else.
    pub fn of_truncation(truncate_after: LogIndex) -> WriteBatch {
        WriteBatch { truncate_after: Some(truncate_after), ..WriteBatch::default() }
    }

    /// A batch that removes a prefix, and does nothing else.
    pub fn of_purge(purge_upto: EntryId) -> WriteBatch {
        WriteBatch { purge_upto: Some(purge_upto), ..WriteBatch::default() }
    }

    /// Whether the batch changes nothing; a hint alone is nothing.
    pub fn is_empty(&self) -> bool {
        self.hard_state.is_none()
            && self.reset.is_none()
            && self.truncate_after.is_none()
            && self.append.is_empty()
            && self.purge_upto.is_none()
    }

    /// The payload bytes of the batch.
    pub fn size(&self) -> u64 {
        self.append.iter().map(Entry::size).sum()
    }

    /// This batch and then `next`, as one batch; the only way to group writes. Applying the result
    /// does exactly what applying one after the other does.
    ///
    /// Refuses, and returns both batches, if no single batch has the same effect (`next` resets the
    /// log, or truncates below the index that this batch purges up to, resets to or declares
    /// committed, or appends with a gap), or if the result would hold more than
    /// [`MAX_BATCH_BYTES`].
    pub fn then(self, next: WriteBatch) -> Result<WriteBatch, Box<(WriteBatch, WriteBatch)>> {
        let (size, next_size) = (self.size(), next.size());
        self.then_sized(size, next, next_size)
    }

    /// Like [`WriteBatch::then`], where the [sizes](WriteBatch::size) of both are known: when many
    /// small batches are gathered in a large one, its bytes must not be counted again for each of
    /// them.
    pub fn then_sized(
        self,
        size: u64,
        next: WriteBatch,
        next_size: u64,
    ) -> Result<WriteBatch, Box<(WriteBatch, WriteBatch)>> {
        debug_assert_eq!((size, next_size), (self.size(), next.size()), "the sizes given");
        if self.can_precede(&next) && size + next_size <= MAX_BATCH_BYTES {
            Ok(self.merged_with(next))
        } else {
            Err(Box::new((self, next)))
        }
    }

    fn can_precede(&self, next: &WriteBatch) -> bool {
        if next.reset.is_some() {
            return false;
        }
        let floor = later(self.reset, self.purge_upto).map(|id| id.index);
        let floor = floor.max(self.commit_hint);
        match (next.truncate_after, self.append.last(), next.append.first()) {
            (Some(cut), ..) if floor.is_some_and(|floor| cut < floor) => false,
            (Some(cut), Some(_), _) => self.can_be_cut(cut),
            (None, Some(last), Some(first)) => first.id.index == last.id.index.next(),
            // A truncation without an append leaves the end unknown here; the store checks it.
            _ => true,
        }
    }

    /// Whether removing the entries after `cut` from this batch's effect is known to be the same as
    /// truncating after the batch was applied. A truncation above the appended entries is a no-op.
    fn can_be_cut(&self, cut: LogIndex) -> bool {
        let Some(first) = self.append.first() else { return true };
        // The hard case is a truncation below this batch's own truncation point: then that point
        // itself moves down.
        cut >= first.id.index.prev() || self.reset.is_none()
    }

    fn merged_with(mut self, next: WriteBatch) -> WriteBatch {
        if let Some(first) = next.append.first() {
            // A hint counts up to where the log ended when it was given.
            let end = first.id.index.prev();
            self.commit_hint = self.commit_hint.map(|hint| hint.min(end));
        }
        if let Some(cut) = next.truncate_after {
            self.cut_after(cut);
        }
        self.append.extend(next.append);
        self.hard_state = next.hard_state.or(self.hard_state);
        self.purge_upto = later(self.purge_upto, next.purge_upto);
        self.commit_hint = self.commit_hint.max(next.commit_hint);
        self
    }

    fn cut_after(&mut self, cut: LogIndex) {
        let before = self.append.first().map(|first| first.id.index.prev());
        self.append.retain(|entry| entry.id.index <= cut);
        if before.is_none_or(|before| cut < before) {
            let lowest = self.truncate_after.map_or(cut, |own| own.min(cut));
            self.truncate_after = Some(lowest);
        }
    }
}

/// The boundary with the greater index; of two with the same index the first, since the second
/// changes nothing.
fn later(one: Option<EntryId>, other: Option<EntryId>) -> Option<EntryId> {
    if one.map(|id| id.index) >= other.map(|id| id.index) { one } else { other }
}
