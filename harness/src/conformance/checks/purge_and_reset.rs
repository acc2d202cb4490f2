//! Removing the prefix of a log, and replacing the whole log by a boundary.

use std::fs;
use std::path::Path;
use std::time::{Duration, Instant};

use raft_core::storage::WriteBatch;

use crate::conformance::report::{Checked, Halt, broken};
use crate::conformance::samples::{entries, hard_state, id, identity, index, sized};
use crate::conformance::settings::is_whole;
use crate::conformance::subject::Subject;

/// The boundary's term can be read, the purged entries cannot.
pub async fn a_purge_moves_the_boundary(log: &mut Subject) -> Checked {
    log.append(entries(1..=4, 1)).await?;
    log.append(entries(5..=9, 2)).await?;
    for (purged, term) in [(1, 1), (4, 1), (5, 2)] {
        log.purge_upto(id(purged, term)).await?;
        log.read(purged, purged + 2, u64::MAX).await?;
        log.read(purged + 1, 10, u64::MAX).await?;
        log.term(purged).await?;
        log.term(purged - 1).await?;
    }
    Ok(())
}

/// An empty log still has the id that its next entry must follow.
pub async fn a_purge_of_everything_keeps_the_boundary(log: &mut Subject) -> Checked {
    log.append(entries(1..=3, 2)).await?;
    log.purge_upto(id(3, 2)).await?;
    log.term(3).await?;
    log.append(entries(1..=1, 2)).await?;
    log.append(entries(4..=4, 1)).await?;
    log.append(entries(4..=5, 2)).await?;
    log.purge_upto(id(5, 2)).await?;
    log.append(entries(6..=6, 3)).await
}

/// A purge that is late or repeated changes nothing, whatever term it names.
pub async fn a_purge_at_or_below_the_boundary_does_nothing(log: &mut Subject) -> Checked {
    log.purge_upto(id(0, 0)).await?;
    log.append(entries(1..=6, 3)).await?;
    log.purge_upto(id(4, 3)).await?;
    log.purge_upto(id(4, 3)).await?;
    log.purge_upto(id(2, 3)).await?;
    log.purge_upto(id(2, 9)).await?;
    log.purge_upto(id(0, 0)).await
}

/// Only a reset may move the boundary beyond the end.
pub async fn a_purge_beyond_the_end_is_refused(log: &mut Subject) -> Checked {
    log.purge_upto(id(1, 1)).await?;
    log.append(entries(1..=3, 1)).await?;
    log.purge_upto(id(4, 1)).await?;
    log.purge_upto(id(90, 2)).await?;
    log.purge_upto(id(3, 1)).await?;
    log.purge_upto(id(4, 1)).await
}

/// A purge that names an entry of another term is meant for another log.
pub async fn a_purge_of_another_term_is_refused(log: &mut Subject) -> Checked {
    log.append(entries(1..=3, 1)).await?;
    log.append(entries(4..=6, 3)).await?;
    log.purge_upto(id(2, 2)).await?;
    log.purge_upto(id(4, 1)).await?;
    log.purge_upto(id(4, 2)).await?;
    log.purge_upto(id(5, 4)).await?;
    log.purge_upto(id(4, 3)).await
}

/// Resets forwards, backwards, inside the log, and twice to the same boundary.
pub async fn a_reset_replaces_everything(log: &mut Subject) -> Checked {
    log.must_have_resets()?;
    log.append(entries(1..=6, 2)).await?;
    log.reset(id(30, 4)).await?;
    log.read(1, 7, u64::MAX).await?;
    log.term(30).await?;
    log.append(entries(31..=36, 4)).await?;
    log.reset(id(33, 4)).await?;
    log.append(entries(34..=34, 5)).await?;
    log.reset(id(34, 9)).await?;
    log.append(entries(35..=35, 8)).await?;
    log.reset(id(12, 3)).await?;
    log.reset(id(12, 3)).await?;
    log.append(entries(13..=14, 3)).await?;
    // The boundary is in place already, but the entries after it must still be removed.
    log.reset(id(12, 3)).await?;
    log.reopen_if_kept().await?;
    log.append(entries(13..=13, 4)).await
}

