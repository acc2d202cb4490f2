//! The figures of a soak over time, as three plots.

use super::plots::{linear, logarithmic, values};
use super::series::mebibytes;
use super::style::Style;
use super::svg::{Axis, Line, draw};
use super::table::marked_name;
use crate::{Interval, Row};

/// One line of a plot: its name, and the figure that it shows.
type Figure<'a> = (&'a str, fn(&Interval) -> f64);

/// The lines of one plot.
type Series<'a> = &'a [Figure<'a>];

/// The plots of a row: latencies, throughput and sizes. A row without intervals has none.
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
        // A line of a single point would be invisible without a mark.
        has_marks: intervals.len() == 1,
        points: intervals.iter().map(|one| (one.end_s, figure(one))).collect(),
    };
    series.iter().enumerate().map(line).collect()
}

#[cfg(test)]
mod tests {
    use super::super::series::tests::soaked;
    use super::super::table::tests::row;
    use super::*;
    use crate::lane::{POWER_LOSS, Role};

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
