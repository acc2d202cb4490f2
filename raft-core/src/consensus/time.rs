//! The time that a member's own monotonic clock shows.
//!
//! Time is an input: each turn of a member begins with a reading of its clock, and each tick
//! carries one. Readings of two members have nothing in common. What the member does at intervals
//! (heartbeats, election timeouts) is counted in ticks, so that a member that was paused does not
//! act on all of the ticks that it missed. What the member believes about others (a leader that is
//! alive, a majority that answered, a lease) is judged by the time that has passed, so that a pause
//! is seen.
//!
//! Deliberately absent: a clock.

/// The length of a tick, in microseconds.
pub const TICK_MICROS: u64 = 10_000;

/// A reading of a member's monotonic clock: microseconds since a moment that is the same for all
/// readings of one process.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Time(u64);

impl Time {
    /// The moment from which readings count.
    pub const ZERO: Time = Time(0);

    /// A time later than any reading.
    pub const MAX: Time = Time(u64::MAX);

    /// The reading that is this many microseconds after [`Time::ZERO`].
    pub const fn from_micros(micros: u64) -> Time {
        Time(micros)
    }

    /// Microseconds since [`Time::ZERO`].
    pub const fn as_micros(self) -> u64 {
        self.0
    }

    /// Microseconds since an earlier time; zero if it is not earlier.
    pub const fn since(self, earlier: Time) -> u64 {
        self.0.saturating_sub(earlier.0)
    }

    /// The time this many microseconds later.
    pub const fn plus(self, micros: u64) -> Time {
        Time(self.0.saturating_add(micros))
    }
}
