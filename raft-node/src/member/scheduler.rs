//! Which thread takes turns: a client's, one that delivers something, or the member's own task.
//!
//! Threads take the turn's lock with `try_lock` only. Why no event is left unhandled:
//!
//! 1. A caller puts its event in the mailbox, and then tries the lock.
//! 2. If it fails to take the lock, it leaves: the event waits in the mailbox.
//! 3. The holder checks the mailbox again after it releases the lock, so it finds the event.
//!
//! Clients and observers are woken after the lock is released ([`take_turns`]).
//!
//! Members of one process deliver to each other. A thread that drives a member also drives those
//! that the member has delivered to, one after another and never one inside another, so that a
//! write visits all of them without one task waking the next:
//!
//! ```text
//!   client -> leader -> follower, follower -> leader -> client
//! ```
//!
//! The turns that one thread takes in this way are a *pass*. A pass is bounded: what is left after
//! [`MAX_DRIVES`] is for the members' own tasks, so that other tasks on the runtime do not starve.
//!
//! The *driver* is the member's own task: it counts time, and takes the turns that no other thread
//! takes.

use std::cell::RefCell;
use std::collections::VecDeque;
use std::future::poll_fn;
use std::sync::Arc;
use std::task::Poll;
use std::time::Duration;

use tokio::task::yield_now;
use tokio::time::{Interval, MissedTickBehavior, interval};

use super::mailbox::Mailbox;
use crate::pump::Event;
use crate::requests::batcher::Gather;
use crate::sync::{TryMutex, thread_local};

/// The length of a tick.
const TICK: Duration = Duration::from_millis(10);

/// The most turns that one drive of a member takes.
const MAX_TURNS: usize = 8;

/// The most members that one pass drives, each as often as something was delivered to it.
const MAX_DRIVES: usize = 32;

/// The scheduler's view of a member.
pub(crate) trait Driven: Send + Sync + 'static {
    /// Takes turns until nothing is left to do, or another thread takes them: calls [`take_turns`].
    /// Never unwinds.
    fn take_turns(&self);

    /// The events and requests that wait for a turn.
    fn mailbox(&self) -> &Mailbox;

    /// Whether nothing is left for the driver.
    fn is_finished(&self) -> bool;
}

/// Takes turns under the lock until nothing is left to do, or another thread has the lock. A turn
/// returns what is to be done once the lock is released: clients to wake, and changes for
/// observers.
pub(crate) fn take_turns<T, A: FnOnce()>(
    lock: &TryMutex<T>,
    mailbox: &Mailbox,
    mut turn: impl FnMut(&mut T) -> A,
) {
    for _ in 0..MAX_TURNS {
        let Some(mut guard) = lock.try_lock() else { return };
        let after = turn(&mut guard);
        drop(guard);
        after();
        if mailbox.is_empty() {
            return;
        }
    }
    mailbox.wake_driver();
}

// ---- passes ----

thread_local! {
    static PASS: RefCell<PassState> = RefCell::new(PassState::default());
}

/// The members that the pass on a thread has not driven yet.
#[derive(Default)]
struct PassState {
    /// Whether a pass runs on this thread.
    runs: bool,
    members: VecDeque<Arc<dyn Driven>>,
}

/// Takes turns of a member, and then of the members that it delivers to. Inside a pass this only
/// notes that the member has something to do.
pub(crate) fn drive(member: &Arc<impl Driven>) {
    match Pass::begin() {
        Some(pass) => {
            member.take_turns();
            pass.run();
        }
        None => add_to_pass(member),
    }
}

fn add_to_pass(member: &Arc<impl Driven>) {
    let new = Arc::as_ptr(member).cast::<()>();
    PASS.with(|pass| {
        let members = &mut pass.borrow_mut().members;
        if !members.iter().any(|other| Arc::as_ptr(other).cast::<()>() == new) {
            members.push_back(Arc::clone(member) as Arc<dyn Driven>);
        }
    });
}

/// The pass on this thread, until it is dropped.
struct Pass;

impl Pass {
    /// Starts a pass, unless one is running on this thread.
    fn begin() -> Option<Pass> {
        let runs = PASS.with(|pass| std::mem::replace(&mut pass.borrow_mut().runs, true));
        (!runs).then_some(Pass)
    }

    fn run(self) {
        for _ in 0..MAX_DRIVES {
            let Some(member) = next_of_pass() else { return };
            member.take_turns();
        }
    }
}

fn next_of_pass() -> Option<Arc<dyn Driven>> {
    PASS.with(|pass| pass.borrow_mut().members.pop_front())
}

impl Drop for Pass {
    fn drop(&mut self) {
        // This comes first: dropping a member runs code of its state machine, which may panic.
        PASS.with(|pass| pass.borrow_mut().runs = false);
        // One after another, so that the list keeps its memory for the next pass.
        while let Some(member) = next_of_pass() {
            member.mailbox().wake_driver();
        }
    }
}

// ---- the driver ----

/// The driver: runs until the member has ended.
pub(crate) async fn run_driver(member: Arc<impl Driven>) {
    let mut ticks = interval(TICK);
    // After a pause, ticks continue from now: a burst of ticks would depose leaders for no reason.
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    while !member.is_finished() {
        wait(member.mailbox(), &mut ticks).await;
        gather(member.mailbox()).await;
        drive(&member);
        if !member.mailbox().is_empty() {
            // During a long catch-up, the timers and connections of the runtime must get time, too.
            yield_now().await;
        }
    }
    // What arrived while the member ended is refused here; later requests are refused in turns that
    // their callers take.
    member.mailbox().note_gathered(false);
    drive(&member);
}

async fn wait(mailbox: &Mailbox, ticks: &mut Interval) {
    tokio::select! {
        biased;
        _ = ticks.tick() => mailbox.push(Event::Tick),
        () = mailbox.driver_woken() => {}
    }
}

/// Lets other tasks run as long as more requests keep coming; see [`Gather`].
async fn gather(mailbox: &Mailbox) {
    let mut gather = Gather::default();
    while gather.continues(mailbox.waiting_requests()) {
        let_others_run().await;
    }
    if gather.has_waited() {
        mailbox.note_gathered(gather.was_alone());
    }
}

/// Yields to the tasks that are ready. Unlike tokio's `yield_now` it does not poll the operating
/// system for events first, which would be a system call for each batch; tokio does that often
/// enough.
async fn let_others_run() {
    let mut has_yielded = false;
    poll_fn(|context| {
        if std::mem::replace(&mut has_yielded, true) {
            return Poll::Ready(());
        }
        context.waker().wake_by_ref();
        Poll::Pending
    })
    .await;
}
