//! A log store that is a stable store too, and its two compound verbs.

use alloc::boxed::Box;
use alloc::vec::Vec;

use async_trait::async_trait;

use super::record::decode_membership;
use super::{LogBounds, LogError, LogErrorKind, LogOp, LogReader, LogStore, Recovered};
use super::{StableStore, StoreInfo, Tail, WriteBatch};
use crate::types::{Entry, EntryKind, LogIndex, Membership, TermRun};

/// How much payload the default [`Store::recover`] reads at once, in bytes.
const SCAN_BYTES: u64 = 1 << 20;

/// A log store and a stable store in one: what the engine is given.
#[async_trait]
pub trait Store: LogStore + StableStore {
    /// What the store declares of itself.
    fn info(&self) -> StoreInfo;

    /// Applies a whole batch: hard state, reset, truncation, append, purge, commit hint, in that
    /// order; durable when it returns `Ok`. A crash leaves a prefix of the batches given here (P3).
    ///
    /// The default runs the small verbs one after another, each durable before the next. That is
    /// correct (a crash leaves the hard state ahead of the entries, never behind), and enough for a
    /// first backend. A better one makes the batch one atomic unit with one sync, and declares
    /// `atomic_batch`.
    async fn write(&mut self, batch: WriteBatch) -> Result<(), LogError> {
        if let Some(hard_state) = batch.hard_state {
            self.save_hard_state(hard_state).await?;
        }
        if let Some(boundary) = batch.reset {
            self.reset(boundary).await?;
        }
        if let Some(index) = batch.truncate_after {
            self.truncate_after(index).await?;
        }
        if !batch.append.is_empty() {
            self.append(&batch.append).await?;
        }
        match batch.purge_upto {
            Some(upto) => self.purge_upto(upto).await,
            None => Ok(()),
        }
    }

    /// What a restarting member must know, as the log holds it (P18). The default reads the whole
    /// log once.
    async fn recover(&mut self) -> Result<Recovered, LogError> {
        let (bounds, hard_state) = (self.bounds(), self.load_hard_state().await?);
        let mut scan = Scan::default();
        scan.run(self.reader().as_mut(), bounds).await?;
        Ok(Recovered {
            bounds,
            hard_state,
            term_runs: scan.term_runs,
            memberships: scan.memberships,
            commit_hint: LogIndex::ZERO,
            tail: Tail::Clean,
        })
    }

    /// Ends the store's work in good order: a durable store marks its end as proven. Dropping a
    /// store without it loses nothing that was acknowledged.
    async fn close(&mut self) -> Result<(), LogError> {
        Ok(())
    }
}

/// One pass over a log, which notes where terms change and which entries are memberships.
#[derive(Default)]
struct Scan {
    term_runs: Vec<TermRun>,
    memberships: Vec<(LogIndex, Membership)>,
}

impl Scan {
    async fn run(&mut self, log: &mut dyn LogReader, bounds: LogBounds) -> Result<(), LogError> {
        let (mut next, end) = (bounds.first(), bounds.last.index.next());
        while next < end {
            let entries = log.read(next..end, SCAN_BYTES).await?;
            if entries.is_empty() {
                // A store's bug (P10); without an error here it would be an endless loop.
                let cause = "a read of a range that is not empty returned no entry";
                return Err(LogError::io(LogOp::Read, cause));
            }
            for entry in &entries {
                self.note(entry)?;
            }
            next = next.plus(entries.len() as u64);
        }
        Ok(())
    }

    fn note(&mut self, entry: &Entry) -> Result<(), LogError> {
        let (index, term) = (entry.id.index, entry.id.term);
        if self.term_runs.last().is_none_or(|run| run.term != term) {
            self.term_runs.push(TermRun { first: index, term });
        }
        if entry.kind == EntryKind::Membership {
            let damaged = |cause| {
                let kind = LogErrorKind::Corrupt { index: Some(index) };
                LogError::new(LogOp::Read, kind).because(cause)
            };
            let membership = decode_membership(&entry.payload).map_err(damaged)?;
            self.memberships.push((index, membership));
        }
        Ok(())
    }
}
