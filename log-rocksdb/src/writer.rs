//! Turns a batch into one write batch, and reclaims the space of purged entries.

use std::sync::{Arc, RwLock};

use raft_core::storage::{LogError, LogOp, LogSummary, Plan, SummaryChange, WriteBatch};
use raft_core::types::{Entry, Identity, LogIndex};
use rocksdb::{DB, WriteOptions};

use crate::compactor::Compactor;
#[cfg(feature = "mutants")]
use crate::config::Mutant;
use crate::database::{Handle, failed, log, meta, synced};
use crate::keys::{STATE_KEY, encode_entry, entry_key, key_behind, mark_key, mark_value};
use crate::state::{STATE_BYTES, State};

/// How many purged entries may wait for their deletion. Each deletion leaves a tombstone that
/// nearby reads must skip until it is compacted.
const WAITING_ENTRIES: u64 = 1 << 16;

/// The content of one write batch.
#[derive(Default)]
pub(crate) struct Content<'a> {
    pub(crate) plan: Plan,
    pub(crate) entries: &'a [Entry],
    pub(crate) identity: Option<Identity>,
}

impl Content<'_> {
    /// A checked batch, with the plan that resulted from the check.
    pub(crate) fn of(plan: Plan, batch: &WriteBatch) -> Content<'_> {
        Content { plan, entries: &batch.append, identity: None }
    }

    /// Whether it changes only the commit hint.
    pub(crate) fn is_hint(&self) -> bool {
        self.plan.is_empty() && self.entries.is_empty() && self.identity.is_none()
    }
}

/// Holds the state after the last batch, and writes the next one.
pub(crate) struct Writer {
    handle: Arc<Handle>,
    pub(crate) state: State,
    /// The log including the batch that is being written; the readers' summary is updated later.
    summary: LogSummary,
    options: WriteOptions,
    compactor: Compactor,
    /// How many bytes of tables with purged entries may wait for their deletion.
    waiting_bytes: u64,
    #[cfg(feature = "mutants")]
    bug: Option<Mutant>,
    /// A buffer in which an entry's value is encoded.
    value: Vec<u8>,
}

impl Writer {
    pub(crate) fn new(
        handle: Arc<Handle>,
        state: State,
        summary: LogSummary,
        memtable_bytes: usize,
    ) -> Writer {
        let compactor = Compactor::start(handle.clone());
        let (options, waiting_bytes) = (synced(), memtable_bytes as u64 / 2);
        Writer {
            handle,
            state,
            summary,
            options,
            compactor,
            waiting_bytes,
            #[cfg(feature = "mutants")]
            bug: None,
            value: Vec::new(),
        }
    }

    /// The same writer with a planted bug.
    #[cfg(feature = "mutants")]
    pub(crate) fn with_bug(mut self, bug: Option<Mutant>) -> Writer {
        self.options.set_sync(bug != Some(Mutant::WritesWithoutSync));
        Writer { bug, ..self }
    }

    pub(crate) fn summary(&self) -> &LogSummary {
        &self.summary
    }

    /// Writes one batch; durable when it returns `Ok`. After an error its outcome is unknown.
    pub(crate) fn write(
        &mut self,
        op: LogOp,
        content: &Content<'_>,
        shared: &RwLock<LogSummary>,
    ) -> Result<(), LogError> {
        let handle = self.handle.clone();
        handle.with(op, |database| {
            let (batch, state) = self.make(database, content);
            let written = database.write_opt(batch, &self.options);
            written.map_err(|error| failed(op, handle.place(), error))?;
            let before = std::mem::replace(&mut self.state, state);
            let mut shared = shared.write().expect("no reader panics");
            shared.apply(&content.plan, content.entries, |_| ());
            drop(shared);
            if content.plan.reset.is_some() || self.state.oldest_stored > before.oldest_stored {
                self.reclaim(database, before.bounds.last.index)
            } else {
                Ok(())
            }
        })
    }

