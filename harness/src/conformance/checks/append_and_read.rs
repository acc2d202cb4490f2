//! Appends, refused appends, and reads, also after the store is opened again.

use std::ops::RangeInclusive;
use std::time::{Duration, Instant};

use raft_core::storage::{Durability, WriteBatch};

use crate::conformance::report::{Checked, Halt, promised};
use crate::conformance::samples::{each_kind, entries, entry, id, index, of_bytes, sized};
use crate::conformance::subject::{Ending, Subject};

/// The size of a payload that is larger than any buffer or block of a store, in bytes.
const LARGE: usize = 9 << 20;

/// The number of entries of an append that is larger than any limit of a store's lists.
const MANY: u64 = 2500;

/// The largest index that the suite uses. A store that allocates memory for a range before it
/// checks the range fails with this index.
const FAR: u64 = u64::MAX >> 1;

/// Payloads with every byte value, and of every small length, come back exactly.
pub async fn bytes_come_back_exactly(log: &mut Subject) -> Checked {
    let every: Vec<u8> = (0..=255).collect();
    log.append(vec![of_bytes(1, 1, every.clone()), of_bytes(2, 1, Vec::new())]).await?;
    for at in 3..40 {
        log.append(vec![of_bytes(at, 1, every[at as usize..at as usize * 2].to_vec())]).await?;
    }
    log.append(vec![of_bytes(40, 1, vec![0; 5000]), of_bytes(41, 1, vec![255; 5000])]).await?;
    log.read(1, 42, u64::MAX).await?;
    log.read(2, 3, 0).await?;
    log.reopen_if_kept().await
}

/// Payloads whose length is around the limit of a length field, a block or a chunk come back.
pub async fn lengths_at_every_edge_come_back(log: &mut Subject) -> Checked {
    let edges = [1 << 8, 1 << 12, 1 << 15, 1 << 16, 1 << 17];
    let sizes = edges.iter().flat_map(|edge| [edge - 1, *edge, edge + 1]);
    log.append((1..).zip(sizes).map(|(at, size)| sized(at, 1, size)).collect()).await?;
    log.reopen_if_kept().await
}

/// An append of more entries than a page, a statement or a list of parameters holds comes back.
pub async fn many_entries_in_one_append_come_back(log: &mut Subject) -> Checked {
    log.append((1..=MANY).map(|at| sized(at, 1 + at / 500, 5)).collect()).await?;
    log.read(1, MANY + 1, u64::MAX).await?;
    log.reopen_if_kept().await?;
    log.purge_upto(id(MANY / 2, 1 + MANY / 1000)).await?;
    log.truncate_after(index(MANY / 2 + 1)).await?;
    log.reopen_if_kept().await
}

/// An append of more entries than a 16-bit counter can count, as a long queue produces it, comes
/// back. The check reads entries at the beginning and at the end. It does not apply to a store with
/// a file for each entry: the check would take minutes there, and such a store has no such counter.
pub async fn an_append_of_more_than_65536_entries_comes_back(log: &mut Subject) -> Checked {
    const ENTRIES: u64 = (1 << 16) + 40;
    const PROBE: u64 = 500;
    const BUDGET: Duration = Duration::from_secs(20);
    let append = |range: RangeInclusive<u64>| {
        WriteBatch::of_entries(range.map(|at| sized(at, 1, (at % 3) as usize)).collect())
    };
    // The quicker of two runs: the machine may have paused during one.
    let mut quickest = Duration::MAX;
    for first in [1, PROBE + 1] {
        let began = Instant::now();
        log.change_unseen(append(first..=first + PROBE - 1)).await?;
        quickest = quickest.min(began.elapsed());
    }
    if quickest * (ENTRIES / PROBE) as u32 > BUDGET {
        return Err(Halt::DoesNotApply("the store takes too long for an append of 65,576 entries"));
    }
    let end = 2 * PROBE + ENTRIES;
    log.change_unseen(append(2 * PROBE + 1..=end)).await?;
    let kept = log.info().durability != Durability::Volatile;
    for reopens in [false, true] {
        if reopens && kept {
            log.end(Ending::Dropped).await?;
            let opened = log.open_again().await;
            promised(1, opened.is_ok(), || format!("the store does not open again: {opened:?}"))?;
        }
        let last = log.store().bounds().last;
        promised(if reopens { 1 } else { 11 }, last == log.model.last(), || {
            format!("the last entry is {last} and must be {}", log.model.last())
        })?;
        log.read(1, 4, u64::MAX).await?;
        log.read(end - 50, end + 1, u64::MAX).await?;
        log.term(end).await?;
    }
    Ok(())
}

/// An entry of 9 MiB between small ones comes back.
pub async fn a_large_payload_comes_back(log: &mut Subject) -> Checked {
    log.append(vec![entry(1, 1)]).await?;
    log.append(vec![entry(2, 1), sized(3, 1, LARGE), entry(4, 1)]).await?;
    log.read(1, 5, 100).await?;
    log.read(3, 5, 0).await?;
    log.reopen_if_kept().await
}

