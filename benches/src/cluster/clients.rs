//! Clients of a cluster in one process, ours or another's: as tasks of its runtime.
//!
//! To read the clock for each proposal would cost as much as a tenth of the quickest ones, so a
//! client may time one of several ([`Proposer::TIMED`]); it counts all.

use std::future::Future;
use std::time::{Duration, Instant};

use bytes::Bytes;
use tokio::task::JoinHandle;

use crate::workload::Arrivals;
use crate::{Tally, Workload};

/// The timer is not finer than this; the rest of a wait for an arrival is spent on the clock.
const SLEEP_MARGIN: Duration = Duration::from_millis(2);

/// Somebody who takes commands.
pub trait Proposer: Clone + Send + Sync + 'static {
    /// One proposal of this many is timed, where they come one by one in a closed loop.
    const TIMED: u64 = 8;

    /// Proposes one command; whether it was applied.
    fn propose(&self, command: Bytes) -> impl Future<Output = bool> + Send;

    /// Proposes the same command so many times at once; how many were applied.
    fn propose_many(&self, command: Bytes, count: u64) -> impl Future<Output = u64> + Send;
}

/// What one client has seen.
#[derive(Default)]
struct Seen {
    nanos: Vec<u64>,
    answered: u64,
    failures: u64,
}

/// Has the clients of a workload propose for this long, and waits for the last answer.
pub async fn run_clients<P: Proposer>(
    to: P,
    command: Bytes,
    workload: &Workload,
    time: Duration,
) -> Tally {
    let began = Instant::now();
    let clients = match workload.rate {
        Some(rate) => arrive(&to, &command, workload.batch, rate, began, time).await,
        None => {
            let until = began + time;
            let (clients, batch) = (workload.clients, workload.batch);
            let start = |_| tokio::spawn(client(to.clone(), command.clone(), batch, until));
            (0..clients).map(start).collect()
        }
    };
    let mut tally = Tally::new();
    for client in clients {
        let seen = client.await.unwrap_or_else(|_| Seen { failures: 1, ..Seen::default() });
        seen.nanos.iter().for_each(|nanos| tally.samples.record(Duration::from_nanos(*nanos), 1));
        tally.entries += seen.answered;
        tally.failures += seen.failures;
    }
    tally.busy = began.elapsed();
    tally
}

/// One client of a closed loop.
async fn client<P: Proposer>(to: P, command: Bytes, batch: u64, until: Instant) -> Seen {
    let mut seen = Seen::default();
    loop {
        let start = Instant::now();
        if start >= until && seen.answered + seen.failures > 0 {
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
        // Whoever refuses at once would be asked again without end.
        tokio::task::yield_now().await;
    }
}

/// The clients of an open loop, each there for one batch, for as long as `time`.
async fn arrive<P: Proposer>(
    to: &P,
    command: &Bytes,
    batch: u64,
    rate: f64,
    began: Instant,
    time: Duration,
) -> Vec<JoinHandle<Seen>> {
    let mut arrivals = Arrivals::at_rate(rate, began);
    let mut clients = Vec::new();
    while arrivals.next() < began + time {
        let left = arrivals.next().saturating_duration_since(Instant::now());
        match left > SLEEP_MARGIN {
            true => tokio::time::sleep(left - SLEEP_MARGIN).await,
            false => tokio::task::yield_now().await,
        }
        while let Some(arrived) = arrivals.take_due(Instant::now().min(began + time)) {
            let (to, command) = (to.clone(), command.clone());
            clients.push(tokio::spawn(async move {
                let mut seen = Seen::default();
                hand_in(&to, &command, batch, &mut seen).await;
                seen.nanos.push(arrived.elapsed().as_nanos() as u64);
                seen
            }));
        }
    }
    clients
}
