//! One run: a store on its own disk is opened and written to while a fault is armed, and inspected
//! once the fault is removed.

use std::path::Path;
use std::time::{Duration, Instant};

use raft_core::storage::{
    Detects, Durability, LogBounds, LogError, LogErrorKind, LogOp, Store, WriteBatch,
};
use raft_core::types::LogIndex;
use tempfile::TempDir;

use crate::conformance::contents::{After, Contents};
use crate::conformance::interrupted::states_after;
use crate::conformance::model::Model;
use crate::conformance::place::{Place, once_released};
use crate::conformance::report::{Checked, Halt, broken, promised};
use crate::conformance::request::{by_verbs, in_words};
use crate::conformance::samples::{entries, entry, hard_state, id, identity, index, sized};
use crate::conformance::state_history::check_kind;
use crate::conformance::subject::{Subject, Way};
use crash_disk::crash::{Cut, Fate, Names};
use crash_disk::{Disk, Failure, Fault, Operation};

/// The requests that a store gets while a fault is armed.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Task {
    /// Batches, for a store that holds entries.
    Batches,
    /// The identity, for an empty store.
    Identity,
}

/// A store on its own disk.
pub(super) struct FaultRun {
    task: Task,
    pub(super) disk: Disk,
    place: Box<dyn Place>,
    /// The acknowledged state.
    model: Model,
    way: Way,
    survives_power_loss: bool,
    /// Whether any of the store's files was mapped into memory while it was open.
    pub(super) maps: bool,
    /// How many changes the disk had recorded when the handle with the armed fault was closed.
    before_close: Option<usize>,
    /// How long the opening of a fresh store took.
    pub(super) opening: Duration,
}

impl FaultRun {
    /// A closed store, prepared for its task.
    pub(super) async fn begin(log: &mut Subject, task: Task) -> Checked<FaultRun> {
        log.must_outlive_its_handle()?;
        log.abandon();
        log.journal().clear();
        let disk = Disk::mount().map_err(|error| Halt::Skipped(error.to_string()))?;
        let survives_power_loss = log.info().durability == Durability::PowerLoss;
        let (place, model, way) = (log.new_place(), Model::default(), log.way());
        let mut run = FaultRun {
            task,
            disk,
            place,
            model,
            way,
            survives_power_loss,
            maps: false,
            before_close: None,
            opening: Duration::ZERO,
        };
        let began = Instant::now();
        let mut store = match run.open().await? {
            Ok(store) => store,
            Err(error) => return broken(13, format!("a fresh store does not open: {error}")),
        };
        run.opening = began.elapsed();
        if task == Task::Batches {
            run.write_first_batches(store.as_mut()).await?;
        }
        log.note(&format!("a store with entries up to {} lies on a disk", run.model.last()));
        Ok(run)
    }

    async fn write_first_batches(&mut self, store: &mut dyn Store) -> Checked {
        if !self.place.lacks().identity {
            let known = identity(1);
            let saved = store.save_identity(&known).await;
            promised(13, saved.is_ok(), || format!("the identity is not saved: {saved:?}"))?;
            self.model.save_identity(known).expect("the model has no identity yet");
        }
        for batch in [
            WriteBatch {
                hard_state: Some(hard_state(1, 3)),
                ..WriteBatch::of_entries(entries(1..=6, 1))
            },
            WriteBatch::of_purge(id(2, 1)),
        ] {
            let result = self.write_batch(store, &batch).await;
            promised(13, result.is_ok(), || format!("a sound store fails: {result:?}"))?;
            self.model = last_of(&self.model, &batch);
        }
        Ok(())
    }

    async fn open(&mut self) -> Checked<Result<Box<dyn Store>, LogError>> {
        let dir = self.disk.dir().join("store");
        std::fs::create_dir_all(&dir).expect("a directory can be made on a sound disk");
        open_in(self.place.as_mut(), &dir).await
    }

