//! The store under the engine's own write path: which clients are answered, when, and what the
//! store holds afterwards.
//!
//! A member of the engine (`raft-node`) runs on the store behind a gate (`gate`). While the gate is
//! shut, the check knows which writes are in progress; it opens the gate to see the outcome.
//! Each write that the engine requests is also made on the model, and at the end the store is
//! opened again and must show exactly that. If the engine itself fails, the check panics and names
//! the engine, since the store is not at fault.
//!
//! Nothing here depends on how long anything takes: the checks wait for what must have happened.
//!
//! Absent: snapshots and changes of membership, which members do not support yet.

use std::future::poll_fn;
use std::pin::pin;
use std::task::{Context, Poll, Waker};

use raft_core::storage::{LogError, WriteBatch};
use raft_core::types::{EntryId, LogIndex, Term};
use raft_node::{Limits, ProposeError};

use crate::conformance::contents::{After, Contents};
use crate::conformance::interrupted::states_after;
use crate::conformance::member::{Ack, Member, PeerBehavior, limits_without_timeouts};
use crate::conformance::model::Model;
use crate::conformance::report::{Checked, broken};
use crate::conformance::request::{by_verbs, check_answer, in_words};
use crate::conformance::samples::{entries, entry, hard_state, id, index, node};
use crate::conformance::subject::{Ending, Subject, Way};

/// The number of clients that propose at the same moment.
const CLIENTS: u64 = 64;

/// The maximum number of writes for all their commands.
const SHARED_WRITES: u64 = 4;

/// The numbers of polls after which a write is dropped.
const POLLS: [u32; 8] = [1, 2, 3, 4, 6, 10, 20, 40];

/// Each client gets the index of its command, and no other command has that index, whether clients
/// propose alone or at the same time.
pub async fn each_proposal_is_answered_once(log: &mut Subject) -> Checked {
    let mut member = Member::start(log, PeerBehavior::Alone, limits_without_timeouts()).await?;
    for number in 0..20 {
        let client = member.propose([number]);
        member.all_answered(client).await?;
    }
    for round in 1..6 {
        let clients = member.propose(round * 100..round * 100 + 5 * round);
        member.all_answered(clients).await?;
    }
    let numbers = (0..20).chain((1..6).flat_map(|round| round * 100..round * 100 + 5 * round));
    for number in numbers {
        assert_eq!(member.times_applied(number), 1, "the engine: proposal {number}");
    }
    member.shut_down(log).await
}

/// Commands that arrive during a write share the next write; a single client does not wait for
/// others.
pub async fn many_proposals_share_a_write(log: &mut Subject) -> Checked {
    let mut member = Member::start(log, PeerBehavior::Alone, limits_without_timeouts()).await?;
    let alone = member.propose([1]);
    member.all_answered(alone).await?;
    assert_eq!(member.gate.sizes().last(), Some(&1), "the engine: it waited for other clients");
    let before = member.gate.asked();
    member.gate.shut();
    let mut clients = member.propose([2]);
    member.wait_for_asked(before + 1).await?;
    clients.extend(member.propose(3..3 + CLIENTS));
    member.wait_for_waiting(CLIENTS + 1).await?;
    member.gate.open();
    member.all_answered(clients).await?;
    let writes = member.gate.asked() - before;
    assert!(writes <= SHARED_WRITES, "the engine: {writes} writes for {CLIENTS} clients");
    member.shut_down(log).await
}

/// A command that the peers have acknowledged is committed, but no client is answered before the
/// store has acknowledged it here.
pub async fn a_command_is_not_answered_before_it_is_durable(log: &mut Subject) -> Checked {
    let mut member = Member::start(log, PeerBehavior::Agreeing, limits_without_timeouts()).await?;
    let (before, last) = (member.gate.asked(), member.gate.model().last().index);
    member.gate.shut();
    let clients = member.propose(0..3);
    member.wait_for_asked(before + 1).await?;
    // The other commands may not have been sent: commands that arrive during a write wait for it.
    let upto = last.plus(1);
    member.wait_for_sent(upto).await?;
    member.wait_for(|status| status.raft.commit >= upto).await?;
    member.tick().await;
    for (number, client) in &clients {
        assert!(!client.is_finished(), "the engine: proposal {number} is answered too early");
        assert_eq!(member.times_applied(*number), 0, "the engine: {number} is applied too early");
    }
    assert_eq!(member.gate.asked(), before + 1, "the engine: two writes are under way");
    member.gate.open();
    member.all_answered(clients).await?;
    member.shut_down(log).await
}

