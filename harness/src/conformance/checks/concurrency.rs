//! Readers that run concurrently with the writer.

use std::collections::HashSet;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::thread;

use raft_core::storage::{LogBounds, LogError, LogErrorKind, LogReader, WriteBatch};
use raft_core::types::{Entry, EntryId, LogIndex, Term};
use tokio::runtime::Handle;

use crate::conformance::contents::{After, in_short};
use crate::conformance::report::{Checked, broken, promised};
use crate::conformance::samples::{entries, entry, id, index, sized};
use crate::conformance::subject::Subject;

/// How many readers exist at once: more than a small table of slots holds, and few enough for a
/// file each.
const MANY_READERS: usize = 70;

/// How many readers run concurrently with the writer.
const RACING_READERS: usize = 2;

/// The writer of the race writes at least `RACE_ROUNDS` batches, and continues until the readers
/// have made `RACE_READS` reads, but never beyond `MAX_RACE_ROUNDS`.
const RACE_ROUNDS: u64 = 300;
const RACE_READS: u64 = 2000;
const MAX_RACE_ROUNDS: u64 = 6000;

/// A reader that was made before the first entry shows every later entry at once.
pub async fn an_older_reader_sees_later_writes(log: &mut Subject) -> Checked {
    let mut reader = log.reader();
    log.note("make a reader");
    for at in 1..=5 {
        log.append(entries(at..=at, at)).await?;
        check_old(reader.as_mut(), log).await?;
    }
    log.truncate_after(index(3)).await?;
    check_old(reader.as_mut(), log).await?;
    log.append(entries(4..=9, 7)).await?;
    check_old(reader.as_mut(), log).await?;
    log.purge_upto(id(5, 7)).await?;
    check_old(reader.as_mut(), log).await?;
    log.reset(id(30, 8)).await?;
    log.append(entries(31..=33, 8)).await?;
    check_old(reader.as_mut(), log).await?;
    // The reset goes back to an index that was read, and removes the entries after it.
    log.reset(id(31, 9)).await?;
    check_old(reader.as_mut(), log).await?;
    log.append(entries(32..=34, 9)).await?;
    check_old(reader.as_mut(), log).await
}

/// Any number of readers may exist at once, independently of each other.
pub async fn many_readers_read_at_once(log: &mut Subject) -> Checked {
    log.append(entries(1..=9, 1)).await?;
    let mut crowd: Vec<_> = (0..MANY_READERS).map(|_| log.reader()).collect();
    log.note(&format!("make {MANY_READERS} readers"));
    for reader in &mut crowd {
        check_old(reader.as_mut(), log).await?;
    }
    log.truncate_after(index(6)).await?;
    log.append(entries(7..=8, 2)).await?;
    for reader in &mut crowd {
        check_old(reader.as_mut(), log).await?;
    }
    Ok(())
}

/// The bytes that a read returned do not change, whatever is written in their place.
pub async fn bytes_that_were_read_never_change(log: &mut Subject) -> Checked {
    let mut in_hand: Vec<(Entry, Vec<u8>)> = Vec::new();
    let mut reader = log.reader();
    for round in 1..=12 {
        let batch = WriteBatch {
            truncate_after: Some(index(2)),
            append: (log.model.last().index.get().min(2) + 1..=20)
                .map(|at| sized(at, round, 2000))
                .collect(),
            ..WriteBatch::default()
        };
        log.change(batch).await?;
        let read = reader.read(index(1)..index(21), u64::MAX).await;
        let Ok(read) = read else {
            return broken(11, format!("an older reader returned: {read:?}"));
        };
        in_hand.extend(read.into_iter().map(|entry| (entry.clone(), entry.payload.to_vec())));
    }
    log.reset(id(40, 20)).await?;
    log.append((41..=60).map(|at| sized(at, 20, 2000)).collect()).await?;
    let changed = in_hand.iter().find(|(entry, bytes)| entry.payload != bytes[..]);
    promised(11, changed.is_none(), || {
        let (entry, _) = changed.expect("one has changed");
        format!("the bytes that a read returned have changed: {}", in_short(entry))
    })
}

