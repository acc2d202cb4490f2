//! The place of a store under test, which outlives the handles that open the store.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use raft_core::storage::{LogError, LogErrorKind, Store};
use tempfile::TempDir;

/// The location of one store. A new place is empty; one handle after another opens it, and its
/// files are removed when it is dropped.
#[async_trait(?Send)]
pub trait Place {
    /// Opens the store, or creates one.
    async fn open(&mut self) -> Result<Box<dyn Store>, LogError>;

    /// The directory of its files, if it has any.
    fn files(&self) -> Option<&Path> {
        None
    }

    /// The parts of the contract that the store is declared to lack, which the suite does not
    /// check.
    fn lacks(&self) -> Lacks {
        Lacks::default()
    }

    /// Opens, or creates, a store of the same kind whose files are in another directory: on a disk
    /// whose power is cut, or among the files that the cut left. `None` if that is impossible.
    async fn open_in(&mut self, _dir: &Path) -> Option<Result<Box<dyn Store>, LogError>> {
        None
    }
}

/// The parts of the contract that a store is declared to lack, for example because it was written
/// for another contract. A member of this project needs all parts.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Lacks {
    /// The store keeps its identity only until its handle ends.
    pub identity: bool,
    /// The store cannot replace its log by a boundary.
    pub reset: bool,
    /// The store does not refuse a second opener.
    pub lock: bool,
    /// The store does not free the space of purged entries, so that it grows without limit.
    pub space: bool,
}

/// How often a store is opened again while its place is still in use after its handle was dropped.
const RELEASE_TRIES: u32 = 40;
const RELEASE_PAUSE: Duration = Duration::from_millis(50);

/// The result of an opening. A store with its own threads may need a moment to release its
/// place, and is opened again until it has.
pub(crate) async fn once_released(
    mut open: impl AsyncFnMut() -> Option<Result<Box<dyn Store>, LogError>>,
) -> Option<Result<Box<dyn Store>, LogError>> {
    for _ in 0..RELEASE_TRIES {
        match open().await? {
            Err(error) if error.kind == LogErrorKind::InUse => std::thread::sleep(RELEASE_PAUSE),
            opened => return Some(opened),
        }
    }
    open().await
}

/// Makes new places.
pub type Factory = Arc<dyn Fn() -> Box<dyn Place> + Send + Sync>;

/// A store in a separate directory, which is removed at the end.
pub fn in_dir<F, S>(open: F) -> InDir<F>
where
    F: AsyncFn(&Path) -> Result<S, LogError>,
    S: Store + 'static,
{
    let dir = tempfile::tempdir().expect("a temporary directory can be made");
    InDir { dir, open, lacks: Lacks::default() }
}

impl<F> InDir<F> {
    /// Declares which parts of the contract the store lacks, so that the suite does not check them.
    pub fn that_lacks(self, lacks: Lacks) -> InDir<F> {
        InDir { lacks, ..self }
    }
}

/// A store without a directory: the values that the function captures are the place. A volatile
/// store needs to capture nothing.
pub fn opened_by<F, S>(open: F) -> OpenedBy<F>
where
    F: AsyncFn() -> Result<S, LogError>,
    S: Store + 'static,
{
    OpenedBy { open, lacks: Lacks::default() }
}

impl<F> OpenedBy<F> {
    /// Declares which parts of the contract the store lacks, so that the suite does not check them.
    pub fn that_lacks(self, lacks: Lacks) -> OpenedBy<F> {
        OpenedBy { lacks, ..self }
    }
}

/// The place that [`in_dir`] makes.
pub struct InDir<F> {
    dir: TempDir,
    open: F,
    lacks: Lacks,
}

/// The place that [`opened_by`] makes.
pub struct OpenedBy<F> {
    open: F,
    lacks: Lacks,
}

#[async_trait(?Send)]
impl<F, S> Place for InDir<F>
where
    F: AsyncFn(&Path) -> Result<S, LogError>,
    S: Store + 'static,
{
    async fn open(&mut self) -> Result<Box<dyn Store>, LogError> {
        let store = (self.open)(self.dir.path()).await?;
        Ok(Box::new(store))
    }

    fn files(&self) -> Option<&Path> {
        Some(self.dir.path())
    }

    fn lacks(&self) -> Lacks {
        self.lacks
    }

    async fn open_in(&mut self, dir: &Path) -> Option<Result<Box<dyn Store>, LogError>> {
        let opened = (self.open)(dir).await;
        Some(opened.map(|store| Box::new(store) as Box<dyn Store>))
    }
}

#[async_trait(?Send)]
impl<F, S> Place for OpenedBy<F>
where
    F: AsyncFn() -> Result<S, LogError>,
    S: Store + 'static,
{
    async fn open(&mut self) -> Result<Box<dyn Store>, LogError> {
        let store = (self.open)().await?;
        Ok(Box::new(store))
    }

    fn lacks(&self) -> Lacks {
        self.lacks
    }
}