/// Each new leader replaces entries that are durable and entries that are being written. A write
/// that completes late is acknowledged to no leader for entries that were replaced: a new leader
/// learns only which entries of its own log are durable.
pub async fn a_late_write_confirms_nothing_rewritten(log: &mut Subject) -> Checked {
    let member = Member::start(log, PeerBehavior::Leading, limits_without_timeouts()).await?;
    let mut leader = vec![id(1, 0)];
    lead(&member, &mut leader, 1, 6, 5);
    member.wait_for_ack(Term::new(1), index(6)).await?;
    for term in 2..=6 {
        let (before, end) = (member.gate.asked(), leader.len() as u64);
        member.gate.shut();
        let old = leader.clone();
        lead(&member, &mut leader, term - 1, end, 3);
        member.wait_for_asked(before + 1).await?;
        // A heartbeat is answered in the meantime, and acknowledges only what is durable.
        let heard = member.peers.acks().len();
        lead(&member, &mut leader, term - 1, end + 3, 0);
        member.wait_for_acks(heard + 1).await?;
        check_acks(&member, term - 1, &leader);
        leader = old;
        leader.truncate(end as usize - 2);
        let cut = leader.len() as u64;
        lead(&member, &mut leader, term, cut, term % 3 + 2);
        member.gate.let_one_pass();
        member.wait_for_asked(before + 2).await?;
        check_acks(&member, term, &leader);
        member.gate.open();
        member.wait_for_ack(Term::new(term), index(leader.len() as u64)).await?;
        check_acks(&member, term, &leader);
    }
    let held: Vec<EntryId> = member.gate.model().entries.iter().map(|entry| entry.id).collect();
    assert_eq!(held, leader, "the engine: the follower's log is not the leader's");
    member.shut_down(log).await
}

/// Clients drop their requests before the answer. Their commands are not withdrawn, and every other
/// client is answered.
pub async fn dropped_futures_lose_nothing(log: &mut Subject) -> Checked {
    let mut member = Member::start(log, PeerBehavior::Alone, limits_without_timeouts()).await?;
    member.gate.shut();
    let clients = member.propose(0..40);
    member.wait_for_waiting(40).await?;
    let (staying, leaving): (Vec<_>, Vec<_>) =
        clients.into_iter().partition(|(number, _)| number % 2 == 0);
    for (_, client) in leaving {
        client.abort();
        assert!(client.await.is_err_and(|error| error.is_cancelled()), "nothing is answered yet");
    }
    member.gate.open();
    member.all_answered(staying).await?;
    let later = member.propose(40..42);
    member.all_answered(later).await?;
    for number in 0..42 {
        assert_eq!(member.times_applied(number), 1, "the engine: proposal {number}");
    }
    member.wait_for(|status| status.proposals_waiting == 0).await?;
    member.shut_down(log).await
}

/// A write that is polled by one task and then by another wakes the second one, since work may move
/// between tasks.
pub async fn a_write_wakes_its_last_poller(log: &mut Subject) -> Checked {
    for at in 1..=20 {
        let batch = WriteBatch::of_entries(entries(at..=at, 1));
        log.note(&format!(
            "append {at}@1: polled once by one task, then by another, which must wake"
        ));
        let result = {
            let mut writing = pin!(log.store().write(batch.clone()));
            match writing.as_mut().poll(&mut Context::from_waker(Waker::noop())) {
                Poll::Ready(result) => result,
                Poll::Pending => writing.await,
            }
        };
        check_answer(result, None)?;
        log.model.entries.extend(batch.append);
    }
    log.look(After::Appended).await
}

