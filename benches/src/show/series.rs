//! The figures of a soak over time: as lines of text, and as three plots.

use super::plots::{linear, logarithmic, values};
use super::style::Style;
use super::svg::{Axis, Line, draw};
use super::table::{count, marked_name, micros};
use crate::Row;
use crate::soak::Interval;

/// The heads of the columns.
pub(super) const HEADS: [&str; 7] =
    ["until s", "entries/s", "p50 us", "p99", "max", "log MiB", "process MiB"];

/// One line of a plot: its name, and the figure that it shows.
type Figure<'a> = (&'a str, fn(&Interval) -> f64);

/// The lines of one plot.
type Series<'a> = &'a [Figure<'a>];

/// The cells of an interval, as many as there are [`HEADS`].
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

/// A line for each interval, below a line of heads.
pub(super) fn lines(intervals: &[Interval]) -> String {
    let mut text = String::new();
    let mut add = |cells: [String; 7]| {
        let line: Vec<String> = cells.iter().map(|cell| format!("{cell:>11}")).collect();
        text += &format!("{}\n", line.concat());
    };
    add(HEADS.map(str::to_owned));
    intervals.iter().for_each(|interval| add(cells(interval)));
    text
}

/// The plots of a row: latencies, throughput, sizes. Of a row without a series there is none.
pub(super) fn plots(title: &str, row: &Row) -> Vec<String> {
    if row.intervals.is_empty() {
        return Vec::new();
    }
    let (name, notes) = (marked_name(row), &row.marks);
    let latencies: Series =
        &[("p50", |one| one.p50_us), ("p99", |one| one.p99_us), ("maximum", |one| one.max_us)];
    let throughput: Series = &[("entries/s", |one| one.per_second)];
    let sizes: Series = &[
        ("the log's files on the disk", |one| mebibytes(one.log_bytes)),
        ("the memory of the process, clients included", |one| mebibytes(one.rss_bytes)),
    ];
    let plot = |what: &str, series: Series, axis: fn(&'static str, &[Line]) -> Axis, unit| {
        let lines = lines_of(&row.intervals, series);
        let ends = row.intervals.iter().map(|one| one.end_s);
        let x = linear("seconds", ends);
        draw(&format!("{title}, {name}: {what}"), &x, &axis(unit, &lines), &lines, notes)
    };
    let from_zero = |unit, lines: &[Line]| linear(unit, values(lines, |point| point.1));
    let tails = |unit, lines: &[Line]| logarithmic(unit, values(lines, |point| point.1));
    vec![
        plot("latency", latencies, tails, "us (logarithmic)"),
        plot("throughput", throughput, from_zero, "entries/s"),
        plot("sizes", sizes, from_zero, "MiB"),
    ]
}

fn lines_of(intervals: &[Interval], series: Series) -> Vec<Line> {
    let line = |(place, (name, figure)): (usize, &Figure)| Line {
        name: (*name).to_owned(),
        style: Style::of_place(place),
        // A line of one point would not be seen.
        has_marks: intervals.len() == 1,
        points: intervals.iter().map(|one| (one.end_s, figure(one))).collect(),
    };
    series.iter().enumerate().map(line).collect()
}

fn mebibytes(bytes: u64) -> f64 {
    bytes as f64 / (1 << 20) as f64
}

#[cfg(test)]
pub(super) mod tests {
    use super::super::table::tests::row;
    use super::*;
    use crate::lane::{POWER_LOSS, Role};

    /// A row with a minute of intervals, one of them with a stall.
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

    #[test]
    fn there_are_plots_of_latency_throughput_and_sizes() {
        let plots = plots("soak", &soaked());
        assert_eq!(plots.len(), 3);
        for (plot, names) in
            plots.iter().zip([&["p50", "p99", "maximum"][..], &["entries/s"], &["disk", "memory"]])
        {
            assert!(names.iter().all(|name| plot.contains(name)), "{names:?}: {plot}");
            assert!(plot.contains(">0</text>") && plot.contains(">60</text>"), "{plot}");
        }
        assert_eq!(super::plots("log", &row(Role::Store, "file", POWER_LOSS, 1, 80)), [""; 0]);
    }
}
