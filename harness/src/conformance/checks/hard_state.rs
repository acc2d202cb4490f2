//! Term and vote are one unit, which never goes back and which no other request changes.

use raft_core::storage::WriteBatch;

use crate::conformance::report::Checked;
use crate::conformance::samples::{entries, hard_state, id, index};
use crate::conformance::subject::Subject;

/// Saves terms with a vote and without one, alone and together with entries.
pub async fn term_and_vote_come_back_as_one(log: &mut Subject) -> Checked {
    log.save(hard_state(1, 2)).await?;
    log.save(hard_state(2, 0)).await?;
    log.save(hard_state(2, 3)).await?;
    log.save(hard_state(2, 3)).await?;
    let batch = WriteBatch {
        hard_state: Some(hard_state(u64::MAX >> 1, u64::MAX >> 1)),
        ..WriteBatch::of_entries(entries(1..=2, 2))
    };
    log.change(batch).await
}

/// The hard state never goes back to an earlier term, to another vote in the same term, or to no
/// vote.
pub async fn the_hard_state_never_goes_back(log: &mut Subject) -> Checked {
    log.save(hard_state(5, 1)).await?;
    log.save(hard_state(4, 1)).await?;
    log.save(hard_state(5, 2)).await?;
    log.save(hard_state(5, 0)).await?;
    let batch = WriteBatch {
        hard_state: Some(hard_state(4, 2)),
        ..WriteBatch::of_entries(entries(1..=2, 2))
    };
    log.change(batch).await?;
    log.save(hard_state(6, 0)).await?;
    log.save(hard_state(6, 2)).await
}

/// Truncation and purge leave the hard state alone, even if they empty the log.
pub async fn truncations_and_purges_leave_the_hard_state_alone(log: &mut Subject) -> Checked {
    log.save(hard_state(7, 3)).await?;
    log.append(entries(1..=9, 2)).await?;
    log.truncate_after(index(6)).await?;
    log.purge_upto(id(2, 2)).await?;
    log.truncate_after(index(2)).await?;
    log.append(entries(3..=4, 2)).await?;
    log.purge_upto(id(4, 2)).await
}

/// A reset leaves the hard state alone, wherever it moves the boundary.
pub async fn a_reset_leaves_the_hard_state_alone(log: &mut Subject) -> Checked {
    log.must_have_resets()?;
    log.save(hard_state(7, 3)).await?;
    log.reset(id(50, 6)).await?;
    log.append(entries(51..=52, 7)).await?;
    log.reset(id(20, 2)).await?;
    let batch = WriteBatch { reset: Some(id(90, 7)), ..WriteBatch::default() };
    log.change(WriteBatch { hard_state: Some(hard_state(8, 1)), ..batch }).await
}
