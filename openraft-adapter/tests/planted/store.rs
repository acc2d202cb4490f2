//! A log store in one file, written for openraft's `RaftLogStorage` 0.10 as an application would
//! write it, and the bugs that are planted in it.
//!
//! The log is also held in memory. A change is one record after the last one, with its length and a
//! checksum; it is synced before it is answered. Opening replays the records up to the first that
//! does not fit, and writes the result into a new file, which replaces the old one.
//!
//! Absent: a lock and an identity, which openraft does not require.

use std::collections::BTreeMap;
use std::fmt::Debug;
use std::fs::{self, File};
use std::io::{self, Write};
use std::ops::RangeBounds;
use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use openraft::alias::{EntryOf, LogIdOf, VoteOf};
use openraft::impls::leader_id_adv::LeaderId;
use openraft::storage::{IOFlushed, LogState, RaftLogReader, RaftLogStorage};
use openraft::vote::RaftVote;
use openraft::{Entry, EntryPayload, LogId, OptionalSend};

openraft::declare_raft_types!(
    /// openraft's own types: a command is a `String`.
    pub Types:
);

/// What is wrong in a store.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Bug {
    VoteNotSynced,
    CallbackBeforeTheSync,
    CallbackAtOnceAndSyncBehindIt,
    CallbackIsForgotten,
    CallbackIsDropped,
    TruncationNotSynced,
    TruncationKeepsOneTooMany,
    PurgeForgetsItsBoundary,
    PanicsOnALargeEntry,
    ReaderSkipsTheLastEntry,
}

