//! What a store shows when it is opened again, after `close` and after a drop without `close`.

use raft_core::storage::{LogErrorKind, WriteBatch};
use raft_core::types::{ClusterId, Identity, StoreId};

use crate::conformance::report::{Checked, Halt, broken};
use crate::conformance::samples::{
    each_kind, entries, entry, hard_state, id, identity, index, membership, node, sized,
};
use crate::conformance::second::Opened;
use crate::conformance::subject::{Ending, Subject};

/// Entries of all kinds and sizes are still there after several openings, whether the handle was
/// closed or dropped.
pub async fn everything_comes_back(log: &mut Subject) -> Checked {
    log.reopen_twice().await?;
    for round in 0..5 {
        let first = round * 8 + 1;
        log.append(entries(first..=first + 6, round)).await?;
        log.append(vec![sized(first + 7, round, 5000 * round as usize)]).await?;
        log.reopen_twice().await?;
    }
    log.append(each_kind(41, 5)).await?;
    log.reopen_twice().await
}

/// A log that has become empty does not start at index 1 again.
pub async fn an_empty_log_keeps_its_boundary(log: &mut Subject) -> Checked {
    log.append(entries(1..=5, 3)).await?;
    log.purge_upto(id(5, 3)).await?;
    log.reopen_twice().await?;
    log.term(5).await?;
    log.append(entries(6..=7, 3)).await?;
    log.truncate_after(index(5)).await?;
    log.reopen_twice().await?;
    log.append(entries(6..=6, 4)).await
}

/// A truncation is as durable as an append.
pub async fn a_truncated_suffix_never_comes_back(log: &mut Subject) -> Checked {
    log.append(entries(1..=9, 1)).await?;
    log.reopen(Ending::Dropped).await?;
    log.truncate_after(index(4)).await?;
    log.reopen_twice().await?;
    log.truncate_after(index(0)).await?;
    log.reopen_twice().await
}

/// The rest of a longer old suffix does not continue a shorter new one.
pub async fn a_truncated_suffix_never_comes_back_after_a_shorter_one(log: &mut Subject) -> Checked {
    log.append((1..=30).map(|at| sized(at, 1, 300)).collect()).await?;
    let batch = WriteBatch {
        truncate_after: Some(index(10)),
        ..WriteBatch::of_entries((11..=12).map(|at| sized(at, 2, 300)).collect())
    };
    log.change(batch).await?;
    log.reopen_twice().await?;
    log.truncate_after(index(11)).await?;
    log.reopen_twice().await?;
    log.append(vec![entry(12, 3)]).await?;
    log.reopen_twice().await
}

/// A purge is as durable as an append.
pub async fn purged_entries_never_come_back(log: &mut Subject) -> Checked {
    log.append(entries(1..=20, 2)).await?;
    log.reopen(Ending::Dropped).await?;
    log.purge_upto(id(7, 2)).await?;
    log.reopen_twice().await?;
    log.term(7).await?;
    log.read(7, 9, u64::MAX).await?;
    log.append(entries(21..=22, 2)).await?;
    log.purge_upto(id(21, 2)).await?;
    log.reopen_twice().await
}

/// Neither the old entries nor the old boundary come back.
pub async fn a_reset_outlives_its_handle(log: &mut Subject) -> Checked {
    log.must_have_resets()?;
    log.append(entries(1..=9, 2)).await?;
    log.reset(id(5, 3)).await?;
    log.reopen_twice().await?;
    log.append(entries(6..=7, 3)).await?;
    log.reset(id(70, 4)).await?;
    log.append(entries(71..=73, 4)).await?;
    log.reopen_twice().await?;
    log.reset(id(40, 4)).await?;
    log.reopen_twice().await?;
    log.append(entries(41..=41, 5)).await?;
    log.reopen_twice().await
}

/// The hard state is the one that was saved last, whatever was done to the log since.
pub async fn the_hard_state_comes_back(log: &mut Subject) -> Checked {
    log.save(hard_state(3, 2)).await?;
    log.reopen_twice().await?;
    log.save(hard_state(4, 0)).await?;
    log.append(entries(1..=9, 2)).await?;
    log.truncate_after(index(6)).await?;
    log.reopen_twice().await?;
    log.save(hard_state(4, 3)).await?;
    log.purge_upto(id(6, 2)).await?;
    log.reopen_twice().await?;
    log.reset(id(90, 4)).await?;
    log.reopen_twice().await?;
    log.save(hard_state(4, 1)).await
}

/// The identity is there, and another one is still refused.
pub async fn the_identity_comes_back(log: &mut Subject) -> Checked {
    log.must_keep_its_identity()?;
    log.save_identity(identity(1)).await?;
    log.reopen_twice().await?;
    log.append(entries(1..=3, 1)).await?;
    log.reset(id(9, 1)).await?;
    log.reopen_twice().await?;
    log.save_identity(identity(2)).await?;
    // Ids may be any 64-bit numbers.
    log.begin_anew().await?;
    let wide = u64::MAX - 4;
    let wide =
        Identity { cluster: ClusterId(wide), node: node(wide - 1), store: StoreId(wide - 2) };
    log.save_identity(wide).await?;
    log.reopen_twice().await
}

