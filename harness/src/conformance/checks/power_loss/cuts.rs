//! Where the power is cut, and how the result is checked.

use std::collections::BTreeSet;
use std::future::Future;
use std::path::Path;
use std::pin::Pin;
use std::time::{Duration, Instant};

use raft_core::storage::{Durability, LogError, Store, WriteBatch};
use tempfile::TempDir;

use super::recording::{Beginning, Recording, Step, Workload, open_in};
use super::verdict;
use crate::conformance::contents::{After, Contents};
use crate::conformance::model::Model;
use crate::conformance::place::Place;
use crate::conformance::report::{Broken, Checked, Halt, broken, promised};
use crate::conformance::request::{by_verbs, check_answer};
use crate::conformance::samples::{hard_state, sized};
use crate::conformance::subject::Way;
use crate::conformance::tally::Tally;
use crate::rng::Rng;
use crash_disk::crash::{Cut, FATES, Fate, Image, Names};
use crash_disk::{Change, History};

/// One in `CUT_AGAIN` images is also opened by a store that continues to work until the power is
/// cut again, and one in `KILLED` is also examined as the files that a killed process left.
const CUT_AGAIN: u64 = 4;
const KILLED: u64 = 3;

/// How many more cuts each of these gets, and how deeply cuts nest: a recovery that is cut, and
/// whose own recovery is cut.
const CUTS_INSIDE: usize = 3;
const DEEPEST: u32 = 2;

/// How many operations of the disk the report of a failure shows.
const SHOWN_CHANGES: usize = 24;
const SHOWN_MISSING: usize = 16;

/// How thoroughly a store is tested.
#[derive(Clone, Copy, Debug)]
pub(super) struct CutOptions {
    pub(super) seed: u64,
    /// Whether the power is cut, or the process only killed.
    pub(super) power: bool,
    /// Whether names are durable only as POSIX promises.
    pub(super) strict_names: bool,
    /// Whether the store hands its writes to the kernel and does not wait for them by blocking.
    pub(super) writes_asynchronously: bool,
    /// The number of moments that are tried.
    pub(super) images: u64,
}

/// The state of a check.
pub(super) struct CutRun<'a> {
    pub(super) workload: Workload<'a>,
    pub(super) depth: CutOptions,
    pub(super) rng: Rng,
    /// The number of images that were opened.
    pub(super) opened: u64,
    /// What the run counts, and the settings that it ran with.
    pub(super) tally: Tally,
}