/// The content of one record.
enum Change<'a> {
    Vote(&'a VoteOf<Types>),
    Append(&'a [EntryOf<Types>]),
    Truncate(Option<LogIdOf<Types>>),
    Purge(LogIdOf<Types>),
}

/// The store; clones share it.
#[derive(Clone)]
pub struct FileStore(Arc<Mutex<Inner>>);

struct Inner {
    file: File,
    log: Log,
    bug: Option<Bug>,
    /// Callbacks that a bug holds back.
    kept: Vec<IOFlushed<Types>>,
}

/// The state that the file holds.
#[derive(Default)]
struct Log {
    vote: Option<VoteOf<Types>>,
    purged: Option<LogIdOf<Types>>,
    entries: BTreeMap<u64, EntryOf<Types>>,
}

impl FileStore {
    /// Opens the store in a directory, or creates one.
    pub fn open(dir: &Path, bug: Option<Bug>) -> io::Result<FileStore> {
        let (path, new) = (dir.join("log"), dir.join("log.new"));
        let mut log = Log::default();
        match fs::read(&path) {
            Ok(bytes) => log.replay(&bytes),
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => return Err(error),
        }
        let mut file = File::create(&new)?;
        file.write_all(&log.snapshot(bug))?;
        file.sync_all()?;
        fs::rename(&new, &path)?;
        File::open(dir)?.sync_all()?;
        let inner = Inner { file, log, bug, kept: Vec::new() };
        Ok(FileStore(Arc::new(Mutex::new(inner))))
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Inner {
    fn write(&mut self, change: &Change<'_>, syncs: bool) -> io::Result<()> {
        self.file.write_all(&record(change))?;
        if syncs {
            self.file.sync_data()?;
        }
        self.log.make(change);
        Ok(())
    }

    fn is(&self, bug: Bug) -> bool {
        self.bug == Some(bug)
    }
}

impl Log {
    fn make(&mut self, change: &Change<'_>) {
        match change {
            Change::Vote(vote) => self.vote = Some(**vote),
            Change::Append(entries) => {
                let entries = entries.iter().map(|entry| (entry.log_id.index, entry.clone()));
                self.entries.extend(entries);
            }
            Change::Truncate(last) => {
                let first = last.map_or(0, |last| last.index + 1);
                self.entries.split_off(&first);
            }
            Change::Purge(upto) => {
                self.purged = Some(*upto);
                self.entries = self.entries.split_off(&(upto.index + 1));
            }
        }
    }

    fn last(&self) -> Option<LogIdOf<Types>> {
        self.entries.last_key_value().map(|(_, entry)| entry.log_id).or(self.purged)
    }

    /// The records that make this log.
    fn snapshot(&self, bug: Option<Bug>) -> Vec<u8> {
        let forgets = bug == Some(Bug::PurgeForgetsItsBoundary) && self.entries.is_empty();
        let mut bytes = Vec::new();
        bytes.extend(self.vote.iter().flat_map(|vote| record(&Change::Vote(vote))));
        let purged = self.purged.filter(|_| !forgets);
        bytes.extend(purged.iter().flat_map(|upto| record(&Change::Purge(*upto))));
        let entries: Vec<EntryOf<Types>> = self.entries.values().cloned().collect();
        bytes.extend(record(&Change::Append(&entries)));
        bytes
    }

    /// Applies the changes of all records up to the first incomplete one.
    fn replay(&mut self, bytes: &[u8]) {
        let mut rest = Bytes(bytes);
        while let Some(length) = rest.number() {
            let (Some(sum), Some(body)) = (rest.number(), rest.take(length)) else { return };
            if checksum(body) != sum || self.replay_one(Bytes(body)).is_none() {
                return;
            }
        }
    }

    fn replay_one(&mut self, mut body: Bytes<'_>) -> Option<()> {
        match body.number()? {
            0 => {
                let (leader_id, committed) = (body.leader()?, body.number()? == 1);
                self.make(&Change::Vote(&VoteOf::<Types>::from_leader_id(leader_id, committed)));
            }
            1 => {
                let mut entries = Vec::new();
                while !body.0.is_empty() {
                    entries.push(body.entry()?);
                }
                self.make(&Change::Append(&entries));
            }
            2 => {
                let last = if body.number()? == 1 { Some(body.log_id()?) } else { None };
                self.make(&Change::Truncate(last));
            }
            _ => self.make(&Change::Purge(body.log_id()?)),
        }
        Some(())
    }
}

/// Bytes that are consumed from the front.
struct Bytes<'a>(&'a [u8]);

impl<'a> Bytes<'a> {
    fn take(&mut self, count: u64) -> Option<&'a [u8]> {
        let (taken, rest) = self.0.split_at_checked(usize::try_from(count).ok()?)?;
        self.0 = rest;
        Some(taken)
    }

    fn number(&mut self) -> Option<u64> {
        Some(u64::from_le_bytes(self.take(8)?.try_into().ok()?))
    }

    fn leader(&mut self) -> Option<LeaderId<u64, u64>> {
        Some(LeaderId { term: self.number()?, node_id: self.number()? })
    }

    fn log_id(&mut self) -> Option<LogIdOf<Types>> {
        Some(LogId { leader_id: self.leader()?, index: self.number()? })
    }

    fn entry(&mut self) -> Option<EntryOf<Types>> {
        let (log_id, is_blank, length) = (self.log_id()?, self.number()? == 1, self.number()?);
        let text = String::from_utf8(self.take(length)?.to_vec()).ok()?;
        let payload = if is_blank { EntryPayload::Blank } else { EntryPayload::Normal(text) };
        Some(Entry { log_id, payload })
    }
}

fn record(change: &Change<'_>) -> Vec<u8> {
    let mut body = Vec::new();
    match change {
        Change::Vote(vote) => {
            let LeaderId { term, node_id } = *vote.leader_id();
            numbers(&mut body, &[0, term, node_id, u64::from(vote.is_committed())]);
        }
        Change::Append(entries) => {
            numbers(&mut body, &[1]);
            for entry in *entries {
                log_id(&mut body, entry.log_id);
                let text = match &entry.payload {
                    EntryPayload::Normal(text) => text.as_str(),
                    EntryPayload::Blank | EntryPayload::Membership(_) => "",
                };
                let is_blank = matches!(entry.payload, EntryPayload::Blank);
                numbers(&mut body, &[u64::from(is_blank), text.len() as u64]);
                body.extend_from_slice(text.as_bytes());
            }
        }
        Change::Truncate(last) => {
            numbers(&mut body, &[2, u64::from(last.is_some())]);
            last.iter().for_each(|last| log_id(&mut body, *last));
        }
        Change::Purge(upto) => {
            numbers(&mut body, &[3]);
            log_id(&mut body, *upto);
        }
    }
    let mut bytes = Vec::new();
    numbers(&mut bytes, &[body.len() as u64, checksum(&body)]);
    bytes.extend(body);
    bytes
}

fn numbers(bytes: &mut Vec<u8>, numbers: &[u64]) {
    bytes.extend(numbers.iter().flat_map(|number| number.to_le_bytes()));
}

fn log_id(bytes: &mut Vec<u8>, id: LogIdOf<Types>) {
    numbers(bytes, &[id.leader_id.term, id.leader_id.node_id, id.index]);
}

/// FNV-1a of 64 bits, which suffices to detect a torn write.
fn checksum(bytes: &[u8]) -> u64 {
    let step = |sum: u64, byte: &u8| (sum ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3);
    bytes.iter().fold(0xcbf2_9ce4_8422_2325, step)
}

impl RaftLogReader<Types> for FileStore {
    async fn try_get_log_entries<RB: RangeBounds<u64> + Clone + Debug + OptionalSend>(
        &mut self,
        range: RB,
    ) -> Result<Vec<EntryOf<Types>>, io::Error> {
        let inner = self.lock();
        let mut found: Vec<_> = inner.log.entries.range(range).map(|(_, it)| it.clone()).collect();
        if inner.is(Bug::ReaderSkipsTheLastEntry) && found.len() > 1 {
            found.pop();
        }
        Ok(found)
    }

    async fn read_vote(&mut self) -> Result<Option<VoteOf<Types>>, io::Error> {
        Ok(self.lock().log.vote)
    }
}

impl RaftLogStorage<Types> for FileStore {
    type LogReader = FileStore;

    async fn get_log_state(&mut self) -> Result<LogState<Types>, io::Error> {
        let inner = self.lock();
        let (last_purged_log_id, last_log_id) = (inner.log.purged, inner.log.last());
        Ok(LogState { last_purged_log_id, last_log_id })
    }

    async fn get_log_reader(&mut self) -> FileStore {
        self.clone()
    }

    async fn save_vote(&mut self, vote: &VoteOf<Types>) -> Result<(), io::Error> {
        let mut inner = self.lock();
        let syncs = !inner.is(Bug::VoteNotSynced);
        inner.write(&Change::Vote(vote), syncs)
    }

    async fn append<I>(&mut self, entries: I, callback: IOFlushed<Types>) -> Result<(), io::Error>
    where
        I: IntoIterator<Item = EntryOf<Types>> + OptionalSend,
        I::IntoIter: OptionalSend,
    {
        let entries: Vec<EntryOf<Types>> = entries.into_iter().collect();
        let mut inner = self.lock();
        let is_large = |entry: &EntryOf<Types>| match &entry.payload {
            EntryPayload::Normal(text) => text.len() > 1 << 20,
            EntryPayload::Blank | EntryPayload::Membership(_) => false,
        };
        let panics = inner.is(Bug::PanicsOnALargeEntry) && entries.iter().any(is_large);
        assert!(!panics, "planted: an entry larger than the buffer");
        let is_late = inner.is(Bug::CallbackAtOnceAndSyncBehindIt);
        let syncs = !is_late && !inner.is(Bug::CallbackBeforeTheSync);
        inner.write(&Change::Append(&entries), syncs)?;
        match inner.bug {
            Some(Bug::CallbackIsForgotten) => inner.kept.push(callback),
            Some(Bug::CallbackIsDropped) => drop(callback),
            _ => callback.io_completed(Ok(())),
        }
        if is_late {
            let file = inner.file.try_clone()?;
            std::thread::spawn(move || file.sync_data());
        }
        Ok(())
    }

    async fn truncate_after(&mut self, last: Option<LogIdOf<Types>>) -> Result<(), io::Error> {
        let mut inner = self.lock();
        let is_off = inner.is(Bug::TruncationKeepsOneTooMany);
        let next = last.map_or(0, |last| last.index + 1);
        let kept = inner.log.entries.get(&next).map(|entry| entry.log_id).filter(|_| is_off);
        let syncs = !inner.is(Bug::TruncationNotSynced);
        inner.write(&Change::Truncate(kept.or(last)), syncs)
    }

    async fn purge(&mut self, upto: LogIdOf<Types>) -> Result<(), io::Error> {
        self.lock().write(&Change::Purge(upto), true)
    }
}
