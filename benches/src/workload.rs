//! The description of a workload, which all measurements share: the clients, and the size of what
//! they write.

use std::ops::RangeInclusive;
use std::time::{Duration, Instant};

use crate::BenchError;

/// The largest payload of one entry.
pub const MAX_SIZE: usize = 8 << 20;

/// The most clients.
pub const MAX_CLIENTS: u64 = 65_536;

/// The most entries in a batch.
pub const MAX_BATCH: u64 = 65_536;

/// The most payload in a batch.
pub const MAX_BATCH_PAYLOAD: u64 = 64 << 20;

/// The arrival rates that can be measured: a turn takes a fraction of a second, and the clock is
/// read for each arrival.
pub const RATES: RangeInclusive<f64> = 1.0..=1e6;

/// The workload of a figure.
#[derive(Clone, Debug, PartialEq)]
pub struct Workload {
    /// The payload of an entry, in bytes.
    pub size: usize,
    /// The entries in a batch of one client.
    pub batch: u64,
    /// The number of clients. In a closed loop each waits for its answer and then sends the next
    /// batch at once.
    pub clients: u64,
    /// In an open loop, the batches that arrive per second, however long the answers take. A
    /// latency then counts from the moment of arrival, so that the time in a queue is included.
    pub rate: Option<f64>,
}

impl Workload {
    /// All combinations of the numbers of clients, sizes and batches.
    pub fn grid(sizes: &[usize], batches: &[u64], clients: &[u64]) -> Vec<Workload> {
        let mut all = Vec::new();
        for &size in sizes {
            for &batch in batches {
                all.extend(clients.iter().map(|&clients| Workload {
                    size,
                    batch,
                    clients,
                    rate: None,
                }));
            }
        }
        all
    }

    /// Refuses a workload that cannot be measured.
    pub fn check(&self) -> Result<(), BenchError> {
        let within =
            |name: &str, value: u64, low: u64, high: u64| match (low..=high).contains(&value) {
                true => Ok(()),
                false => Err(BenchError::options(
                    format!("--{name} {value} cannot be measured"),
                    format!("choose from {low} to {high}"),
                )),
            };
        within("size", self.size as u64, 0, MAX_SIZE as u64)?;
        within("batch", self.batch, 1, MAX_BATCH)?;
        within("clients", self.clients, 1, MAX_CLIENTS)?;
        if self.batch * self.size as u64 > MAX_BATCH_PAYLOAD {
            let most = (MAX_BATCH_PAYLOAD / self.size as u64).max(1);
            return Err(BenchError::options(
                format!(
                    "--batch {} of --size {} is more than 64 MiB at once",
                    self.batch, self.size
                ),
                format!("at this size choose a batch of at most {most}"),
            ));
        }
        match self.rate {
            Some(rate) if !RATES.contains(&rate) => Err(BenchError::options(
                format!("--rate {rate} cannot be measured"),
                "give the batches that arrive per second, from 1 to 1000000",
            )),
            _ => Ok(()),
        }
    }

    /// The workload as a line of text.
    pub fn describe(&self) -> String {
        let clients = match self.clients {
            1 => "1 client".to_owned(),
            many => format!("{many} clients"),
        };
        let rate = self.rate.map_or(String::new(), |rate| format!(", {rate} arrivals/s"));
        format!("{}, {clients}{rate}", self.describe_batch())
    }

    /// What one client submits at once, as text.
    pub fn describe_batch(&self) -> String {
        match self.batch {
            1 => format!("{} B", self.size),
            batch => format!("{batch} x {} B", self.size),
        }
    }
}

/// A payload that cannot be compressed. Otherwise a store that compresses would have an advantage.
pub fn incompressible(size: usize) -> Vec<u8> {
    let mut state = 0x9e37_79b9_7f4a_7c15_u64;
    let mut next = || {
        // xorshift64 is fast, and random enough that the output cannot be compressed.
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        (state >> 32) as u8
    };
    (0..size).map(|_| next()).collect()
}

