//! A store of openraft as a store of this project.
//!
//! Each verb becomes the verbs of openraft's trait, one after another, and ends when openraft would
//! count it as done. After each change the adapter reads from the store where its log begins and
//! ends, and its vote. It shows only these values; it derives none from the request.
//!
//! Requests that openraft never makes do not reach the store. [`Gate`] refuses them (gaps, falling
//! terms, votes that go back, purges beyond the end), the adapter remembers a failure (P15), and it
//! keeps the identity in memory only. A reset is refused: see [`crate::LACKS`].

use std::borrow::Cow;
use std::sync::Arc;
use std::sync::{Mutex, Weak};

use async_trait::async_trait;
use raft_core::storage::{
    BatchStore, Detects, Durability, Gate, LogBounds, LogError, LogErrorKind, LogOp, LogReader,
    Plan, StableState, StoreInfo, WriteBatch,
};
use raft_core::types::{Entry, EntryId, HardState, Identity, LogIndex};

use crate::foreign::{Failed, Foreign, ForeignReader};
use crate::reader::{Reader, Slot};
use crate::shared::Shared;
use crate::tasks::{Tasks, lock};

/// The declarations about a store, since openraft's trait has none.
#[derive(Clone, Debug)]
pub struct Declared {
    /// The store's name.
    pub name: Cow<'static, str>,
    /// What an acknowledged write survives.
    pub durability: Durability,
}

impl Declared {
    /// A store in memory.
    pub fn volatile(name: impl Into<Cow<'static, str>>) -> Declared {
        Declared { name: name.into(), durability: Durability::Volatile }
    }

    /// A store whose writes survive the end of the process, but not of the machine. openraft
    /// requires more: see [`Declared::durable`].
    pub fn process_crash(name: impl Into<Cow<'static, str>>) -> Declared {
        Declared { name: name.into(), durability: Durability::ProcessCrash }
    }

    /// A store that keeps openraft's promises: an acknowledged write is on the disk.
    pub fn durable(name: impl Into<Cow<'static, str>>) -> Declared {
        Declared { name: name.into(), durability: Durability::PowerLoss }
    }
}

/// A store written for openraft's `RaftLogStorage`, in the form that the conformance suite expects.
pub struct OpenraftLog<F: Foreign> {
    /// Invariant: present until the handle is dropped; besides it, only running tasks hold the
    /// store.
    store: Option<Arc<tokio::sync::Mutex<F>>>,
    shared: Arc<Shared>,
    readers: Mutex<Vec<Weak<Slot<F::Reader>>>>,
    declared: Declared,
    identity: Option<Identity>,
    hard_state: HardState,
    is_poisoned: bool,
}

/// The state that a store reported.
struct Reported {
    bounds: LogBounds,
    hard_state: HardState,
}

impl<F: Foreign> OpenraftLog<F> {
    /// Wraps an open store. The error is `Io` if the store cannot report where its log ends, or its
    /// vote.
    pub async fn over(store: F, declared: Declared) -> Result<OpenraftLog<F>, LogError> {
        let io = |error: std::io::Error| LogError::io(LogOp::Open, error);
        let shared = Arc::new(Shared::new(Tasks::new().map_err(io)?));
        let mut log = OpenraftLog {
            store: Some(Arc::new(tokio::sync::Mutex::new(store))),
            shared,
            readers: Mutex::default(),
            declared,
            identity: None,
            hard_state: HardState::default(),
            is_poisoned: false,
        };
        let store = log.store();
        let ask = async move { read_state(&mut *store.lock().await).await };
        let reported = log.shared.tasks.run(ask).await.unwrap_or_else(|| Err("closed".into()));
        let reported = reported.map_err(|error| LogError::io(LogOp::Open, error))?;
        log.note(reported);
        Ok(log)
    }

    fn store(&self) -> Arc<tokio::sync::Mutex<F>> {
        self.store.clone().expect("until the handle is dropped")
    }

    fn note(&mut self, reported: Reported) {
        self.shared.set_bounds(reported.bounds);
        self.hard_state = reported.hard_state;
    }
}

#[async_trait]
impl<F: Foreign> BatchStore for OpenraftLog<F> {
    fn declaration(&self) -> StoreInfo {
        let sync_verb = match self.declared.durability {
            Durability::Volatile => "none",
            Durability::ProcessCrash | Durability::PowerLoss => "its own",
        };
        StoreInfo {
            backend: self.declared.name.clone(),
            durability: self.declared.durability,
            atomic_batch: false,
            may_block: true,
            detects: Detects::Nothing,
            sync_verb: sync_verb.into(),
            format_version: 0,
        }
    }

    fn log_bounds(&self) -> LogBounds {
        self.shared.bounds()
    }

