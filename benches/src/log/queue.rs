//! The batches that wait to be written, each with the time of its arrival.

use std::collections::VecDeque;
use std::thread;
use std::time::{Duration, Instant};

use crate::workload::{Arrivals, MAX_CLIENTS};
use crate::{Stop, Workload};

/// A wait longer than this uses `sleep`. A shorter sleep would end too late.
const SHORTEST_SLEEP: Duration = Duration::from_micros(200);

/// The longest time between two checks for a stop.
const LONGEST_SLEEP: Duration = Duration::from_millis(20);

/// The number of batches, with the time when they were submitted. `None` means the start of the
/// write that takes them.
type Batches = (Option<Instant>, u64);

/// The queue of the clients' batches.
#[derive(Debug)]
pub struct Queue {
    waiting: VecDeque<Batches>,
    arrivals: Option<Arrivals>,
}

impl Queue {
    /// In a closed loop all clients wait at first; in an open loop the first batch arrives now.
    pub fn new(workload: &Workload, now: Instant) -> Queue {
        let arrivals = workload.rate.map(|rate| Arrivals::at_rate(rate, now));
        let waiting = match arrivals {
            Some(_) => VecDeque::new(),
            None => VecDeque::from([(None, workload.clients)]),
        };
        Queue { waiting, arrivals }
    }

    /// The next batches, at most this many. Waits for an arrival if there is none. Returns none if
    /// the turn ends or a stop is requested first.
    pub fn take(&mut self, most: u64, until: Instant, stop: &Stop) -> Vec<Batches> {
        self.arrive(until, stop);
        let (mut group, mut space) = (Vec::new(), most);
        while let Some((handed_in, count)) = self.waiting.pop_front() {
            let taken = count.min(space);
            group.push((handed_in, taken));
            space -= taken;
            if taken < count {
                self.waiting.push_front((handed_in, count - taken));
            }
            if space == 0 {
                break;
            }
        }
        group
    }

    /// Records that this many batches were answered. Their clients submit the next ones. The
    /// batches that are still in the queue have waited since `start`, when the write began, or
    /// longer.
    pub fn answered(&mut self, batches: u64, start: Instant) {
        if self.arrivals.is_some() {
            return;
        }
        self.waiting.iter_mut().for_each(|(handed_in, _)| {
            handed_in.get_or_insert(start);
        });
        self.waiting.push_back((None, batches));
    }

    /// The number of waiting batches that are stored one by one, in an open loop.
    #[cfg(test)]
    pub fn len(&self) -> usize {
        self.waiting.len()
    }

    /// The time span of the arrivals up to now; none in a closed loop.
    pub fn span(&self) -> Duration {
        self.arrivals.as_ref().map_or(Duration::ZERO, Arrivals::span)
    }

    fn arrive(&mut self, until: Instant, stop: &Stop) {
        let Some(arrivals) = &mut self.arrivals else { return };
        let next = arrivals.next().min(until);
        while self.waiting.is_empty() && Instant::now() < next && !stop.is_asked() {
            let left = next.saturating_duration_since(Instant::now());
            match left > SHORTEST_SLEEP {
                true => thread::sleep((left - SHORTEST_SLEEP).min(LONGEST_SLEEP)),
                false => std::hint::spin_loop(),
            }
        }
        let now = Instant::now();
        // Arrivals that find the queue full are taken later, and count from their time of arrival.
        while self.waiting.len() < MAX_CLIENTS as usize
            && let Some(arrived) = arrivals.take_due(now)
        {
            self.waiting.push_back((Some(arrived), 1));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The next batches of a turn that has plenty of time.
    fn take(queue: &mut Queue, most: u64) -> Vec<Batches> {
        queue.take(most, Instant::now() + Duration::from_secs(60), &Stop::new())
    }

    fn workload(clients: u64, rate: Option<f64>) -> Workload {
        Workload { size: 1, batch: 1, clients, rate }
    }

    #[test]
    fn a_batch_that_did_not_fit_has_waited_longer() {
        let now = Instant::now();
        let mut queue = Queue::new(&workload(3, None), now);
        assert_eq!(take(&mut queue, 2), [(None, 2)]);
        queue.answered(2, now);
        assert_eq!(take(&mut queue, 2), [(Some(now), 1), (None, 1)]);
    }

    #[test]
    fn a_latency_counts_from_the_arrival() {
        let began = Instant::now() - Duration::from_millis(10);
        let mut queue = Queue::new(&workload(1, Some(1000.0)), began);
        let first = take(&mut queue, 4);
        let came: Vec<_> = (0..4).map(|n| (Some(began + Duration::from_millis(n)), 1)).collect();
        assert_eq!(first, came);
        queue.answered(4, began);
        assert!(take(&mut queue, 100).len() >= 6, "answers bring no arrivals, time does");
    }

    #[test]
    fn more_arrivals_than_fit_take_no_memory_and_count_from_their_time() {
        let began = Instant::now() - Duration::from_secs(10);
        let mut queue = Queue::new(&workload(1, Some(100_000.0)), began);
        let first = take(&mut queue, MAX_CLIENTS);
        assert_eq!(first.len() as u64, MAX_CLIENTS, "of a million");
        let later = take(&mut queue, 1);
        let came = began + Duration::from_secs_f64(MAX_CLIENTS as f64 / 100_000.0);
        assert_eq!(later, [(Some(came), 1)]);
        assert!(queue.len() < MAX_CLIENTS as usize);
    }

    #[test]
    fn without_an_arrival_there_is_a_wait() {
        let began = Instant::now();
        let mut queue = Queue::new(&workload(1, Some(500.0)), began);
        take(&mut queue, 1);
        let second = take(&mut queue, 1);
        assert_eq!(second, [(Some(began + Duration::from_millis(2)), 1)]);
        assert!(began.elapsed() >= Duration::from_millis(2));
    }

    #[test]
    fn no_batch_waits_longer_than_the_turn_or_after_a_stop() {
        let began = Instant::now();
        let mut queue = Queue::new(&workload(1, Some(0.01)), began);
        assert_eq!(take(&mut queue, 1).len(), 1, "the first comes at once");
        assert_eq!(queue.span(), Duration::from_secs(100));
        assert_eq!(queue.take(1, began + Duration::from_millis(2), &Stop::new()), []);
        let stop = Stop::new();
        stop.ask();
        assert_eq!(queue.take(1, began + Duration::from_secs(90), &stop), []);
        assert!(began.elapsed() < Duration::from_secs(80), "the second comes at 100 seconds");
    }
}