/// A batch with every verb applies them in their order: the entries are appended after the reset,
/// and the purge removes appended entries.
pub async fn a_batch_resets_first_and_purges_last(log: &mut Subject) -> Checked {
    log.must_have_resets()?;
    log.append(entries(1..=6, 2)).await?;
    let batch = WriteBatch {
        hard_state: Some(hard_state(5, 2)),
        reset: Some(id(20, 4)),
        truncate_after: Some(index(20)),
        append: entries(21..=25, 5),
        purge_upto: Some(id(23, 5)),
        commit_hint: Some(index(24)),
    };
    log.change(batch).await?;
    let batch = WriteBatch {
        truncate_after: Some(index(24)),
        append: entries(25..=27, 6),
        purge_upto: Some(id(27, 6)),
        ..WriteBatch::default()
    };
    log.change(batch).await?;
    log.append(entries(28..=28, 6)).await
}

/// A store may write the entries after each opening into a separate file, which a purge may
/// remove as a whole. It must not remove a file that ends with the first entry to be kept.
pub async fn a_purge_removes_nothing_after_it(log: &mut Subject) -> Checked {
    const ENTRIES: u64 = 12;
    for at in 1..=ENTRIES {
        log.append(vec![sized(at, 1, 40 << 10)]).await?;
        log.reopen_if_kept().await?;
    }
    for at in 1..ENTRIES {
        log.purge_upto(id(at, 1)).await?;
        log.read(at + 1, ENTRIES + 1, u64::MAX).await?;
    }
    log.reopen_if_kept().await
}

/// A log that is appended to and purged many times, with only a few entries at any time.
pub async fn many_purges_leave_the_rest_intact(log: &mut Subject) -> Checked {
    // The identity and the hard state are written once, into files that the first purges remove.
    log.save_identity(identity(5)).await?;
    log.save(hard_state(1, 2)).await?;
    for round in 0..60 {
        let first = round * 3 + 1;
        let append = (first..first + 3).map(|at| sized(at, round + 1, 1500)).collect();
        let purge_upto = (round > 1).then(|| id(first - 4, round - 1));
        log.change(WriteBatch { purge_upto, ..WriteBatch::of_entries(append) }).await?;
    }
    log.reopen_if_kept().await
}

/// How much is written and purged: the number of entries, the bytes of each, and the bytes that the
/// files may take afterwards. The first row judges a store with small files; the second row judges
/// a store with the usual files of 64 MiB, and allows two of them.
const VOLUMES: [(u64, usize, u64); 2] = [(128, 64 << 10, 4 << 20), (192, 1 << 20, 128 << 20)];

/// The number of entries between two purges, and the time after which the check gives up on a slow
/// store.
const PURGED_EVERY: u64 = 8;
const SLOW: Duration = Duration::from_secs(20);

/// A log that is purged as it grows does not grow without limit: the space is freed, or used again.
pub async fn a_purge_frees_space(log: &mut Subject) -> Checked {
    if !log.has_files() {
        return Err(Halt::DoesNotApply("the place of the store has no files"));
    }
    if log.lacks().space {
        return Err(Halt::DoesNotApply("the store is declared to give no space back"));
    }
    log.must_outlive_its_handle()?;
    let (began, mut at, mut left) = (Instant::now(), 0_u64, 0);
    for (entries, bytes, most) in VOLUMES {
        for _ in 0..entries {
            at += 1;
            let purge_upto = at.is_multiple_of(PURGED_EVERY).then(|| id(at - 2, 1));
            let batch =
                WriteBatch { purge_upto, ..WriteBatch::of_entries(vec![sized(at, 1, bytes)]) };
            log.change_unseen(batch).await?;
            if began.elapsed() > SLOW && !is_whole() {
                log.journal().tally().reduce();
                return Err(Halt::DoesNotApply("the store needs too long for these bytes"));
            }
        }
        left = taken(&log.files()?);
        if left <= most {
            return log.reopen_if_kept().await;
        }
    }
    let written: u64 = VOLUMES.iter().map(|(entries, bytes, _)| entries * *bytes as u64).sum();
    broken(
        19,
        format!(
            "{} MiB were written and all but two entries purged, and the files take {} MiB",
            written >> 20,
            left >> 20
        ),
    )
}

/// The space that the files of a directory take on the disk, in bytes.
fn taken(dir: &Path) -> u64 {
    let Ok(found) = fs::read_dir(dir) else { return 0 };
    let sizes = found.flatten().map(|found| match found.metadata() {
        Ok(metadata) if metadata.is_dir() => taken(&found.path()),
        Ok(metadata) => allocated(&metadata),
        // The file was removed in the meantime.
        Err(_) => 0,
    });
    sizes.sum()
}

#[cfg(unix)]
fn allocated(metadata: &fs::Metadata) -> u64 {
    std::os::unix::fs::MetadataExt::blocks(metadata) * 512
}

#[cfg(not(unix))]
fn allocated(metadata: &fs::Metadata) -> u64 {
    metadata.len()
}
