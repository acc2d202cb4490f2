//! Term and vote: one unit, which never goes back and which nothing else touches.

use raft_core::storage::WriteBatch;

use crate::conformance::report::Checked;
use crate::conformance::samples::{entries, hard_state, id, index};
use crate::conformance::subject::Subject;

/// With a vote and without one, alone and together with entries.
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

/// Neither to an earlier term, nor to another vote in a term, nor to none.
pub async fn it_never_goes_back(log: &mut Subject) -> Checked {
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

/// Truncation and purge leave it alone, also where they empty the log.
pub async fn cuts_and_purges_leave_it_alone(log: &mut Subject) -> Checked {
    log.save(hard_state(7, 3)).await?;
    log.append(entries(1..=9, 2)).await?;
    log.truncate_after(index(6)).await?;
    log.purge_upto(id(2, 2)).await?;
    log.truncate_after(index(2)).await?;
    log.append(entries(3..=4, 2)).await?;
    log.purge_upto(id(4, 2)).await
}

/// A reset leaves it alone, wherever the boundary goes.
pub async fn a_reset_leaves_it_alone(log: &mut Subject) -> Checked {
    log.must_have_resets()?;
    log.save(hard_state(7, 3)).await?;
    log.reset(id(50, 6)).await?;
    log.append(entries(51..=52, 7)).await?;
    log.reset(id(20, 2)).await?;
    let batch = WriteBatch { reset: Some(id(90, 7)), ..WriteBatch::default() };
    log.change(WriteBatch { hard_state: Some(hard_state(8, 1)), ..batch }).await
}
