//! openraft 0.9: `RaftLogStorage`.
//!
//! An application implements that trait under openraft's feature `storage-v2`. Without the feature,
//! openraft's own `Adaptor` turns a store of the older trait `RaftStorage` into one; all stores
//! that openraft has published for 0.9 are of that older trait. This module works with and without
//! the feature.

use std::ops::Range;

use openraft_0_9::storage::{RaftLogStorage, RaftLogStorageExt};
use openraft_0_9::{
    CommittedLeaderId, Entry as Record, EntryPayload, LogId, RaftLogReader, RaftTypeConfig, Vote,
};
use raft_core::storage::{LogBounds, LogError};
use raft_core::types::{Entry, EntryId, HardState, LogIndex, NodeId, Term};

use crate::foreign::{
    Data, Failed, Foreign, ForeignReader, bounds_of, from_openraft, to_openraft, voted_for,
};
use crate::log::{Declared, OpenraftLog};

/// A store written for `RaftLogStorage` of openraft 0.9, with the types of `C`.
pub type OpenraftLog09<C, S> = OpenraftLog<Store<C, S>>;

/// Wraps an open store; `data` says how its commands carry bytes.
pub async fn adapt<C, S>(
    store: S,
    data: Data<C::D>,
    declared: Declared,
) -> Result<OpenraftLog09<C, S>, LogError>
where
    C: Types,
    S: RaftLogStorage<C>,
{
    OpenraftLog::over(Store { store, data }, declared).await
}

/// Types with openraft's own entry and ids of 64 bits.
pub trait Types: RaftTypeConfig<NodeId = u64, Entry = Record<Self>> {}

impl<C: RaftTypeConfig<NodeId = u64, Entry = Record<C>>> Types for C {}

/// A store behind this version's trait.
pub struct Store<C: Types, S> {
    store: S,
    data: Data<C::D>,
}

/// A reader of such a store.
pub struct Reader<C: Types, R> {
    reader: R,
    data: Data<C::D>,
}

impl<C: Types, S: RaftLogStorage<C>> Foreign for Store<C, S> {
    type Reader = Reader<C, S::LogReader>;

    async fn bounds(&mut self) -> Result<LogBounds, Failed> {
        let state = self.store.get_log_state().await?;
        Ok(bounds_of(state.last_purged_log_id.map(id), state.last_log_id.map(id)))
    }

    async fn vote(&mut self) -> Result<HardState, Failed> {
        let vote = self.store.read_vote().await?.unwrap_or_default();
        let Vote { leader_id, .. } = vote;
        let vote = leader_id.voted_for().and_then(NodeId::new);
        Ok(HardState { term: Term::new(leader_id.get_term()), vote })
    }

    async fn save_vote(&mut self, vote: HardState) -> Result<(), Failed> {
        let vote = Vote::new(vote.term.get(), voted_for(vote));
        Ok(self.store.save_vote(&vote).await?)
    }

    async fn append(&mut self, entries: Vec<Entry>) -> Result<(), Failed> {
        let records: Vec<Record<C>> =
            entries.iter().map(|entry| record(&self.data, entry)).collect();
        Ok(self.store.blocking_append(records).await?)
    }

    async fn truncate(&mut self, _last: EntryId, first: EntryId) -> Result<(), Failed> {
        Ok(self.store.truncate(log_id(first)).await?)
    }

    async fn purge(&mut self, upto: EntryId) -> Result<(), Failed> {
        Ok(self.store.purge(log_id(upto)).await?)
    }

    async fn reader(&mut self) -> Self::Reader {
        Reader { reader: self.store.get_log_reader().await, data: self.data }
    }
}

impl<C: Types, R: RaftLogReader<C>> ForeignReader for Reader<C, R> {
    async fn entries(&mut self, range: Range<LogIndex>) -> Result<Vec<Entry>, Failed> {
        let range = to_openraft(range.start)..to_openraft(range.end);
        let found = self.reader.try_get_log_entries(range).await?;
        found.iter().map(|found| entry(&self.data, found)).collect()
    }
}

fn id(log_id: LogId<u64>) -> EntryId {
    from_openraft(log_id.leader_id.get_term(), log_id.index)
}

fn log_id(id: EntryId) -> LogId<u64> {
    LogId::new(CommittedLeaderId::new(id.term.get(), 0), to_openraft(id.index))
}

fn record<C: Types>(data: &Data<C::D>, entry: &Entry) -> Record<C> {
    let payload = data.of(entry).map_or(EntryPayload::Blank, EntryPayload::Normal);
    Record { log_id: log_id(entry.id), payload }
}

fn entry<C: Types>(data: &Data<C::D>, record: &Record<C>) -> Result<Entry, Failed> {
    let id = id(record.log_id);
    match &record.payload {
        EntryPayload::Blank => data.entry(id, None),
        EntryPayload::Normal(found) => data.entry(id, Some(found)),
        EntryPayload::Membership(_) => Err(format!("entry {id} became a membership").into()),
    }
}
