//! A trait for stores whose every change is one batch, which a backend implements instead of three
//! traits.
//!
//! The small verbs of [`LogStore`] and [`StableStore`] are batches with one field, and their code
//! would be the same in every backend. A backend that implements [`BatchStore`] gets all of these
//! verbs, and so is a [`Store`].
//!
//! Absent: a store that makes each verb durable on its own (it implements the traits itself), and
//! [`Split`](super::Split), whose halves are stores already.

use alloc::boxed::Box;
use core::pin::Pin;

use async_trait::async_trait;

use super::scan::scan;
use super::{
    LogBounds, LogError, LogOp, LogReader, LogStore, Recovered, StableStore, Store, StoreInfo,
    WriteBatch, check_identity,
};
use crate::types::{Entry, EntryId, HardState, Identity, LogIndex};

/// The state that a store keeps beside its log.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct StableState {
    /// The store's identity, once one was saved.
    pub identity: Option<Identity>,
    /// Term and vote.
    pub hard_state: HardState,
}

/// A store whose every change is one batch, durable as a whole (`atomic_batch`).
#[async_trait]
pub trait BatchStore: Send {
    /// The declarations of the store: [`Store::info`].
    fn declaration(&self) -> StoreInfo;

    /// Where the log begins and ends, without I/O: [`LogStore::bounds`].
    fn log_bounds(&self) -> LogBounds;

    /// A reader that is independent of the store: [`LogStore::reader`].
    fn log_reader(&self) -> Box<dyn LogReader>;

    /// The state that the store keeps beside its log. Fails only if the store itself is lost.
    fn stable_state(&self, op: LogOp) -> Result<StableState, LogError>;

    /// `Poisoned` once a change has failed (P15). Called before an identity is checked.
    fn check_usable(&self, op: LogOp) -> Result<(), LogError>;

    /// Applies a batch; durable when it returns `Ok`. Refuses what the contract refuses (see
    /// [`Gate`](super::Gate)) without changing anything. If the disk has no space it may fail with
    /// `NoSpace`, also without changing anything; any other error poisons the handle.
    async fn change(&mut self, op: LogOp, batch: WriteBatch) -> Result<(), LogError>;

    /// Writes the identity of a store that has none yet; durable when it returns `Ok`. Any error
    /// other than `NoSpace` poisons the handle.
    async fn write_identity(&mut self, identity: Identity) -> Result<(), LogError>;

    /// What a member needs when it restarts: [`Store::recover`]. The default reads the whole log.
    async fn recover_all(&mut self) -> Result<Recovered, LogError> {
        let hard_state = self.stable_state(LogOp::Open)?.hard_state;
        scan(self.log_reader().as_mut(), self.log_bounds(), hard_state).await
    }

    /// Closes the store cleanly: [`Store::close`].
    async fn finish(&mut self) -> Result<(), LogError> {
        Ok(())
    }
}

#[async_trait]
impl<T: BatchStore> LogStore for T {
    fn bounds(&self) -> LogBounds {
        self.log_bounds()
    }

    async fn append(&mut self, entries: &[Entry]) -> Result<(), LogError> {
        self.change(LogOp::Append, WriteBatch::of_entries(entries.to_vec())).await
    }

    async fn truncate_after(&mut self, index: LogIndex) -> Result<(), LogError> {
        self.change(LogOp::Truncate, WriteBatch::of_truncation(index)).await
    }

    async fn purge_upto(&mut self, upto: EntryId) -> Result<(), LogError> {
        self.change(LogOp::Purge, WriteBatch::of_purge(upto)).await
    }

    async fn reset(&mut self, boundary: EntryId) -> Result<(), LogError> {
        self.change(LogOp::Reset, WriteBatch::of_reset(boundary)).await
    }

    fn reader(&self) -> Box<dyn LogReader> {
        self.log_reader()
    }
}

#[async_trait]
impl<T: BatchStore> StableStore for T {
    async fn load_identity(&mut self) -> Result<Option<Identity>, LogError> {
        Ok(self.stable_state(LogOp::Identity)?.identity)
    }

    async fn save_identity(&mut self, identity: &Identity) -> Result<(), LogError> {
        self.check_usable(LogOp::Identity)?;
        let own = self.stable_state(LogOp::Identity)?.identity;
        if check_identity(own, identity)? { self.write_identity(*identity).await } else { Ok(()) }
    }

    async fn load_hard_state(&mut self) -> Result<HardState, LogError> {
        Ok(self.stable_state(LogOp::HardState)?.hard_state)
    }

    async fn save_hard_state(&mut self, hard_state: HardState) -> Result<(), LogError> {
        self.change(LogOp::HardState, WriteBatch::of_hard_state(hard_state)).await
    }
}

/// What an asynchronous verb returns.
type Answer<'a, T> = Pin<Box<dyn Future<Output = Result<T, LogError>> + Send + 'a>>;

/// Written without `async_trait`, so that a batch costs one boxed future instead of two nested
/// ones.
impl<T: BatchStore> Store for T {
    fn info(&self) -> StoreInfo {
        self.declaration()
    }

    fn write<'a, 'b>(&'a mut self, batch: WriteBatch) -> Answer<'b, ()>
    where
        'a: 'b,
        Self: 'b,
    {
        self.change(LogOp::Write, batch)
    }

    fn recover<'a, 'b>(&'a mut self) -> Answer<'b, Recovered>
    where
        'a: 'b,
        Self: 'b,
    {
        self.recover_all()
    }

    fn close<'a, 'b>(&'a mut self) -> Answer<'b, ()>
    where
        'a: 'b,
        Self: 'b,
    {
        self.finish()
    }
}
