//! The driver: takes turns whenever something has happened, and counts time.

use std::sync::Arc;
use std::time::Duration;

use tokio::task::yield_now;
use tokio::time::{Interval, MissedTickBehavior, interval};

use crate::engine::Shared;
use crate::pump::Event;

/// The length of a tick.
pub(crate) const TICK: Duration = Duration::from_millis(10);

/// How often the driver steps aside for clients that are about to propose, while they keep coming.
const MOST_YIELDS: usize = 8;

/// Runs until the member has ended.
pub(crate) async fn run(shared: Arc<Shared>) {
    let mut ticks = interval(TICK);
    // After a pause, time goes on from now: a burst of ticks would depose leaders for no reason.
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    while !shared.has_ended() {
        wait(&shared, &mut ticks).await;
        gather(&shared).await;
        shared.drive();
    }
}

async fn wait(shared: &Shared, ticks: &mut Interval) {
    tokio::select! {
        biased;
        _ = ticks.tick() => shared.inbox.push(Event::Tick),
        () = shared.wake.notified() => {}
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
        yield_now().await;
        let now = shared.inbox.open_requests();
        if now <= before {
            return;
        }
        before = now;
    }
}