impl CutRun<'_> {
    /// Cuts the power at many moments of a recording, and checks what is left each time.
    pub(super) async fn examine(&mut self, recording: &Recording, count: usize) -> Checked {
        self.examine_at(recording, count, 0).await?;
        if self.depth.writes_asynchronously {
            self.apply_late_writes(recording, count).await?;
        }
        Ok(())
    }

    fn examine_at<'b>(
        &'b mut self,
        recording: &'b Recording,
        count: usize,
        depth: u32,
    ) -> Pin<Box<dyn Future<Output = Checked> + 'b>> {
        Box::pin(async move {
            let cuts = self.cuts(recording, count);
            for cut in &cuts {
                let done = self.open_and_check(recording, cut).await;
                done.map_err(|halt| self.with_command(halt))?;
            }
            for cut in cuts.iter().filter(|cut| !recording.is_during_creation(cut.at)) {
                let done = self.examine_further(recording, cut, depth).await;
                done.map_err(|halt| self.with_command(halt))?;
            }
            Ok(())
        })
    }

    /// Opens what is left after a cut.
    async fn open_and_check(&mut self, recording: &Recording, cut: &Cut) -> Checked {
        self.opened += 1;
        let image = recording.history.cut(cut);
        (self.workload.log_steps)(&self.describe(recording, cut, &image));
        let (legal, older) = recording.legal(cut.at);
        let dir = fresh_dir();
        image.tree.write_into(dir.path()).expect("an image can be written");
        let opened = open_in(self.workload.place, dir.path()).await;
        if opened.is_err() && recording.is_during_creation(cut.at) {
            return Ok(());
        }
        let mut store = verdict::opened(opened)?;
        let seen = verdict::of(store.as_mut(), &legal, &older, self.workload.atomic).await;
        let seen = seen.map_err(|halt| second_cut(halt, recording, cut))?;
        self.continue_writing(store, seen, dir.path()).await
    }

    /// Examines some cuts further: a store opens what is left and continues to work until the power
    /// is cut again; or the process is only killed.
    async fn examine_further(&mut self, recording: &Recording, cut: &Cut, depth: u32) -> Checked {
        if !self.depth.power || depth >= DEEPEST {
            return Ok(());
        }
        let (legal, _) = recording.legal(cut.at);
        if self.rng.below(CUT_AGAIN) == 0 {
            let image = recording.history.cut(cut);
            let setup = self.describe(recording, cut, &image);
            let history = History { base: image.tree, changes: Vec::new() };
            let legal = Some(legal.clone());
            let beginning = Beginning { history, creation_end: 0, legal, setup };
            let next = self.workload.record(beginning, two_more_batches).await?;
            self.examine_at(&next, CUTS_INSIDE, depth + 1).await?;
        }
        if depth == 0 && self.rng.below(KILLED) == 0 {
            self.kill(recording, cut, legal).await?;
        }
        Ok(())
    }

    /// The process is killed instead: everything that it wrote is visible, but that does not make
    /// it durable. The store is opened, and before any request, the power is cut.
    async fn kill(&mut self, recording: &Recording, cut: &Cut, legal: Vec<Model>) -> Checked {
        let mut setup = recording.steps_until(cut.at);
        setup.push("the process is killed; what it wrote is still visible".to_owned());
        let history = recording.history.upto(cut.at);
        let (creation_end, legal) = (recording.creation_end, Some(legal));
        let beginning = Beginning { history, creation_end, legal, setup };
        let next = self.workload.record(beginning, |_| Vec::new()).await?;
        self.examine_at(&next, CUTS_INSIDE, DEEPEST).await
    }

    /// A store that was opened after a cut accepts new entries, and shows them when it is opened
    /// again, without anything that was lost.
    async fn continue_writing(
        &mut self,
        mut store: Box<dyn Store>,
        seen: Model,
        dir: &Path,
    ) -> Checked {
        let mut model = seen;
        for step in two_more_batches(&model) {
            let Step::Write(batch) = step else { continue };
            let course = model.course(&batch);
            let result = match self.workload.way {
                Way::SmallVerbs => by_verbs(store.as_mut(), &batch).await,
                Way::Write => store.write(batch).await,
            };
            promised(3, result.is_ok(), || format!("the store does not continue: {result:?}"))?;
            model = course.states[course.states.len() - 1].clone();
        }
        drop(store);
        let mut store = verdict::opened(open_in(self.workload.place, dir).await)?;
        let contents = Contents::of(store.as_mut()).await?;
        contents.check(&model, After::Reopened)
    }

    /// Chooses the cuts: first moments at which the store had just answered, where everything that
    /// is not durable is lost; then the moments before and after syncs, and any other moments.
    fn cuts(&mut self, recording: &Recording, count: usize) -> Vec<Cut> {
        let changes = &recording.history.changes;
        let (first, end) = (recording.began(), changes.len());
        let is_sync =
            |change: &Change| matches!(change, Change::Sync { .. } | Change::SyncRange { .. });
        let syncs = (first..end).filter(|at| is_sync(&changes[*at]));
        let edges: Vec<usize> = syncs.flat_map(|at| [at, at, at, at + 1]).collect();
        let mut answers = recording.answers();
        for place in (1..answers.len()).rev() {
            answers.swap(place, self.rng.below(place as u64 + 1) as usize);
        }
        answers.truncate(count.div_ceil(2));
        let mut cuts: Vec<Cut> = Vec::new();
        let mut known = BTreeSet::new();
        let mut spare = 4 * count;
        while cuts.len() < count && spare > 0 {
            spare -= 1;
            let (at, fate) = match answers.pop() {
                Some(at) => (at, Fate::Lost),
                None if !edges.is_empty() && self.rng.coin() => {
                    (self.rng.one_of(&edges), self.rng.one_of(&FATES[2..]))
                }
                None => {
                    let at = self.rng.between(first as u64, end as u64) as usize;
                    (at, self.rng.one_of(&FATES))
                }
            };
            let fate = if self.depth.power { fate } else { Fate::Kept };
            let leaves_no_choice = matches!(fate, Fate::Lost | Fate::Kept);
            if leaves_no_choice && !known.insert((at, fate == Fate::Lost)) {
                continue;
            }
            let names = if self.depth.strict_names {
                Names::Strict
            } else {
                Names::CarriedBefore(recording.creation_end)
            };
            cuts.push(Cut { at, fate, names, seed: self.rng.draw() });
        }
        cuts
    }

    /// The steps that led to a cut, and what the cut removed.
    fn describe(&self, recording: &Recording, cut: &Cut, image: &Image) -> Vec<String> {
        let mut lines = recording.steps_until(cut.at);
        let changes = &recording.history.changes[..cut.at];
        let paths = recording.history.paths();
        let from = recording.current_step(cut.at).max(cut.at.saturating_sub(SHOWN_CHANGES));
        for change in &changes[from.min(cut.at)..] {
            lines.push(format!("    on the disk: {}", History::in_words(change, &paths)));
        }
        let end = if self.depth.power { "the power is cut" } else { "the process is killed" };
        lines.push(if image.missing.is_empty() {
            format!("{end} after {} operations of the disk; nothing is missing", cut.at)
        } else {
            format!("{end} after {} operations of the disk; missing since:", cut.at)
        });
        let skipped = image.missing.len().saturating_sub(SHOWN_MISSING);
        if skipped > 0 {
            lines.push(format!("    {skipped} operations before"));
        }
        let missing = image.missing.iter().skip(skipped);
        lines.extend(missing.map(|missing| format!("    {missing}")));
        lines
    }

    pub(super) fn with_command(&self, halt: Halt) -> Halt {
        match halt {
            Halt::Broken(Broken { promise, mut what }) => {
                if !what.contains("KONTIKI_SEED") {
                    let (image, seed, images) = (self.opened, self.depth.seed, self.depth.images);
                    self.tally.set("KONTIKI_SEED", seed);
                    self.tally.set("KONTIKI_IMAGES", images);
                    what.push_str(&format!(" (image {image} of KONTIKI_SEED={seed})"));
                }
                Halt::Broken(Broken { promise, what })
            }
            other => other,
        }
    }
}

