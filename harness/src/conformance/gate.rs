//! A store with a gate in front of its writes: the store under test as the engine sees it.
//!
//! All verbs are passed on to the store. Each write first waits at the gate, which a check shuts
//! and opens. Each request of the engine is recorded, counted, and also made on a model. So a check
//! can read at each moment what the store has acknowledged, and does not depend on how long
//! anything takes.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use async_trait::async_trait;
use raft_core::storage::{Durability, StableStore, Store, StoreInfo, WriteBatch};
use raft_core::storage::{LogBounds, LogError, LogOp, LogReader, LogStore, Recovered};
use raft_core::types::{Entry, EntryId, HardState, Identity, LogIndex};
use tokio::sync::watch;

use super::journal::Journal;
use super::model::Model;
use super::report::{Checked, Halt};
use super::request::{by_verbs, check_answer, in_words};
use super::subject::Way;

/// The number of writes that may pass while the gate is open.
const ALL: u64 = u64::MAX;

/// A check's handle on the gate of one store.
pub(crate) struct Gate {
    marks: watch::Sender<Marks>,
    seen: Mutex<Seen>,
    journal: Journal,
    way: Way,
}

/// The progress of the store and the gate.
#[derive(Clone, Copy, Debug, Default)]
struct Marks {
    /// The number of writes that the engine has requested.
    asked: u64,
    /// The number of writes that may pass.
    allowed: u64,
    /// Whether writes fail at the gate, before they reach the store.
    fails: bool,
    /// Whether the engine released the store.
    is_back: bool,
}

/// The requests that passed the gate.
#[derive(Default)]
struct Seen {
    /// The state that the store has acknowledged.
    model: Model,
    /// The number of entries in each acknowledged write.
    sizes: Vec<usize>,
    /// The first error.
    wrong: Option<Wrong>,
    /// Whether the engine closed the store.
    is_closed: bool,
    store: Option<Box<dyn Store>>,
}

enum Wrong {
    /// The store failed, although it was never given a request that it may refuse.
    Store(Halt),
    /// The engine made a request that every store must refuse.
    Engine(String),
}

/// The store behind its gate.
struct Gated {
    store: Option<Box<dyn Store>>,
    gate: Arc<Gate>,
}

impl Gate {
    /// Puts an open gate in front of a store that holds what the model holds.
    pub(crate) fn before(
        store: Box<dyn Store>,
        model: Model,
        journal: Journal,
        way: Way,
    ) -> (Arc<Gate>, Box<dyn Store>) {
        let marks = Marks { allowed: ALL, ..Marks::default() };
        let seen = Mutex::new(Seen { model, ..Seen::default() });
        let gate = Arc::new(Gate { marks: watch::Sender::new(marks), seen, journal, way });
        let gated = Gated { store: Some(store), gate: Arc::clone(&gate) };
        (gate, Box::new(gated))
    }

    /// Shuts the gate: later writes wait.
    pub(crate) fn shut(&self) {
        self.journal.note_line("(the gate before `write` is shut)");
        self.marks.send_modify(|marks| marks.allowed = marks.asked);
    }

    /// Lets one more write pass.
    pub(crate) fn let_one_pass(&self) {
        self.marks.send_modify(|marks| marks.allowed += 1);
    }

    /// Opens the gate for all writes.
    pub(crate) fn open(&self) {
        self.journal.note_line("(the gate is open)");
        self.marks.send_modify(|marks| marks.allowed = ALL);
    }

    /// Makes all waiting and later writes fail; none of them reaches the store.
    pub(crate) fn fail(&self) {
        self.journal.note_line("(from here on each write fails at the gate)");
        self.marks.send_modify(|marks| (marks.fails, marks.allowed) = (true, ALL));
    }

    /// Waits until the engine has requested `asked` writes in total, or has released the store.
    pub(crate) async fn wait_for_asked(&self, asked: u64) {
        self.wait_for(|marks| marks.asked >= asked || marks.is_back).await;
    }

    /// Waits until the engine releases the store.
    pub(crate) async fn wait_for_end(&self) {
        self.wait_for(|marks| marks.is_back).await;
    }

    /// Waits until the engine releases the store, and returns it.
    pub(crate) async fn take_back(&self) -> Box<dyn Store> {
        self.wait_for_end().await;
        self.seen().store.take().expect("the engine has released the store")
    }

    /// The number of writes that the engine has requested.
    pub(crate) fn asked(&self) -> u64 {
        self.marks.borrow().asked
    }

    /// The number of entries in each acknowledged write, in order.
    pub(crate) fn sizes(&self) -> Vec<usize> {
        self.seen().sizes.clone()
    }

    /// The model of everything that the store has acknowledged.
    pub(crate) fn model(&self) -> Model {
        self.seen().model.clone()
    }

    /// Whether the store has acknowledged exactly this entry, and has not truncated it since.
    pub(crate) fn has_acknowledged(&self, id: EntryId) -> bool {
        let seen = self.seen();
        seen.model.term(id.index).is_ok_and(|term| term == id.term)
    }

    /// Whether the engine released the store.
    pub(crate) fn is_back(&self) -> bool {
        self.marks.borrow().is_back
    }

    /// Whether the engine closed the store.
    pub(crate) fn is_closed(&self) -> bool {
        self.seen().is_closed
    }

