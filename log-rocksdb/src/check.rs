//! Whether the contract allows a batch (P16), and what of it has an effect.
//!
//! The whole batch is checked before a write batch is made, so that a refused one changes nothing.

use raft_core::storage::{LogBounds, LogError, LogOp, Refusal, WriteBatch};
use raft_core::types::{Entry, EntryId, HardState, LogIndex};

use crate::view::View;

/// The most bytes that one payload may have; RocksDB's own limit for a value lies above it.
pub(crate) const MAX_PAYLOAD_BYTES: u64 = 512 << 20;
/// The last index that an entry can have; the greatest number has no successor.
const MAX_INDEX: u64 = u64::MAX - 1;

/// The verbs of a batch that change something.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Plan {
    pub(crate) hard_state: Option<HardState>,
    pub(crate) reset: Option<EntryId>,
    /// The last entry that stays.
    pub(crate) cut: Option<EntryId>,
    pub(crate) purge: Option<EntryId>,
}

/// Checks a batch against the log as it is; what must be done besides appending.
pub(crate) fn plan(view: &View, now: HardState, batch: &WriteBatch) -> Result<Plan, LogError> {
    let mut plan = Plan { reset: batch.reset, ..Plan::default() };
    if let Some(new) = batch.hard_state.filter(|new| *new != now) {
        if !now.may_become(new) {
            return Err(LogError::refused(LogOp::HardState, Refusal::HardStateGoesBack));
        }
        plan.hard_state = Some(new);
    }
    let mut bounds = match batch.reset {
        Some(boundary) => LogBounds { boundary, last: boundary },
        None => view.bounds(),
    };
    if let Some(cut) = batch.truncate_after {
        plan.cut = check_cut(view, bounds, cut)?;
        bounds.last = plan.cut.unwrap_or(bounds.last);
    }
    for entry in &batch.append {
        check_next(bounds.last, entry).map_err(|it| LogError::refused(LogOp::Append, it))?;
        bounds.last = entry.id;
    }
    if let Some(upto) = batch.purge_upto.filter(|upto| upto.index > bounds.boundary.index) {
        check_purge(view, bounds, &batch.append, upto)?;
        plan.purge = Some(upto);
    }
    Ok(plan)
}

/// The last entry that a truncation leaves, if it removes one.
fn check_cut(view: &View, bounds: LogBounds, cut: LogIndex) -> Result<Option<EntryId>, LogError> {
    let LogBounds { boundary, last } = bounds;
    if cut < boundary.index {
        let refusal = Refusal::TruncateBelowBoundary { boundary };
        return Err(LogError::refused(LogOp::Truncate, refusal));
    }
    // After a reset nothing lies behind the boundary, and the view is not asked.
    let is_real = cut < last.index;
    is_real.then(|| Ok(EntryId::new(view.term(cut)?, cut))).transpose()
}

fn check_next(last: EntryId, entry: &Entry) -> Result<(), Refusal> {
    let (id, expected) = (entry.id, last.index.next());
    match () {
        () if id.index != expected => Err(Refusal::Gap { expected, found: id.index }),
        () if id.term < last.term => Err(Refusal::FallingTerm { id }),
        () if entry.size() > MAX_PAYLOAD_BYTES => {
            Err(Refusal::TooLarge { id, limit: MAX_PAYLOAD_BYTES })
        }
        () if id.index.get() > MAX_INDEX => Err(Refusal::TooLarge { id, limit: MAX_INDEX }),
        () => Ok(()),
    }
}

fn check_purge(
    view: &View,
    bounds: LogBounds,
    appended: &[Entry],
    upto: EntryId,
) -> Result<(), LogError> {
    let refused = |refusal| Err(LogError::refused(LogOp::Purge, refusal));
    if upto.index > bounds.last.index {
        return refused(Refusal::PurgeBeyondLast { last: bounds.last });
    }
    let new = appended.first().filter(|first| first.id.index <= upto.index);
    let found = match new {
        Some(first) => appended[upto.index.since(first.id.index) as usize].id,
        None => EntryId::new(view.term(upto.index)?, upto.index),
    };
    if found == upto { Ok(()) } else { refused(Refusal::OtherTerm { found }) }
}
