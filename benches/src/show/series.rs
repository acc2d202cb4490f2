//! The figures of a soak over time, as lines of text.

use super::numbers::{count, micros};
use crate::Interval;

/// The headings of the columns.
pub(super) const HEADS: [&str; 7] =
    ["until s", "entries/s", "p50 us", "p99", "max", "log MiB", "process MiB"];

/// The cells of an interval, one for each of [`HEADS`].
pub(super) fn cells(interval: &Interval) -> [String; 7] {
    [
        format!("{:.1}", interval.end_s),
        count(interval.per_second),
        micros(interval.p50_us),
        micros(interval.p99_us),
        micros(interval.max_us),
        format!("{:.1}", mebibytes(interval.log_bytes)),
        format!("{:.1}", mebibytes(interval.rss_bytes)),
    ]
}

/// A line for each interval, below a line of headings.
pub(super) fn lines(intervals: &[Interval]) -> String {
    let mut text = String::new();
    let mut add = |cells: [String; 7]| {
        let line: Vec<String> = cells.iter().map(|cell| format!("{cell:>12}")).collect();
        text += &format!("{}\n", line.concat());
    };
    add(HEADS.map(str::to_owned));
    intervals.iter().for_each(|interval| add(cells(interval)));
    text
}

/// Bytes in MiB.
pub(super) fn mebibytes(bytes: u64) -> f64 {
    bytes as f64 / (1 << 20) as f64
}

#[cfg(test)]
pub(super) mod tests {
    use super::super::table::tests::row;
    use super::*;
    use crate::Row;
    use crate::lane::{POWER_LOSS, Role};

    /// A row with a minute of intervals, one of which has a stall.
    pub fn soaked() -> Row {
        let interval = |at: u64| Interval {
            end_s: at as f64,
            per_second: 9000.0 + at as f64,
            p50_us: 80.0,
            p99_us: 200.0,
            max_us: if at == 30 { 90_000.0 } else { 700.0 },
            samples: 9000,
            log_bytes: (64 + at) << 20,
            rss_bytes: 20 << 20,
        };
        let row = row(Role::Store, "file", POWER_LOSS, 1, 80);
        Row { work: "soak".to_owned(), intervals: (1..=60).map(interval).collect(), ..row }
    }

    #[test]
    fn every_interval_has_its_line() {
        let text = lines(&soaked().intervals);
        assert_eq!(text.lines().count(), 61);
        let stall = text.lines().nth(30).expect("the 30th interval");
        for cell in ["30.0", "9030", "80.0", "200", "90000", "94.0", "20.0"] {
            assert!(stall.contains(cell), "{cell}: {stall}");
        }
    }
}