/// Readers run on other threads while the writer appends, truncates, purges and resets. Each entry
/// that they read was written under its id.
pub async fn readers_race_with_the_writer(log: &mut Subject) -> Checked {
    let race = Arc::new(Race::default());
    let runtime = Handle::current();
    let readers: Vec<_> = (0..RACING_READERS)
        .map(|number| {
            let (reader, race, runtime) = (log.reader(), race.clone(), runtime.clone());
            thread::spawn(move || runtime.block_on(race.run(reader, number as u64)))
        })
        .collect();
    log.note(&format!("{RACING_READERS} readers read on threads of their own"));
    let written = write_at_random(log, &race).await;
    race.is_over.store(true, Ordering::Release);
    for reader in readers {
        match reader.join() {
            Ok(verdict) => verdict?,
            Err(_) => broken(12, "a reader panicked")?,
        }
    }
    written?;
    log.look(After::Appended).await?;
    log.reopen_if_kept().await
}

async fn check_old(reader: &mut dyn LogReader, log: &mut Subject) -> Checked {
    let bounds = log.model.bounds();
    if !bounds.is_empty() {
        check_old_entries(reader, log).await?;
    }
    for id in log.model.entries.iter().map(|entry| entry.id).chain([bounds.boundary]) {
        let term = reader.term(id.index).await;
        promised(11, term.as_ref().is_ok_and(|term| *term == id.term), || {
            format!(
                "an older reader reports the term of {} as {term:?} and must report {}",
                id.index, id.term
            )
        })?;
    }
    check_old_outside(reader, bounds).await
}

async fn check_old_entries(reader: &mut dyn LogReader, log: &mut Subject) -> Checked {
    let bounds = log.model.bounds();
    let range = bounds.first()..bounds.last.index.next();
    let found = reader.read(range.clone(), u64::MAX).await;
    let agrees = found.as_ref().is_ok_and(|found| *found == log.model.entries);
    promised(11, agrees, || match found {
        Ok(found) => {
            let ids: Vec<String> = found.iter().map(|entry| entry.id.to_string()).collect();
            format!("an older reader shows {} in {range:?}", ids.join(" "))
        }
        Err(error) => format!("an older reader returns for {range:?}: {error}"),
    })
}

/// Checks that entries that were removed since the reader was made are removed for that reader too.
async fn check_old_outside(reader: &mut dyn LogReader, bounds: LogBounds) -> Checked {
    let LogBounds { boundary, last } = bounds;
    for below in 1..=boundary.index.get() {
        let found = reader.read(index(below)..index(below + 1), u64::MAX).await;
        promised(7, is_compacted(&found, boundary), || {
            format!("an older reader returns for {below}, purged up to {boundary}: {found:?}")
        })?;
    }
    for below in 1..boundary.index.get() {
        let term = reader.term(index(below)).await;
        promised(7, is_compacted(&term, boundary), || {
            format!(
                "an older reader reports the term of {below}, purged up to {boundary}: {term:?}"
            )
        })?;
    }
    let beyond = last.index.next();
    let found = reader.read(beyond..beyond.next(), u64::MAX).await;
    promised(7, is_unavailable(&found, last), || {
        format!("an older reader returns for {beyond}, in a log that ends at {last}: {found:?}")
    })?;
    let term = reader.term(beyond).await;
    promised(7, is_unavailable(&term, last), || {
        format!("an older reader reports the term of {beyond}, where {last} is the last: {term:?}")
    })
}

fn is_compacted<T>(found: &Result<T, LogError>, boundary: EntryId) -> bool {
    let wanted = LogErrorKind::Compacted { boundary };
    found.as_ref().is_err_and(|error| error.kind == wanted)
}

fn is_unavailable<T>(found: &Result<T, LogError>, last: EntryId) -> bool {
    let wanted = LogErrorKind::Unavailable { last: last.index };
    found.as_ref().is_err_and(|error| error.kind == wanted)
}

/// The state that the concurrent threads share.
#[derive(Default)]
struct Race {
    is_over: AtomicBool,
    reads: AtomicU64,
    /// Every id that was ever given to the store.
    written: Mutex<HashSet<EntryId>>,
    bounds: Mutex<(u64, u64)>,
}

impl Race {
    /// Reads until the writer or another reader is done. A reader's error ends the race, so that
    /// the list of steps ends there too.
    async fn run(&self, reader: Box<dyn LogReader>, number: u64) -> Checked {
        let verdict = self.read_on(reader, number).await;
        self.is_over.store(true, Ordering::Release);
        verdict
    }

