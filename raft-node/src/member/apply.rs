//! Applies committed commands and answers queries, in order.
//!
//! A cheap state machine is called in the turn; any other is owned and called by a task of its own,
//! concurrently with the protocol. Both ways use the functions here. A state machine that fails or
//! panics stops the member: otherwise its state would differ from that of all other members.

use std::ops::Range;
use std::sync::Arc;
use std::task::Waker;

use bytes::Bytes;
use raft_core::types::{EntryId, LogIndex};
use tokio::task::yield_now;

use super::clients::{ReadAnswer, ReadGroup, Waiters};
use super::snapshot::SnapshotQueue;
use super::snapshot_files::FilesQueue;
use super::work_queue::WorkReceiver;
use super::worker::Reports;
use crate::application::{Replies, StateMachine};
use crate::panics::caught;
use crate::pump::{ApplyBatch, Event, SnapshotPlan, StopReason};
use crate::requests::quota::Quotas;

/// The name of the state machine in the reason for which a member stops.
const NAME: &str = "the state machine";

/// Work for the task that owns the state machine.
pub(crate) enum ApplyWork {
    Apply(ApplyBatch<Waiters>),
    Snapshot(SnapshotQueue, SnapshotPlan),
    Restore(FilesQueue, EntryId),
    Serve(Arc<ReadGroup>, LogIndex),
}

/// Applies batches and serves reads until the queue is closed or the state machine fails.
pub(crate) async fn run(
    mut machine: Box<dyn StateMachine>,
    queue: WorkReceiver<ApplyWork>,
    quotas: Arc<Quotas>,
    reports: impl Reports,
) {
    let (mut replies, mut wakers) = (Replies::default(), Vec::new());
    while let Some(work) = queue.take().await {
        let done = match work {
            ApplyWork::Apply(mut batch) => {
                want_answers(&batch, &mut replies);
                loop {
                    let machine = machine.as_mut();
                    match apply_batch(machine, &mut batch, &quotas, &mut replies, &mut wakers) {
                        Ok(Progress::Done(recorded)) => {
                            reports.report(Event::Applied { recorded });
                            break Ok(());
                        }
                        Ok(Progress::Unfinished) => yield_now().await,
                        Err(reason) => break Err(reason),
                    }
                    if queue.is_closed() {
                        // The remaining work is dropped, so its clients get the answer that the
                        // outcome is unknown.
                        return;
                    }
                }
            }
            ApplyWork::Snapshot(snapshots, plan) => {
                if let Some(event) = snapshots.pin(machine.as_mut(), plan) {
                    reports.report(event);
                }
                Ok(())
            }
            ApplyWork::Restore(files, last) => match files.lend(machine, last).await {
                Ok(restored) => {
                    machine = restored;
                    Ok(())
                }
                // The thread has reported why.
                Err(_) => return,
            },
            ApplyWork::Serve(group, index) => {
                serve_reads(machine.as_ref(), &group, index, &quotas, &mut wakers)
            }
        };
        wakers.drain(..).for_each(Waker::wake);
        if let Err(reason) = done {
            return reports.report(Event::Stop(reason));
        }
        // A long catch-up must not delay the driver's heartbeats.
        yield_now().await;
    }
}

/// Notes which answers are wanted, before the batch is applied: those that a client waits for, and
/// those that are recorded. `replies` is empty.
pub(crate) fn want_answers(batch: &ApplyBatch<Waiters>, replies: &mut Replies) {
    let claimed = batch.claims.iter().map(|claim| range_of(claim.position, claim.count));
    if batch.recorded.is_empty() {
        return replies.want(claimed);
    }
    // No command is both claimed and recorded.
    let recorded = batch.recorded.iter().map(|position| range_of(*position, 1));
    let mut wanted: Vec<Range<usize>> = claimed.chain(recorded).collect();
    wanted.sort_by_key(|range| range.start);
    replies.want(wanted.into_iter());
}

fn range_of(position: usize, count: usize) -> Range<usize> {
    position..position + count
}

/// Whether the state machine has applied a whole batch.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Progress {
    /// The answers that are recorded, in order.
    Done(Vec<Bytes>),
    /// The state machine must be called again with the same batch and the same replies.
    Unfinished,
}

/// Applies a batch after [`want_answers`], or continues it. Once it is done, this answers the
/// clients that wait for it, and `replies` is empty again.
///
/// # Errors
/// The state machine cannot apply the batch, or panicked: the member must stop. The clients of the
/// batch get the answer that the outcome is unknown.
pub(crate) fn apply_batch(
    machine: &mut dyn StateMachine,
    batch: &mut ApplyBatch<Waiters>,
    quotas: &Quotas,
    replies: &mut Replies,
    wakers: &mut Vec<Waker>,
) -> Result<Progress, StopReason> {
    let apply = || {
        machine.apply(&batch.commands, replies)?;
        let is_unfinished = machine.is_unfinished();
        let (given, asked) = (replies.len(), batch.commands.len());
        let is_sound = if is_unfinished { given < asked } else { given == asked };
        assert!(is_sound, "a state machine answers each command of a batch once: {given}, {asked}");
        Ok(is_unfinished)
    };
    if caught(apply).map_err(panicked)?.map_err(StopReason::StateMachine)? {
        return Ok(Progress::Unfinished);
    }
    let answers = replies.answers_mut();
    let recorded = batch.recorded.iter().map(|position| answers[*position].clone()).collect();
    for claim in batch.claims.drain(..) {
        let own = answers[range_of(claim.position, claim.count)].iter_mut();
        let own = own.map(|answer| Ok(std::mem::take(answer)));
        let bytes = claim.group.answer(claim.offset, own, wakers);
        quotas.proposals.release(claim.count as u64, bytes, wakers);
    }
    answers.clear();
    Ok(Progress::Done(recorded))
}

/// Answers queries from the state machine.
///
/// # Errors
/// The state machine panicked: the member must stop.
pub(crate) fn serve_reads(
    machine: &dyn StateMachine,
    group: &ReadGroup,
    index: LogIndex,
    quotas: &Quotas,
    wakers: &mut Vec<Waker>,
) -> Result<(), StopReason> {
    let answer = |query: &Option<Bytes>| {
        let answer = query.as_ref().map(|query| machine.read(query)).unwrap_or_default();
        Ok(ReadAnswer { index, answer })
    };
    let answers = caught(|| group.queries.iter().map(answer).collect::<Vec<_>>());
    let bytes = group.answers.answer(0, answers.map_err(panicked)?, wakers);
    quotas.reads.release(group.queries.len() as u64, bytes, wakers);
    Ok(())
}

fn panicked(message: String) -> StopReason {
    StopReason::Panic { place: NAME, message }
}
