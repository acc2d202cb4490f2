//! The store under test, together with its model. Each request is made to both, and recorded.
//!
//! After each change all contents are compared. So a scenario need not state the expected result;
//! it only has to make the requests that stores often get wrong.

use std::ops::Range;
use std::path::PathBuf;

use raft_core::storage::{Durability, WriteBatch};
use raft_core::storage::{LogError, LogReader, Refusal, Store, StoreInfo};
use raft_core::types::{Entry, EntryId, HardState, Identity, LogIndex};

use super::contents::{After, Contents, check_recovered};
use super::journal::Journal;
use super::model::Model;
use super::place::{Factory, Lacks, Place, once_released};
use super::report::{Checked, Halt, broken, promised, with_causes};
use super::request::{after, by_verbs, check_answer, check_found, in_words, is_fair_limit};
use super::samples::entry;
use super::second;
use super::test_name::Rerun;

/// How the changes of a check reach the store.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Way {
    /// Each verb of a batch as a separate request.
    SmallVerbs,
    /// Whole batches, through `write`.
    Write,
}

/// How a handle ends before the store is opened again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ending {
    /// The handle is closed with `close`.
    Closed,
    /// The handle is dropped without `close`, as when a process ends.
    Dropped,
}

/// The reasons for which a check ends early, or does not begin, if its store is declared to lack a
/// part of the contract.
const NO_RESET: &str = "the store is declared to have no reset";
const NO_IDENTITY: &str = "the store is declared to keep no identity";

/// The store under test.
pub struct Subject {
    factory: Factory,
    /// Declared before the place, so that it is dropped before its directory is removed.
    store: Option<Box<dyn Store>>,
    place: Box<dyn Place>,
    info: StoreInfo,
    pub(crate) model: Model,
    journal: Journal,
    way: Way,
    /// The test in which this runs, if a check may start that test again.
    pub(super) rerun: Option<Rerun>,
}

impl Subject {
    pub(crate) async fn begin(factory: Factory, way: Way, journal: Journal) -> Checked<Subject> {
        let mut place = factory();
        let opened = place.open().await;
        journal.note("open a fresh store", &opened);
        let store = match opened {
            Ok(store) => store,
            Err(error) => {
                let error = with_causes(&error);
                return broken(13, format!("a fresh store does not open: {error}"));
            }
        };
        let (info, model) = (store.info(), Model::default());
        let (store, rerun) = (Some(store), None);
        let mut log = Subject { factory, place, store, info, model, journal, way, rerun };
        log.look(After::Saved).await?;
        Ok(log)
    }

    /// Continues with a new, empty store and an empty journal.
    pub(crate) async fn begin_anew(&mut self) -> Checked {
        self.store = None;
        self.journal.clear();
        let (journal, rerun) = (self.journal.clone(), self.rerun);
        *self = Subject::begin(self.factory.clone(), self.way, journal).await?;
        self.rerun = rerun;
        Ok(())
    }

    /// What the store declares.
    pub fn info(&self) -> &StoreInfo {
        &self.info
    }

    /// How the changes reach the store.
    pub fn way(&self) -> Way {
        self.way
    }

    /// Makes a new, empty place.
    pub(crate) fn new_place(&self) -> Box<dyn Place> {
        (self.factory)()
    }

    pub(crate) fn store(&mut self) -> &mut dyn Store {
        self.store.as_mut().expect("a check uses the store only while it is open").as_mut()
    }

    pub(crate) fn reader(&mut self) -> Box<dyn LogReader> {
        self.store().reader()
    }

    pub(crate) fn note(&self, line: &str) {
        self.journal.note_line(line);
    }

    pub(crate) async fn append(&mut self, entries: Vec<Entry>) -> Checked {
        self.change(WriteBatch::of_entries(entries)).await
    }

    pub(crate) async fn truncate_after(&mut self, cut: LogIndex) -> Checked {
        self.change(WriteBatch::of_truncation(cut)).await
    }

    pub(crate) async fn purge_upto(&mut self, upto: EntryId) -> Checked {
        self.change(WriteBatch::of_purge(upto)).await
    }

    pub(crate) async fn reset(&mut self, boundary: EntryId) -> Checked {
        self.change(WriteBatch::of_reset(boundary)).await
    }

    pub(crate) async fn save(&mut self, hard_state: HardState) -> Checked {
        self.change(WriteBatch::of_hard_state(hard_state)).await
    }

    /// Makes a change, compares the answer with the model's, and compares all contents.
    pub(crate) async fn change(&mut self, batch: WriteBatch) -> Checked {
        self.check_reset(&batch)?;
        let course = self.model.course(&batch);
        let refused = course.refusal;
        self.request(&batch, refused).await?;
        let contents = Contents::of(self.store()).await?;
        // A refused batch may leave nothing, or, if batches are not atomic, the effects of some
        // verbs before the one that was refused.
        let (states, end) = (&course.states, course.states.len() - 1);
        let legal = match (refused, self.way, self.info.atomic_batch) {
            (None, ..) | (Some(_), Way::SmallVerbs, _) => &states[end..],
            (Some(_), Way::Write, true) => &states[..1],
            (Some(_), Way::Write, false) => &states[..],
        };
        let after = after(&batch, refused.is_some());
        let fits = legal.iter().find(|model| contents.check(model, after).is_ok());
        match fits {
            Some(model) => self.model = model.clone(),
            None => contents.check(&legal[0], after)?,
        }
        Ok(())
    }

