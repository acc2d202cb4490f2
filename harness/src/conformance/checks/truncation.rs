//! Removing the suffix of a log.

use raft_core::storage::{LogErrorKind, Refusal, WriteBatch};

use crate::conformance::contents::After;
use crate::conformance::report::{Checked, Halt, promised};
use crate::conformance::samples::{entries, hard_state, id, index, sized};
use crate::conformance::subject::Subject;

/// Truncations of one entry, of some and of all remove them, and the log continues after that.
pub async fn truncated_entries_are_removed(log: &mut Subject) -> Checked {
    log.append(entries(1..=10, 1)).await?;
    for cut in [9, 5, 4] {
        log.truncate_after(index(cut)).await?;
        log.read(cut, cut + 2, u64::MAX).await?;
        log.term(cut + 1).await?;
    }
    log.append(entries(5..=6, 2)).await?;
    log.truncate_after(index(0)).await?;
    log.append(entries(1..=2, 3)).await
}

/// A truncation at or past the end does nothing, even in an empty log.
pub async fn a_truncation_past_the_end_does_nothing(log: &mut Subject) -> Checked {
    log.truncate_after(index(0)).await?;
    log.truncate_after(index(7)).await?;
    log.append(entries(1..=3, 1)).await?;
    log.truncate_after(index(3)).await?;
    log.truncate_after(index(4)).await?;
    log.truncate_after(index(1 << 40)).await?;
    log.append(entries(4..=4, 1)).await
}

/// Entries that a snapshot replaced cannot be truncated.
pub async fn a_truncation_below_the_boundary_is_refused(log: &mut Subject) -> Checked {
    log.append(entries(1..=9, 1)).await?;
    log.purge_upto(id(4, 1)).await?;
    log.truncate_after(index(3)).await?;
    log.truncate_after(index(0)).await?;
    log.truncate_after(index(4)).await?;
    log.append(entries(5..=5, 2)).await?;
    log.reset(id(8, 2)).await?;
    log.truncate_after(index(7)).await
}

/// A follower of a struggling cluster writes one index many times over.
pub async fn one_index_is_rewritten_many_times(log: &mut Subject) -> Checked {
    log.append(entries(1..=3, 1)).await?;
    for term in 2..30 {
        log.truncate_after(index(3 + term % 3)).await?;
        let next = log.model.last().index.get() + 1;
        log.append(entries(next..=next + term % 4, term)).await?;
        let batch = WriteBatch {
            truncate_after: Some(index(3)),
            ..WriteBatch::of_entries(entries(4..=5 + term % 5, term))
        };
        log.change(batch).await?;
    }
    log.read(1, 5, u64::MAX).await.map(|_| ())
}

/// A truncation removes the entries of many appends, wherever a store keeps them: first all
/// entries, then most of them.
pub async fn a_deep_truncation_reaches_the_old_entries(log: &mut Subject) -> Checked {
    const ENTRIES: u64 = 48;
    for (term, cut) in [(1, 0), (2, 3)] {
        let first = log.model.last().index.get() + 1;
        for at in first..=ENTRIES {
            log.change_unseen(WriteBatch::of_entries(vec![sized(at, term, 50_000)])).await?;
        }
        log.truncate_after(index(cut)).await?;
        log.reopen_if_kept().await?;
        log.append(entries(cut + 1..=cut + 2, term)).await?;
        log.reopen_if_kept().await?;
    }
    Ok(())
}

/// One batch applies its hard state, its truncation and its append in this order.
pub async fn a_batch_truncates_before_it_appends(log: &mut Subject) -> Checked {
    log.append(entries(1..=6, 1)).await?;
    let batch = |cut, append| WriteBatch {
        hard_state: Some(hard_state(cut + 10, 1)),
        truncate_after: Some(index(cut)),
        append,
        ..WriteBatch::default()
    };
    log.change(batch(2, entries(3..=4, 2))).await?;
    log.change(batch(4, entries(5..=9, 2))).await?;
    log.change(batch(9, Vec::new())).await?;
    log.change(batch(90, entries(10..=10, 2))).await
}

/// A batch whose append does not follow its truncation is refused. If batches are atomic, no part
/// of it is applied.
pub async fn a_refusal_leaves_the_batch_undone(log: &mut Subject) -> Checked {
    log.append(entries(1..=6, 1)).await?;
    let batch =
        WriteBatch { truncate_after: Some(index(3)), ..WriteBatch::of_entries(entries(5..=6, 2)) };
    log.change(batch).await?;
    let next = log.model.last().index.get() + 1;
    log.append(entries(next..=next, 2)).await
}

/// Entries that are known to be committed are never removed (L10): a store that has not forgotten a
/// hint refuses to truncate below it, before and after an opening. A reset is not a truncation.
pub async fn committed_entries_are_not_truncated(log: &mut Subject) -> Checked {
    let hint = Some(index(4));
    let batch = WriteBatch { commit_hint: hint, ..WriteBatch::of_entries(entries(1..=6, 1)) };
    log.change_whole(batch).await?;
    refuses_below(log, 4).await?;
    log.truncate_after(index(4)).await?;
    log.append(entries(5..=7, 2)).await?;
    log.reopen_if_kept().await?;
    refuses_below(log, 4).await?;
    log.reset(id(2, 2)).await?;
    log.append(entries(3..=9, 2)).await?;
    log.truncate_after(index(3)).await
}

async fn refuses_below(log: &mut Subject, committed: u64) -> Checked {
    let known = log.store().recover().await;
    if !known.is_ok_and(|known| known.commit_hint == index(committed)) {
        return Err(Halt::DoesNotApply("the store forgets commit hints"));
    }
    for cut in [committed - 1, 0] {
        log.note(&format!("truncate after {cut}, where {committed} is committed"));
        let result = log.store().truncate_after(index(cut)).await;
        let wanted = Refusal::TruncateBelowCommit { committed: index(committed) };
        let is_refused =
            result.as_ref().is_err_and(|error| error.kind == LogErrorKind::Refused(wanted));
        promised(16, is_refused, || {
            format!(
                "a truncation of committed entries was not refused with the right error: {result:?}"
            )
        })?;
    }
    log.look(After::Refused).await
}