/// A write is dropped before it completes, as at the end of a runtime. When the store is opened
/// again, it shows the log before the write or after it, or, if batches are not atomic, any state
/// that a power cut might leave.
pub async fn a_dropped_write_leaves_a_legal_prefix(log: &mut Subject) -> Checked {
    log.must_outlive_its_handle()?;
    log.append(entries(1..=20, 1)).await?;
    for (term, polls) in (2..).zip(POLLS) {
        let cut = log.model.last().index.get() - 3;
        let batch = WriteBatch {
            hard_state: Some(hard_state(term, 2)),
            truncate_after: Some(index(cut)),
            append: entries(cut + 1..=cut + 9, term),
            ..WriteBatch::default()
        };
        let legal = write_and_drop(log, &batch, polls).await?;
        log.abandon();
        if let Err(error) = log.open_again().await {
            return broken(3, format!("the store does not open after a dropped write: {error}"));
        }
        let contents = Contents::of(log.store()).await?;
        let fits = |model: &&Model| contents.check(model, After::Reopened).is_ok();
        let Some(model) = legal.iter().find(fits) else {
            let what = "a dropped write left neither the state before it nor the state after it";
            return broken(4, format!("{what}: the log ends at {}", contents.bounds.last));
        };
        log.model = model.clone();
    }
    log.reopen(Ending::Closed).await
}

/// Starts a write, and drops it after `polls` polls. Returns the states that the store may then
/// have.
async fn write_and_drop(log: &mut Subject, batch: &WriteBatch, polls: u32) -> Checked<Vec<Model>> {
    let way = log.way();
    let result = match way {
        Way::Write => polled(log.store().write(batch.clone()), polls).await,
        Way::SmallVerbs => polled(by_verbs(log.store(), batch), polls).await,
    };
    match result {
        Some(result) => {
            log.journal().note(&in_words(batch), &result);
            check_answer(result, None)?;
            let written = log.model.course(batch).states.pop();
            Ok(written.into_iter().collect())
        }
        None => {
            log.note(&format!("{}: dropped after {polls} polls", in_words(batch)));
            Ok(states_after(&log.model, batch, way, log.info().atomic_batch))
        }
    }
}

/// The member is shut down during a write; in a second run its handle is dropped instead. Each
/// client is told that the outcome is unknown, the write is finished, and the store holds what it
/// acknowledged.
pub async fn an_end_with_work_under_way_leaves_a_legal_prefix(log: &mut Subject) -> Checked {
    for by_shutdown in [true, false] {
        let member = Member::start(log, PeerBehavior::Alone, limits_without_timeouts()).await?;
        let before = member.gate.asked();
        member.gate.shut();
        let clients = member.propose(0..10);
        member.wait_for_asked(before + 1).await?;
        if by_shutdown {
            let node = member.node.clone();
            let closing = tokio::spawn(async move { node.shutdown().await });
            for (number, client) in clients {
                let answer = client.await.expect("no client panics");
                let is_true = matches!(answer, Err(ProposeError::Unknown | ProposeError::Closed));
                assert!(is_true, "the engine: proposal {number} was answered {answer:?}");
            }
            member.gate.open();
            closing.await.expect("the engine shuts down");
            member.shut_down(log).await?;
        } else {
            for (_, client) in clients {
                client.abort();
                assert!(client.await.is_err(), "nothing is answered yet");
            }
            let stopped = member.drop_handle();
            stopped.gate.open();
            stopped.return_store(log).await?;
        }
    }
    Ok(())
}

/// What was answered before a shutdown returned is there when the store is opened again; every
/// other client gets an error.
pub async fn a_shutdown_flushes_and_answers_every_client(log: &mut Subject) -> Checked {
    for round in 0..3 {
        let mut member = Member::start(log, PeerBehavior::Alone, limits_without_timeouts()).await?;
        let first = round * 100;
        let answered = member.propose(first..first + 20);
        member.all_answered(answered).await?;
        let under_way = member.propose(first + 20..first + 40);
        for _ in 0..round * 20 {
            tokio::task::yield_now().await;
        }
        member.node.shutdown().await;
        assert!(member.gate.is_back(), "the engine: shut down, but the store is in use");
        let mut answered = Vec::new();
        for (number, client) in under_way {
            match client.await.expect("no client panics") {
                Ok(answer) => answered.push((number, answer)),
                Err(ProposeError::Unknown | ProposeError::Closed) => {}
                Err(error) => panic!("the engine: proposal {number} was answered {error}"),
            }
        }
        for (number, _) in &answered {
            assert_eq!(member.times_applied(*number), 1, "the engine: proposal {number}");
        }
        member.shut_down(log).await?;
    }
    Ok(())
}

