//! Where a log begins and ends, and to which member it belongs.

use raft_core::storage::WriteBatch;
use raft_core::types::{ClusterId, Identity};

use crate::conformance::report::{Checked, promised};
use crate::conformance::samples::{entries, entry, hard_state, id, identity, index, node, sized};
use crate::conformance::subject::Subject;

/// A new store has no entry, boundary, vote or identity, and index 0 has term 0.
pub async fn a_fresh_store_is_blank(log: &mut Subject) -> Checked {
    let bounds = log.store().bounds();
    promised(6, bounds.is_blank(), || format!("a fresh store shows {bounds:?}"))?;
    log.term(0).await?;
    log.term(1).await?;
    log.read(1, 1, 0).await?;
    log.read(1, 2, 0).await?;
    log.append(entries(1..=1, 0)).await
}

/// The first index need not be 1.
pub async fn the_first_index_follows_the_boundary(log: &mut Subject) -> Checked {
    log.must_have_resets()?;
    log.reset(id(40, 3)).await?;
    log.append(entries(41..=43, 3)).await?;
    log.read(41, 44, u64::MAX).await?;
    log.term(40).await?;
    log.term(39).await?;
    log.append(entries(45..=45, 3)).await
}

/// After each change the bounds are those of the model.
pub async fn bounds_follow_each_change(log: &mut Subject) -> Checked {
    log.append(entries(1..=9, 1)).await?;
    log.truncate_after(index(6)).await?;
    log.append(entries(7..=8, 2)).await?;
    log.purge_upto(id(3, 1)).await?;
    let batch = WriteBatch {
        hard_state: Some(hard_state(3, 1)),
        truncate_after: Some(index(7)),
        append: entries(8..=12, 3),
        purge_upto: Some(id(8, 3)),
        ..WriteBatch::default()
    };
    log.change(batch).await?;
    log.truncate_after(index(8)).await?;
    log.reset(id(100, 3)).await?;
    log.append(entries(101..=101, 4)).await?;
    log.change(WriteBatch::default()).await
}

/// Indexes and terms around the limits of narrower integers, and around the largest number that the
/// suite uses, are stored: no key loses its order there, and no term loses its upper bits.
pub async fn numbers_of_every_width_are_stored(log: &mut Subject) -> Checked {
    log.append((1..=260).map(|at| sized(at, 1 + at / 100, 3)).collect()).await?;
    log.truncate_after(index(255)).await?;
    log.reopen_if_kept().await?;
    let edges = [1 << 16, 1 << 31, 1 << 32, 1 << 53, (1 << 63) - 4];
    if log.lacks().reset {
        // In that case no log begins at such an index, but terms and votes still have such numbers.
        for edge in edges {
            log.save(hard_state(edge + 3, edge)).await?;
            let next = log.model.last().index.get() + 1;
            log.append(entries(next..=next + 2, edge)).await?;
            log.purge_upto(id(next + 1, edge)).await?;
            log.reopen_if_kept().await?;
        }
        return Ok(());
    }
    for edge in edges {
        log.save(hard_state(edge + 3, edge)).await?;
        log.reset(id(edge - 3, edge - 2)).await?;
        log.append((edge - 2..edge + 2).map(|at| entry(at, at)).collect()).await?;
        log.read(edge - 1, edge + 2, u64::MAX).await?;
        log.truncate_after(index(edge)).await?;
        log.append(entries(edge + 1..=edge + 3, edge + 2)).await?;
        log.purge_upto(id(edge - 1, edge - 1)).await?;
        log.reopen_if_kept().await?;
    }
    Ok(())
}

/// The identity is saved once; saving the same one again succeeds, and a different one is refused,
/// whichever part differs.
pub async fn an_identity_is_saved_once(log: &mut Subject) -> Checked {
    log.must_keep_its_identity()?;
    log.save_identity(identity(1)).await?;
    log.save_identity(identity(1)).await?;
    log.save_identity(identity(2)).await?;
    log.append(entries(1..=2, 1)).await?;
    log.save_identity(identity(2)).await?;
    let own = identity(1);
    log.save_identity(Identity { cluster: ClusterId(72), ..own }).await?;
    log.save_identity(Identity { node: node(4), ..own }).await?;
    log.reset(id(9, 1)).await
}
