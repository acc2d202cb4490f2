//! Whether the contract allows a batch (P16), and what of it has an effect.
//!
//! The whole batch is checked before a byte is written, so that a refused one changes nothing.

use raft_core::storage::{LogBounds, LogError, LogOp, Refusal, WriteBatch};
use raft_core::types::{Entry, EntryId, HardState, LogIndex};

use crate::facts::Facts;
use crate::index::Index;

/// The most bytes that one payload may have.
pub(crate) const MAX_PAYLOAD_BYTES: u64 = 1 << 30;

/// The verbs of a batch that change something.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Plan {
    pub(crate) hard_state: Option<HardState>,
    pub(crate) reset: Option<EntryId>,
    /// The last entry that stays.
    pub(crate) truncate: Option<EntryId>,
    pub(crate) purge: Option<EntryId>,
}

/// Checks a batch against the log as it is; what must be written besides the entries.
pub(crate) fn plan(index: &Index, facts: &Facts, batch: &WriteBatch) -> Result<Plan, LogError> {
    let mut plan = Plan { hard_state: check_hard_state(facts, batch)?, ..Plan::default() };
    let mut bounds = index.bounds();
    if let Some(boundary) = batch.reset {
        plan.reset = Some(boundary);
        bounds = LogBounds { boundary, last: boundary };
    }
    if let Some(cut) = batch.truncate_after {
        plan.truncate = check_truncation(index, bounds, cut)?;
        bounds.last = plan.truncate.unwrap_or(bounds.last);
    }
    bounds.last = check_entries(bounds.last, &batch.append)?;
    if let Some(upto) = batch.purge_upto {
        plan.purge = check_purge(index, bounds, &batch.append, upto)?;
    }
    Ok(plan)
}

fn check_hard_state(facts: &Facts, batch: &WriteBatch) -> Result<Option<HardState>, LogError> {
    match batch.hard_state {
        Some(new) if !facts.hard_state.may_become(new) => {
            Err(LogError::refused(LogOp::HardState, Refusal::HardStateGoesBack))
        }
        Some(new) if new == facts.hard_state => Ok(None),
        hard_state => Ok(hard_state),
    }
}

fn check_truncation(
    index: &Index,
    bounds: LogBounds,
    cut: LogIndex,
) -> Result<Option<EntryId>, LogError> {
    if cut < bounds.boundary.index {
        let refusal = Refusal::TruncateBelowBoundary { boundary: bounds.boundary };
        return Err(LogError::refused(LogOp::Truncate, refusal));
    }
    if cut >= bounds.last.index {
        return Ok(None);
    }
    Ok(Some(EntryId::new(index.term(cut)?, cut)))
}

/// The last entry, once these are appended.
fn check_entries(mut last: EntryId, entries: &[Entry]) -> Result<EntryId, LogError> {
    for entry in entries {
        let (id, expected) = (entry.id, last.index.next());
        let refusal = match () {
            () if id.index != expected => Refusal::Gap { expected, found: id.index },
            () if id.term < last.term => Refusal::FallingTerm { id },
            () if entry.size() > MAX_PAYLOAD_BYTES => {
                Refusal::TooLarge { id, limit: MAX_PAYLOAD_BYTES }
            }
            () => {
                last = id;
                continue;
            }
        };
        return Err(LogError::refused(LogOp::Append, refusal));
    }
    Ok(last)
}

fn check_purge(
    index: &Index,
    bounds: LogBounds,
    appended: &[Entry],
    upto: EntryId,
) -> Result<Option<EntryId>, LogError> {
    if upto.index <= bounds.boundary.index {
        return Ok(None);
    }
    if upto.index > bounds.last.index {
        let refusal = Refusal::PurgeBeyondLast { last: bounds.last };
        return Err(LogError::refused(LogOp::Purge, refusal));
    }
    let found = match appended.first() {
        Some(first) if upto.index >= first.id.index => {
            appended[upto.index.since(first.id.index) as usize].id
        }
        _ => EntryId::new(index.term(upto.index)?, upto.index),
    };
    match found == upto {
        true => Ok(Some(upto)),
        false => Err(LogError::refused(LogOp::Purge, Refusal::OtherTerm { found })),
    }
}
