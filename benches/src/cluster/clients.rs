//! The clients of a cluster in one process, as tasks of its runtime. The cluster may be ours or
//! that of another project.
//!
//! Reading the clock for each proposal would take a tenth of the time of the fastest ones. So a
//! client may time only one of several proposals ([`Proposer::TIMED`]); it counts all of them.

use std::future::Future;
use std::time::{Duration, Instant};

use bytes::Bytes;
use tokio::task::{JoinError, JoinSet};

use crate::workload::{Arrivals, MAX_CLIENTS};
use crate::{Stop, Tally, Workload};

/// The resolution of the timer. The rest of a wait for an arrival is spent polling the clock.
const SLEEP_MARGIN: Duration = Duration::from_millis(2);

/// The longest time between two checks for a stop if nothing else happens.
const STOP_STEP: Duration = Duration::from_millis(50);

/// The target of commands.
pub trait Proposer: Clone + Send + Sync + 'static {
    /// One of this many proposals is timed, if they come one by one in a closed loop.
    const TIMED: u64 = 8;

    /// Proposes one command; returns whether it was applied.
    fn propose(&self, command: Bytes) -> impl Future<Output = bool> + Send;

    /// Proposes the same command this many times at once; returns how many were applied.
    fn propose_many(&self, command: Bytes, count: u64) -> impl Future<Output = u64> + Send;
}

/// The figures of one client.
#[derive(Default)]
struct Seen {
    nanos: Vec<u64>,
    answered: u64,
    failures: u64,
}

/// The end of the turn.
#[derive(Clone)]
struct Until {
    end: Instant,
    stop: Stop,
}

impl Until {
    fn is_over(&self, now: Instant) -> bool {
        now >= self.end || self.stop.is_asked()
    }
}

/// Lets the clients of a workload propose for this long, and waits for the last answer. After a
/// stop it ends early, and does not wait for an answer that does not come.
pub async fn run_clients<P: Proposer>(
    to: P,
    command: Bytes,
    workload: &Workload,
    time: Duration,
    stop: &Stop,
) -> Tally {
    let began = Instant::now();
    let until = Until { end: began + time, stop: stop.clone() };
    let mut running = RunningClients { clients: JoinSet::new(), tally: Tally::new() };
    let mut span = Duration::ZERO;
    match workload.rate {
        Some(rate) => {
            let arrivals = Arrivals::at_rate(rate, began);
            span = running.arrive(&to, &command, workload.batch, arrivals, &until).await;
        }
        None => {
            for _ in 0..workload.clients {
                let (to, command, until) = (to.clone(), command.clone(), until.clone());
                running.clients.spawn(client(to, command, workload.batch, until));
            }
        }
    }
    running.leave(stop).await;
    // The last arrival counts with the distance to the next one, too.
    Tally { busy: began.elapsed().max(span), ..running.tally }
}

/// Running clients, and the figures of those that have ended.
struct RunningClients {
    clients: JoinSet<Seen>,
    tally: Tally,
}

impl RunningClients {
    fn heard(&mut self, seen: Result<Seen, JoinError>) {
        let seen = seen.unwrap_or_else(|_| Seen { failures: 1, ..Seen::default() });
        for nanos in seen.nanos {
            self.tally.samples.record(Duration::from_nanos(nanos), 1);
        }
        self.tally.entries += seen.answered;
        self.tally.failures += seen.failures;
    }

    /// Waits until all have ended, or until a stop was requested long ago, because an answer may
    /// never come.
    async fn leave(&mut self, stop: &Stop) {
        loop {
            let step = if stop.is_overdue() { Duration::ZERO } else { STOP_STEP };
            match tokio::time::timeout(step, self.clients.join_next()).await {
                Ok(Some(seen)) => self.heard(seen),
                Ok(None) => return,
                Err(_) if stop.is_overdue() => {
                    self.tally.failures += self.clients.len() as u64;
                    return self.clients.abort_all();
                }
                Err(_) => {}
            }
        }
    }

