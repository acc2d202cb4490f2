//! openraft 0.10: `RaftLogStorage`.

use std::ops::Range;

use openraft::alias::{CommittedLeaderIdOf, LogIdOf, VoteOf};
use openraft::entry::RaftEntry;
use openraft::impls::leader_id_adv;
use openraft::storage::{RaftLogStorage, RaftLogStorageExt};
use openraft::vote::{RaftLeaderId, RaftVote};
use openraft::{EntryPayload, LogId, RaftLogReader, RaftTypeConfig};
use raft_core::storage::{LogBounds, LogError};
use raft_core::types::{Entry, EntryId, HardState, LogIndex, NodeId, Term};

use crate::foreign::{
    Data, Failed, Foreign, ForeignReader, bounds_of, from_openraft, to_openraft, voted_for,
};
use crate::log::{Declared, OpenraftLog};

/// A store written for `RaftLogStorage` of openraft 0.10, with the types of `C`.
pub type OpenraftLog010<C, S> = OpenraftLog<Store<C, S>>;

/// Wraps an open store; `data` says how its commands carry bytes.
pub async fn adapt<C, S>(
    store: S,
    data: Data<C::D>,
    declared: Declared,
) -> Result<OpenraftLog010<C, S>, LogError>
where
    C: Types,
    S: RaftLogStorage<C>,
{
    OpenraftLog::over(Store { store, data }, declared).await
}

/// openraft's own entry with the types of `C`.
pub type Record<C> = openraft::Entry<CommittedLeaderIdOf<C>, Payload<C>>;

/// openraft's own payload with the types of `C`.
pub type Payload<C> = EntryPayload<<C as RaftTypeConfig>::D, u64, <C as RaftTypeConfig>::Node>;

/// Types with openraft's own entry, ids and terms of 64 bits, and openraft's default leader ids.
pub trait Types:
    RaftTypeConfig<
        NodeId = u64,
        Term = u64,
        LeaderId = leader_id_adv::LeaderId<u64, u64>,
        Payload = Payload<Self>,
        Entry = Record<Self>,
    >
{
}

impl<C> Types for C where
    C: RaftTypeConfig<
            NodeId = u64,
            Term = u64,
            LeaderId = leader_id_adv::LeaderId<u64, u64>,
            Payload = Payload<C>,
            Entry = Record<C>,
        >
{
}

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
        Ok(bounds_of(state.last_purged_log_id.map(id::<C>), state.last_log_id.map(id::<C>)))
    }

    async fn vote(&mut self) -> Result<HardState, Failed> {
        let vote = self.store.get_log_reader().await.read_vote().await?;
        let Some(vote) = vote else { return Ok(HardState::default()) };
        let leader = vote.leader_id();
        Ok(HardState { term: Term::new(leader.term()), vote: NodeId::new(*leader.node_id()) })
    }

    async fn save_vote(&mut self, vote: HardState) -> Result<(), Failed> {
        let vote = VoteOf::<C>::from_leader_id(leader(vote.term, voted_for(vote)), false);
        Ok(self.store.save_vote(&vote).await?)
    }

    async fn append(&mut self, entries: Vec<Entry>) -> Result<(), Failed> {
        let records: Vec<Record<C>> =
            entries.iter().map(|entry| record::<C>(&self.data, entry)).collect();
        Ok(self.store.blocking_append(records).await?)
    }

    async fn truncate(&mut self, last: EntryId, _first: EntryId) -> Result<(), Failed> {
        let last = (last.index > LogIndex::ZERO).then(|| log_id::<C>(last));
        Ok(self.store.truncate_after(last).await?)
    }

    async fn purge(&mut self, upto: EntryId) -> Result<(), Failed> {
        Ok(self.store.purge(log_id::<C>(upto)).await?)
    }

    async fn reader(&mut self) -> Self::Reader {
        Reader { reader: self.store.get_log_reader().await, data: self.data }
    }
}

impl<C: Types, R: RaftLogReader<C>> ForeignReader for Reader<C, R> {
    async fn entries(&mut self, range: Range<LogIndex>) -> Result<Vec<Entry>, Failed> {
        let range = to_openraft(range.start)..to_openraft(range.end);
        let found = self.reader.try_get_log_entries(range).await?;
        found.iter().map(|found| entry::<C>(&self.data, found)).collect()
    }
}

fn leader(term: Term, node: u64) -> leader_id_adv::LeaderId<u64, u64> {
    RaftLeaderId::new(term.get(), node)
}

fn id<C: Types>(log_id: LogIdOf<C>) -> EntryId {
    from_openraft(log_id.leader_id.term, log_id.index)
}

fn log_id<C: Types>(id: EntryId) -> LogIdOf<C> {
    LogId { leader_id: leader(id.term, 0).to_committed(), index: to_openraft(id.index) }
}

fn record<C: Types>(data: &Data<C::D>, entry: &Entry) -> Record<C> {
    let payload = data.of(entry).map_or(EntryPayload::Blank, EntryPayload::Normal);
    RaftEntry::new(log_id::<C>(entry.id), payload)
}

fn entry<C: Types>(data: &Data<C::D>, record: &Record<C>) -> Result<Entry, Failed> {
    let id = id::<C>(record.log_id);
    match &record.payload {
        EntryPayload::Blank => data.entry(id, None),
        EntryPayload::Normal(found) => data.entry(id, Some(found)),
        EntryPayload::Membership(_) => Err(format!("entry {id} became a membership").into()),
    }
}
