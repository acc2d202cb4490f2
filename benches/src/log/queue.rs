//! The batches that wait to be written, and since when.

use std::collections::VecDeque;
use std::thread;
use std::time::{Duration, Instant};

use crate::Workload;
use crate::workload::Arrivals;

/// A wait that is longer than this is slept through; a shorter one would be overslept.
const SHORTEST_SLEEP: Duration = Duration::from_micros(200);

/// Batches with the moment at which they were handed in; `None` stands for the start of the write
/// that takes them.
type Batches = (Option<Instant>, u64);

/// The clients' batches.
#[derive(Debug)]
pub struct Queue {
    waiting: VecDeque<Batches>,
    arrivals: Option<Arrivals>,
}

impl Queue {
    /// All clients of a closed loop wait at first; in an open loop the first arrives now.
    pub fn new(workload: &Workload, now: Instant) -> Queue {
        let arrivals = workload.rate.map(|rate| Arrivals::at_rate(rate, now));
        let waiting = match arrivals {
            Some(_) => VecDeque::new(),
            None => VecDeque::from([(None, workload.clients)]),
        };
        Queue { waiting, arrivals }
    }

    /// The next batches, at most so many and at least one; waits for an arrival if it must.
    pub fn take(&mut self, most: u64) -> Vec<Batches> {
        self.arrive();
        let (mut group, mut room) = (Vec::new(), most);
        while let Some((handed_in, count)) = self.waiting.pop_front() {
            let taken = count.min(room);
            group.push((handed_in, taken));
            room -= taken;
            if taken < count {
                self.waiting.push_front((handed_in, count - taken));
            }
            if room == 0 {
                break;
            }
        }
        group
    }

    /// So many batches were answered. Their clients hand in the next ones; who was there already
    /// has waited since `start`, when the write began, or longer.
    pub fn answered(&mut self, batches: u64, start: Instant) {
        if self.arrivals.is_some() {
            return;
        }
        self.waiting.iter_mut().for_each(|(handed_in, _)| {
            handed_in.get_or_insert(start);
        });
        self.waiting.push_back((None, batches));
    }

    fn arrive(&mut self) {
        let Some(arrivals) = &mut self.arrivals else { return };
        while self.waiting.is_empty() && Instant::now() < arrivals.next() {
            let left = arrivals.next().saturating_duration_since(Instant::now());
            match left > SHORTEST_SLEEP {
                true => thread::sleep(left - SHORTEST_SLEEP),
                false => std::hint::spin_loop(),
            }
        }
        let now = Instant::now();
        while let Some(arrived) = arrivals.take_due(now) {
            self.waiting.push_back((Some(arrived), 1));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn workload(clients: u64, rate: Option<f64>) -> Workload {
        Workload { size: 1, batch: 1, clients, rate }
    }

    #[test]
    fn who_found_no_room_has_waited_longer() {
        let now = Instant::now();
        let mut queue = Queue::new(&workload(3, None), now);
        assert_eq!(queue.take(2), [(None, 2)]);
        queue.answered(2, now);
        assert_eq!(queue.take(2), [(Some(now), 1), (None, 1)]);
    }

    #[test]
    fn an_arrival_counts_from_when_it_came() {
        let began = Instant::now() - Duration::from_millis(10);
        let mut queue = Queue::new(&workload(1, Some(1000.0)), began);
        let first = queue.take(4);
        let came: Vec<_> = (0..4).map(|n| (Some(began + Duration::from_millis(n)), 1)).collect();
        assert_eq!(first, came);
        queue.answered(4, began);
        assert!(queue.take(100).len() >= 6, "answers bring no arrivals, time does");
    }

    #[test]
    fn without_an_arrival_there_is_a_wait() {
        let began = Instant::now();
        let mut queue = Queue::new(&workload(1, Some(500.0)), began);
        queue.take(1);
        let second = queue.take(1);
        assert_eq!(second, [(Some(began + Duration::from_millis(2)), 1)]);
        assert!(began.elapsed() >= Duration::from_millis(2));
    }
}
