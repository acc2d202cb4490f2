//! Simulates power cuts on the files: the bytes that the last batch added to the write-ahead log
//! are kept or lost, sector by sector and byte by byte.

use std::path::Path;

use proptest::prelude::*;
use raft_core::storage::{Store, WriteBatch};

use crate::samples::{
    Inspected, batch_for, copy, draft, entries, find_wal, is_deep, look, newest_wal, now, open,
};

const SECTOR: usize = 512;

/// A possible content of the disk when the power is cut before a sync returned: of each sector that
/// the write changed nothing, all, or a part; and the file may have grown less than was written.
fn torn(before: usize, after: &[u8], mut seed: u64) -> Vec<u8> {
    let mut next = move || {
        seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (seed >> 33) as usize
    };
    // In some cuts nearly all of the write survives.
    let choices = if next() % 4 == 0 { 40 } else { 8 };
    let mut torn = after.to_vec();
    for (number, sector) in torn.chunks_mut(SECTOR).enumerate() {
        let (from, to) = match next() % choices {
            0..3 => (0, sector.len()),
            3 => (next() % sector.len(), sector.len()),
            4 => (0, next() % sector.len()),
            _ => (0, 0),
        };
        let old = before.saturating_sub(number * SECTOR);
        for byte in sector.iter_mut().take(to).skip(from.max(old)) {
            *byte = 0;
        }
    }
    if torn.len() > before && next() % 4 == 0 {
        torn.truncate(before + next() % (torn.len() - before));
    }
    torn
}

/// A write-ahead log whose content is in tables may be removed at any time; a newer one exists
/// then.
fn newest_wal_and_length(dir: &Path) -> (String, u64) {
    loop {
        if let Some(name) = find_wal(dir)
            && let Ok(found) = std::fs::metadata(dir.join(&name))
        {
            return (name, found.len());
        }
    }
}

fn inspected(dir: &Path) -> Inspected {
    let mut log = open(dir).unwrap_or_else(|error| panic!("a torn write is not damage: {error}"));
    forget_hint(look(&mut log).expect("sound"))
}

fn forget_hint(mut inspected: Inspected) -> Inspected {
    inspected.recovered.commit_hint = raft_core::types::LogIndex::ZERO;
    inspected
}

proptest! {
    #![proptest_config(ProptestConfig {
        cases: if is_deep() { 1_000 } else { 30 },
        failure_persistence: None,
        ..ProptestConfig::default()
    })]

    /// Opens the log repeatedly, and cuts the power in the middle of a batch each time.
    /// Acknowledged data survives, the last batch survives completely or not at all, and what one
    /// opening shows the next one shows too.
    #[test]
    fn a_power_cut_loses_the_last_batch_or_nothing(
        lives in prop::collection::vec((prop::collection::vec(draft(), 1..12), any::<u64>()), 1..5),
    ) {
        let dir = tempfile::tempdir().expect("a directory");
        for (drafts, seed) in &lives {
            let mut log = open(dir.path()).expect("opens");
            let mut before = look(&mut log).expect("sound");
            let mut old = (newest_wal(dir.path()), 0);
            for (mark, draft) in drafts.iter().enumerate() {
                before = look(&mut log).expect("sound");
                old = newest_wal_and_length(dir.path());
                let batch: WriteBatch = batch_for(&before, draft, *seed ^ mark as u64);
                now(log.write(batch)).expect("sound");
            }
            let after = look(&mut log).expect("sound");
            drop(log);
            let (name, length) = old;
            // A batch may have been the first in a new write-ahead log; then it is not torn.
            let is_torn = name == newest_wal(dir.path());
            if is_torn {
                let path = dir.path().join(name);
                let whole = std::fs::read(&path).expect("is there");
                std::fs::write(&path, torn(length as usize, &whole, *seed)).expect("writes");
            }
            let seen = inspected(dir.path());
            let (before, after) = (forget_hint(before), forget_hint(after));
            let is_legal = seen == after || (seen == before && is_torn);
            prop_assert!(is_legal, "{:?}", seen.bounds);
            prop_assert_eq!(inspected(copy(dir.path()).path()), seen);
        }
    }
}

/// A kill can leave a batch in the page cache that never reached the disk. Once an opening has
/// shown it, a power cut must not lose it. The test removes the batch from the write-ahead log, and
/// restores everything that the opening did not sync.
#[test]
fn a_power_cut_loses_nothing_that_an_opening_showed() {
    let dir = tempfile::tempdir().expect("a directory");
    let mut log = open(dir.path()).expect("a new log");
    now(log.write(WriteBatch::of_entries(entries(1..=5, 1)))).expect("sound");
    let wal = newest_wal(dir.path());
    let on_disk = std::fs::read(dir.path().join(&wal)).expect("is there");
    now(log.write(WriteBatch::of_entries(entries(6..=9, 1)))).expect("sound");
    drop(log);
    let shown = inspected(dir.path());
    assert_eq!(shown.entries, entries(1..=9, 1));
    // The removal of the old write-ahead log may not be durable.
    std::fs::write(dir.path().join(&wal), &on_disk).expect("writes");
    assert_eq!(inspected(copy(dir.path()).path()), shown);
    let mut log = open(dir.path()).expect("opens");
    now(log.write(WriteBatch::of_entries(entries(10..=12, 1)))).expect("sound");
    drop(log);
    std::fs::write(dir.path().join(&wal), &on_disk[..on_disk.len() - 40]).expect("writes");
    assert_eq!(inspected(dir.path()).entries, entries(1..=12, 1));
}
