//! What the operating system refuses: the n-th operation fails, for n = 1, 2, ..., and the store
//! neither lies nor loses (P15).
//!
//! Each trial has a disk of its own ([`crate::disk`]) with a store on it that was opened before and
//! holds something. Then a fault is laid, the store is opened again and given batches. What fails
//! is told as a failure; a handle that told one takes no more; opened again, once the cause is
//! gone, the store shows what was acknowledged, and of what was under way a legal part. Where the
//! store declares that it survives a power cut, the power goes twice: before it is opened again,
//! since a sync that failed must not be believed when a later one succeeds, and after, since what
//! an opening shows is durable.
//!
//! By default a sample of the operations fails, the first two and the last always; `KONTIKI_FAULTS`
//! says about how many of each kind, and `KONTIKI_DEEP` takes all. A store that opens slowly meets
//! fewer.
//!
//! Absent: faults while a store is founded, where nothing was acknowledged yet.

use std::path::Path;
use std::time::{Duration, Instant};

use raft_core::storage::{
    Detects, Durability, LogBounds, LogError, LogErrorKind, Store, WriteBatch,
};
use raft_core::types::LogIndex;
use tempfile::TempDir;

use super::interrupted::states_after;
use super::model::Model;
use super::past::check_kind;
use super::place::Place;
use super::report::{Checked, Halt, broken, promised};
use super::request::{by_verbs, in_words};
use super::samples::{entries, entry, hard_state, id, identity, index, sized};
use super::settings::{affordable, is_deep, setting};
use super::sight::{After, Sight};
use super::subject::{Subject, Way};
use crate::disk::crash::{Cut, Fate, Names};
use crate::disk::{Disk, Failure, Fault, Operation};

/// How many operations of a kind fail by default, for each failure and way, where the store does
/// not open slowly; and how often it is opened for each of them.
const FAULTS: u64 = 8;
const OPENINGS: u32 = 6;

/// A write that fails, with an error of the device and with a full disk.
pub async fn a_failed_write_is_told_and_loses_nothing(log: &mut Subject) -> Checked {
    strike_each(log, Operation::Write, &[Failure::Io, Failure::NoSpace], false).await
}

/// A write that takes half of its bytes, and says so.
pub async fn a_short_write_is_no_whole_one(log: &mut Subject) -> Checked {
    strike_each(log, Operation::Write, &[Failure::Short], false).await
}

/// A sync that fails, and whose next one would succeed without having written anything.
pub async fn a_failed_sync_is_never_believed(log: &mut Subject) -> Checked {
    strike_each(log, Operation::Sync, &[Failure::Io], false).await
}

/// Who the member is was never saved before: a failure of that is one like any other.
pub async fn a_failed_save_of_the_identity_is_told(log: &mut Subject) -> Checked {
    for operation in [Operation::Write, Operation::Sync, Operation::Rename] {
        strike_each_of(Task::Identity, log, operation, &[Failure::Io], false).await?;
    }
    Ok(())
}

/// Files that cannot be made, named, removed or given another length.
pub async fn a_failed_change_of_names_loses_nothing(log: &mut Subject) -> Checked {
    let changes = [Operation::Create, Operation::Rename, Operation::Unlink, Operation::Truncate];
    for operation in changes {
        strike_each(log, operation, &[Failure::Io, Failure::NoSpace], false).await?;
    }
    Ok(())
}

/// A disk without any more space, until there is some again.
pub async fn a_full_disk_loses_nothing_and_opens_once_there_is_space(log: &mut Subject) -> Checked {
    strike_each(log, Operation::Write, &[Failure::NoSpace], true).await?;
    strike_each(log, Operation::Truncate, &[Failure::NoSpace], true).await
}

/// A read that fails says so; it never makes an entry, a vote or a log absent.
pub async fn a_failed_read_is_no_absence(log: &mut Subject) -> Checked {
    let mut dry = Trial::begin(log, Task::Batches).await?;
    let last = dry.read_all(None).await?;
    if dry.maps {
        return Err(Halt::DoesNotApply("the store maps its files: a failed read ends a process"));
    }
    if last == 0 {
        return Err(Halt::DoesNotApply("the store reads nothing from its files"));
    }
    for nth in sample(last, dry.opening) {
        let mut trial = Trial::begin(log, Task::Batches).await?;
        log.note(&format!("read {nth} of {last} fails with Io"));
        trial.read_all(Some(nth)).await?;
    }
    Ok(())
}

