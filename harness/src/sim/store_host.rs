//! The interface to backends: a store on a simulated disk whose operations take simulated time.
//!
//! The world gets a [`DiskFactory`] and depends on no backend. A [`SimulatedDisk`] outlives the
//! processes that open it. The calls of a store are asynchronous, but a store that is used here
//! must never wait, so each call is polled once.

use std::collections::VecDeque;
use std::future::Future;
use std::pin::pin;
use std::task::{Context, Poll, Waker};

use raft_core::storage::{LogError, LogErrorKind, LogOp, LogReader, Recovered, Store, WriteBatch};
use raft_core::types::{Entry, Identity, LogIndex};

use crate::rng::Rng;
use crate::sim::planted::StoreBug;

/// Creates the disk of one member, from its number and a stream of random numbers.
pub type DiskFactory<'a> = dyn Fn(u64, Rng) -> Box<dyn SimulatedDisk> + 'a;

/// A disk that outlives the processes that open it, and that loses unsynced data in a power cut.
pub trait SimulatedDisk {
    /// Opens the store on the disk.
    fn open(&mut self) -> Result<Box<dyn Store>, LogError>;

    /// Whether `Store::write` only writes, and [`sync`](Self::sync) makes the write durable. If
    /// not, a write is durable when it returns, and the world calls it at the time when the write
    /// ends.
    fn syncs_apart(&self) -> bool;

    /// Syncs the oldest write that is not yet durable.
    fn sync(&mut self) {}

    /// Makes the next write fail. Whether it took effect is unknown until the store is opened
    /// again.
    fn fail_next_write(&mut self);

    /// Cancels all planned failures.
    fn forget_failures(&mut self);

    /// Cuts the power at some point during the next write, which then returns an error. Only for
    /// disks for which [`syncs_apart`](Self::syncs_apart) is false.
    fn cut_power_during_next_write(&mut self) {}

    /// Cuts the power: the open store is unusable, and any part of the data that is not durable may
    /// be lost, as far as the contract allows.
    fn cut_power(&mut self);
}

/// A member's store while it runs.
pub(crate) struct StoreHost {
    disk: Box<dyn SimulatedDisk>,
    open: Option<OpenStore>,
    /// Writes that the store was given and that are not known to be durable, oldest first.
    in_flight: VecDeque<Flight>,
    /// A write that failed; whether it took effect is unknown.
    failed: Option<WriteBatch>,
    bug: Option<StoreBug>,
}

struct OpenStore {
    store: Box<dyn Store>,
    reader: Box<dyn LogReader>,
}

struct Flight {
    batch: WriteBatch,
    /// The result of the write, if the store was already called.
    result: Option<Result<(), LogError>>,
}

impl StoreHost {
    pub(crate) fn new(disk: Box<dyn SimulatedDisk>, bug: Option<StoreBug>) -> StoreHost {
        StoreHost { disk, open: None, in_flight: VecDeque::new(), failed: None, bug }
    }

    /// Opens the store. Returns the identity and the state that it recovers.
    pub(crate) fn open(&mut self) -> Result<(Option<Identity>, Recovered), LogError> {
        let mut store = self.disk.open()?;
        let identity = at_once(store.load_identity())?;
        let recovered = at_once(store.recover())?;
        let reader = store.reader();
        self.open = Some(OpenStore { store, reader });
        Ok((identity, recovered))
    }

    /// Writes the identity. It takes no simulated time and is durable at once.
    pub(crate) fn save_identity(&mut self, identity: Identity) -> Result<(), LogError> {
        let open = self.open.as_mut().expect("an open store");
        at_once(open.store.save_identity(&identity))?;
        self.disk.sync();
        Ok(())
    }

    /// Writes the first batch at bootstrap. It takes no simulated time and is durable at once.
    pub(crate) fn write_first(
        &mut self,
        identity: Identity,
        batch: WriteBatch,
    ) -> Result<(), LogError> {
        self.save_identity(identity)?;
        let open = self.open.as_mut().expect("an open store");
        at_once(open.store.write(batch))?;
        self.disk.sync();
        Ok(())
    }

    /// Writes a batch before the process starts. It takes no simulated time and is durable at once.
    pub(crate) fn write_at_once(&mut self, batch: WriteBatch) -> Result<Recovered, LogError> {
        let open = self.open.as_mut().expect("an open store");
        at_once(open.store.write(batch))?;
        self.disk.sync();
        at_once(open.store.recover())
    }

    /// Begins a write, which takes simulated time until [`finish`](Self::finish) is called.
    pub(crate) fn begin(&mut self, batch: WriteBatch) {
        let result = match (self.disk.syncs_apart(), &mut self.open) {
            (true, Some(open)) => Some(write(open, &batch, self.bug)),
            _ => None,
        };
        self.in_flight.push_back(Flight { batch, result });
    }

    /// Ends the oldest write. Returns its batch and the result of the store.
    pub(crate) fn finish(&mut self) -> (WriteBatch, Result<(), LogError>) {
        let flight = self.in_flight.pop_front().expect("a write is in flight");
        let open = self.open.as_mut().expect("an open store");
        let result = flight.result.unwrap_or_else(|| write(open, &flight.batch, self.bug));
        match &result {
            Ok(()) => self.disk.sync(),
            Err(_) => self.failed = Some(flight.batch.clone()),
        }
        (flight.batch, result)
    }

    /// The writes in flight, oldest first.
    pub(crate) fn in_flight(&self) -> impl Iterator<Item = &WriteBatch> {
        self.in_flight.iter().map(|flight| &flight.batch)
    }

    /// Makes the next write fail.
    pub(crate) fn fail_next_write(&mut self) {
        self.disk.fail_next_write();
    }

    /// From now on the disk does not fail: planned failures are cancelled.
    pub(crate) fn calm(&mut self) {
        self.disk.forget_failures();
    }

    /// Reads entries through the store's reader. If `fails` is set, the read returns an I/O error
    /// without reaching the store, and the next read may succeed.
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

    /// Cuts the power. Returns the writes in flight, oldest first; any number of them, counted from
    /// the first, may have become durable.
    pub(crate) fn crash(&mut self, rng: &mut Rng) -> Vec<WriteBatch> {
        let flights: Vec<Flight> = self.in_flight.drain(..).collect();
        if let (Some(open), Some(flight)) = (&mut self.open, flights.first())
            && flight.result.is_none()
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

/// Polls a future that never waits, and returns its result.
fn at_once<T>(future: impl Future<Output = T>) -> T {
    match pin!(future).poll(&mut Context::from_waker(Waker::noop())) {
        Poll::Ready(result) => result,
        Poll::Pending => {
            panic!("a store in the simulator must complete each call at the first poll")
        }
    }
}
