//! When the rounds of a leadership began, for its lease.

use alloc::collections::VecDeque;

use super::message::Round;
use super::time::{TICK_MICROS, Time};

/// When the newest rounds of a leadership began.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub(super) struct RoundTimes {
    /// Rounds and times at which they began. Invariant: both rise, and the times are at least a
    /// tick apart, so that reads, which begin rounds too, do not lengthen the list.
    times: VecDeque<(Round, Time)>,
}

impl RoundTimes {
    /// Records that a round begins, and forgets those that began longer than `kept` ago.
    pub(super) fn begin(&mut self, round: Round, now: Time, kept: u64) {
        while self.times.front().is_some_and(|(_, began)| now.since(*began) > kept) {
            self.times.pop_front();
        }
        if self.times.back().is_none_or(|(_, last)| now.since(*last) >= TICK_MICROS) {
            self.times.push_back((round, now));
        }
    }

    /// A time at or before which this round began: that of the newest recorded round that is not
    /// later.
    pub(super) fn began(&self, round: Round) -> Option<Time> {
        let after = self.times.partition_point(|(other, _)| *other <= round);
        let (_, began) = self.times.get(after.checked_sub(1)?)?;
        Some(*began)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(ticks: u64) -> Time {
        Time::from_micros(ticks * TICK_MICROS)
    }

    #[test]
    fn a_round_never_counts_as_begun_later_than_it_was() {
        let mut times = RoundTimes::default();
        times.begin(Round(1), at(10), 100 * TICK_MICROS);
        times.begin(Round(2), at(10).plus(1), 100 * TICK_MICROS);
        times.begin(Round(3), at(12), 100 * TICK_MICROS);
        assert_eq!(times.began(Round(0)), None);
        assert_eq!(times.began(Round(2)), Some(at(10)), "too soon after round 1 to be recorded");
        assert_eq!(times.began(Round(3)), Some(at(12)));
    }

    #[test]
    fn rounds_that_began_too_long_ago_are_forgotten_and_frequent_ones_are_not_recorded() {
        let mut times = RoundTimes::default();
        for micros in 0..30_000 {
            times.begin(Round(micros), Time::from_micros(micros * 100), 10 * TICK_MICROS);
        }
        assert!(times.times.len() <= 12, "{} rounds", times.times.len());
        assert_eq!(times.began(Round(1)), None);
    }
}