/// Each kind of entry comes back, with and without a payload.
pub async fn every_kind_comes_back(log: &mut Subject) -> Checked {
    log.append(each_kind(1, 1)).await?;
    log.read(1, 8, u64::MAX).await.map(|_| ())
}

/// An entry that does not follow the last one is refused.
pub async fn a_gap_is_refused(log: &mut Subject) -> Checked {
    log.append(entries(2..=2, 1)).await?;
    log.append(entries(1..=3, 1)).await?;
    log.append(entries(5..=5, 1)).await?;
    log.append(entries(50..=51, 2)).await?;
    log.append(entries(4..=4, 1)).await
}

/// Index 0 is before every log; an index that is already in the log needs a truncation first.
pub async fn an_append_below_the_end_is_refused(log: &mut Subject) -> Checked {
    log.append(entries(0..=0, 1)).await?;
    log.append(entries(1..=4, 1)).await?;
    log.append(entries(4..=4, 2)).await?;
    log.append(entries(2..=6, 2)).await?;
    log.append(entries(4..=4, 1)).await?;
    log.purge_upto(id(4, 1)).await?;
    log.append(entries(4..=4, 1)).await?;
    log.append(entries(5..=5, 1)).await
}

/// The entries of one append must follow each other too.
pub async fn a_hole_inside_an_append_is_refused(log: &mut Subject) -> Checked {
    log.append(vec![entry(1, 1), entry(3, 1)]).await?;
    log.append(vec![entry(1, 1), entry(2, 1), entry(2, 1)]).await?;
    log.append(vec![entry(1, 1), entry(2, 1), entry(1, 1)]).await?;
    log.append(entries(1..=2, 1)).await
}

/// Terms never fall along a log, nor from the boundary to the first entry.
pub async fn a_falling_term_is_refused(log: &mut Subject) -> Checked {
    log.append(entries(1..=3, 4)).await?;
    log.append(entries(4..=4, 3)).await?;
    log.append(vec![entry(4, 5), entry(5, 4)]).await?;
    log.append(entries(4..=4, 4)).await?;
    log.purge_upto(id(4, 4)).await?;
    log.append(entries(5..=5, 3)).await?;
    log.reset(id(9, 7)).await?;
    log.append(entries(10..=10, 6)).await?;
    log.append(entries(10..=10, 7)).await
}

/// An append without entries succeeds, and changes nothing.
pub async fn an_append_of_no_entries_succeeds(log: &mut Subject) -> Checked {
    log.append(Vec::new()).await?;
    log.append(entries(1..=2, 1)).await?;
    log.append(Vec::new()).await
}

/// Ranges of every length at every index are read, also across several appends.
pub async fn a_read_returns_its_range(log: &mut Subject) -> Checked {
    for at in 1..=12 {
        log.append(entries(at..=at, 1 + at / 4)).await?;
    }
    log.purge_upto(id(2, 1)).await?;
    for from in 3..=12 {
        for to in from..=13 {
            log.read(from, to, u64::MAX).await?;
        }
    }
    Ok(())
}

/// A read returns as many entries as fit, at least one, and never a part of one.
pub async fn a_read_returns_what_fits_and_at_least_one_entry(log: &mut Subject) -> Checked {
    let sizes = [100, 50, 0, 0, 700, 1];
    let entries = (1..).zip(sizes).map(|(at, size)| sized(at, 1, size)).collect();
    log.append(entries).await?;
    for from in 1..=6 {
        for max_bytes in [0, 1, 50, 99, 100, 101, 149, 150, 151, 700, 849, 850, 851, u64::MAX] {
            log.read(from, 7, max_bytes).await?;
        }
        log.read(from, 7, 1 << 32).await?;
    }
    Ok(())
}

/// A read below the log returns `Compacted` with the boundary; a read beyond the log, however far,
/// returns `Unavailable` with the last index; an inverted range is refused.
pub async fn a_read_outside_the_log_returns_the_reason(log: &mut Subject) -> Checked {
    log.append(entries(1..=9, 1)).await?;
    log.purge_upto(id(4, 1)).await?;
    for (from, to) in [(1, 3), (4, 5), (4, 9), (0, 2), (9, 11), (10, 11), (5, 50), (1, 50)] {
        log.read(from, to, u64::MAX).await?;
        log.read(from, to, 0).await?;
    }
    for (from, to) in [(5, FAR), (FAR - 1, FAR), (1, FAR)] {
        log.read(from, to, u64::MAX).await?;
    }
    log.term(FAR).await?;
    log.read(7, 6, u64::MAX).await?;
    log.read(5, 10, u64::MAX).await.map(|_| ())
}

/// The term of each entry and of the boundary can be read, but not below it, nor beyond the end.
pub async fn a_term_can_be_read_for_each_entry(log: &mut Subject) -> Checked {
    log.append(entries(1..=3, 1)).await?;
    log.append(entries(4..=6, 5)).await?;
    log.append(entries(7..=7, 6)).await?;
    for purged in [0, 2, 4, 7] {
        log.purge_upto(id(purged, if purged > 3 { 5 + purged / 7 } else { 1 })).await?;
        for index in 0..=9 {
            log.term(index).await?;
        }
    }
    Ok(())
}