    /// Returns the first failure of the store, if any. Panics if the engine was at fault.
    pub(crate) fn check(&self) -> Checked {
        match self.seen().wrong.take() {
            None => Ok(()),
            Some(Wrong::Store(halt)) => Err(halt),
            Some(Wrong::Engine(what)) => panic!("the engine, not the store: {what}"),
        }
    }

    async fn wait_for(&self, holds: impl Fn(&Marks) -> bool) {
        let mut watched = self.marks.subscribe();
        watched
            .wait_for(|marks| holds(marks))
            .await
            .expect("the gate outlives the tasks that wait at it");
    }

    /// A write waits at the gate; returns whether it may reach the store.
    async fn admit(&self) -> bool {
        let mut number = 0;
        self.marks.send_modify(|marks| {
            marks.asked += 1;
            number = marks.asked;
        });
        self.wait_for(|marks| marks.allowed >= number).await;
        !self.marks.borrow().fails
    }

    fn note(&self, batch: &WriteBatch, result: &Result<(), LogError>) {
        self.journal.note(&format!("the engine: {}", in_words(batch)), result);
        let mut seen = self.seen();
        let course = seen.model.course(batch);
        match (result, course.refusal) {
            (_, Some(refusal)) => {
                let what = format!("it asked to {}: {refusal}", in_words(batch));
                seen.wrong.get_or_insert(Wrong::Engine(what));
            }
            (Err(error), None) => seen.note_failure(error),
            (Ok(()), None) => {
                seen.model = course.states.last().expect("never empty").clone();
                seen.sizes.push(batch.append.len());
            }
        }
    }

    fn seen(&self) -> MutexGuard<'_, Seen> {
        self.seen.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Seen {
    fn note_failure(&mut self, error: &LogError) {
        let LogError { op, kind, place, .. } = error;
        let same = LogError { place: place.clone(), ..LogError::new(*op, kind.clone()) };
        if let Err(halt) = check_answer(Err(same), None) {
            self.wrong.get_or_insert(Wrong::Store(halt));
        }
    }
}

impl Gated {
    fn store(&mut self) -> &mut dyn Store {
        self.store.as_mut().expect("the store is present until the handle is dropped").as_mut()
    }

    fn peek(&self) -> &dyn Store {
        self.store.as_ref().expect("the store is present until the handle is dropped").as_ref()
    }
}

impl Drop for Gated {
    fn drop(&mut self) {
        self.gate.seen().store = self.store.take();
        self.gate.marks.send_modify(|marks| marks.is_back = true);
    }
}

#[async_trait]
impl LogStore for Gated {
    fn bounds(&self) -> LogBounds {
        self.peek().bounds()
    }

    async fn append(&mut self, entries: &[Entry]) -> Result<(), LogError> {
        self.write(WriteBatch::of_entries(entries.to_vec())).await
    }

    async fn truncate_after(&mut self, index: LogIndex) -> Result<(), LogError> {
        self.write(WriteBatch::of_truncation(index)).await
    }

    async fn purge_upto(&mut self, upto: EntryId) -> Result<(), LogError> {
        self.write(WriteBatch::of_purge(upto)).await
    }

    async fn reset(&mut self, boundary: EntryId) -> Result<(), LogError> {
        self.write(WriteBatch::of_reset(boundary)).await
    }

    fn reader(&self) -> Box<dyn LogReader> {
        self.peek().reader()
    }
}

#[async_trait]
impl StableStore for Gated {
    async fn load_identity(&mut self) -> Result<Option<Identity>, LogError> {
        self.store().load_identity().await
    }

    async fn save_identity(&mut self, identity: &Identity) -> Result<(), LogError> {
        let result = self.store().save_identity(identity).await;
        self.gate.journal.note(&format!("the engine: save the identity: {identity}"), &result);
        if result.is_ok() {
            self.gate.seen().model.identity = Some(*identity);
        }
        result
    }

    async fn load_hard_state(&mut self) -> Result<HardState, LogError> {
        self.store().load_hard_state().await
    }

    async fn save_hard_state(&mut self, hard_state: HardState) -> Result<(), LogError> {
        self.write(WriteBatch::of_hard_state(hard_state)).await
    }
}

#[async_trait]
impl Store for Gated {
    fn info(&self) -> StoreInfo {
        let info = self.peek().info();
        let atomic_batch = info.atomic_batch && self.gate.way == Way::Write;
        StoreInfo { atomic_batch, ..info }
    }

    async fn write(&mut self, batch: WriteBatch) -> Result<(), LogError> {
        if !self.gate.admit().await {
            let cause = std::io::Error::other("the check lets this write fail");
            return Err(LogError::io(LogOp::Write, cause));
        }
        let result = match self.gate.way {
            Way::Write => self.store().write(batch.clone()).await,
            Way::SmallVerbs => by_verbs(self.store(), &batch).await,
        };
        self.gate.note(&batch, &result);
        result
    }

    async fn recover(&mut self) -> Result<Recovered, LogError> {
        self.store().recover().await
    }

    async fn close(&mut self) -> Result<(), LogError> {
        // A volatile store has nothing to finish, and is inspected afterwards.
        let result = match self.info().durability {
            Durability::Volatile => Ok(()),
            _ => self.store().close().await,
        };
        self.gate.journal.note("the engine: close", &result);
        let mut seen = self.gate.seen();
        seen.is_closed = result.is_ok();
        if let Err(error) = &result {
            seen.note_failure(error);
        }
        result
    }
}
