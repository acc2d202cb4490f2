//! A test that is independent of the simulated disk: a store works on a real file system whose
//! power is really cut.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;

use raft_core::storage::{Store, WriteBatch};

use super::recording::{open_in, parts};
use super::{Drafts, verdict};
use crate::conformance::interrupted::states_during;
use crate::conformance::journal::Journal;
use crate::conformance::model::Model;
use crate::conformance::place::Place;
use crate::conformance::report::{Checked, Halt};
use crate::conformance::request::{by_verbs, check_answer, in_words};
use crate::conformance::settings::setting;
use crate::conformance::subject::Way;
use crate::rng::Rng;
use crash_disk::RealDisk;

/// How often the power is cut by default; `KONTIKI_CUTS` changes it.
const ROUNDS: u64 = 4;

/// The maximum number of batches in a round.
const BATCHES: u64 = 24;

/// The latest moment of a cut that comes while the store writes, in microseconds.
const LATEST_CUT: u64 = 30_000;

pub(super) struct RealCutRun<'a> {
    pub(super) place: &'a mut dyn Place,
    pub(super) way: Way,
    pub(super) atomic: bool,
    pub(super) journal: &'a Journal,
    pub(super) seed: u64,
}

/// The states that may be found after a cut.
struct Bounds {
    legal: Vec<Model>,
    older: Vec<Model>,
}

impl RealCutRun<'_> {
    pub(super) async fn watch(&mut self) -> Checked {
        let disk = RealDisk::mount();
        let disk = disk.map_err(|why| Halt::Skipped(format!("no ext4 on a loop device: {why}")))?;
        let mut rng = Rng::stream(self.seed, "real cuts", 0);
        let mut drafts = Drafts::new(self.seed, self.place.lacks());
        let mut bounds = Bounds { legal: vec![Model::default()], older: Vec::new() };
        for round in 0..=setting("KONTIKI_CUTS").unwrap_or(ROUNDS) {
            let mut store = verdict::opened(open_in(self.place, &disk.dir()).await)?;
            let Bounds { legal, older } = &bounds;
            let seen = verdict::of(store.as_mut(), legal, older, self.atomic).await?;
            self.journal.replace(&[format!("open after {round} cuts, at {}", seen.last())]);
            // Every other time the store is idle, so that a store that never syncs is caught.
            let falling = Arc::new(AtomicBool::new(false));
            let cutter = rng.coin().then(|| {
                let (point, wait) = (disk.dir(), Duration::from_micros(rng.below(LATEST_CUT)));
                let falling = falling.clone();
                thread::spawn(move || {
                    thread::sleep(wait);
                    falling.store(true, Ordering::SeqCst);
                    crash_disk::cut(point.parent().unwrap_or(Path::new("/")))
                })
            });
            bounds = self.work(store.as_mut(), seen, &mut drafts, &falling).await?;
            let cut = match cutter {
                Some(cutter) => cutter.join().expect("it only waits and cuts the power"),
                None => disk.cut(),
            };
            self.journal.note_line("the power is cut");
            drop(store);
            cut.and_then(|()| disk.power_on())
                .map_err(|why| Halt::Skipped(format!("no power cut on ext4: {why}")))?;
        }
        Ok(())
    }

    /// Writes until the power is cut, or enough is written. While the kernel shuts a file system
    /// down, a sync may still return without an error for bytes that are lost; a real machine
    /// answers nothing once its power is cut. So a request that is answered after the cut has
    /// started counts as unanswered (decision 0103).
    async fn work(
        &mut self,
        store: &mut dyn Store,
        seen: Model,
        drafts: &mut Drafts,
        falling: &AtomicBool,
    ) -> Checked<Bounds> {
        let mut bounds = Bounds { legal: vec![seen.clone()], older: vec![] };
        let mut model = seen;
        for _ in 0..BATCHES {
            for batch in parts(drafts.next(&model), self.way) {
                let result = self.write(store, &batch).await;
                self.journal.note(&in_words(&batch), &result);
                let states = states_during(&model, &batch, self.atomic);
                let after = states[states.len() - 1].clone();
                if falling.load(Ordering::SeqCst) {
                    bounds.legal.extend(states);
                    if result.is_err() {
                        return Ok(bounds);
                    }
                } else {
                    check_answer(result, None)?;
                    bounds.older.push(model);
                    bounds.legal = vec![after.clone()];
                }
                model = after;
            }
        }
        Ok(bounds)
    }

    async fn write(
        &self,
        store: &mut dyn Store,
        batch: &WriteBatch,
    ) -> Result<(), raft_core::storage::LogError> {
        match self.way {
            Way::SmallVerbs => by_verbs(store, batch).await,
            Way::Write => store.write(batch.clone()).await,
        }
    }
}
