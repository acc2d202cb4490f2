//! The driver: takes turns whenever nobody else does, and counts time.

use std::future::poll_fn;
use std::sync::Arc;
use std::task::Poll;
use std::time::Duration;

use tokio::task::yield_now;
use tokio::time::{Interval, MissedTickBehavior, interval};

use crate::pump::Event;
use crate::shared::Shared;

/// The length of a tick.
pub(crate) const TICK: Duration = Duration::from_millis(10);

/// How often the driver steps aside for clients that are about to propose, while they keep coming.
const MOST_YIELDS: usize = 8;

/// Runs until the member has ended.
pub(crate) async fn run(shared: Arc<Shared>) {
    let mut ticks = interval(TICK);
    // After a pause, time goes on from now: a burst of ticks would depose leaders for no reason.
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    while !shared.is_finished() {
        wait(&shared, &mut ticks).await;
        gather(&shared).await;
        shared.drive();
        if !shared.inbox.is_empty() {
            // A long catch-up: the timers and connections of the runtime have their turn, too.
            yield_now().await;
        }
    }
    // What came while the member ended is refused; what comes from now on, who brings it refuses.
    shared.inbox.note_gathered();
    shared.drive();
}

async fn wait(shared: &Shared, ticks: &mut Interval) {
    tokio::select! {
        biased;
        _ = ticks.tick() => shared.inbox.push(Event::Tick),
        () = shared.inbox.driver.notified() => {}
    }
}

/// On a runtime that runs a woken task before the others, a turn would find one proposal where a
/// moment later it finds a hundred: so the driver lets others run as long as proposals keep coming.
async fn gather(shared: &Shared) {
    let mut before = shared.inbox.open_requests();
    for _ in 0..MOST_YIELDS {
        if before == 0 {
            return;
        }
        let_others_run().await;
        let now = shared.inbox.open_requests();
        if now <= before {
            break;
        }
        before = now;
    }
    if before == 1 {
        shared.inbox.note_alone();
    }
    shared.inbox.note_gathered();
}

/// Goes behind the tasks that are ready. Unlike tokio's `yield_now` it does not look for news of
/// the operating system first, which would be a system call for each batch; tokio does that often
/// enough.
async fn let_others_run() {
    let mut stepped_aside = false;
    poll_fn(|context| {
        if std::mem::replace(&mut stepped_aside, true) {
            return Poll::Ready(());
        }
        context.waker().wake_by_ref();
        Poll::Pending
    })
    .await;
}
