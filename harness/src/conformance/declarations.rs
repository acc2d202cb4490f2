//! What a store declares, as far as it can be seen without a power cut.

use raft_core::storage::WriteBatch;

use super::report::{Checked, Halt, promised};
use super::samples::{entries, hard_state, id, index};
use super::subject::{Ending, Subject, Way};

/// A declaration has words in it, and is the same while the store is used and when it is opened
/// again.
pub async fn what_is_declared_stays(log: &mut Subject) -> Checked {
    let declared = log.info().clone();
    let named = !declared.backend.is_empty() && !declared.sync_verb.is_empty();
    promised(1, named, || format!("a declaration lacks a name: {declared:?}"))?;
    log.append(entries(1..=3, 1)).await?;
    log.save(hard_state(2, 1)).await?;
    let later = log.store().info();
    promised(1, later == declared, || format!("it declared {declared:?}, and now {later:?}"))?;
    log.reopen(Ending::Dropped).await?;
    let later = log.store().info();
    promised(1, later == declared, || format!("it declared {declared:?}, and now {later:?}"))
}

/// A store that declares `atomic_batch` does all of a batch or nothing, wherever in it the refused
/// verb stands.
pub async fn an_atomic_batch_is_refused_as_a_whole(log: &mut Subject) -> Checked {
    if !log.info().atomic_batch {
        return Err(Halt::DoesNotApply("the store does not declare `atomic_batch`"));
    }
    if log.way() == Way::SmallVerbs {
        return Ok(());
    }
    log.append(entries(1..=6, 3)).await?;
    let save = WriteBatch { hard_state: Some(hard_state(9, 1)), ..WriteBatch::default() };
    log.change(WriteBatch { append: entries(8..=8, 3), ..save.clone() }).await?;
    log.change(WriteBatch { append: entries(7..=7, 2), ..save.clone() }).await?;
    log.change(WriteBatch { purge_upto: Some(id(7, 3)), ..save.clone() }).await?;
    log.change(WriteBatch { purge_upto: Some(id(5, 2)), ..save.clone() }).await?;
    let cut = WriteBatch { truncate_after: Some(index(2)), ..save.clone() };
    log.change(WriteBatch { append: entries(4..=4, 3), ..cut.clone() }).await?;
    log.change(WriteBatch { purge_upto: Some(id(5, 3)), ..cut }).await?;
    let reset = WriteBatch { reset: Some(id(20, 4)), ..save };
    log.change(WriteBatch { truncate_after: Some(index(19)), ..reset.clone() }).await?;
    log.change(WriteBatch { append: entries(7..=7, 4), ..reset }).await?;
    log.append(entries(7..=7, 3)).await
}
