//! What the tests of the RocksDB log share: entries, random batches that suit a log, and all that
//! can be seen of a log.

use std::path::Path;
use std::pin::pin;
use std::task::{Context, Poll, Waker};

use bytes::Bytes;
use log_rocksdb::{RocksLog, RocksLogConfig};
use proptest::prelude::*;
use raft_core::storage::{LogBounds, LogError, LogErrorKind, Recovered, Store, WriteBatch};
use raft_core::types::{Entry, EntryId, EntryKind, HardState, Identity, LogIndex, NodeId, Term};
use tempfile::TempDir;

/// Runs a verb of a store that waits by blocking: one poll must do.
pub fn now<F: Future>(verb: F) -> F::Output {
    match pin!(verb).poll(&mut Context::from_waker(Waker::noop())) {
        Poll::Ready(output) => output,
        Poll::Pending => panic!("a verb of this log never pends"),
    }
}

pub fn is_deep() -> bool {
    std::env::var_os("KONTIKI_DEEP").is_some()
}

/// Opens a log that writes tables often.
pub fn open(dir: &Path) -> Result<RocksLog, LogError> {
    RocksLog::open(RocksLogConfig::new(dir).with_memtable(100 << 10))
}

/// The files of a log as they are now, in another directory: what a kill would leave.
pub fn copy(dir: &Path) -> TempDir {
    let copied = tempfile::tempdir().expect("a directory");
    std::fs::create_dir(copied.path().join("db")).expect("creates");
    for name in files(dir) {
        std::fs::copy(dir.join(&name), copied.path().join(&name)).expect("copies");
    }
    copied
}

/// The names of a log's files, those of the database behind `db/`.
pub fn files(dir: &Path) -> Vec<String> {
    let list = |dir: &Path| -> Vec<String> {
        let entries = std::fs::read_dir(dir).expect("lists").map(|entry| entry.expect("a file"));
        let files = entries.filter(|entry| entry.path().is_file());
        files.map(|entry| entry.file_name().to_string_lossy().into_owned()).collect()
    };
    let parts = list(&dir.join("db")).into_iter().map(|name| format!("db/{name}"));
    let mut names: Vec<String> = list(dir).into_iter().chain(parts).collect();
    names.sort_unstable();
    names
}

/// The newest write-ahead log of a log.
pub fn newest_wal(dir: &Path) -> String {
    let mut wals = files(dir).into_iter().filter(|name| name.ends_with(".log"));
    wals.next_back().expect("RocksDB always has one")
}

pub fn index(number: u64) -> LogIndex {
    LogIndex::new(number)
}

pub fn id(index: u64, term: u64) -> EntryId {
    EntryId::new(Term::new(term), LogIndex::new(index))
}

/// An entry whose payload tells which writer made it, and is `size` bytes long.
pub fn sized_entry(index: u64, term: u64, mark: u64, size: usize) -> Entry {
    let text = format!("{index}@{term} by {mark}. ");
    let payload: Vec<u8> = text.bytes().cycle().take(size).collect();
    Entry::new(id(index, term), EntryKind::Command, Bytes::from(payload))
}

pub fn entries(range: std::ops::RangeInclusive<u64>, term: u64) -> Vec<Entry> {
    range.map(|index| sized_entry(index, term, 0, 20)).collect()
}

pub fn kind<T>(result: Result<T, LogError>) -> LogErrorKind {
    match result {
        Ok(_) => panic!("it must fail"),
        Err(error) => error.kind,
    }
}

/// All that can be seen of a log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Sight {
    pub bounds: LogBounds,
    pub hard_state: HardState,
    pub identity: Option<Identity>,
    pub recovered: Recovered,
    pub entries: Vec<Entry>,
}

/// Looks at a log; an error if an entry cannot be read. What was found at the tail is left out, as
/// no two histories need agree on it.
pub fn look(log: &mut dyn Store) -> Result<Sight, LogError> {
    let mut recovered = now(log.recover())?;
    recovered.tail = raft_core::storage::Tail::Clean;
    let bounds = log.bounds();
    let range = bounds.first()..bounds.last.index.next();
    let entries = now(log.reader().read(range, u64::MAX))?;
    let identity = now(log.load_identity())?;
    Ok(Sight { bounds, hard_state: now(log.load_hard_state())?, identity, recovered, entries })
}

/// Raw choices, which become a batch that suits a given log.
#[derive(Clone, Debug)]
pub struct Draft {
    pub vote: Option<(u64, u64)>,
    pub reset: Option<u64>,
    pub truncate: Option<u64>,
    pub sizes: Vec<usize>,
    pub term_step: u64,
    pub purge: Option<u64>,
    pub hint: Option<u64>,
}

/// Drafts with payloads up to a few hundred bytes, and now and then a large one.
pub fn draft() -> impl Strategy<Value = Draft> {
    let size = prop_oneof![3 => 0..60usize, 2 => 60..700usize, 1 => 700..9000usize];
    (
        prop::option::weighted(0.3, (0..3u64, 0..3u64)),
        prop::option::weighted(0.04, 0..12u64),
        prop::option::weighted(0.25, 0..30u64),
        prop::collection::vec(size, 0..5),
        0..2u64,
        prop::option::weighted(0.25, 0..30u64),
        prop::option::weighted(0.4, 0..60u64),
    )
        .prop_map(|(vote, reset, truncate, sizes, term_step, purge, hint)| Draft {
            vote,
            reset,
            truncate,
            sizes,
            term_step,
            purge,
            hint,
        })
}

/// The batch that a draft means for this log; `mark` goes into the payloads.
pub fn batch_for(sight: &Sight, draft: &Draft, mark: u64) -> WriteBatch {
    let mut bounds = sight.bounds;
    let mut ids: Vec<EntryId> = sight.entries.iter().map(|entry| entry.id).collect();
    let mut batch = WriteBatch {
        hard_state: draft.vote.map(|(step, vote)| {
            let term = Term::new(sight.hard_state.term.get() + step);
            HardState { term, vote: NodeId::new(vote) }
        }),
        commit_hint: draft.hint.map(index),
        ..WriteBatch::default()
    };
    if batch.hard_state.is_some_and(|new| !sight.hard_state.may_become(new)) {
        batch.hard_state = None;
    }
    if let Some(step) = draft.reset {
        let boundary = id(bounds.last.index.get() + step, bounds.last.term.get());
        batch.reset = Some(boundary);
        bounds = LogBounds { boundary, last: boundary };
        ids.clear();
    }
    if let Some(step) = draft.truncate {
        let cut =
            index(bounds.last.index.get().saturating_sub(step).max(bounds.boundary.index.get()));
        batch.truncate_after = Some(cut);
        ids.retain(|id| id.index <= cut);
        bounds.last = ids.last().copied().unwrap_or(bounds.boundary);
    }
    let term = bounds.last.term.get() + draft.term_step;
    for (next, size) in (1..).zip(&draft.sizes) {
        let new = sized_entry(bounds.last.index.get() + next, term, mark, *size);
        ids.push(new.id);
        batch.append.push(new);
    }
    batch.purge_upto = draft.purge.and_then(|step| match step {
        0 => Some(bounds.boundary),
        _ => ids.get(step as usize - 1).copied(),
    });
    batch
}
