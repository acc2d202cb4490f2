//! Where a store under test lives: it outlives the handles that open it.

use std::path::Path;
use std::sync::Arc;

use async_trait::async_trait;
use raft_core::storage::{LogError, Store};
use tempfile::TempDir;

/// Where one store lives. A new place holds nothing; it is opened by one handle after another, and
/// cleaned up when it is dropped.
#[async_trait(?Send)]
pub trait Place {
    /// Opens the store, or begins one.
    async fn open(&mut self) -> Result<Box<dyn Store>, LogError>;

    /// The directory of its files, if it has any.
    fn files(&self) -> Option<&Path> {
        None
    }

    /// Opens, or begins, a store of the same kind whose files lie in another directory: on a disk
    /// whose power is cut, or among what the cut left. `None` where that cannot be done.
    async fn open_in(&mut self, _dir: &Path) -> Option<Result<Box<dyn Store>, LogError>> {
        None
    }
}

/// Makes new places.
pub type Factory = Arc<dyn Fn() -> Box<dyn Place> + Send + Sync>;

/// A store in a directory of its own, which is removed at the end.
pub fn in_dir<F, S>(open: F) -> InDir<F>
where
    F: AsyncFn(&Path) -> Result<S, LogError>,
    S: Store + 'static,
{
    InDir { dir: tempfile::tempdir().expect("a temporary directory can be made"), open }
}

/// A store that lies in no directory: what the function has in hand is the place. A volatile store
/// needs nothing in hand.
pub fn opened_by<F, S>(open: F) -> OpenedBy<F>
where
    F: AsyncFn() -> Result<S, LogError>,
    S: Store + 'static,
{
    OpenedBy { open }
}

/// The place that [`in_dir`] makes.
pub struct InDir<F> {
    dir: TempDir,
    open: F,
}

/// The place that [`opened_by`] makes.
pub struct OpenedBy<F> {
    open: F,
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
}
