//! Writes that arrive after the process that requested them has ended.
//!
//! A store that never blocks hands its writes to the kernel and goes on. When its process is
//! killed, a direct write may still be on its way to the disk: the device owns it then, and no file
//! lock waits for it. The next process opens the store, does not see the write, and continues to
//! work; the write may land at any time. It must not overwrite what that process acknowledged (P1).
//!
//! A late write is harmless after a call that waits for it, such as a change of the file's size or
//! a hole on Linux file systems, or if a new file replaces the old one.
//!
//! Absent: writes of a thread. A thread does not end before its `pwrite` does, so the process, and
//! with it the lock, lasts as long. Hence a store that declares that it blocks is not tested.

use super::cuts::{CutRun, a_little_more, fresh_dir};
use super::recording::{Beginning, Recording, open_in};
use super::verdict;
use crate::conformance::report::Checked;
use crash_disk::{Change, History};

/// One of this many moments is the end of a process whose last write is still on its way.
const LATE: usize = 4;

impl CutRun<'_> {
    /// For some of the direct writes of a recording, lets the write arrive late.
    pub(super) async fn land_late_writes(
        &mut self,
        recording: &Recording,
        count: usize,
    ) -> Checked {
        let is_direct = |change: &Change| matches!(change, Change::Write { is_direct: true, .. });
        let changes = &recording.history.changes;
        let first = recording.began();
        let candidates = (first..changes.len()).filter(|at| is_direct(&changes[*at]));
        let candidates = candidates.filter(|at| !recording.is_founding(*at));
        let mut candidates: Vec<usize> = candidates.collect();
        for _ in 0..count.div_ceil(LATE) {
            if candidates.is_empty() {
                break;
            }
            let chosen = self.rng.below(candidates.len() as u64) as usize;
            let landed = self.land_late(recording, candidates.swap_remove(chosen)).await;
            landed.map_err(|halt| self.with_command(halt))?;
        }
        Ok(())
    }

    /// The process is killed while its write `at` is on its way. The store is opened and continues
    /// to work, then the write arrives, and the store is opened once more.
    async fn land_late(&mut self, recording: &Recording, at: usize) -> Checked {
        self.opened += 1;
        let (legal, _) = recording.legal(at);
        let history = recording.history.upto(at);
        let late = recording.history.changes[at].clone();
        let words = History::in_words(&late, &recording.history.paths());
        let mut setup = recording.story(at);
        setup
            .push(format!("the process is killed while the kernel still has one request: {words}"));
        let (founded, legal) = (recording.founded, Some(legal));
        let beginning = Beginning { history, founded, legal, setup };
        let mut next = self.workload.record(beginning, a_little_more).await?;
        let lands = self.moment_of_landing(&next, &late);
        let end = next.history.changes.len();
        next.history.changes.insert(lands, late);
        let mut lines = next.story(end);
        lines.push(format!("the write lands after {lands} of {end} operations of the disk"));
        (self.workload.say)(&lines);
        let dir = fresh_dir();
        next.history.seen().write_into(dir.path()).expect("an image can be written");
        let mut store = verdict::opened(open_in(self.workload.place, dir.path()).await)?;
        let (legal, older) = next.legal(end);
        verdict::of(store.as_mut(), &legal, &older, self.workload.atomic).await.map(drop)
    }

    /// The moment at which the late write lands: usually last of all; never after a call of the
    /// next process that waits for it.
    fn moment_of_landing(&mut self, next: &Recording, late: &Change) -> usize {
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