/// Clients that propose faster than the store writes wait for the quota, or are answered `Busy`.
/// Memory stays bounded, and once the store continues, all clients are served.
pub async fn a_full_queue_pushes_back(log: &mut Subject) -> Checked {
    let limits = Limits { proposals: 8, tail_bytes: 4096, ..limits_without_timeouts() };
    let bound = limits.tail_bytes + 8 * 400;
    let mut member = Member::start(log, PeerBehavior::Alone, limits).await?;
    let before = member.gate.asked();
    member.gate.shut();
    let mut clients = member.propose(0..8);
    member.wait_for_waiting(8).await?;
    clients.extend(member.propose(8..40));
    for _ in 0..3 {
        let hasty = member.node.clone();
        let tried = tokio::spawn(async move { hasty.try_propose("no room".into()).await });
        member.tick().await;
        assert!(tried.is_finished(), "the engine: it does not report that the queue is full");
        let answer = tried.await.expect("no client panics");
        assert_eq!(answer, Err(ProposeError::Busy), "the engine: the queue is full");
        let status = member.node.status();
        assert_eq!(
            status.proposals_waiting, 8,
            "the engine: more proposals wait than the limit allows"
        );
        assert!(status.tail_bytes <= bound, "the engine: {} bytes in memory", status.tail_bytes);
    }
    assert!(member.gate.asked() <= before + 1, "the engine: two writes are under way");
    member.gate.open();
    member.all_answered(clients).await?;
    member.shut_down(log).await
}

/// A write fails: its clients are told that the outcome is unknown, and the others that nothing
/// happened. The engine makes no further request to the store, and what was acknowledged is there.
pub async fn a_failed_write_is_answered_truthfully(log: &mut Subject) -> Checked {
    let mut member = Member::start(log, PeerBehavior::Alone, limits_without_timeouts()).await?;
    let answered = member.propose(0..10);
    member.all_answered(answered).await?;
    let before = member.gate.asked();
    member.gate.shut();
    let clients = member.propose(10..20);
    member.wait_for_asked(before + 1).await?;
    member.wait_for_waiting(10).await?;
    member.gate.fail();
    for (number, client) in clients {
        let answer = client.await.expect("no client panics");
        let is_true = matches!(answer, Err(ProposeError::Unknown | ProposeError::Closed));
        assert!(is_true, "the engine: proposal {number} was answered {answer:?}");
        assert_eq!(member.times_applied(number), 0, "the engine: {number} was not written");
    }
    let late = member.node.propose("too late".into()).await;
    assert_eq!(late, Err(ProposeError::Closed), "the engine: it continues after a failure");
    member.node.shutdown().await;
    assert_eq!(member.gate.asked(), before + 1, "the engine: it wrote again after a failure");
    member.drop_handle().return_store(log).await
}

/// A leader sends `count` entries of its term after the entry at `after`.
fn lead(member: &Member, ids: &mut Vec<EntryId>, term: u64, after: u64, count: u64) {
    let after = after.min(ids.len() as u64);
    let prev = ids[after as usize - 1];
    let sent = (after + 1..=after + count).map(|at| entry(at, term)).collect();
    ids.extend((after + 1..=after + count).map(|at| id(at, term)));
    member.peers.lead(node(2 + term % 2), Term::new(term), prev, sent);
}

/// Checks that the entries acknowledged to the leader of this term were in the store at that
/// moment, and were those of the leader's log.
fn check_acks(member: &Member, term: u64, leader: &[EntryId]) {
    let of_term = |ack: &Ack| ack.term == Term::new(term);
    for ack in member.peers.acks().into_iter().filter(of_term) {
        let matched: LogIndex = ack.matched;
        let own = leader[matched.get() as usize - 1];
        let is_true = ack.held.contains(&own);
        assert!(is_true, "the engine breaks L6: {own} was acknowledged in term {term}: {ack:?}");
    }
}

/// Polls a verb at most `polls` times, and then drops it.
async fn polled(
    verb: impl Future<Output = Result<(), LogError>>,
    polls: u32,
) -> Option<Result<(), LogError>> {
    let (mut verb, mut left) = (pin!(verb), polls);
    poll_fn(move |context| match verb.as_mut().poll(context) {
        Poll::Ready(result) => Poll::Ready(Some(result)),
        Poll::Pending if left == 1 => Poll::Ready(None),
        Poll::Pending => {
            left -= 1;
            context.waker().wake_by_ref();
            Poll::Pending
        }
    })
    .await
}
