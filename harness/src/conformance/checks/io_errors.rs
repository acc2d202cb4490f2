//! Failing operations of the operating system: the n-th operation fails, for n = 1, 2, ..., and the
//! store neither reports a false success nor loses data (P15). A write for which there was no space
//! may be refused (P16): it must have changed nothing, and the check makes it again.
//!
//! Each run has its own disk ([`crash_disk`]) with a store that was opened before and holds
//! entries. Then a fault is injected, and the store is opened again and given batches. A failure
//! must be reported, and a handle that reported one accepts no further request. When the store is
//! opened again after the cause is removed, it shows what was acknowledged, and a legal part of the
//! request that failed. If the store declares that it survives a power cut, the power is cut twice:
//! before the store is opened again, since a sync that failed must not be trusted when a later one
//! succeeds, and after, since everything that an opening shows must be durable.
//!
//! By default a sample of the operations fails, which includes the first two and the last.
//! `KONTIKI_FAULTS` sets approximately how many operations of each kind fail; with `KONTIKI_DEEP`
//! all do. A store that opens slowly gets fewer faults.
//!
//! Deliberately absent: faults while a store is created, when nothing has been acknowledged yet.

use std::time::Duration;

use crate::conformance::report::{Checked, Halt};
use crate::conformance::settings::{affordable, is_deep, setting};
use crate::conformance::subject::Subject;
use crash_disk::{Failure, Fault, Operation};

mod fault_run;

use fault_run::{FaultRun, Task};

/// The number of operations of a kind that fail by default, for each failure and way, unless the
/// store opens slowly; and how often the store is opened for each of them.
const FAULTS: u64 = 8;
const OPENINGS: u32 = 6;

/// A write that fails, with an error of the device and with a full disk.
pub async fn a_failed_write_is_reported_and_loses_nothing(log: &mut Subject) -> Checked {
    fail_each(log, Operation::Write, &[Failure::Io, Failure::NoSpace], false).await
}

/// A write that writes half of its bytes, and reports that.
pub async fn a_short_write_is_not_taken_for_a_whole_one(log: &mut Subject) -> Checked {
    fail_each(log, Operation::Write, &[Failure::Short], false).await
}

/// A sync that fails, after which the next sync would succeed without having written anything.
pub async fn a_failed_sync_is_never_trusted(log: &mut Subject) -> Checked {
    fail_each(log, Operation::Sync, &[Failure::Io, Failure::NoSpace], false).await
}

/// Saving the identity, which was never saved before, fails like any other request.
pub async fn a_failed_save_of_the_identity_is_reported(log: &mut Subject) -> Checked {
    log.must_keep_its_identity()?;
    for operation in [Operation::Write, Operation::Sync, Operation::Rename] {
        fail_each_of(Task::Identity, log, operation, &[Failure::Io], false).await?;
    }
    Ok(())
}

/// Files that cannot be created, renamed, removed or given another length.
pub async fn a_failed_change_of_names_loses_nothing(log: &mut Subject) -> Checked {
    let changes = [Operation::Create, Operation::Rename, Operation::Unlink, Operation::Truncate];
    for operation in changes {
        fail_each(log, operation, &[Failure::Io, Failure::NoSpace], false).await?;
    }
    Ok(())
}

/// A disk has no more space for a while.
pub async fn a_full_disk_loses_nothing_and_opens_once_there_is_space(log: &mut Subject) -> Checked {
    fail_each(log, Operation::Write, &[Failure::NoSpace], true).await?;
    fail_each(log, Operation::Truncate, &[Failure::NoSpace], true).await
}

/// A failed read is reported; it never makes an entry, a vote or a log seem absent.
pub async fn a_failed_read_is_not_taken_for_absence(log: &mut Subject) -> Checked {
    let mut dry = FaultRun::begin(log, Task::Batches).await?;
    let last = dry.read_all(None).await?;
    if dry.maps {
        return Err(Halt::DoesNotApply("the store maps its files: a failed read ends a process"));
    }
    if last == 0 {
        return Err(Halt::DoesNotApply("the store reads nothing from its files"));
    }
    for nth in sample(last, dry.opening) {
        let mut run = FaultRun::begin(log, Task::Batches).await?;
        log.note(&format!("read {nth} of {last} fails with Io"));
        run.read_all(Some(nth)).await?;
    }
    Ok(())
}

/// A read that fails once does not poison the store: the next read succeeds, and writes continue.
pub async fn a_failed_read_may_be_tried_again(log: &mut Subject) -> Checked {
    let mut dry = FaultRun::begin(log, Task::Batches).await?;
    let last = dry.read_open(log, None).await?;
    if dry.maps {
        return Err(Halt::DoesNotApply("the store maps its files: a failed read ends a process"));
    }
    if last == 0 {
        return Err(Halt::DoesNotApply("the open store reads nothing from its files"));
    }
    for nth in sample(last, dry.opening) {
        let mut run = FaultRun::begin(log, Task::Batches).await?;
        log.note(&format!("read {nth} of {last} of the open store fails with Io"));
        run.read_open(log, Some(nth)).await?;
    }
    Ok(())
}

async fn fail_each(log: &mut Subject, on: Operation, failures: &[Failure], lasts: bool) -> Checked {
    fail_each_of(Task::Batches, log, on, failures, lasts).await
}

/// Injects a failure into the operations of a kind one by one, each on a new disk.
async fn fail_each_of(
    task: Task,
    log: &mut Subject,
    on: Operation,
    failures: &[Failure],
    lasts: bool,
) -> Checked {
    let mut dry = FaultRun::begin(log, task).await?;
    let before = dry.disk.count(on);
    dry.work(log, None).await?;
    let (last, opening) = (dry.disk.count(on) - before, dry.opening);
    drop(dry);
    for failure in failures {
        for nth in sample(last, opening) {
            let mut run = FaultRun::begin(log, task).await?;
            let since = if lasts { " and every one after it" } else { "" };
            log.note(&format!("{on:?} {nth} of {last}{since} fails with {failure:?}"));
            run.work(log, Some(Fault { on, nth, failure: *failure, lasts })).await?;
        }
    }
    Ok(())
}

/// A sample of the numbers from 1 to `last`, with the first two and the last: the operations of the
/// opening come first, those of a clean close last.
fn sample(last: u64, opening: Duration) -> impl Iterator<Item = u64> {
    let affordable = affordable(FAULTS, 1, OPENINGS, opening);
    let count = if is_deep() { last } else { setting("KONTIKI_FAULTS").unwrap_or(affordable) };
    let step = last.div_ceil(count.max(1)).max(1);
    let seed = setting("KONTIKI_SEED").unwrap_or(0);
    let is_edge = move |nth: u64| nth <= 2 || nth == last;
    let is_drawn = move |nth: u64| step == 1 || (nth / step + seed) % step == nth % step;
    (1..=last).filter(move |nth| is_edge(*nth) || is_drawn(*nth))
}