/// Names the promise that a loss after a second cut breaks: what an opened store showed must be
/// durable.
fn second_cut(halt: Halt, recording: &Recording, cut: &Cut) -> Halt {
    match halt {
        Halt::Broken(Broken { what, .. }) if recording.is_only_opened(cut.at) => {
            let what = format!("what `open` had shown is not there any more: {what}");
            Halt::Broken(Broken { promise: 2, what })
        }
        other => other,
    }
}

/// Two more batches: a new term with a new entry, and one that rewrites it.
pub(super) fn two_more_batches(model: &Model) -> Vec<Step> {
    let term = model.last().term.get().max(model.hard_state.term.get()) + 1;
    let next = model.last().index.get() + 1;
    let first = WriteBatch {
        hard_state: Some(hard_state(term, 1)),
        ..WriteBatch::of_entries(vec![sized(next, term, 90)])
    };
    let second = WriteBatch {
        truncate_after: Some(model.last().index),
        ..WriteBatch::of_entries(vec![sized(next, term + 1, 50), sized(next + 1, term + 1, 700)])
    };
    vec![Step::Write(first), Step::Write(second)]
}

/// How many bytes must be free in the file system in memory for images to be placed there. It is
/// small in containers.
const MIN_FREE_BYTES: u64 = 1 << 30;

/// A directory for an image: in memory, if there is such a file system with enough space.
pub(super) fn fresh_dir() -> TempDir {
    let fast = Path::new("/dev/shm");
    let free = rustix::fs::statvfs(fast).map_or(0, |it| it.f_bavail.saturating_mul(it.f_frsize));
    let made = if free >= MIN_FREE_BYTES {
        tempfile::Builder::new().prefix("kontiki-image-").tempdir_in(fast)
    } else {
        tempfile::tempdir()
    };
    made.or_else(|_| tempfile::tempdir()).expect("a temporary directory can be made")
}

/// Checks that the place's store is completely in the directory in which it is opened: data that is
/// written in one directory must not be visible in another. The place cannot be used afterwards.
/// Returns how long an opening takes, the shorter of two times.
pub(super) async fn check_movable(
    mut place: Box<dyn Place>,
    declared: Durability,
) -> Checked<Duration> {
    let (one, other) = (fresh_dir(), fresh_dir());
    let lies_in_files = place.files().is_some();
    let began = Instant::now();
    let Some(opened) = place.open_in(one.path()).await else {
        let why = "the place has no files that could lie on another disk";
        return Err(unverified(why, lies_in_files, declared));
    };
    let first = began.elapsed();
    let mut store = fresh(opened, "in an empty directory")?;
    let batch = WriteBatch {
        hard_state: Some(hard_state(1, 1)),
        ..WriteBatch::of_entries(vec![sized(1, 1, 9)])
    };
    check_answer(store.write(batch).await, None)?;
    drop(store);
    let began = Instant::now();
    let opened = open_in(place.as_mut(), other.path()).await;
    let second = began.elapsed();
    let mut store = fresh(opened, "in a second, empty directory, after one in another")?;
    let contents = Contents::of(store.as_mut()).await?;
    drop(store);
    match contents.check(&Model::default(), After::Reopened) {
        Ok(()) => Ok(first.min(second)),
        Err(_) => {
            let why = "a part of the store is not in the directory in which it is opened";
            Err(unverified(why, true, declared))
        }
    }
}

fn fresh(opened: Result<Box<dyn Store>, LogError>, of_where: &str) -> Checked<Box<dyn Store>> {
    opened.or_else(|error| broken(13, format!("no fresh store opens {of_where}: {error}")))
}

/// The result of a check that cannot cut the power. If the store has files that are declared to
/// survive a power cut, the check counts as skipped, which `KONTIKI_REQUIRE=all` forbids.
fn unverified(why: &'static str, lies_in_files: bool, declared: Durability) -> Halt {
    if lies_in_files && declared == Durability::PowerLoss {
        Halt::Skipped(format!(
            "it declares that it survives a power cut, which cannot be verified: {why}"
        ))
    } else {
        Halt::DoesNotApply(why)
    }
}