    fn log_reader(&self) -> Box<dyn LogReader> {
        let (slot, store) = (Arc::new(Slot::default()), self.store());
        let mut filled = slot.clone().try_lock_owned().expect("nothing else knows it yet");
        // The reader is created now, not at the first read: it must see all writes from now on.
        let fill = async move { *filled = Some(store.lock().await.reader().await) };
        drop(self.shared.tasks.begin(fill));
        let mut readers = lock(&self.readers);
        readers.retain(|reader| reader.strong_count() > 0);
        readers.push(Arc::downgrade(&slot));
        Box::new(Reader::new(slot, self.shared.clone()))
    }

    fn stable_state(&self, _op: LogOp) -> Result<StableState, LogError> {
        Ok(StableState { identity: self.identity, hard_state: self.hard_state })
    }

    fn check_usable(&self, op: LogOp) -> Result<(), LogError> {
        if self.is_poisoned { Err(LogError::new(op, LogErrorKind::Poisoned)) } else { Ok(()) }
    }

    async fn change(&mut self, op: LogOp, batch: WriteBatch) -> Result<(), LogError> {
        self.check_usable(op)?;
        if batch.reset.is_some() {
            return Err(LogError::io(op, "openraft's trait has no reset, and it was declared so"));
        }
        let (store, gate) = (self.store(), Gate::new(self.shared.bounds(), self.hard_state));
        let (shared, bounds) = (self.shared.clone(), self.shared.bounds());
        let work = async move {
            let under_way = shared.begin_change();
            let done = change(&mut *store.lock().await, op, batch, gate, bounds).await;
            if let Ok(reported) = &done {
                shared.set_bounds(reported.bounds);
            }
            drop(under_way);
            done
        };
        let done = self.shared.tasks.run(work).await;
        let done = done.unwrap_or_else(|| Err(LogError::io(op, "the store is closed")));
        self.is_poisoned = done.as_ref().is_err_and(|error| !error.is_harmless());
        done.map(|reported| self.note(reported))
    }

    async fn write_identity(&mut self, identity: Identity) -> Result<(), LogError> {
        self.identity = Some(identity);
        Ok(())
    }
}

impl<F: Foreign> Drop for OpenraftLog<F> {
    fn drop(&mut self) {
        self.shared.tasks.close();
        for reader in lock(&self.readers).iter().filter_map(Weak::upgrade) {
            // All tasks have ended, so none holds the reader any more.
            if let Ok(mut reader) = reader.try_lock() {
                *reader = None;
            }
        }
        self.store = None;
        self.shared.tasks.end();
    }
}

/// Checks a batch, and carries out the verbs that have an effect, one by one.
async fn change<F: Foreign>(
    store: &mut F,
    op: LogOp,
    batch: WriteBatch,
    gate: Gate,
    bounds: LogBounds,
) -> Result<Reported, LogError> {
    let io = |error: Failed| LogError::io(op, error);
    let terms = [batch.truncate_after, batch.purge_upto.map(|upto| upto.index)];
    let known = ids(store, bounds, terms.into_iter().flatten()).await.map_err(io)?;
    let plan = gate.pass(&batch, |index| match known.iter().find(|id| id.index == index) {
        Some(id) => Ok(id.term),
        None => Err(LogError::io(op, format!("the store shows no entry {index} in its log"))),
    })?;
    apply(store, bounds, plan, batch.append).await.map_err(io)?;
    read_state(store).await.map_err(io)
}

async fn apply<F: Foreign>(
    store: &mut F,
    bounds: LogBounds,
    plan: Plan,
    append: Vec<Entry>,
) -> Result<(), Failed> {
    if let Some(vote) = plan.hard_state {
        store.save_vote(vote).await?;
    }
    if let Some(last) = plan.truncate {
        let first = ids(store, bounds, [last.index.next()]).await?;
        let Some(first) = first.first() else {
            return Err(format!("the store shows no entry behind {last}").into());
        };
        store.truncate(last, *first).await?;
    }
    if !append.is_empty() {
        store.append(append).await?;
    }
    match plan.purge {
        Some(upto) => store.purge(upto).await,
        None => Ok(()),
    }
}

/// The ids of the entries at these indexes; indexes outside of the log are left out.
async fn ids<F: Foreign>(
    store: &mut F,
    bounds: LogBounds,
    places: impl IntoIterator<Item = LogIndex> + Send,
) -> Result<Vec<EntryId>, Failed> {
    let mut ids = Vec::new();
    let inside: Vec<LogIndex> =
        places.into_iter().filter(|at| bounds.check_inside(*at, *at).is_ok()).collect();
    for at in inside {
        let found = store.reader().await.entries(at..at.next()).await?;
        ids.extend(found.first().map(|entry| entry.id));
    }
    Ok(ids)
}

async fn read_state<F: Foreign>(store: &mut F) -> Result<Reported, Failed> {
    Ok(Reported { bounds: store.bounds().await?, hard_state: store.vote().await? })
}
