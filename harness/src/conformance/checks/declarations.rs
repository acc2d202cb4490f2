//! Checks the declarations of a store (`StoreInfo`) that can be seen in their text or in the
//! behaviour of its threads. The family `power_loss` verifies durability, and the family `damage`
//! verifies `detects`.

use std::pin::pin;
use std::task::{Context, Poll, Waker};

use raft_core::storage::{Durability, WriteBatch};

use crate::conformance::report::{Checked, Halt, promised};
use crate::conformance::samples::{entries, hard_state, id, index};
use crate::conformance::subject::{Ending, Subject, Way};

/// The number of writes or reads in a stretch, and the least and the most stretches before the
/// store is judged by the one with the fewest sleeps.
const STRETCH: usize = 50;
const STRETCHES: usize = 4;
const MOST_STRETCHES: usize = 20;

/// In how many operations of a stretch the thread of a store that never blocks may sleep, since it
/// sometimes waits for a lock. A store that blocks sleeps in nearly every operation.
const SLEEPS_ALLOWED: usize = STRETCH / 10;

/// The declarations have a name, and are the same while the store is used and when it is opened
/// again.
pub async fn declarations_do_not_change(log: &mut Subject) -> Checked {
    let declared = log.info().clone();
    let named = !declared.backend.is_empty();
    promised(1, named, || format!("the backend has no name: {declared:?}"))?;
    let says_how = !declared.sync_verb.trim().is_empty();
    promised(1, says_how, || format!("the sync verb is empty, which is not `none`: {declared:?}"))?;
    let says_none = declared.sync_verb.eq_ignore_ascii_case("none");
    let lies_in_files = declared.durability == Durability::PowerLoss && log.has_files();
    promised(1, !(says_none && lies_in_files), || {
        format!(
            "it has files, survives a power cut, and names no call that syncs them: {declared:?}"
        )
    })?;
    log.append(entries(1..=3, 1)).await?;
    log.save(hard_state(2, 1)).await?;
    let later = log.store().info();
    promised(1, later == declared, || format!("it declared {declared:?}, and now {later:?}"))?;
    log.reopen(Ending::Dropped).await?;
    let later = log.store().info();
    promised(1, later == declared, || format!("it declared {declared:?}, and now {later:?}"))
}

/// A store that declares `atomic_batch` applies all of a batch or nothing, wherever in the batch
/// the refused verb is.
pub async fn an_atomic_batch_is_refused_as_a_whole(log: &mut Subject) -> Checked {
    if !log.info().atomic_batch {
        return Err(Halt::DoesNotApply("the store does not declare `atomic_batch`"));
    }
    if log.way() == Way::SmallVerbs {
        return Ok(());
    }
    log.append(entries(1..=6, 3)).await?;
    let save = WriteBatch { hard_state: Some(hard_state(9, 1)), ..WriteBatch::default() };
    log.change(WriteBatch { append: entries(8..=8, 3), ..save.clone() }).await?;
    log.change(WriteBatch { append: entries(7..=7, 2), ..save.clone() }).await?;
    log.change(WriteBatch { purge_upto: Some(id(7, 3)), ..save.clone() }).await?;
    log.change(WriteBatch { purge_upto: Some(id(5, 2)), ..save.clone() }).await?;
    let cut = WriteBatch { truncate_after: Some(index(2)), ..save.clone() };
    log.change(WriteBatch { append: entries(4..=4, 3), ..cut.clone() }).await?;
    log.change(WriteBatch { purge_upto: Some(id(5, 3)), ..cut }).await?;
    let reset = WriteBatch { reset: Some(id(20, 4)), ..save };
    log.change(WriteBatch { truncate_after: Some(index(19)), ..reset.clone() }).await?;
    log.change(WriteBatch { append: entries(7..=7, 4), ..reset }).await?;
    log.append(entries(7..=7, 3)).await
}

