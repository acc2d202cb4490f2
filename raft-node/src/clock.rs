//! The clock of a process, which each turn of a member reads once.
//!
//! It is monotonic, and nothing sets it. On Linux it also counts the time in which the machine is
//! suspended (`CLOCK_BOOTTIME`): after a laptop was closed, a leader must see that its lease has
//! run out. On other systems it is the clock of `std::time::Instant`, and whether that counts while
//! the machine is suspended depends on the system.

use raft_core::consensus::Time;

/// What the clock shows now.
#[cfg(target_os = "linux")]
pub(crate) fn now() -> Time {
    let now = rustix::time::clock_gettime(rustix::time::ClockId::Boottime);
    let (seconds, nanos) = (now.tv_sec.unsigned_abs(), now.tv_nsec.unsigned_abs());
    Time::from_micros(seconds * 1_000_000 + nanos / 1_000)
}

/// What the clock shows now.
#[cfg(not(target_os = "linux"))]
pub(crate) fn now() -> Time {
    use std::sync::OnceLock;
    use std::time::Instant;

    static FIRST: OnceLock<Instant> = OnceLock::new();
    let passed = FIRST.get_or_init(Instant::now).elapsed();
    Time::from_micros(u64::try_from(passed.as_micros()).unwrap_or(u64::MAX))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_clock_never_goes_back() {
        let readings: Vec<Time> = (0..1000).map(|_| now()).collect();
        assert!(readings.is_sorted());
    }
}