    /// Makes a change that the model allows, without comparing all contents.
    pub(crate) async fn change_unseen(&mut self, batch: WriteBatch) -> Checked {
        self.check_reset(&batch)?;
        let course = self.model.course(&batch);
        self.request(&batch, course.refusal).await?;
        self.model = course.states.last().expect("never empty").clone();
        Ok(())
    }

    /// Makes a change that the model allows through `write`, which alone carries a commit hint.
    pub(crate) async fn change_whole(&mut self, batch: WriteBatch) -> Checked {
        let course = self.model.course(&batch);
        let result = self.store().write(batch.clone()).await;
        self.journal.note(&in_words(&batch), &result);
        check_answer(result, course.refusal)?;
        self.model = course.states.last().expect("never empty").clone();
        Ok(())
    }

    async fn request(&mut self, batch: &WriteBatch, refusal: Option<Refusal>) -> Checked {
        let result = match self.way {
            Way::Write => self.store().write(batch.clone()).await,
            Way::SmallVerbs => by_verbs(self.store(), batch).await,
        };
        self.journal.note(&in_words(batch), &result);
        if result.as_ref().is_err_and(|error| is_fair_limit(error, batch)) {
            self.check_unharmed(batch).await?;
            return Err(Halt::DoesNotApply(
                "the store declares that it does not hold a payload of this size",
            ));
        }
        check_answer(result, refusal)
    }

    /// Checks that a payload above the store's limit is refused like any other request: nothing of
    /// the append is there, and the store continues to work.
    async fn check_unharmed(&mut self, batch: &WriteBatch) -> Checked {
        if *batch != WriteBatch::of_entries(batch.append.clone()) {
            return Ok(());
        }
        self.look(After::Refused).await?;
        let last = self.model.last();
        let small = entry(last.index.get() + 1, last.term.get());
        let result = self.store().append(std::slice::from_ref(&small)).await;
        self.journal.note("after the refusal, a small append", &result);
        promised(16, result.is_ok(), || format!("after a refusal an append failed: {result:?}"))
    }

    /// Saves the identity. Does nothing if the store is declared to keep none.
    pub(crate) async fn save_identity(&mut self, identity: Identity) -> Checked {
        if self.lacks().identity {
            return Ok(());
        }
        let refusal = self.model.save_identity(identity).err();
        let result = self.store().save_identity(&identity).await;
        self.journal.note(&format!("save the identity: {identity}"), &result);
        check_answer(result, refusal)?;
        self.look(if refusal.is_some() { After::Refused } else { After::Saved }).await
    }

    /// Reads through a new reader, which must return what the model holds, or an error that the
    /// model allows. Returns `None` for such an error.
    pub(crate) async fn read(
        &mut self,
        from: u64,
        to: u64,
        max_bytes: u64,
    ) -> Checked<Option<Vec<Entry>>> {
        let range = Range { start: LogIndex::new(from), end: LogIndex::new(to) };
        let result = self.reader().read(range.clone(), max_bytes).await;
        self.journal.note(&format!("read {from}..{to}, at most {max_bytes} bytes"), &result);
        check_found(result, self.model.read(&range, max_bytes), |entries| {
            entries.iter().map(super::contents::in_short).collect::<Vec<_>>().join(", ")
        })
    }

    pub(crate) async fn term(&mut self, index: u64) -> Checked {
        let result = self.reader().term(LogIndex::new(index)).await;
        self.journal.note(&format!("term of {index}"), &result);
        let wanted = self.model.term(LogIndex::new(index));
        check_found(result, wanted, |term| format!("term {term}")).map(|_| ())
    }

    /// Ends the handle and opens the store again; everything that was acknowledged must be there.
    /// The check does not apply to a volatile store.
    pub(crate) async fn reopen(&mut self, ending: Ending) -> Checked {
        self.must_outlive_its_handle()?;
        self.end(ending).await?;
        if let Err(error) = self.open_again().await {
            let error = with_causes(&error);
            return broken(1, format!("the store does not open again: {error}"));
        }
        let recovered = self.store().recover().await;
        match recovered {
            Ok(recovered) => {
                self.look(After::Reopened).await?;
                check_recovered(&recovered, &self.model)
            }
            Err(error) => broken(18, format!("a sound store does not recover: {error}")),
        }
    }

    /// Ends the handle. The store is not open until [`Subject::open_again`].
    pub(crate) async fn end(&mut self, ending: Ending) -> Checked {
        if ending == Ending::Closed {
            let result = self.store().close().await;
            self.journal.note("close", &result);
            promised(13, result.is_ok(), || format!("a sound store does not close: {result:?}"))?;
        }
        self.store = None;
        Ok(())
    }

