//! Two stores of different kinds, used as one: entries in one, identity and votes in the other.
//!
//! A batch costs two syncs, and is not atomic: the hard state is durable before the log is touched,
//! so a crash between the two leaves the hard state ahead of the entries, never behind (P4). The
//! log half is given the rest of the batch in one piece.
//!
//! The identity is written to both halves, the stable one first. A log half with an identity that
//! the stable half does not have means that the halves do not belong together, or that the stable
//! one was lost; a member that continued could vote twice (L7), so opening is refused with an error
//! that names both.
//!
//! Absent: parallel syncs of the two halves. They would allow entries ahead of the hard state.

use alloc::boxed::Box;
use alloc::format;

use async_trait::async_trait;

use super::{LogBounds, LogError, LogErrorKind, LogOp, LogReader, LogStore, Recovered, Refusal};
use super::{StableStore, Store, StoreInfo, WriteBatch};
use crate::types::{Entry, EntryId, HardState, Identity, LogIndex};

/// A log store and a stable store that make one [`Store`].
#[derive(Debug)]
pub struct Split<L, S> {
    log: L,
    stable: S,
    stable_info: StoreInfo,
    /// Set by the first failure of either half; then neither half accepts further changes (P15).
    is_poisoned: bool,
}

impl<L: Store, S: StableStore> Split<L, S> {
    /// Puts the halves together. The log half declares itself. A stable store alone cannot declare
    /// itself, so `stable_info` declares it.
    pub fn new(log: L, stable: S, stable_info: StoreInfo) -> Split<L, S> {
        Split { log, stable, stable_info, is_poisoned: false }
    }

    fn check_poison(&self, op: LogOp) -> Result<(), LogError> {
        if self.is_poisoned { Err(LogError::new(op, LogErrorKind::Poisoned)) } else { Ok(()) }
    }

    /// Poisons the store if `done` is a failure.
    fn settle(&mut self, done: Result<(), LogError>) -> Result<(), LogError> {
        self.is_poisoned |= done.as_ref().is_err_and(|error| !error.is_harmless());
        done
    }

    /// Returns the identity of both halves; refuses halves that do not belong together.
    async fn matching_identity(&mut self) -> Result<Option<Identity>, LogError> {
        let stable = self.stable.load_identity().await?;
        match self.log.load_identity().await? {
            None => Ok(stable),
            same if same == stable => Ok(stable),
            Some(other) => Err(LogError::refused(LogOp::Identity, Refusal::OtherIdentity)
                .at(format!("the log half of a split store, which belongs to {other}"))),
        }
    }
}

#[async_trait]
impl<L: Store, S: StableStore> LogStore for Split<L, S> {
    fn bounds(&self) -> LogBounds {
        self.log.bounds()
    }

    async fn append(&mut self, entries: &[Entry]) -> Result<(), LogError> {
        self.check_poison(LogOp::Append)?;
        let done = self.log.append(entries).await;
        self.settle(done)
    }

    async fn truncate_after(&mut self, index: LogIndex) -> Result<(), LogError> {
        self.check_poison(LogOp::Truncate)?;
        let done = self.log.truncate_after(index).await;
        self.settle(done)
    }

    async fn purge_upto(&mut self, upto: EntryId) -> Result<(), LogError> {
        self.check_poison(LogOp::Purge)?;
        let done = self.log.purge_upto(upto).await;
        self.settle(done)
    }

    async fn reset(&mut self, boundary: EntryId) -> Result<(), LogError> {
        self.check_poison(LogOp::Reset)?;
        let done = self.log.reset(boundary).await;
        self.settle(done)
    }

    fn reader(&self) -> Box<dyn LogReader> {
        self.log.reader()
    }
}

#[async_trait]
impl<L: Store, S: StableStore> StableStore for Split<L, S> {
    async fn load_identity(&mut self) -> Result<Option<Identity>, LogError> {
        self.matching_identity().await
    }

    async fn save_identity(&mut self, identity: &Identity) -> Result<(), LogError> {
        self.check_poison(LogOp::Identity)?;
        self.matching_identity().await?;
        let done = self.stable.save_identity(identity).await;
        self.settle(done)?;
        let done = self.log.save_identity(identity).await;
        self.settle(done)
    }

    async fn load_hard_state(&mut self) -> Result<HardState, LogError> {
        self.stable.load_hard_state().await
    }

    async fn save_hard_state(&mut self, hard_state: HardState) -> Result<(), LogError> {
        self.check_poison(LogOp::HardState)?;
        let done = self.stable.save_hard_state(hard_state).await;
        self.settle(done)
    }
}

#[async_trait]
impl<L: Store, S: StableStore> Store for Split<L, S> {
    fn info(&self) -> StoreInfo {
        let (log, stable) = (self.log.info(), &self.stable_info);
        StoreInfo {
            backend: format!("{}+{}", log.backend, stable.backend).into(),
            durability: log.durability.min(stable.durability),
            atomic_batch: false,
            may_block: log.may_block || stable.may_block,
            detects: log.detects.min(stable.detects),
            sync_verb: format!("{}, {}", log.sync_verb, stable.sync_verb).into(),
            format_version: log.format_version,
        }
    }

    async fn write(&mut self, mut batch: WriteBatch) -> Result<(), LogError> {
        self.check_poison(LogOp::Write)?;
        let hard_state = batch.hard_state.take();
        if let Some(hard_state) = hard_state
            && let Err(error) = self.save_hard_state(hard_state).await
        {
            return Err(error.giving_back(WriteBatch { hard_state: Some(hard_state), ..batch }));
        }
        // A batch with nothing but a hint is passed on, too: the log half decides whether to store
        // it.
        if batch == WriteBatch::default() {
            Ok(())
        } else {
            let mut done = self.log.write(batch).await;
            if let Err(LogError { unwritten: Some(unwritten), .. }) = &mut done {
                // Saving the same hard state again changes nothing.
                unwritten.hard_state = hard_state;
            }
            self.settle(done)
        }
    }

    async fn recover(&mut self) -> Result<Recovered, LogError> {
        self.matching_identity().await?;
        let hard_state = self.stable.load_hard_state().await?;
        let recovered = self.log.recover().await?;
        if recovered.hard_state.may_become(hard_state) {
            return Ok(Recovered { hard_state, ..recovered });
        }
        // The log half was used as a store of its own, and holds a vote, which must not be lost.
        Err(LogError::refused(LogOp::Open, Refusal::HardStateGoesBack)
            .at(format!("the log half of a split store, with {}", recovered.hard_state)))
    }

    async fn close(&mut self) -> Result<(), LogError> {
        self.check_poison(LogOp::Close)?;
        let done = self.log.close().await;
        self.settle(done)
    }
}