    /// The clients of an open loop, one for each batch; returns the time span of the arrivals. The
    /// number of clients is bounded by memory. Arrivals beyond it start later, with a latency that
    /// counts from their arrival; those that have not started when the turn ends are not counted.
    async fn arrive<P: Proposer>(
        &mut self,
        to: &P,
        command: &Bytes,
        batch: u64,
        mut arrivals: Arrivals,
        until: &Until,
    ) -> Duration {
        while arrivals.next() < until.end {
            while let Some(seen) = self.clients.try_join_next() {
                self.heard(seen);
            }
            let is_full = self.clients.len() >= MAX_CLIENTS as usize;
            let has_begun = arrivals.span() > Duration::ZERO;
            if until.stop.is_asked() && has_begun || is_full && Instant::now() >= until.end {
                break;
            }
            let left = arrivals.next().saturating_duration_since(Instant::now());
            match left > SLEEP_MARGIN {
                true => tokio::time::sleep((left - SLEEP_MARGIN).min(STOP_STEP)).await,
                false => tokio::task::yield_now().await,
            }
            while self.clients.len() < MAX_CLIENTS as usize
                && arrivals.next() < until.end
                && let Some(arrived) = arrivals.take_due(Instant::now())
            {
                self.clients.spawn(open_client(to.clone(), command.clone(), batch, arrived));
            }
        }
        arrivals.span()
    }
}

/// One client of an open loop.
async fn open_client<P: Proposer>(to: P, command: Bytes, batch: u64, arrived: Instant) -> Seen {
    let mut seen = Seen::default();
    hand_in(&to, &command, batch, &mut seen).await;
    seen.nanos.push(arrived.elapsed().as_nanos() as u64);
    seen
}

/// One client of a closed loop.
async fn client<P: Proposer>(to: P, command: Bytes, batch: u64, until: Until) -> Seen {
    let mut seen = Seen::default();
    loop {
        let start = Instant::now();
        if until.is_over(start) && seen.answered + seen.failures > 0 {
            return seen;
        }
        hand_in(&to, &command, batch, &mut seen).await;
        seen.nanos.push(start.elapsed().as_nanos() as u64);
        if batch == 1 {
            for _ in 1..P::TIMED {
                hand_in(&to, &command, 1, &mut seen).await;
            }
        }
    }
}

async fn hand_in<P: Proposer>(to: &P, command: &Bytes, batch: u64, seen: &mut Seen) {
    let answered = match batch {
        1 => u64::from(to.propose(command.clone()).await),
        many => to.propose_many(command.clone(), many).await,
    };
    seen.answered += answered;
    if answered < batch {
        seen.failures += batch - answered;
        // Without this wait, a member that refuses at once would get requests in an endless loop.
        tokio::task::yield_now().await;
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::sync::atomic::{AtomicU64, Ordering};

    use super::*;

    /// Answers this many proposals, and none after that.
    #[derive(Clone)]
    struct Answers(Arc<AtomicU64>);

    impl Proposer for Answers {
        const TIMED: u64 = 1;

        async fn propose(&self, _command: Bytes) -> bool {
            tokio::task::yield_now().await;
            let left = |left: u64| left.checked_sub(1);
            if self.0.fetch_update(Ordering::Relaxed, Ordering::Relaxed, left).is_err() {
                std::future::pending::<()>().await;
            }
            true
        }

        async fn propose_many(&self, _command: Bytes, count: u64) -> u64 {
            count
        }
    }

    async fn run(answers: u64, rate: Option<f64>, time: Duration, stop: &Stop) -> Tally {
        let workload = Workload { size: 1, batch: 1, clients: 3, rate };
        let to = Answers(Arc::new(AtomicU64::new(answers)));
        run_clients(to, Bytes::new(), &workload, time, stop).await
    }

    const HOUR: Duration = Duration::from_secs(3600);

    #[tokio::test]
    async fn a_stop_ends_a_turn_after_an_answer_for_each() {
        let stop = Stop::new();
        stop.ask();
        assert_eq!(run(u64::MAX, None, HOUR, &stop).await.entries, 3);
        let open = run(u64::MAX, Some(0.001), HOUR, &stop).await;
        assert_eq!((open.entries, open.busy), (1, Duration::from_secs(1000)));
    }

    #[tokio::test]
    async fn a_stop_does_not_wait_for_an_answer_that_never_comes() {
        let stop = Stop::new();
        stop.ask();
        let tally = run(2, None, HOUR, &stop).await;
        assert_eq!((tally.entries, tally.failures), (2, 1));
    }

    #[tokio::test]
    async fn a_few_arrivals_have_their_distances() {
        let tally = run(u64::MAX, Some(2.0), Duration::from_millis(20), &Stop::new()).await;
        assert_eq!((tally.entries, tally.busy), (1, Duration::from_millis(500)));
    }
}
