//! Syncs that are held at the disk, so that an answer that does not wait for its sync is caught
//! every time, not only when the disk happens to be slow.

use std::time::{Duration, Instant};

use crash_disk::Disk;
use raft_core::storage::{LogError, Store, WriteBatch};
use tokio::runtime::Handle;

use super::recording::open_in;
use super::verdict;
use crate::conformance::report::{Checked, Halt, broken, promised};
use crate::conformance::request::{by_verbs, in_words};
use crate::conformance::samples::{entries, hard_state, id, index, sized};
use crate::conformance::subject::{Subject, Way};

/// How long a store has to reach its sync, or to answer.
const REACHES_ITS_SYNC_WITHIN: Duration = Duration::from_secs(30);

/// How long the store is watched once a sync is held. A correct store cannot answer during this
/// time, however long it is; a store that does not wait answers at once.
const WATCHED_FOR: Duration = Duration::from_millis(100);

/// Makes requests while syncs are held.
pub(super) async fn check(log: &mut Subject) -> Checked {
    let disk = Disk::mount().map_err(|why| Halt::Skipped(why.to_string()))?;
    let (mut place, way) = (log.new_place(), log.way());
    let mut store = verdict::opened(open_in(place.as_mut(), disk.dir()).await)?;
    let has_resets = !log.lacks().reset;
    for batch in batches().into_iter().filter(|batch| has_resets || batch.reset.is_none()) {
        let words = in_words(&batch);
        log.note(&format!("syncs are held; {words}"));
        store = make(&disk, store, batch, way, &words)?;
    }
    Ok(())
}

fn make(
    disk: &Disk,
    mut store: Box<dyn Store>,
    batch: WriteBatch,
    way: Way,
    words: &str,
) -> Checked<Box<dyn Store>> {
    disk.hold_syncs();
    let runtime = Handle::current();
    let writing = std::thread::spawn(move || {
        let result = runtime.block_on(write_batch(store.as_mut(), &batch, way));
        (store, result)
    });
    let began = Instant::now();
    while disk.held_syncs() == 0 && !writing.is_finished() {
        if began.elapsed() > REACHES_ITS_SYNC_WITHIN {
            disk.release_syncs();
            return broken(1, format!("{words}: it neither syncs nor answers"));
        }
        std::thread::sleep(Duration::from_millis(1));
    }
    let until = Instant::now() + WATCHED_FOR;
    while !writing.is_finished() && Instant::now() < until {
        std::thread::sleep(Duration::from_millis(5));
    }
    let is_early = writing.is_finished();
    let held = disk.held_syncs();
    disk.release_syncs();
    let Ok((store, result)) = writing.join() else {
        return broken(13, format!("{words}: the store panicked"));
    };
    promised(13, result.is_ok(), || format!("{words}: a sound store fails: {result:?}"))?;
    promised(1, !is_early, || {
        format!("{words}: it was answered while none of its syncs could end ({held} were held)")
    })?;
    Ok(store)
}

async fn write_batch(store: &mut dyn Store, batch: &WriteBatch, way: Way) -> Result<(), LogError> {
    match way {
        Way::SmallVerbs => by_verbs(store, batch).await,
        Way::Write => store.write(batch.clone()).await,
    }
}

/// A vote, entries small and large, and entries that are rewritten.
fn batches() -> Vec<WriteBatch> {
    let vote = WriteBatch { hard_state: Some(hard_state(1, 2)), ..WriteBatch::default() };
    let large = (4..=5).map(|at| sized(at, 1, 20_000)).collect();
    let rewritten = WriteBatch {
        truncate_after: Some(index(3)),
        ..WriteBatch::of_entries(vec![sized(4, 2, 40)])
    };
    let reset =
        WriteBatch { reset: Some(id(40, 3)), ..WriteBatch::of_entries(entries(41..=42, 3)) };
    vec![
        vote,
        WriteBatch::of_entries(entries(1..=3, 1)),
        WriteBatch::of_entries(large),
        rewritten,
        reset,
    ]
}