    /// The write batch, in the order of the format, and the state after it. The writer's own
    /// summary is updated already; if the database then fails, it is not used any more.
    fn make(&mut self, database: &DB, content: &Content<'_>) -> (rocksdb::WriteBatch, State) {
        let (meta, log) = (meta(database), log(database));
        let mut batch = rocksdb::WriteBatch::with_capacity_bytes(room_for(content.entries));
        let mut changes = Vec::new();
        let last = self.summary.bounds().last.index;
        self.summary.apply(&content.plan, content.entries, |change| changes.push(change));
        let state = self.next_state(content, database);
        batch.put_cf(meta, STATE_KEY, state.encode());
        if content.plan.reset.is_some() {
            let all = [&entry_key(LogIndex::ZERO)[..], &key_behind(LogIndex::new(u64::MAX))];
            batch.delete_range_cf(log, all[0], all[1]);
        }
        if let Some(kept) = content.plan.truncate {
            let cut = [&key_behind(kept.index)[..], &key_behind(last)];
            batch.delete_range_cf(log, cut[0], cut[1]);
        }
        for entry in content.entries {
            encode_entry(entry, state.directory, &mut self.value);
            batch.put_cf(log, entry_key(entry.id.index), &self.value);
        }
        let reset = content.plan.reset;
        let stored = reset.map_or(self.state.oldest_stored, |boundary| boundary.index.next());
        if state.oldest_stored > stored {
            let purged = [LogIndex::ZERO, state.oldest_stored].map(entry_key);
            batch.delete_range_cf(log, purged[0], purged[1]);
        }
        for change in changes {
            match change {
                SummaryChange::Added(mark) => {
                    batch.put_cf(meta, mark_key(mark), mark_value(mark, state.directory));
                }
                SummaryChange::Removed(mark) => batch.delete_cf(meta, mark_key(mark)),
            }
        }
        (batch, state)
    }

    /// The state after a batch that the summary includes.
    fn next_state(&self, content: &Content<'_>, database: &DB) -> State {
        let Plan { hard_state, reset, purge, .. } = content.plan;
        let mut state = self.state;
        state.batch += 1;
        state.hard_state = hard_state.unwrap_or(state.hard_state);
        state.identity = content.identity.or(state.identity);
        state.bounds = self.summary.bounds();
        state.marks =
            [self.summary.run_count(), self.summary.membership_count()].map(|it| it as u32);
        let first = state.bounds.first();
        if let Some(boundary) = reset {
            state.oldest_stored = boundary.index.next();
        }
        if purge.is_some() && self.is_deletion_due(database, state.oldest_stored, first) {
            state.oldest_stored = first;
        }
        if content.identity.is_none() {
            state.commit_hint = content.plan.commit_hint;
        }
        state
    }

    /// Whether enough purged entries wait to justify a deletion.
    fn is_deletion_due(&self, database: &DB, from: LogIndex, end: LogIndex) -> bool {
        let [start, stop] = [from, end].map(entry_key);
        let waiting = [rocksdb::Range::new(&start, &stop)];
        let in_tables = || database.get_approximate_sizes_cf(log(database), &waiting)[0];
        end.since(from) >= WAITING_ENTRIES || in_tables() >= self.waiting_bytes
    }

    /// Drops the tables that hold only purged entries; the rest is compacted in the background.
    /// After a reset, all entries up to the old end are purged.
    fn reclaim(&self, database: &DB, old_last: LogIndex) -> Result<(), LogError> {
        // RocksDB includes the end of the range: the end must itself be purged.
        let last_purged = self.state.oldest_stored.prev();
        #[cfg(feature = "mutants")]
        let last_purged = match self.bug {
            Some(Mutant::DropsTheTableOfTheFirst) => last_purged.next(),
            _ => last_purged,
        };
        let [front, end] = [LogIndex::ZERO, last_purged].map(entry_key);
        let dropped = database.delete_file_in_range_cf(log(database), front, end);
        dropped.map_err(|error| failed(LogOp::Purge, self.handle.place(), error))?;
        let oldest = self.state.oldest_stored;
        let is_empty = self.state.bounds.is_empty();
        self.compactor.compact_below(if is_empty { oldest.max(old_last.next()) } else { oldest });
        Ok(())
    }

    /// Ends the background work.
    pub(crate) fn stop(&mut self) {
        self.handle.stop_background_work(true);
        self.compactor.join();
    }
}

/// The approximate length of the write batch of these entries.
fn room_for(entries: &[Entry]) -> usize {
    let entry = |entry: &Entry| entry.payload.len() + 64;
    2 * STATE_BYTES + entries.iter().map(entry).sum::<usize>()
}