    async fn write_batch(&self, store: &mut dyn Store, batch: &WriteBatch) -> Result<(), LogError> {
        match self.way {
            Way::SmallVerbs => by_verbs(store, batch).await,
            Way::Write => store.write(batch.clone()).await,
        }
    }

    /// Opens and writes while a fault is armed, and then checks the state of the store.
    pub(super) async fn work(&mut self, log: &mut Subject, fault: Option<Fault>) -> Checked {
        if let Some(fault) = fault {
            self.disk.inject(fault);
        }
        let legal = self.write_under_a_fault(log).await?;
        let failures = self.disk.clear_faults();
        log.note(&format!("the fault is removed; {failures} operations failed"));
        if failures > 0 {
            // A clean close may repair the effect of a failure that was ignored, so the power is
            // also cut before the close.
            for at in self.before_close.into_iter().chain([self.disk.changes()]) {
                self.cut_power(log, &legal, at).await?;
            }
        }
        let seen = self.open_healed(log, &legal).await?;
        let on_a_sync = fault.is_some_and(|fault| fault.on == Operation::Sync);
        if failures > 0 && (!on_a_sync || asks_for_rewriting(log)) {
            self.cut_power(log, &[seen], self.disk.changes()).await?;
        }
        Ok(())
    }

    /// Writes batches until one fails. Returns the states that the store may be in.
    async fn write_under_a_fault(&mut self, log: &mut Subject) -> Checked<Vec<Model>> {
        let mut store = match self.open().await? {
            Ok(store) => store,
            Err(error) => {
                log.note(&format!("open: {error}"));
                check_kind(&error)?;
                return Ok(vec![self.model.clone()]);
            }
        };
        if self.task == Task::Identity {
            return self.save_identity(store, log).await;
        }
        let has_resets = !log.lacks().reset;
        for batch in batches().into_iter().filter(|batch| has_resets || batch.reset.is_none()) {
            let result = self.write_batch(store.as_mut(), &batch).await;
            let answer = result.as_ref().map_or_else(LogError::to_string, |()| "Ok".to_owned());
            log.note(&format!("{}: {answer}", in_words(&batch)));
            let result = match result {
                Err(error) if error.kind == LogErrorKind::NoSpace => {
                    self.check_given_back(&error, &batch)?;
                    self.write_again(store.as_mut(), &batch, log).await?
                }
                result => result,
            };
            let atomic = log.info().atomic_batch;
            match result {
                Ok(()) => self.model = last_of(&self.model, &batch),
                Err(error) if error.kind == LogErrorKind::NoSpace => {
                    self.close(store, log).await?;
                    return Ok(match self.way {
                        Way::Write if atomic => vec![self.model.clone()],
                        way => states_after(&self.model, &batch, way, atomic),
                    });
                }
                Err(error) => {
                    check_kind(&error)?;
                    self.check_poisoned(store.as_mut(), log).await?;
                    return Ok(states_after(&self.model, &batch, self.way, atomic));
                }
            }
        }
        self.close(store, log).await
    }

    /// A batch for which there was no space comes back as it was given.
    fn check_given_back(&self, error: &LogError, batch: &WriteBatch) -> Checked<()> {
        let is_back = error.unwritten.as_deref() == Some(batch);
        promised(16, self.way == Way::SmallVerbs || is_back, || {
            "a write had no space, and its batch did not come back with the error".to_owned()
        })
    }

    /// Repeats a write that was refused because there was no space. The refused write must have
    /// changed nothing.
    async fn write_again(
        &self,
        store: &mut dyn Store,
        batch: &WriteBatch,
        log: &mut Subject,
    ) -> Checked<Result<(), LogError>> {
        if self.way == Way::SmallVerbs {
            // Some verbs of the batch may have been applied already, so they are not repeated.
            return Ok(Err(LogError::new(LogOp::Write, LogErrorKind::NoSpace)));
        }
        if log.info().atomic_batch {
            let bounds = store.bounds();
            promised(16, bounds == self.model.bounds(), || {
                format!("after a write that had no space the log shows {bounds:?}")
            })?;
            let votes = store.load_hard_state().await;
            let is_same = votes.as_ref().is_ok_and(|it| *it == self.model.hard_state);
            promised(16, is_same, || {
                format!("after a write that had no space the vote is {votes:?}")
            })?;
        }
        let result = self.write_batch(store, batch).await;
        log.note(&format!("the same write again: {result:?}"));
        Ok(result)
    }

