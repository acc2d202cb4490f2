//! The figures of a soak over time, as three plots.

use super::plots::{linear, logarithmic, values};
use super::series::mebibytes;
use super::style::Style;
use super::svg::{Axis, Line, Plot, draw};
use super::table::marked_name;
use crate::{Interval, Row};

/// One line of a plot: its name, and the figure that it shows.
type Figure<'a> = (&'a str, fn(&Interval) -> f64);

/// The lines of one plot.
type Series<'a> = &'a [Figure<'a>];

/// The plots of a row: latencies, throughput and sizes. A row without intervals has none.
pub(super) fn plots(title: &str, row: &Row) -> Vec<Plot> {
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
        let title = format!("{title}, {name}: {what}");
        Plot::new(&title, draw(&title, &x, &axis(unit, &lines), &lines, notes))
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
        points: intervals.iter().map(|one| (one.end_s, figure(one))).collect(),
        marked: Vec::new(),
    };
    let mut lines: Vec<Line> = series.iter().enumerate().map(line).collect();
    for (place, line) in lines.iter_mut().enumerate() {
        line.marked = some_of(&line.points, place);
    }
    lines
}

/// About ten of these points. Each line of a plot has its marks at other intervals, so that marks
/// do not hide each other.
fn some_of(points: &[(f64, f64)], place: usize) -> Vec<(f64, f64)> {
    let step = points.len().div_ceil(10);
    let first = (place * step / 3).min(points.len() - 1);
    points[first..].iter().step_by(step).copied().collect()
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
        for (plot, names) in plots.iter().map(|plot| &plot.svg).zip([
            &["p50", "p99", "maximum"][..],
            &["entries/s"],
            &["disk", "memory"],
        ]) {
            assert!(names.iter().all(|name| plot.contains(name)), "{names:?}: {plot}");
            assert!(plot.contains(">0</text>") && plot.contains(">60</text>"), "{plot}");
            let marks = plot.matches("<polygon").count();
            assert!((8 * names.len()..=12 * names.len()).contains(&marks), "{marks} marks");
        }
        assert!(super::plots("log", &row(Role::Store, "file", POWER_LOSS, 1, 80)).is_empty());
    }

    #[test]
    fn a_single_interval_has_a_mark_on_each_line() {
        let point = [(1.0, 80.0)];
        assert!((0..3).all(|place| some_of(&point, place) == point));
    }
}
