//! The models: each runs a few threads and states what must hold in every schedule.

use std::future::{Future, poll_fn};
use std::pin::pin;
use std::sync::Arc;
use std::task::{Context, Poll, Wake, Waker};

use bytes::Bytes;
use loom::model::Builder;
use loom::sync::atomic::{AtomicUsize, Ordering};
use loom::sync::{Condvar, Mutex};
use loom::thread;

use crate::member::clients::Waiters;
use crate::member::mailbox::Mailbox;
use crate::member::scheduler::{Driven, drive, take_turns};
use crate::pump::Event;
use crate::requests::batcher::{Next, ProposeResult};
use crate::requests::quota::Quota;
use crate::requests::reply::{Answer, OpenBatch};
use crate::sync::TryMutex;

/// Explores a model with at most `KONTIKI_PREEMPTIONS` preemptions in a schedule, by default three.
/// Nearly all known concurrency bugs show with two.
fn explore(model: impl Fn() + Send + Sync + 'static) {
    let asked = std::env::var("KONTIKI_PREEMPTIONS").ok();
    let preemptions = asked.map_or(3, |asked| asked.parse().expect("a number of preemptions"));
    let mut builder = Builder::new();
    builder.preemption_bound = Some(preemptions);
    builder.check(model);
}

/// A waker that unblocks its thread. Cloning it is not a step of the model, so it may be cloned
/// under a lock that loom does not know.
struct Signal {
    is_set: Mutex<bool>,
    changed: Condvar,
}

impl Wake for Signal {
    fn wake(self: Arc<Signal>) {
        *self.is_set.lock().expect("no panic") = true;
        self.changed.notify_one();
    }
}

fn block_on<F: Future>(future: F) -> F::Output {
    let signal = Arc::new(Signal { is_set: Mutex::new(false), changed: Condvar::new() });
    let waker = Waker::from(Arc::clone(&signal));
    let mut future = pin!(future);
    loop {
        if let Poll::Ready(output) = future.as_mut().poll(&mut Context::from_waker(&waker)) {
            return output;
        }
        let mut is_set = signal.is_set.lock().expect("no panic");
        while !*is_set {
            is_set = signal.changed.wait(is_set).expect("no panic");
        }
        *is_set = false;
    }
}

fn wake_all(wakers: Vec<Waker>) {
    wakers.into_iter().for_each(Waker::wake);
}

// ---- the quota ----

#[test]
fn every_request_enters_the_quota_in_the_end() {
    explore(|| {
        let quota = Arc::new(Quota::new(1, 10));
        assert!(quota.try_acquire(7));
        let clients = [10, 1].map(|size| {
            let quota = Arc::clone(&quota);
            thread::spawn(move || {
                block_on(quota.acquire(size));
                assert_eq!(quota.used(), (1, size), "one at a time");
                let mut wakers = Vec::new();
                quota.release(1, size, &mut wakers);
                wake_all(wakers);
            })
        });
        let mut wakers = Vec::new();
        quota.release(1, 7, &mut wakers);
        wake_all(wakers);
        for client in clients {
            client.join().expect("no panic");
        }
        assert_eq!(quota.used(), (0, 0));
        assert!(quota.try_acquire(10), "the queue is empty");
    });
}

/// A quota whose only place is taken, and a thread whose request waits for it.
fn full_quota_with_a_waiting_request() -> (Arc<Quota>, thread::JoinHandle<()>) {
    let quota = Arc::new(Quota::new(1, 10));
    assert!(quota.try_acquire(1));
    let client = thread::spawn({
        let quota = Arc::clone(&quota);
        move || block_on(quota.acquire(1))
    });
    (quota, client)
}

#[test]
fn a_closed_quota_keeps_no_request_waiting() {
    explore(|| {
        let (quota, client) = full_quota_with_a_waiting_request();
        let mut wakers = Vec::new();
        quota.close(&mut wakers);
        wake_all(wakers);
        client.join().expect("no panic");
        assert_eq!(quota.used(), (2, 2));
    });
}