    /// Saves the identity with the fault armed. Returns the states that the store may be in.
    async fn save_identity(
        &mut self,
        mut store: Box<dyn Store>,
        log: &mut Subject,
    ) -> Checked<Vec<Model>> {
        let (own, before) = (identity(1), self.model.clone());
        let result = store.save_identity(&own).await;
        log.note(&format!("save the identity: {result:?}"));
        self.model.save_identity(own).expect("the model has no identity yet");
        match result {
            Ok(()) => self.close(store, log).await,
            Err(error) => {
                check_kind(&error)?;
                self.check_poisoned(store.as_mut(), log).await?;
                Ok(vec![before, self.model.clone()])
            }
        }
    }

    /// Closes a store whose answers were all successful. A close that fails poisons the handle,
    /// unless it found no space. Returns the one state that the store may be in.
    async fn close(&mut self, mut store: Box<dyn Store>, log: &mut Subject) -> Checked<Vec<Model>> {
        self.before_close = Some(self.disk.changes());
        let result = store.close().await;
        log.note(&format!("close: {result:?}"));
        if let Err(error) = result {
            check_kind(&error)?;
            if error.kind != LogErrorKind::NoSpace {
                self.check_poisoned(store.as_mut(), log).await?;
            }
        }
        Ok(vec![self.model.clone()])
    }

    /// Checks that the handle refuses every request as poisoned after a failure.
    async fn check_poisoned(&self, store: &mut dyn Store, log: &mut Subject) -> Checked {
        let save = hard_state(self.model.hard_state.term.get() + 50, 1);
        let LogBounds { boundary, last } = store.bounds();
        let next = entry(last.index.get() + 1, last.term.get() + 50);
        let mut result = vec![
            ("a save", store.save_hard_state(save).await),
            ("an append", store.append(std::slice::from_ref(&next)).await),
            ("a write", store.write(WriteBatch::of_entries(vec![next.clone()])).await),
        ];
        if boundary.index < last.index {
            result.push(("a truncation", store.truncate_after(boundary.index).await));
            result.push(("a purge", store.purge_upto(last).await));
        }
        result.push(("a reset", store.reset(next.id).await));
        for (what, result) in result {
            log.note(&format!("after the failure, {what}: {result:?}"));
            match result {
                Ok(()) => broken(15, format!("{what} succeeded after a failed one"))?,
                Err(error) => promised(15, error.kind == LogErrorKind::Poisoned, || {
                    format!("`{error}` to {what} after a failure, where it should be: poisoned")
                })?,
            }
        }
        Ok(())
    }

    /// Opens the store once the fault is removed: it must be in a legal state, and continue to
    /// work. Returns its state after one more append.
    async fn open_healed(&mut self, log: &mut Subject, legal: &[Model]) -> Checked<Model> {
        let mut store = match self.open().await? {
            Ok(store) => store,
            Err(error) => {
                return broken(15, format!("it does not open once the fault is removed: {error}"));
            }
        };
        let seen = legal_state(store.as_mut(), legal).await?;
        log.note(&format!("open again: entries up to {}", seen.last()));
        let last = seen.last();
        let batch = WriteBatch::of_entries(vec![entry(last.index.get() + 1, last.term.get() + 1)]);
        let result = self.write_batch(store.as_mut(), &batch).await;
        promised(15, result.is_ok(), || format!("it does not continue: {result:?}"))?;
        drop(store);
        let after = last_of(&seen, &batch);
        match self.open().await? {
            Ok(mut store) => Contents::of(store.as_mut()).await?.check(&after, After::Reopened)?,
            Err(error) => broken(15, format!("it does not open a second time: {error}"))?,
        }
        Ok(after)
    }

