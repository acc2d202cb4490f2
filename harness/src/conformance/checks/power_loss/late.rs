//! Writes that arrive after the process that requested them has ended.
//!
//! A store that never blocks gives its writes to the kernel and continues. When its process is
//! killed, a direct write may still be in flight: it belongs to the device then, and no file lock
//! waits for it. The next process opens the store, does not see the write, and continues to work,
//! and the write may arrive at any time. It must not overwrite what that process acknowledged (P1).
//!
//! A late write is harmless after a call that waits for it, such as a change of the file's size or
//! a hole on Linux file systems, or if a new file replaces the old one.
//!
//! Deliberately absent: late writes of a thread. A thread does not end before its `pwrite` does, so
//! the process, and with it the lock, lasts as long. Hence a store that declares that it blocks is
//! not tested.

use super::cuts::{CutRun, fresh_dir, two_more_batches};
use super::recording::{Beginning, Recording, open_in};
use super::verdict;
use crate::conformance::report::Checked;
use crash_disk::{Change, History};

/// One in this many moments is the end of a process whose last write is still in flight.
const LATE: usize = 4;

impl CutRun<'_> {
    /// Makes some of the direct writes of a recording arrive late.
    pub(super) async fn apply_late_writes(
        &mut self,
        recording: &Recording,
        count: usize,
    ) -> Checked {
        let is_direct = |change: &Change| matches!(change, Change::Write { is_direct: true, .. });
        let changes = &recording.history.changes;
        let first = recording.began();
        let candidates = (first..changes.len()).filter(|at| is_direct(&changes[*at]));
        let candidates = candidates.filter(|at| !recording.is_during_creation(*at));
        let mut candidates: Vec<usize> = candidates.collect();
        for _ in 0..count.div_ceil(LATE) {
            if candidates.is_empty() {
                break;
            }
            let chosen = self.rng.below(candidates.len() as u64) as usize;
            let landed = self.apply_late_write(recording, candidates.swap_remove(chosen)).await;
            landed.map_err(|halt| self.with_command(halt))?;
        }
        Ok(())
    }

    /// The process is killed while its write `at` is in flight. The store is opened and continues
    /// to work, then the write arrives, and the store is opened again.
    async fn apply_late_write(&mut self, recording: &Recording, at: usize) -> Checked {
        self.opened += 1;
        let (legal, _) = recording.legal(at);
        let history = recording.history.upto(at);
        let late = recording.history.changes[at].clone();
        let words = History::in_words(&late, &recording.history.paths());
        let mut setup = recording.steps_until(at);
        setup
            .push(format!("the process is killed while the kernel still has one request: {words}"));
        let (creation_end, legal) = (recording.creation_end, Some(legal));
        let beginning = Beginning { history, creation_end, legal, setup };
        let mut next = self.workload.record(beginning, two_more_batches).await?;
        let arrives = self.moment_of_arrival(&next, &late);
        let end = next.history.changes.len();
        next.history.changes.insert(arrives, late);
        let mut lines = next.steps_until(end);
        lines.push(format!("the write arrives after {arrives} of {end} operations of the disk"));
        (self.workload.log_steps)(&lines);
        let dir = fresh_dir();
        next.history.seen().write_into(dir.path()).expect("an image can be written");
        let mut store = verdict::opened(open_in(self.workload.place, dir.path()).await)?;
        let (legal, older) = next.legal(end);
        verdict::of(store.as_mut(), &legal, &older, self.workload.atomic).await.map(drop)
    }

    /// Draws the moment at which the late write arrives: in most cases after all other operations,
    /// but never after a call of the next process that waits for it.
    fn moment_of_arrival(&mut self, next: &Recording, late: &Change) -> usize {
        let (began, end) = (next.began(), next.history.changes.len());
        let waits = |change: &Change| {
            matches!(change, Change::Resize { .. } | Change::Zero { .. })
                && change.file() == late.file()
        };
        let fence = (began..end).find(|at| waits(&next.history.changes[*at]));
        match fence {
            Some(fence) => fence,
            None if self.rng.coin() => end,
            None => self.rng.between(next.opened() as u64, end as u64) as usize,
        }
    }
}