/// The leader comes back while a request joins the queue. In either order, the request enters at
/// the latest when the capacity is given back.
#[test]
fn a_reopened_quota_serves_every_waiting_request() {
    explore(|| {
        let (quota, client) = full_quota_with_a_waiting_request();
        let mut wakers = Vec::new();
        quota.close(&mut wakers);
        quota.reopen();
        quota.release(1, 1, &mut wakers);
        wake_all(wakers);
        client.join().expect("no panic");
        assert_eq!(quota.used(), (1, 1));
    });
}

// ---- replies ----

impl Answer for u32 {
    fn abandoned() -> u32 {
        u32::MAX
    }
}

/// Two clients that join before the batch is sealed and wait while it is sealed and answered.
fn reply_model(member: fn(OpenBatch<u32>), expected: [u32; 2]) {
    explore(move || {
        let mut open = OpenBatch::new();
        let replies = [open.join(1, None), open.join(1, None)];
        let clients = replies.map(|reply| thread::spawn(move || block_on(reply)));
        member(open);
        let answers = clients.map(|client| client.join().expect("no panic"));
        assert_eq!(answers, expected);
    });
}

#[test]
fn a_reply_that_is_polled_while_its_batch_is_sealed_gets_its_answer() {
    let member = |open: OpenBatch<u32>| {
        let (answers, mut wakers) = (open.seal(), Vec::new());
        assert_eq!(answers.answer(0, [10, 11], &mut wakers), 2);
        wake_all(wakers);
    };
    reply_model(member, [10, 11]);
}

#[test]
fn a_batch_that_two_threads_drop_answers_what_is_left() {
    let member = |open: OpenBatch<u32>| {
        let answers = open.seal();
        let other = thread::spawn({
            let answers = answers.clone();
            move || {
                let mut wakers = Vec::new();
                answers.answer(1, [11], &mut wakers);
                wake_all(wakers);
            }
        });
        drop(answers);
        other.join().expect("no panic");
    };
    reply_model(member, [u32::MAX, 11]);
}

// ---- the mailbox and the scheduler ----

/// A member whose turns count ticks and answer each proposal with empty bytes.
struct Counting {
    mailbox: Arc<Mailbox>,
    turn: TryMutex<Turn>,
    answered: AtomicUsize,
}

#[derive(Default)]
struct Turn {
    ticks: usize,
    /// How many turns were to poll the inline futures.
    polls: usize,
    events: Vec<Event<Waiters>>,
}

impl Counting {
    fn new() -> Arc<Counting> {
        let (turn, answered) = (TryMutex::new(Turn::default()), AtomicUsize::new(0));
        Arc::new(Counting { mailbox: Arc::default(), turn, answered })
    }

    fn take_turn(&self, turn: &mut Turn) -> Vec<Waker> {
        let mut wakers = Vec::new();
        turn.polls += usize::from(self.mailbox.drain_into(&mut turn.events, None));
        for event in turn.events.drain(..) {
            match event {
                Event::Tick => turn.ticks += 1,
                Event::Propose { commands, group } => {
                    let answers = commands.iter().map(|_| Ok(Bytes::new()));
                    group.answer(0, answers, &mut wakers);
                    self.answered.fetch_add(commands.len(), Ordering::SeqCst);
                }
                other => panic!("{other:?}"),
            }
        }
        wakers
    }

    fn ticks(&self) -> usize {
        self.turn.try_lock().expect("no thread has it").ticks
    }
}

impl Driven for Counting {
    fn take_turns(&self) {
        take_turns(&self.turn, &self.mailbox, |turn| {
            let wakers = self.take_turn(turn);
            move || wake_all(wakers)
        });
    }

    fn mailbox(&self) -> &Mailbox {
        &self.mailbox
    }