    /// Cuts the power after `at` changes of the disk, which must hold at least what was
    /// acknowledged.
    async fn cut_power(&mut self, log: &mut Subject, legal: &[Model], at: usize) -> Checked {
        if !self.survives_power_loss {
            return Ok(());
        }
        let history = self.disk.history();
        let names = Names::CarriedBefore(at);
        let image = history.cut(&Cut { at, fate: Fate::Lost, names, seed: 0 });
        let dir = TempDir::new().expect("a temporary directory can be made");
        image.tree.write_into(dir.path()).expect("an image can be written");
        let when = if at < history.changes.len() { " before the close" } else { "" };
        log.note(&format!("the power is cut{when}, and everything that was not durable is lost"));
        match open_in(self.place.as_mut(), &dir.path().join("store")).await? {
            Ok(mut store) => legal_state(store.as_mut(), legal).await.map(|_| ()),
            Err(error) => broken(3, format!("it does not open after the power cut: {error}")),
        }
    }

    /// Opens the store and reads everything. Returns how many reads of the disk that takes. With a
    /// fault each answer must be an error or correct; once the fault is removed, everything is
    /// there.
    pub(super) async fn read_all(&mut self, nth: Option<u64>) -> Checked<u64> {
        forget_pages(self.disk.dir());
        let before = self.disk.count(Operation::Read);
        if let Some(nth) = nth {
            let (on, failure, lasts) = (Operation::Read, Failure::Io, false);
            self.disk.inject(Fault { on, nth, failure, lasts });
        }
        match self.open().await? {
            Err(error) => check_kind(&error)?,
            Ok(mut store) => self.read_each(store.as_mut()).await?,
        }
        self.disk.clear_faults();
        let count = self.disk.count(Operation::Read) - before;
        match self.open().await? {
            Ok(mut store) => legal_state(store.as_mut(), std::slice::from_ref(&self.model)).await?,
            Err(error) => broken(15, format!("it does not open once it can be read: {error}"))?,
        };
        Ok(count)
    }

    /// Reads everything in a store that is already open, after its files were dropped from the page
    /// cache. Returns how many reads of the disk that takes. With a fault each answer must be an
    /// error or correct; once the fault is removed, the same handle reads everything, and writes.
    pub(super) async fn read_open(&mut self, log: &mut Subject, nth: Option<u64>) -> Checked<u64> {
        let mut store = match self.open().await? {
            Ok(store) => store,
            Err(error) => return broken(15, format!("a sound store does not open: {error}")),
        };
        forget_pages(self.disk.dir());
        let before = self.disk.count(Operation::Read);
        if let Some(nth) = nth {
            let (on, failure, lasts) = (Operation::Read, Failure::Io, false);
            self.disk.inject(Fault { on, nth, failure, lasts });
        }
        self.read_each(store.as_mut()).await?;
        self.disk.clear_faults();
        let count = self.disk.count(Operation::Read) - before;
        let mut reader = store.reader();
        for wanted in &self.model.entries {
            let at: LogIndex = wanted.id.index;
            let again = reader.read(at..at.next(), u64::MAX).await;
            let is_read = again.as_ref().is_ok_and(|found| *found == [wanted.clone()]);
            promised(13, is_read, || {
                format!("after one failed read, entry {at} can no longer be read: {again:?}")
            })?;
        }
        let last = self.model.last();
        let batch = WriteBatch::of_entries(vec![entry(last.index.get() + 1, last.term.get() + 1)]);
        let result = self.write_batch(store.as_mut(), &batch).await;
        log.note(&format!("after the failed read, {}: {result:?}", in_words(&batch)));
        promised(13, result.is_ok(), || format!("after a failed read, a write fails: {result:?}"))?;
        Ok(count)
    }