    /// Returns the open handle. The store is not open here until [`Subject::take_back`].
    pub(crate) fn lend(&mut self) -> Box<dyn Store> {
        self.store.take().expect("the store is open")
    }

    /// Takes back a handle that acknowledged what the model holds now. The store is opened again,
    /// unless it is volatile, and everything must be there.
    pub(crate) async fn take_back(&mut self, store: Box<dyn Store>, model: Model) -> Checked {
        (self.store, self.model) = (Some(store), model);
        match self.info.durability {
            Durability::Volatile => self.look(After::Appended).await,
            _ => self.reopen(Ending::Dropped).await,
        }
    }

    /// Opens the store in its place.
    pub(crate) async fn open_again(&mut self) -> Result<(), LogError> {
        let place = &mut self.place;
        let opened = once_released(async || Some(place.open().await)).await;
        let opened = opened.expect("every place can be opened");
        self.journal.note("open again", &opened);
        self.store = Some(opened?);
        if self.lacks().identity {
            self.model.identity = None;
        }
        Ok(())
    }

    /// Drops the handle, if one is open, whatever its state.
    pub(crate) fn abandon(&mut self) {
        self.store = None;
    }

    /// The parts of the contract that the store is declared to lack.
    pub(crate) fn lacks(&self) -> Lacks {
        self.place.lacks()
    }

    /// Ends a check of resets, if the store is declared to have none.
    pub(crate) fn must_have_resets(&self) -> Checked {
        if self.lacks().reset { Err(Halt::DoesNotApply(NO_RESET)) } else { Ok(()) }
    }

    /// Ends a check of the identity, if the store is declared to keep none.
    pub(crate) fn must_keep_its_identity(&self) -> Checked {
        if self.lacks().identity { Err(Halt::DoesNotApply(NO_IDENTITY)) } else { Ok(()) }
    }

    /// Ends the check at a reset that the store is declared to lack; it has found nothing wrong up
    /// to there.
    fn check_reset(&self, batch: &WriteBatch) -> Checked {
        let is_missing = batch.reset.is_some() && self.lacks().reset;
        if is_missing { Err(Halt::LeftOut(NO_RESET)) } else { Ok(()) }
    }

    /// Whether the store has files.
    pub(crate) fn has_files(&self) -> bool {
        self.place.files().is_some()
    }

    /// The directory of the store's files.
    pub(crate) fn files(&self) -> Checked<PathBuf> {
        match self.place.files() {
            Some(dir) => Ok(dir.to_owned()),
            None => Err(Halt::DoesNotApply("the place of the store has no files")),
        }
    }

    /// The list of steps, for checks that start repeatedly from the same files.
    pub(crate) fn journal(&self) -> &Journal {
        &self.journal
    }

    /// Reopens the store twice, after each of the two ways to end a handle.
    pub(crate) async fn reopen_twice(&mut self) -> Checked {
        self.reopen(Ending::Dropped).await?;
        self.reopen(Ending::Closed).await
    }

    /// Like [`Subject::reopen_twice`], if the store outlives its handle. A store that serves its
    /// reads from memory shows only after an opening what it stored.
    pub(crate) async fn reopen_if_kept(&mut self) -> Checked {
        match self.info.durability {
            Durability::Volatile => Ok(()),
            Durability::ProcessCrash | Durability::PowerLoss => self.reopen_twice().await,
        }
    }

    pub(crate) fn must_outlive_its_handle(&self) -> Checked {
        match self.info.durability {
            Durability::Volatile => {
                Err(Halt::DoesNotApply("the store declares that it is volatile"))
            }
            _ => Ok(()),
        }
    }

    /// Opens the place a second time, beside the handle that is open.
    pub(crate) async fn open_beside(&mut self) -> Result<Box<dyn Store>, LogError> {
        let opened = self.place.open().await;
        self.journal.note("open beside the open handle", &opened);
        opened
    }

    /// Opens the place in a separate process, beside the handle that is open here; `None` where
    /// that cannot be done.
    pub(crate) fn open_beside_in_another_process(&mut self) -> Option<second::Opened> {
        let (rerun, dir) = (self.rerun?, self.place.files()?);
        let opened = second::open(&rerun, dir)?;
        self.journal.note_line(&format!("open in another process: {opened:?}"));
        Some(opened)
    }

    /// Opens the place beside the open handle, under another name of its directory; `None` where
    /// that cannot be done.
    #[cfg(unix)]
    pub(crate) async fn open_beside_by_another_name(
        &mut self,
    ) -> Option<Result<Box<dyn Store>, LogError>> {
        let names = tempfile::tempdir().expect("a temporary directory can be made");
        let link = names.path().join("link");
        std::os::unix::fs::symlink(self.place.files()?, &link).expect("a link can be made");
        let opened = self.place.open_in(&link).await?;
        self.journal.note("open beside the open handle, under another name", &opened);
        Some(opened)
    }

    pub(crate) async fn look(&mut self, after: After) -> Checked {
        let contents = Contents::of(self.store()).await?;
        contents.check(&self.model, after)
    }
}
