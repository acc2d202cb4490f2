//! Power cuts, simulated on the files: the bytes that the last batch changed in the write-ahead log
//! are kept or lost, sector by sector and byte by byte.

use std::path::Path;

use proptest::prelude::*;
use raft_core::storage::{Store, WriteBatch};

use crate::samples::{Inspected, batch_for, copy, draft, is_deep, look, now, open};

const WAL: &str = "log.db-wal";
const SECTOR: usize = 512;

/// What the disk may hold when the power is cut before a sync returned: for each sector that the
/// write changed, the old bytes, the new ones, or some of both.
fn torn(before: &[u8], after: &[u8], mut seed: u64) -> Vec<u8> {
    let mut next = move || {
        seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (seed >> 33) as usize
    };
    // In some cuts nearly all of the write reaches the disk.
    let choices = if next() % 4 == 0 { 40 } else { 8 };
    let mut torn = after.to_vec();
    for (number, sector) in torn.chunks_mut(SECTOR).enumerate() {
        let start = number * SECTOR;
        let old = |at: usize| before.get(at).copied().unwrap_or(0);
        let (from, to) = match next() % choices {
            0..3 => (0, sector.len()),
            3 => (next() % sector.len(), sector.len()),
            4 => (0, next() % sector.len()),
            _ => (0, 0),
        };
        for (within, byte) in sector.iter_mut().enumerate().take(to).skip(from) {
            *byte = old(start + within);
        }
    }
    // The file may have grown less than was written.
    if torn.len() > before.len() && next() % 4 == 0 {
        torn.truncate(before.len() + next() % (torn.len() - before.len()));
    }
    torn
}

fn wal(dir: &Path) -> Vec<u8> {
    std::fs::read(dir.join(WAL)).unwrap_or_default()
}

fn inspected(dir: &Path) -> Inspected {
    let mut log = open(dir).unwrap_or_else(|error| panic!("a torn write is no damage: {error}"));
    forget_hint(look(&mut log).expect("sound"))
}

fn forget_hint(mut inspected: Inspected) -> Inspected {
    inspected.recovered.commit_hint = raft_core::types::LogIndex::ZERO;
    inspected
}

proptest! {
    #![proptest_config(ProptestConfig {
        cases: if is_deep() { 2_000 } else { 40 },
        failure_persistence: None,
        ..ProptestConfig::default()
    })]

    /// The log is opened and cut several times, each time in the middle of a batch. What was
    /// acknowledged is present, the last batch is whole or absent, and what one `open` showed the
    /// next one shows.
    #[test]
    fn a_power_cut_loses_the_last_batch_or_nothing(
        lives in prop::collection::vec((prop::collection::vec(draft(), 1..12), any::<u64>()), 1..6),
    ) {
        let mut dir = tempfile::tempdir().expect("a directory");
        for (drafts, seed) in &lives {
            let mut log = open(dir.path()).expect("opens");
            let (mut before, mut old_wal) = (look(&mut log).expect("sound"), wal(dir.path()));
            let mut old_database = std::fs::read(dir.path().join("log.db")).expect("is there");
            for (mark, draft) in drafts.iter().enumerate() {
                if mark > 0 {
                    old_wal = wal(dir.path());
                    old_database = std::fs::read(dir.path().join("log.db")).expect("is there");
                    before = look(&mut log).expect("sound");
                }
                let batch: WriteBatch = batch_for(&before, draft, *seed ^ mark as u64);
                now(log.write(batch)).expect("sound");
            }
            let after = look(&mut log).expect("sound");
            let cut = copy(dir.path());
            drop(log);
            let new_wal = wal(dir.path());
            let is_checkpointed =
                std::fs::read(cut.path().join("log.db")).expect("is there") != old_database;
            // A header is synced before its frames are written, and a commit before its checkpoint.
            let is_restarted = old_wal.get(..32) != new_wal.get(..32);
            if !is_checkpointed {
                let mut torn = torn(&old_wal, &new_wal, *seed);
                if is_restarted && seed % 3 == 0 {
                    // The cut came before the header's own sync.
                    torn = old_wal.clone();
                    let (from, to) = ((seed % 7) as usize * 3, (seed % 5) as usize * 8);
                    let range = from.min(to)..to.max(from);
                    torn.resize(torn.len().max(32), 0);
                    torn[range.clone()].copy_from_slice(&new_wal[range]);
                } else if is_restarted {
                    let kept = torn.len().min(32);
                    torn[..kept].copy_from_slice(&new_wal[..kept]);
                    torn.extend(&new_wal[kept..32.max(kept)]);
                }
                std::fs::write(cut.path().join(WAL), torn).expect("writes");
            }
            let seen = inspected(cut.path());
            let (before, after) = (forget_hint(before), forget_hint(after));
            let is_legal = seen == after || (seen == before && !is_checkpointed);
            prop_assert!(is_legal, "{:?}", seen.bounds);
            prop_assert_eq!(inspected(copy(cut.path()).path()), seen);
            dir = cut;
        }
    }
}