    fn is_finished(&self) -> bool {
        false
    }
}

/// Each thread leaves one event and drives: whichever thread gets the lock, every event is taken
/// exactly once, and no driver is needed.
#[test]
fn every_event_is_taken_once() {
    explore(|| {
        let member = Counting::new();
        let deliver = |member: &Arc<Counting>| {
            member.mailbox.push(Event::Tick);
            drive(member);
        };
        let others = [(); 2].map(|()| {
            let member = Arc::clone(&member);
            thread::spawn(move || deliver(&member))
        });
        deliver(&member);
        for other in others {
            other.join().expect("no panic");
        }
        assert_eq!(member.ticks(), 3);
        assert!(member.mailbox.is_empty());
    });
}

/// Two members that deliver to each other, driven by two threads at once: a pass that finds the
/// lock taken leaves no event behind.
#[test]
fn members_that_deliver_to_each_other_leave_no_event_behind() {
    explore(|| {
        let members = [Counting::new(), Counting::new()];
        let deliver_to_both = |members: &[Arc<Counting>; 2]| {
            for member in members {
                member.mailbox.push(Event::Tick);
                drive(member);
            }
        };
        let other = thread::spawn({
            let members = members.clone();
            move || deliver_to_both(&members)
        });
        deliver_to_both(&members);
        other.join().expect("no panic");
        assert_eq!(members.map(|member| member.ticks()), [2, 2]);
    });
}

/// As `Node::propose` does it: the waker of the task is registered with the proposal.
async fn propose(member: &Arc<Counting>) -> ProposeResult {
    let join = |context: &mut Context<'_>| {
        Poll::Ready(member.mailbox.propose(Bytes::new(), Some(context.waker())))
    };
    let (reply, next) = poll_fn(join).await;
    match next {
        Next::TakeTurn => drive(member),
        Next::WakeDriver => member.mailbox.wake_driver(),
        Next::Nothing => {}
    }
    reply.await
}

/// Clients propose while the driver gathers: each is answered, whether it joins a group, starts
/// one, or comes alone and takes the turn itself.
fn proposals_are_answered(come_alone: bool) {
    explore(move || {
        const CLIENTS: usize = 2;
        let member = Counting::new();
        if come_alone {
            member.mailbox.note_gathered(true);
        }
        let clients = [(); CLIENTS].map(|()| {
            let member = Arc::clone(&member);
            thread::spawn(move || {
                block_on(propose(&member)).expect("answered");
                // The driver checks whether that was the last.
                member.mailbox.wake_driver();
            })
        });
        while member.answered.load(Ordering::SeqCst) < CLIENTS {
            block_on(member.mailbox.driver_woken());
            member.mailbox.note_gathered(member.mailbox.waiting_requests() == 1);
            drive(&member);
        }
        for client in clients {
            client.join().expect("no panic");
        }
    });
}

#[test]
fn proposals_that_the_driver_gathers_are_answered() {
    proposals_are_answered(false);
}

#[test]
fn proposals_that_come_alone_are_answered() {
    proposals_are_answered(true);
}

/// What is polled inline is woken from another thread while a turn runs: another turn follows.
#[test]
fn a_wake_during_a_turn_is_not_lost() {
    explore(|| {
        let member = Counting::new();
        let waking = thread::spawn({
            let waker = Waker::from(Arc::clone(&member.mailbox));
            move || waker.wake()
        });
        member.mailbox.push(Event::Tick);
        drive(&member);
        waking.join().expect("no panic");
        // Either a turn has seen the wake, or the driver is woken to take one.
        if !member.mailbox.is_empty() {
            block_on(member.mailbox.driver_woken());
            drive(&member);
        }
        assert!(member.mailbox.is_empty());
        let turn = member.turn.try_lock().expect("no thread has it");
        assert_eq!((turn.ticks, turn.polls), (1, 1));
    });
}