    async fn read_on(&self, mut reader: Box<dyn LogReader>, number: u64) -> Checked {
        let mut step = number;
        while !self.is_over.load(Ordering::Acquire) {
            step = step.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
            let (boundary, last) = *self.bounds.lock().expect("the writer does not panic");
            let from = boundary + 1 + (step >> 33) % (last - boundary + 2);
            let range = index(from)..index(from + 1 + (step >> 50) % 6);
            match reader.read(range.clone(), 12_000).await {
                Ok(found) => self.check(&found, range.start)?,
                Err(error) => promised(12, is_outside(&error), || {
                    format!("a read of {}..{} in a race: {error}", range.start, range.end)
                })?,
            }
            match reader.term(range.start).await {
                Ok(term) => self.check_term(range.start, term)?,
                Err(error) => promised(12, is_outside(&error), || {
                    format!("the term of {} in a race: {error}", range.start)
                })?,
            }
            self.reads.fetch_add(1, Ordering::Relaxed);
            thread::yield_now();
        }
        Ok(())
    }

    fn check(&self, found: &[Entry], first: LogIndex) -> Checked {
        promised(10, !found.is_empty(), || {
            format!("a read from {first} in a race returned nothing")
        })?;
        for (at, one) in (first.get()..).zip(found) {
            let (index, term) = (one.id.index.get(), one.id.term.get());
            let written = self.written.lock().expect("the writer does not panic");
            let stood = index == at && written.contains(&one.id) && *one == race_entry(index, term);
            promised(12, stood, || {
                format!(
                    "a read in a race returned {} at index {at}, which was never written",
                    in_short(one)
                )
            })?;
        }
        Ok(())
    }

    fn check_term(&self, index: LogIndex, term: Term) -> Checked {
        let written = self.written.lock().expect("the writer does not panic");
        promised(12, written.contains(&EntryId::new(term, index)), || {
            format!("the term of {index} was reported as {term} in a race, which was never written")
        })
    }

    fn announce(&self, batch: &WriteBatch) {
        let mut written = self.written.lock().expect("no reader panics while it holds the lock");
        written.extend(batch.append.iter().map(|entry| entry.id));
        written.extend(batch.reset);
    }
}

/// Whether this error is legal for a read in a race: the entry was just removed, or is not there
/// yet.
fn is_outside(error: &LogError) -> bool {
    matches!(error.kind, LogErrorKind::Compacted { .. } | LogErrorKind::Unavailable { .. })
}

/// An entry of the race, of up to a few thousand bytes, so that a purge removes whole files.
fn race_entry(index: u64, term: u64) -> Entry {
    let small = entry(index, term);
    sized(index, term, small.payload.len() * 10)
}

async fn write_at_random(log: &mut Subject, race: &Race) -> Checked {
    for round in 1..=MAX_RACE_ROUNDS {
        let is_long = round > RACE_ROUNDS && race.reads.load(Ordering::Relaxed) >= RACE_READS;
        if is_long || race.is_over.load(Ordering::Acquire) {
            break;
        }
        let (boundary, last) = (log.model.boundary.index.get(), log.model.last());
        let (mut end, mut term) = (last.index.get(), last.term.get());
        let mut batch = WriteBatch::default();
        if round % 97 == 0 && !log.lacks().reset {
            (end, term) = (end + 5, term + 1);
            batch.reset = Some(id(end, term));
        } else if round % 5 == 0 {
            (end, term) = (end.saturating_sub(3).max(boundary), term + 1);
            batch.truncate_after = Some(index(end));
        }
        batch.append = (end + 1..=end + 1 + round % 4).map(|at| race_entry(at, term)).collect();
        if round % 7 == 0 && batch.reset.is_none() && end > boundary + 30 {
            let kept = log.model.entries.iter().rev().nth(20).map(|entry| entry.id);
            batch.purge_upto = kept;
        }
        race.announce(&batch);
        log.change_unseen(batch).await?;
        let bounds = log.model.bounds();
        let marks = (bounds.boundary.index.get(), bounds.last.index.get());
        *race.bounds.lock().expect("no reader panics while it holds the lock") = marks;
    }
    Ok(())
}
