//! The interface to backends: a store on a simulated disk, and how long the disk takes.
//!
//! The world gets a [`DiskFactory`] and depends on no backend. A [`SimulatedDisk`] outlives the
//! processes that open it. Store calls are asynchronous by their traits, but no store that can be
//! used here ever waits, so each call is polled once.

use std::collections::VecDeque;
use std::future::Future;
use std::pin::pin;
use std::task::{Context, Poll, Waker};

use raft_core::storage::{LogError, LogErrorKind, LogOp, LogReader, Recovered, Store, WriteBatch};
use raft_core::types::{Entry, Identity, LogIndex};

use crate::rng::Rng;
use crate::sim::planted::StoreBug;

/// Makes the disk of one member, from its number and a stream of random numbers.
pub type DiskFactory<'a> = dyn Fn(u64, Rng) -> Box<dyn SimulatedDisk> + 'a;

/// A disk that outlives the processes that open it, and loses what was not synced when the power
/// fails.
pub trait SimulatedDisk {
    /// Opens the store that lies on the disk.
    fn open(&mut self) -> Result<Box<dyn Store>, LogError>;

    /// Whether `Store::write` only writes, and [`sync`](Self::sync) makes durable. Otherwise a
    /// write is durable when it returns, and the world calls it at the moment at which it ends.
    fn syncs_apart(&self) -> bool;

    /// Makes the oldest write that is not durable yet durable.
    fn sync(&mut self) {}

    /// Lets the next write fail. Whether it happened is not known until the store is opened again.
    fn fail_next_write(&mut self);

    /// Cancels every failure that was planned.
    fn forget_failures(&mut self);

    /// The power fails somewhere in the middle of the next write; for disks that do not sync
    /// separately. The store reports an error then.
    fn cut_power_during_next_write(&mut self) {}

    /// The power fails now: the store no longer works, and of what is not durable any part may be
    /// lost that the contract allows.
    fn cut_power(&mut self);
}

/// A member's store while it runs.
pub(crate) struct StoreHost {
    disk: Box<dyn SimulatedDisk>,
    open: Option<OpenStore>,
    /// Writes that were given to the store and are not known to be durable, oldest first.
    in_flight: VecDeque<Flight>,
    /// A write that failed; whether it happened is not known.
    failed: Option<WriteBatch>,
    bug: Option<StoreBug>,
}

struct OpenStore {
    store: Box<dyn Store>,
    reader: Box<dyn LogReader>,
}

struct Flight {
    batch: WriteBatch,
    /// The store's answer, if the write was already made.
    said: Option<Result<(), LogError>>,
}

impl StoreHost {
    pub(crate) fn new(disk: Box<dyn SimulatedDisk>, bug: Option<StoreBug>) -> StoreHost {
        StoreHost { disk, open: None, in_flight: VecDeque::new(), failed: None, bug }
    }

    /// Opens the store; returns what it remembers.
    pub(crate) fn open(&mut self) -> Result<(Option<Identity>, Recovered), LogError> {
        let mut store = self.disk.open()?;
        let identity = at_once(store.load_identity())?;
        let recovered = at_once(store.recover())?;
        let reader = store.reader();
        self.open = Some(OpenStore { store, reader });
        Ok((identity, recovered))
    }

    /// Writes outside of simulated time, durable at once: for bootstrap.
    pub(crate) fn write_first(
        &mut self,
        identity: Identity,
        batch: WriteBatch,
    ) -> Result<(), LogError> {
        let open = self.open.as_mut().expect("an open store");
        at_once(open.store.save_identity(&identity))?;
        self.disk.sync();
        at_once(open.store.write(batch))?;
        self.disk.sync();
        Ok(())
    }

    /// Gives a write to the store. It takes simulated time; [`finish`](Self::finish) ends it.
    pub(crate) fn begin(&mut self, batch: WriteBatch) {
        let said = match (self.disk.syncs_apart(), &mut self.open) {
            (true, Some(open)) => Some(write(open, &batch, self.bug)),
            _ => None,
        };
        self.in_flight.push_back(Flight { batch, said });
    }

    /// Ends the oldest write. Returns the write, and the store's answer.
    pub(crate) fn finish(&mut self) -> (WriteBatch, Result<(), LogError>) {
        let flight = self.in_flight.pop_front().expect("a write is in flight");
        let open = self.open.as_mut().expect("an open store");
        let said = flight.said.unwrap_or_else(|| write(open, &flight.batch, self.bug));
        match &said {
            Ok(()) => self.disk.sync(),
            Err(_) => self.failed = Some(flight.batch.clone()),
        }
        (flight.batch, said)
    }

    /// What is in flight, oldest first.
    pub(crate) fn in_flight(&self) -> impl Iterator<Item = &WriteBatch> {
        self.in_flight.iter().map(|flight| &flight.batch)
    }

    /// Lets the next write fail.
    pub(crate) fn fail_next_write(&mut self) {
        self.disk.fail_next_write();
    }

    /// From now on the disk does not fail.
    pub(crate) fn calm(&mut self) {
        self.disk.forget_failures();
    }

    /// Reads entries as the store's own reader does. If the read `fails`, nothing changed, and the
    /// next one may succeed.
    pub(crate) fn read(
        &mut self,
        first: LogIndex,
        last: LogIndex,
        max_bytes: u64,
        fails: bool,
    ) -> Result<Vec<Entry>, LogError> {
        if fails {
            return Err(LogError::new(LogOp::Read, LogErrorKind::Io));
        }
        let open = self.open.as_mut().expect("an open store");
        at_once(open.reader.read(first..last.next(), max_bytes))
    }

    /// The power fails. Returns the writes in flight: any number of them, from the first on, may
    /// have become durable.
    pub(crate) fn crash(&mut self, rng: &mut Rng) -> Vec<WriteBatch> {
        let flights: Vec<Flight> = self.in_flight.drain(..).collect();
        if let (Some(open), Some(flight)) = (&mut self.open, flights.first())
            && flight.said.is_none()
            && rng.coin()
        {
            self.disk.cut_power_during_next_write();
            let cut_short = write(open, &flight.batch, self.bug);
            drop(cut_short);
        }
        self.disk.cut_power();
        self.open = None;
        let in_flight = flights.into_iter().map(|flight| flight.batch);
        self.failed.take().into_iter().chain(in_flight).collect()
    }
}

fn write(open: &mut OpenStore, batch: &WriteBatch, bug: Option<StoreBug>) -> Result<(), LogError> {
    let mut batch = batch.clone();
    match bug {
        Some(StoreBug::VoteLeftOut) => {
            let voteless = |hard_state: &raft_core::types::HardState| hard_state.vote.is_none();
            batch.hard_state = batch.hard_state.filter(voteless);
        }
        Some(StoreBug::TruncationLeftOut) => batch.truncate_after = None,
        _ => {}
    }
    at_once(open.store.write(batch))
}

/// The result of a future that never waits.
fn at_once<T>(future: impl Future<Output = T>) -> T {
    match pin!(future).poll(&mut Context::from_waker(Waker::noop())) {
        Poll::Ready(result) => result,
        Poll::Pending => panic!("a store in the simulator must not wait"),
    }
}
