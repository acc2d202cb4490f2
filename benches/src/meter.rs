//! What a process spends: processor time, and bytes written.
//!
//! The kernel has two counters for bytes. The first counts the bytes that were passed to system
//! calls. It is exact, but it misses writes through a ring or a mapping. The second counts what was
//! made dirty in the page cache or written past it. In the cache it counts whole folios, which may
//! be many pages each.

use std::fs;
use std::ops::{Add, Sub};
use std::time::Duration;

use rustix::time::{ClockId, clock_gettime};

/// What was spent up to a moment, or between two moments.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Spent {
    /// Processor time of all threads.
    pub cpu: Duration,
    /// Bytes passed to system calls that write.
    pub handed: Option<u64>,
    /// Bytes that were sent, or will be sent, to a device.
    pub written: Option<u64>,
}

impl Spent {
    /// What this process has spent up to now.
    pub fn now() -> Spent {
        let cpu = clock_gettime(ClockId::ProcessCPUTime);
        let counts = fs::read_to_string("/proc/self/io").unwrap_or_default();
        Spent {
            cpu: Duration::new(cpu.tv_sec as u64, cpu.tv_nsec as u32),
            handed: count(&counts, "wchar"),
            written: count(&counts, "write_bytes"),
        }
    }

    /// Zero for everything that can be counted.
    pub fn none() -> Spent {
        Spent { cpu: Duration::ZERO, handed: Some(0), written: Some(0) }
    }
}

impl Sub for Spent {
    type Output = Spent;

    fn sub(self, earlier: Spent) -> Spent {
        let between = |now: Option<u64>, then: Option<u64>| Some(now?.saturating_sub(then?));
        Spent {
            cpu: self.cpu.saturating_sub(earlier.cpu),
            handed: between(self.handed, earlier.handed),
            written: between(self.written, earlier.written),
        }
    }
}

impl Add for Spent {
    type Output = Spent;

    fn add(self, more: Spent) -> Spent {
        let both = |one: Option<u64>, other: Option<u64>| Some(one? + other?);
        Spent {
            cpu: self.cpu + more.cpu,
            handed: both(self.handed, more.handed),
            written: both(self.written, more.written),
        }
    }
}

/// What another process has spent up to now; nothing if it has ended.
pub fn spent_by_process(pid: u32) -> Spent {
    let read = |name| fs::read_to_string(format!("/proc/{pid}/{name}")).unwrap_or_default();
    let ticks = rustix::param::clock_ticks_per_second();
    let counts = read("io");
    Spent {
        cpu: cpu_of_stat(&read("stat"), ticks).unwrap_or_default(),
        handed: count(&counts, "wchar"),
        written: count(&counts, "write_bytes"),
    }
}

/// The name of a process may contain any character, so the fields are counted from the closing
/// parenthesis after it.
fn cpu_of_stat(stat: &str, ticks_per_second: u64) -> Option<Duration> {
    let mut fields = stat.rsplit_once(')')?.1.split_whitespace().skip(11);
    let (user, system): (u64, u64) = (fields.next()?.parse().ok()?, fields.next()?.parse().ok()?);
    Some(Duration::from_secs_f64((user + system) as f64 / ticks_per_second as f64))
}

fn count(text: &str, name: &str) -> Option<u64> {
    let line = text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(": "));
    line?.trim().parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_kernels_counts_are_read_by_name() {
        let text = "rchar: 3\nwchar: 14\nwrite_bytes: 4096\ncancelled_write_bytes: 7\n";
        assert_eq!((count(text, "wchar"), count(text, "write_bytes")), (Some(14), Some(4096)));
        assert_eq!(count(text, "gone"), None);
    }

    #[test]
    fn a_missing_count_stays_unknown() {
        let unknown = Spent { written: None, ..Spent::none() };
        assert_eq!((Spent::none() - unknown).written, None);
        assert_eq!((Spent::none() + unknown).handed, Some(0));
    }

    #[test]
    fn a_process_may_have_any_name() {
        let stat = "7 (a) b (c)) S 1 2 3 4 5 6 7 8 9 10 150 50 0 0 20";
        assert_eq!(cpu_of_stat(stat, 100), Some(Duration::from_secs(2)));
        assert_eq!(cpu_of_stat("nonsense", 100), None);
    }

    #[test]
    fn another_process_is_counted_while_it_lives() {
        let spent = spent_by_process(std::process::id());
        assert!(spent.handed.is_some() && spent.written.is_some());
        let ended = spent_by_process(u32::MAX);
        assert_eq!(ended, Spent { cpu: Duration::ZERO, handed: None, written: None });
    }

    #[test]
    fn work_takes_processor_time() {
        let before = Spent::now();
        (0..10_000_000_u64).for_each(|step| _ = std::hint::black_box(step));
        assert!((Spent::now() - before).cpu >= Duration::from_millis(1));
    }
}