/// What a store is given while a fault waits.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Task {
    /// Batches, to a store that holds something.
    Batches,
    /// Its identity, to one that holds nothing.
    Identity,
}

async fn strike_each(
    log: &mut Subject,
    on: Operation,
    failures: &[Failure],
    lasts: bool,
) -> Checked {
    strike_each_of(Task::Batches, log, on, failures, lasts).await
}

/// Strikes the operations of a kind one by one, each on a new disk.
async fn strike_each_of(
    task: Task,
    log: &mut Subject,
    on: Operation,
    failures: &[Failure],
    lasts: bool,
) -> Checked {
    let mut dry = Trial::begin(log, task).await?;
    let before = dry.disk.count(on);
    dry.work(log, None).await?;
    let (last, opening) = (dry.disk.count(on) - before, dry.opening);
    drop(dry);
    for failure in failures {
        for nth in sample(last, opening) {
            let mut trial = Trial::begin(log, task).await?;
            let since = if lasts { " and every one after it" } else { "" };
            log.note(&format!("{on:?} {nth} of {last}{since} fails with {failure:?}"));
            trial.work(log, Some(Fault { on, nth, failure: *failure, lasts })).await?;
        }
    }
    Ok(())
}

/// A store on a disk of its own.
struct Trial {
    task: Task,
    disk: Disk,
    place: Box<dyn Place>,
    /// What was acknowledged.
    model: Model,
    way: Way,
    survives_power_loss: bool,
    /// Whether any of the store's files was mapped into memory while it was open.
    maps: bool,
    /// How many changes the disk had noted when the handle under a fault was closed.
    before_close: Option<usize>,
    /// How long the opening of a fresh store took.
    opening: Duration,
}

impl Trial {
    /// A store that holds what its task asks for, and is not open.
    async fn begin(log: &mut Subject, task: Task) -> Checked<Trial> {
        log.must_outlive_its_handle()?;
        log.abandon();
        log.journal().clear();
        let disk = Disk::mount().map_err(|error| Halt::Skipped(error.to_string()))?;
        let survives_power_loss = log.info().durability == Durability::PowerLoss;
        let (place, model, way) = (log.new_place(), Model::default(), log.way());
        let mut trial = Trial {
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
        let mut store = match trial.open().await? {
            Ok(store) => store,
            Err(error) => return broken(13, format!("a fresh store does not open: {error}")),
        };
        trial.opening = began.elapsed();
        if task == Task::Batches {
            trial.furnish(store.as_mut()).await?;
        }
        log.note(&format!("a store with entries up to {} lies on a disk", trial.model.last()));
        Ok(trial)
    }

    async fn furnish(&mut self, store: &mut dyn Store) -> Checked {
        let known = identity(1);
        let saved = store.save_identity(&known).await;
        promised(13, saved.is_ok(), || format!("the identity is not saved: {saved:?}"))?;
        self.model.save_identity(known).expect("the first");
        for batch in [
            WriteBatch {
                hard_state: Some(hard_state(1, 3)),
                ..WriteBatch::of_entries(entries(1..=6, 1))
            },
            WriteBatch::of_purge(id(2, 1)),
        ] {
            let said = self.give(store, &batch).await;
            promised(13, said.is_ok(), || format!("a sound store fails: {said:?}"))?;
            self.model = last_of(&self.model, &batch);
        }
        Ok(())
    }

    async fn open(&mut self) -> Checked<Result<Box<dyn Store>, LogError>> {
        let dir = self.disk.dir().join("store");
        std::fs::create_dir_all(&dir).expect("a directory can be made on a sound disk");
        open_in(self.place.as_mut(), &dir).await
    }

    async fn give(&self, store: &mut dyn Store, batch: &WriteBatch) -> Result<(), LogError> {
        match self.way {
            Way::SmallVerbs => by_verbs(store, batch).await,
            Way::Write => store.write(batch.clone()).await,
        }
    }

    /// Opens and writes while a fault waits, and then looks at what has become of the store.
    async fn work(&mut self, log: &mut Subject, fault: Option<Fault>) -> Checked {
        if let Some(fault) = fault {
            self.disk.inject(fault);
        }
        let legal = self.write_under_a_fault(log).await?;
        let struck = self.disk.heal();
        log.note(&format!("the fault is gone; {struck} operations failed"));
        if struck > 0 {
            // A clean close may make good what was passed over in silence; a power cut waits for
            // none.
            for at in self.before_close.into_iter().chain([self.disk.changes()]) {
                self.cut_power(log, &legal, at).await?;
            }
        }
        let seen = self.open_healed(log, &legal).await?;
        let on_a_sync = fault.is_some_and(|fault| fault.on == Operation::Sync);
        if struck > 0 && (!on_a_sync || asks_for_rewriting(log)) {
            self.cut_power(log, &[seen], self.disk.changes()).await?;
        }
        Ok(())
    }

    /// Gives batches until one fails; the states that the store may be in.
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
        for batch in batches() {
            let said = self.give(store.as_mut(), &batch).await;
            let answer = said.as_ref().map_or_else(LogError::to_string, |()| "Ok".to_owned());
            log.note(&format!("{}: {answer}", in_words(&batch)));
            match said {
                Ok(()) => self.model = last_of(&self.model, &batch),
                Err(error) => {
                    check_kind(&error)?;
                    self.check_poisoned(store.as_mut(), log).await?;
                    let atomic = log.info().atomic_batch;
                    return Ok(states_after(&self.model, &batch, self.way, atomic));
                }
            }
        }
        self.close(store, log).await
    }