    async fn read_each(&mut self, store: &mut dyn Store) -> Checked {
        let dir = self.disk.dir().display().to_string();
        let maps = std::fs::read_to_string("/proc/self/maps").unwrap_or_default();
        self.maps |= maps.contains(&dir);
        let bounds = store.bounds();
        promised(13, bounds == self.model.bounds(), || {
            format!("after a failed read the log shows {bounds:?}")
        })?;
        let votes = store.load_hard_state().await;
        let is_true = votes.as_ref().map_or(true, |it| *it == self.model.hard_state);
        promised(13, is_true, || format!("after a failed read the vote is reported as {votes:?}"))?;
        let mut reader = store.reader();
        for wanted in &self.model.entries {
            let at: LogIndex = wanted.id.index;
            match reader.read(at..at.next(), u64::MAX).await {
                Ok(found) => promised(10, found == [wanted.clone()], || {
                    format!("after a failed read entry {at} reads as {found:?}")
                })?,
                Err(error) => check_kind(&error)?,
            }
        }
        Ok(())
    }
}

/// Drops all files from the page cache, so that reads reach the disk.
fn forget_pages(dir: &Path) {
    let Ok(found) = std::fs::read_dir(dir) else { return };
    for found in found.flatten() {
        let path = found.path();
        if path.is_dir() {
            forget_pages(&path);
        } else if let Ok(file) = std::fs::File::open(&path) {
            // If the kernel does not follow the advice, the check only finds less.
            let _ = rustix::fs::fadvise(&file, 0, None, rustix::fs::Advice::DontNeed);
        }
    }
}

async fn open_in(place: &mut dyn Place, dir: &Path) -> Checked<Result<Box<dyn Store>, LogError>> {
    match once_released(async || place.open_in(dir).await).await {
        None => Err(Halt::DoesNotApply("the store cannot be opened on another disk")),
        Some(Err(error)) if error.kind == LogErrorKind::InUse => {
            broken(17, "a store that was dropped stays in use")
        }
        Some(opened) => Ok(opened),
    }
}

/// Whether a store must notice pages that can be read and are marked as clean, but are not on the
/// disk. Only a store that keeps evidence of what was synced can notice them; see
/// `docs/decisions/0160`.
fn asks_for_rewriting(log: &Subject) -> bool {
    let is_strict = std::env::var_os("KONTIKI_STRICT_SYNCS").is_some();
    is_strict || log.info().detects == Detects::ProvenPrefix
}

/// Returns which of the legal states the store shows; it is an error if it shows none.
async fn legal_state(store: &mut dyn Store, legal: &[Model]) -> Checked<Model> {
    let contents = Contents::of(store).await?;
    let newest = legal.last().expect("a store always has a legal state");
    let seen = legal.iter().rev().find(|state| contents.check(state, After::Reopened).is_ok());
    match seen {
        Some(seen) => Ok(seen.clone()),
        None => contents.check(newest, After::Reopened).map(|()| newest.clone()),
    }
}

fn last_of(model: &Model, batch: &WriteBatch) -> Model {
    model.course(batch).states.pop().expect("never empty")
}

/// The batches that a store gets while a fault is armed: all verbs, and enough bytes to need new
/// space.
fn batches() -> Vec<WriteBatch> {
    vec![
        WriteBatch {
            hard_state: Some(hard_state(2, 1)),
            ..WriteBatch::of_entries((7..=10).map(|at| sized(at, 2, 3000)).collect())
        },
        WriteBatch { truncate_after: Some(index(8)), ..WriteBatch::of_entries(entries(9..=12, 3)) },
        WriteBatch::of_purge(id(5, 1)),
        WriteBatch::of_entries((13..=18).map(|at| sized(at, 3, 9000)).collect()),
        WriteBatch::of_hard_state(hard_state(4, 2)),
        WriteBatch::of_purge(id(14, 3)),
        WriteBatch::of_entries((19..=22).map(|at| sized(at, 4, 7000)).collect()),
        WriteBatch { reset: Some(id(40, 5)), ..WriteBatch::of_entries(entries(41..=42, 5)) },
    ]
}