/// The arrivals of an open loop, at equal distances from the moment it began.
#[derive(Clone, Debug)]
pub struct Arrivals {
    began: Instant,
    rate: f64,
    taken: u64,
}

impl Arrivals {
    /// Arrivals at this rate per second (within [`RATES`]); the first one is due at once.
    pub fn at_rate(rate: f64, began: Instant) -> Arrivals {
        Arrivals { began, rate, taken: 0 }
    }

    /// The time of the next arrival.
    pub fn next(&self) -> Instant {
        self.began + self.span()
    }

    /// The time span of the arrivals that were taken. Each counts with the distance to the next
    /// one.
    pub fn span(&self) -> Duration {
        Duration::from_secs_f64(self.taken as f64 / self.rate)
    }

    /// Takes the next arrival, if it is due.
    pub fn take_due(&mut self, now: Instant) -> Option<Instant> {
        let next = self.next();
        (next <= now).then(|| {
            self.taken += 1;
            next
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn one() -> Workload {
        Workload { size: 256, batch: 1, clients: 1, rate: None }
    }

    #[test]
    fn a_workload_that_cannot_be_measured_is_refused_by_name() {
        assert!(one().check().is_ok());
        for (wrong, name) in [
            (Workload { size: MAX_SIZE + 1, ..one() }, "--size"),
            (Workload { batch: 0, ..one() }, "--batch"),
            (Workload { clients: 0, ..one() }, "--clients"),
            (Workload { rate: Some(0.0), ..one() }, "--rate"),
            (Workload { rate: Some(1e-20), ..one() }, "--rate"),
            (Workload { rate: Some(0.5), ..one() }, "--rate"),
            (Workload { rate: Some(1e10), ..one() }, "--rate"),
            (Workload { rate: Some(f64::NAN), ..one() }, "--rate"),
            (Workload { size: 8 << 20, batch: 9, ..one() }, "--batch 9 of --size 8388608"),
            (Workload { size: 1025, batch: MAX_BATCH, ..one() }, "--batch 65536"),
        ] {
            let error = wrong.check().expect_err(name);
            assert!(error.to_string().contains(name), "{error}");
            assert!(!error.advice().is_empty());
        }
    }

    #[test]
    fn a_workload_at_the_limit_is_measured() {
        for right in [
            Workload { size: 8 << 20, batch: 8, ..one() },
            Workload { size: 1024, batch: MAX_BATCH, clients: MAX_CLIENTS, rate: Some(1e6) },
            Workload { size: 0, batch: MAX_BATCH, rate: Some(1.0), ..one() },
        ] {
            assert!(right.check().is_ok(), "{right:?}");
        }
    }

    #[test]
    fn a_grid_has_every_combination_once() {
        let grid = Workload::grid(&[64, 256], &[1, 64], &[1, 16, 256]);
        assert_eq!(grid.len(), 12);
        assert_eq!(grid.iter().filter(|one| one.size == 64 && one.batch == 64).count(), 3);
    }

    #[test]
    fn arrivals_do_not_wait_for_answers() {
        let began = Instant::now();
        let mut arrivals = Arrivals::at_rate(1000.0, began);
        let late = began + Duration::from_millis(10);
        let due = std::iter::from_fn(|| arrivals.take_due(late)).collect::<Vec<_>>();
        assert_eq!((due.len(), due[0]), (11, began));
        assert_eq!(arrivals.next(), began + Duration::from_millis(11));
        assert_eq!(arrivals.span(), Duration::from_millis(11), "each has a distance of its own");
    }

    #[test]
    fn the_payload_has_no_pattern() {
        let payload = incompressible(4096);
        let mut counts = [0; 256];
        payload.iter().for_each(|byte| counts[usize::from(*byte)] += 1);
        assert!(counts.iter().all(|count| *count < 64), "no byte comes often");
    }
}