/// A store that declares that it never blocks is polled by the task that serves clients, and the
/// thread must not sleep during the poll.
pub async fn a_store_that_never_blocks_never_sleeps(log: &mut Subject) -> Checked {
    if log.info().may_block {
        return Err(Halt::DoesNotApply("the store declares that it may block"));
    }
    let mut sleeps_seen = SleepCounter::default();
    while let Some(at) = sleeps_seen.next() {
        let batch = WriteBatch {
            hard_state: Some(hard_state(at, 1)),
            ..WriteBatch::of_entries(entries(at..=at, 1))
        };
        log.note(&format!("write entry {at}"));
        let written = sleeps_seen.counted(log.store().write(batch)).await?;
        promised(13, written.is_ok(), || format!("an allowed request failed: {written:?}"))?;
    }
    sleeps_seen.check("it declares that it never blocks", "writes")
}

/// A reader that declares that it never blocks does not sleep either, for old entries and the
/// newest.
pub async fn a_reader_that_never_blocks_never_sleeps(log: &mut Subject) -> Checked {
    let mut reader = log.reader();
    if reader.may_block() {
        return Err(Halt::DoesNotApply("the reader declares that it may block"));
    }
    let mut sleeps_seen = SleepCounter::default();
    while let Some(at) = sleeps_seen.next() {
        log.change_unseen(WriteBatch::of_entries(entries(at..=at, 1))).await?;
        let from = index(if at % 2 == 0 { at } else { at / 2 + 1 });
        let found = sleeps_seen.counted(reader.read(from..from.next(), 0)).await?;
        promised(10, found.is_ok(), || format!("a read of {from} failed: {found:?}"))?;
    }
    sleeps_seen.check("the reader declares that it never blocks", "reads")
}

/// Records for each poll whether the thread slept.
#[derive(Default)]
struct SleepCounter(Vec<bool>);

impl SleepCounter {
    /// Does some work, and records whether the thread slept during the first poll. To wait for a
    /// completion is not blocking: the task is polled again then.
    async fn counted<T>(&mut self, work: impl Future<Output = T>) -> Checked<T> {
        let mut work = pin!(work);
        let Some(before) = sleeps() else {
            return Err(Halt::Skipped(
                "this system does not report how often a thread sleeps".to_owned(),
            ));
        };
        let polled = work.as_mut().poll(&mut Context::from_waker(Waker::noop()));
        self.0.push(sleeps().unwrap_or(before) > before);
        match polled {
            Poll::Ready(done) => Ok(done),
            Poll::Pending => Ok(work.await),
        }
    }

    /// The number of the next write or read; none once enough is known.
    fn next(&self) -> Option<u64> {
        let stretches = self.0.len() / STRETCH;
        let is_known = stretches >= STRETCHES && self.fewest_in_a_stretch() <= SLEEPS_ALLOWED;
        (!is_known && stretches < MOST_STRETCHES).then_some(self.0.len() as u64 + 1)
    }

    /// The fewest sleeps in a stretch. On a busy machine a lock may be contended for a while, so
    /// that the thread sleeps more often in some stretches.
    fn fewest_in_a_stretch(&self) -> usize {
        let stretches = self.0.chunks_exact(STRETCH);
        let slept = stretches.map(|stretch| stretch.iter().filter(|slept| **slept).count());
        slept.min().unwrap_or(0)
    }

    fn check(&self, declared: &str, what: &str) -> Checked {
        let slept = self.fewest_in_a_stretch();
        promised(1, slept <= SLEEPS_ALLOWED, || {
            format!("{declared}, but slept in at least {slept} of {STRETCH} consecutive {what}")
        })
    }
}

/// The number of voluntary context switches of this thread so far.
fn sleeps() -> Option<u64> {
    let status = std::fs::read_to_string("/proc/thread-self/status").ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix("voluntary_ctxt_switches:"))?;
    line.trim().parse().ok()
}