    /// Saves the identity under a fault; the states that the store may be in.
    async fn save_identity(
        &mut self,
        mut store: Box<dyn Store>,
        log: &mut Subject,
    ) -> Checked<Vec<Model>> {
        let (own, before) = (identity(1), self.model.clone());
        let said = store.save_identity(&own).await;
        log.note(&format!("save the identity: {said:?}"));
        self.model.save_identity(own).expect("the first");
        match said {
            Ok(()) => self.close(store, log).await,
            Err(error) => {
                check_kind(&error)?;
                self.check_poisoned(store.as_mut(), log).await?;
                Ok(vec![before, self.model.clone()])
            }
        }
    }

    /// Closes a store that has answered everything well; the one state that it may be in.
    async fn close(&mut self, mut store: Box<dyn Store>, log: &mut Subject) -> Checked<Vec<Model>> {
        self.before_close = Some(self.disk.changes());
        let said = store.close().await;
        log.note(&format!("close: {said:?}"));
        if let Err(error) = said {
            check_kind(&error)?;
        }
        Ok(vec![self.model.clone()])
    }

    /// After a failure a handle takes no more, whatever it is asked.
    async fn check_poisoned(&self, store: &mut dyn Store, log: &mut Subject) -> Checked {
        let save = hard_state(self.model.hard_state.term.get() + 50, 1);
        let LogBounds { boundary, last } = store.bounds();
        let next = entry(last.index.get() + 1, last.term.get() + 50);
        let mut said = vec![
            ("a save", store.save_hard_state(save).await),
            ("an append", store.append(std::slice::from_ref(&next)).await),
            ("a write", store.write(WriteBatch::of_entries(vec![next.clone()])).await),
        ];
        if boundary.index < last.index {
            said.push(("a truncation", store.truncate_after(boundary.index).await));
            said.push(("a purge", store.purge_upto(last).await));
        }
        said.push(("a reset", store.reset(next.id).await));
        for (what, said) in said {
            log.note(&format!("after the failure, {what}: {said:?}"));
            match said {
                Ok(()) => broken(15, format!("{what} went well after a failed one"))?,
                Err(error) => promised(15, error.kind == LogErrorKind::Poisoned, || {
                    format!("`{error}` to {what} after a failure, where it had to be: poisoned")
                })?,
            }
        }
        Ok(())
    }

    /// Opens the store with the cause gone: a legal state, which goes on. What was seen first.
    async fn open_healed(&mut self, log: &mut Subject, legal: &[Model]) -> Checked<Model> {
        let mut store = match self.open().await? {
            Ok(store) => store,
            Err(error) => {
                return broken(15, format!("it does not open once the cause is gone: {error}"));
            }
        };
        let seen = legal_state(store.as_mut(), legal).await?;
        log.note(&format!("open again: entries up to {}", seen.last()));
        let last = seen.last();
        let batch = WriteBatch::of_entries(vec![entry(last.index.get() + 1, last.term.get() + 1)]);
        let said = self.give(store.as_mut(), &batch).await;
        promised(15, said.is_ok(), || format!("it does not go on: {said:?}"))?;
        drop(store);
        let after = last_of(&seen, &batch);
        match self.open().await? {
            Ok(mut store) => Sight::of(store.as_mut()).await?.check(&after, After::Reopened)?,
            Err(error) => broken(15, format!("it does not open a second time: {error}"))?,
        }
        Ok(after)
    }