/// Recovery reports where terms change and where memberships are, after truncations and purges.
pub async fn recovery_reports_what_the_log_holds(log: &mut Subject) -> Checked {
    log.append(vec![membership(1, 0, 1), entry(2, 1), membership(3, 1, 3), entry(4, 4)]).await?;
    log.append(vec![membership(5, 4, 5), entry(6, 5), entry(7, 5)]).await?;
    log.reopen_twice().await?;
    log.purge_upto(id(3, 1)).await?;
    log.reopen_twice().await?;
    log.truncate_after(index(6)).await?;
    log.append(vec![entry(7, 9), membership(8, 9, 2)]).await?;
    log.reopen_twice().await?;
    log.truncate_after(index(4)).await?;
    log.reopen_twice().await?;
    log.purge_upto(id(4, 4)).await?;
    log.reopen_twice().await?;
    // A follower's conflict: one batch truncates memberships and writes other entries in their
    // place.
    log.append(vec![membership(5, 9, 4), entry(6, 9), membership(7, 9, 2)]).await?;
    let rewritten = vec![entry(5, 10), membership(6, 10, 1), entry(7, 10), entry(8, 10)];
    let batch = WriteBatch { truncate_after: Some(index(4)), ..WriteBatch::of_entries(rewritten) };
    log.change(batch).await?;
    log.reopen_twice().await?;
    // The entries that a reset removes do not come back, even if the reset moves the boundary below
    // them and other entries take their place.
    log.append(vec![membership(9, 10, 4)]).await?;
    log.reset(id(2, 9)).await?;
    log.reopen_twice().await?;
    log.append((3..=11).map(|at| entry(at, 9)).collect()).await?;
    log.reopen_twice().await
}

/// A hint may be forgotten. It is never beyond the end of the log, even if a truncation or a reset
/// moved the end, and a hint beyond the end does not cover entries that are appended there later.
pub async fn a_commit_hint_is_never_too_high(log: &mut Subject) -> Checked {
    let hint = |hint| WriteBatch { commit_hint: Some(index(hint)), ..WriteBatch::default() };
    log.change(WriteBatch { append: entries(1..=9, 1), ..hint(4) }).await?;
    log.reopen_twice().await?;
    log.change(WriteBatch { append: entries(10..=12, 1), ..hint(50) }).await?;
    log.reopen_twice().await?;
    log.append(entries(13..=15, 1)).await?;
    log.truncate_after(index(12)).await?;
    log.reopen_twice().await?;
    log.reset(id(3, 1)).await?;
    log.reopen_twice().await
}

/// Data of a refused request does not appear later.
pub async fn refusals_leave_nothing_behind(log: &mut Subject) -> Checked {
    log.save(hard_state(5, 1)).await?;
    log.append(entries(1..=4, 5)).await?;
    log.append(entries(6..=7, 5)).await?;
    log.append(entries(5..=6, 4)).await?;
    log.save(hard_state(4, 2)).await?;
    log.purge_upto(id(9, 5)).await?;
    log.reopen_twice().await?;
    log.append(entries(5..=5, 5)).await?;
    log.reopen_twice().await
}

/// A second handle is refused while the first one exists, and disturbs nothing.
pub async fn one_opener_at_a_time(log: &mut Subject) -> Checked {
    must_lock(log)?;
    log.append(entries(1..=2, 1)).await?;
    match log.open_beside().await {
        Ok(_) => broken(17, "a second handle was opened beside the first")?,
        Err(error) if error.kind == LogErrorKind::InUse => {}
        Err(error) => broken(13, format!("`{error}`, where it should be: in use"))?,
    }
    // A list of open paths in the process is not a lock: another name bypasses it, as another
    // process would.
    #[cfg(unix)]
    if let Some(Ok(_)) = log.open_beside_by_another_name().await {
        broken(17, "a second handle was opened beside the first, under another name")?;
    }
    log.append(entries(3..=4, 1)).await?;
    log.reopen_twice().await
}

/// A store that is open here cannot be opened in another process.
pub async fn another_process_cannot_open_the_store(log: &mut Subject) -> Checked {
    must_lock(log)?;
    log.append(entries(1..=2, 1)).await?;
    match log.open_beside_in_another_process() {
        None => return Err(Halt::DoesNotApply("no other process can open the store")),
        Some(Opened::Open) => broken(17, "another process opened it beside the first")?,
        Some(Opened::InUse) => {}
        Some(Opened::Failed) => {
            broken(13, "another process failed to open it, where the error should be: in use")?;
        }
    }
    log.append(entries(3..=4, 1)).await?;
    log.reopen_twice().await
}

fn must_lock(log: &Subject) -> Checked {
    log.must_outlive_its_handle()?;
    if log.lacks().lock {
        return Err(Halt::DoesNotApply("the store is declared to keep no second opener out"));
    }
    Ok(())
}