    /// What the disk would hold if the power went after so many changes: at least what was
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
        log.note(&format!("the power goes{when}, and all that was not durable is lost"));
        match open_in(self.place.as_mut(), &dir.path().join("store")).await? {
            Ok(mut store) => legal_state(store.as_mut(), legal).await.map(|_| ()),
            Err(error) => broken(3, format!("it does not open after the power went: {error}")),
        }
    }

    /// Opens and reads everything; how many reads of the disk that takes. With a fault each answer
    /// is an error or true, and once it is gone all is there.
    async fn read_all(&mut self, nth: Option<u64>) -> Checked<u64> {
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
        self.disk.heal();
        let count = self.disk.count(Operation::Read) - before;
        match self.open().await? {
            Ok(mut store) => legal_state(store.as_mut(), std::slice::from_ref(&self.model)).await?,
            Err(error) => broken(15, format!("it does not open once it can be read: {error}"))?,
        };
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
        promised(13, is_true, || format!("after a failed read the vote is told as {votes:?}"))?;
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

/// Lets the page cache forget all files, so that reads reach the disk.
fn forget_pages(dir: &Path) {
    let Ok(found) = std::fs::read_dir(dir) else { return };
    for found in found.flatten() {
        let path = found.path();
        if path.is_dir() {
            forget_pages(&path);
        } else if let Ok(file) = std::fs::File::open(&path) {
            // Advice that is not taken makes the check see less, and nothing else.
            let _ = rustix::fs::fadvise(&file, 0, None, rustix::fs::Advice::DontNeed);
        }
    }
}

async fn open_in(place: &mut dyn Place, dir: &Path) -> Checked<Result<Box<dyn Store>, LogError>> {
    /// A store with threads of its own may need a moment to let go of its place.
    const TRIES: u32 = 40;
    for _ in 0..TRIES {
        match place.open_in(dir).await {
            None => return Err(Halt::DoesNotApply("the store cannot be opened on another disk")),
            Some(Err(error)) if error.kind == LogErrorKind::InUse => {
                std::thread::sleep(std::time::Duration::from_millis(50));
            }
            Some(opened) => return Ok(opened),
        }
    }
    broken(17, "a store that was dropped stays in use")
}

/// Whether a store must see through pages that are read, marked as clean, and not on the disk. Only
/// one that keeps evidence of what was synced can; see `docs/decisions/0160-a-database-below.md`.
fn asks_for_rewriting(log: &Subject) -> bool {
    let is_strict = std::env::var_os("KONTIKI_STRICT_SYNCS").is_some();
    is_strict || log.info().detects == Detects::ProvenPrefix
}

/// Which of these states the store shows.
async fn legal_state(store: &mut dyn Store, legal: &[Model]) -> Checked<Model> {
    let sight = Sight::of(store).await?;
    let newest = legal.last().expect("a store has a state");
    let seen = legal.iter().rev().find(|state| sight.check(state, After::Reopened).is_ok());
    match seen {
        Some(seen) => Ok(seen.clone()),
        None => sight.check(newest, After::Reopened).map(|()| newest.clone()),
    }
}

fn last_of(model: &Model, batch: &WriteBatch) -> Model {
    model.course(batch).states.pop().expect("never empty")
}

/// What a store is given while a fault waits: all verbs, and enough bytes to need new space.
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

/// Some of the numbers from 1 to `last`, the first two and the last among them: an opening's own
/// operations come first, a clean close's last.
fn sample(last: u64, opening: Duration) -> impl Iterator<Item = u64> {
    let affordable = affordable(FAULTS, 1, OPENINGS, opening);
    let count = if is_deep() { last } else { setting("KONTIKI_FAULTS").unwrap_or(affordable) };
    let step = last.div_ceil(count.max(1)).max(1);
    let seed = setting("KONTIKI_SEED").unwrap_or(0);
    let is_edge = move |nth: u64| nth <= 2 || nth == last;
    let is_drawn = move |nth: u64| step == 1 || (nth / step + seed) % step == nth % step;
    (1..=last).filter(move |nth| is_edge(*nth) || is_drawn(*nth))
}
