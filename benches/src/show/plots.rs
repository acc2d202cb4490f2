//! The plots that compare subjects: the distribution of latencies, and throughput against clients.

use super::style::Style;
use super::svg::{Axis, Line, draw};
use super::table::{marked_name, marks_in_brief};
use crate::Row;
use crate::lane::Role;

/// The fractions that are labelled on the axis of a distribution. They are at equal distances.
const TAILS: [(f64, &str); 6] =
    [(0.0, "min"), (0.5, "p50"), (0.9, "p90"), (0.99, "p99"), (0.999, "p99.9"), (0.9999, "p99.99")];

/// The most ticks of a logarithmic axis. If there would be more, some between the powers of ten are
/// left out.
const MOST_TICKS: usize = 12;

/// The most steps of a linear axis.
const MOST_LINEAR_TICKS: f64 = 8.0;

/// The distribution of latencies: for each row, the fraction that took at most this long. Only the
/// fastest floor is shown, except where the ways to write are compared with each other.
pub fn latencies(title: &str, rows: &[&Row]) -> String {
    let shown = without_slow_floors(rows);
    let line = |(place, row): (usize, &&Row)| {
        let points = tail(row);
        Line {
            name: marked_name(row),
            style: style(&shown, place),
            marked: at_tails(&points),
            points,
        }
    };
    let lines: Vec<Line> = shown.iter().enumerate().map(line).collect();
    let x = logarithmic("latency, us (logarithmic)", values(&lines, |point| point.0));
    let most = values(&lines, |point| point.1).fold(0.99, f64::max);
    let ticks = TAILS.iter().filter(|(fraction, _)| *fraction <= most + 1e-9);
    let ticks = ticks.map(|(fraction, label)| (*fraction, (*label).to_owned())).collect();
    let y = Axis { name: "fraction", place: tail_place, ends: (0.0, most), ticks };
    draw(title, &x, &y, &lines, &marks_in_brief(&shown))
}

/// Entries per second against clients, with a line for each subject. Only floors that were the
/// fastest for some number of clients are shown.
pub fn throughput(title: &str, rows: &[&Row]) -> String {
    let mut shown = without_slow_floors(rows);
    shown.sort_by_key(|row| row.clients);
    let mut subjects: Vec<Vec<&Row>> = Vec::new();
    for row in &shown {
        match subjects.iter_mut().find(|rows| is_same_subject(rows[0], row)) {
            Some(rows) => rows.push(row),
            None => subjects.push(vec![row]),
        }
    }
    let firsts: Vec<&Row> = subjects.iter().map(|rows| rows[0]).collect();
    let line = |(place, rows): (usize, &Vec<&Row>)| throughput_line(rows, style(&firsts, place));
    let lines: Vec<Line> = subjects.iter().enumerate().map(line).collect();
    let mut x = logarithmic("clients (logarithmic)", values(&lines, |point| point.0));
    // Only numbers of clients that were measured have a tick.
    let mut clients: Vec<u64> = rows.iter().map(|row| row.clients).collect();
    clients.sort_unstable();
    clients.dedup();
    x.ticks = clients.into_iter().map(|number| (number as f64, number.to_string())).collect();
    let y = logarithmic("entries/s (logarithmic)", values(&lines, |point| point.1));
    draw(title, &x, &y, &lines, &marks_in_brief(&shown))
}

/// These rows without the floors that are no row's floor. Where the ways to write are compared with
/// each other, all rows are shown.
fn without_slow_floors<'a>(rows: &[&'a Row]) -> Vec<&'a Row> {
    let is_floor = |name: &str| rows.iter().any(|row| row.floor.as_deref() == Some(name));
    let is_shown =
        |row: &&Row| row.role != Role::Floor || row.work == "verbs" || is_floor(&row.backend);
    rows.iter().copied().filter(is_shown).collect()
}

fn is_same_subject(one: &Row, other: &Row) -> bool {
    let subject = |row: &Row| (row.role == Role::Floor, row.backend.clone(), row.members);
    subject(one) == subject(other)
}

/// The line of a subject. Its name has a mark if one of its rows has one.
fn throughput_line(rows: &[&Row], style: Style) -> Line {
    let marked = rows.iter().find(|row| !row.marks.is_empty());
    let named = marked.or(rows.iter().max_by_key(|row| row.failures));
    let point = |row: &&Row| (row.clients as f64, row.per_second.max(1.0));
    let points: Vec<(f64, f64)> = rows.iter().map(point).collect();
    let name = named.map_or(String::new(), |row| marked_name(row));
    Line { name, style, marked: points.clone(), points }
}

/// The look of the row at this place.
fn style(rows: &[&Row], place: usize) -> Style {
    let (row, is_floor) = (rows[place], |row: &&&Row| row.role == Role::Floor);
    if row.work == "verbs" {
        Style::of_place(place)
    } else if row.role == Role::Floor {
        Style::of_floor(rows[..place].iter().filter(is_floor).count())
    } else {
        Style::of_backend(&row.backend)
    }
}

pub(super) fn values<'a>(
    lines: &'a [Line],
    of: fn(&(f64, f64)) -> f64,
) -> impl Iterator<Item = f64> + Clone + 'a {
    lines.iter().flat_map(|line| &line.points).map(of)
}

/// The points of a distribution that this many samples support: a thousand samples have no p99.99.
fn tail(row: &Row) -> Vec<(f64, f64)> {
    let samples = if row.samples == 0 { f64::MAX } else { row.samples as f64 };
    let is_supported = |(_, fraction): &&(f64, f64)| {
        let beyond = (1.0 - fraction) * samples;
        *fraction <= 0.9999 && beyond >= 1.0 - 1e-6
    };
    row.cdf.iter().filter(is_supported).copied().collect()
}

/// The points of a distribution at the labelled fractions, except its first point.
fn at_tails(points: &[(f64, f64)]) -> Vec<(f64, f64)> {
    let fractions = TAILS[1..].iter().map(|(fraction, _)| fraction - 1e-9);
    let first_from = |fraction| points.iter().find(|point| point.1 >= fraction).copied();
    fractions.filter_map(first_from).collect()
}

/// The position of a fraction on the axis. Each further nine takes the same length.
fn tail_place(fraction: f64) -> f64 {
    -(1.0 - fraction.min(0.99999)).log10()
}

/// A logarithmic axis around these values with ticks at 1, 2 and 5 times the powers of ten. Its
/// range is never empty.
pub(super) fn logarithmic(name: &'static str, values: impl Iterator<Item = f64>) -> Axis {
    let ends = extent(values);
    let all = ticks(ends, &[1.0, 2.0, 5.0]);
    let chosen = if all.len() <= MOST_TICKS { all } else { ticks(ends, &[1.0]) };
    let ticks = chosen.into_iter().map(|value| (value, tick(value))).collect();
    Axis { name, place: f64::log10, ends, ticks }
}

/// A linear axis from zero to at least the greatest of these values, with ticks at round numbers.
pub(super) fn linear(name: &'static str, values: impl Iterator<Item = f64>) -> Axis {
    let most = values.filter(|value| value.is_finite()).fold(0.0, f64::max);
    let most = if most > 0.0 { most } else { 1.0 };
    let power = 10_f64.powf((most / MOST_LINEAR_TICKS).log10().floor());
    let steps = [1.0, 2.0, 5.0, 10.0].map(|step| step * power);
    let fits = |step: &f64| most / step <= MOST_LINEAR_TICKS;
    let step = steps.into_iter().find(fits).unwrap_or(10.0 * power);
    // The axis ends at a tick, so that no line touches the edge.
    let count = (most / step - 1e-9).ceil() as u32;
    let ticks = (0..=count).map(|place| f64::from(place) * step);
    let ticks = ticks.map(|value| (value, tick(value))).collect();
    Axis { name, place: |value| value, ends: (0.0, f64::from(count) * step), ticks }
}

fn ticks((low, high): (f64, f64), steps: &[f64]) -> Vec<f64> {
    let powers = low.log10().floor() as i32..=high.log10().ceil() as i32;
    let all = powers.flat_map(|power| steps.iter().map(move |step| step * 10_f64.powi(power)));
    all.filter(|value| (low..=high).contains(value)).collect()
}

/// A number as a tick label, with as few digits as it needs.
fn tick(value: f64) -> String {
    let short = |value: f64| (value * 1000.0).round() / 1000.0;
    match value {
        0.0..10_000.0 => format!("{}", short(value)),
        10_000.0..1_000_000.0 => format!("{} k", short(value / 1e3)),
        _ => format!("{} M", short(value / 1e6)),
    }
}

/// The range of an axis: all values with a small margin. It is never empty.
fn extent(values: impl Iterator<Item = f64>) -> (f64, f64) {
    let around = values.filter(|value| value.is_finite() && *value > 0.0);
    let (low, high) =
        around.fold((f64::MAX, 0.0_f64), |(low, high), value| (low.min(value), high.max(value)));
    if low <= high { (low / 1.2, high * 1.2) } else { (0.5, 2.0) }
}

#[cfg(test)]
mod tests {
    use super::super::table::tests::report;
    use super::*;

    #[test]
    fn every_backend_has_its_line() {
        let report = report();
        let rows: Vec<&Row> = report.rows.iter().collect();
        let svg = throughput("entries", &rows);
        for name in ["file", "sqlite", "memory", "pre-written"] {
            assert!(svg.contains(name), "{name}");
        }
        assert!(svg.starts_with("<svg") && svg.trim_end().ends_with("</svg>"));
        for clients in [1, 64] {
            assert!(svg.contains(&format!(">{clients}</text>")), "{clients} was measured");
        }
        assert!(!svg.contains(">10</text>"), "10 clients were not measured");
    }

    #[test]
    fn a_linear_axis_has_round_ticks_from_zero_to_beyond_the_greatest_value() {
        for (most, labels) in [
            (60.0, &["0", "10", "20", "30", "40", "50", "60"][..]),
            (0.7, &["0", "0.1", "0.2", "0.3", "0.4", "0.5", "0.6", "0.7"]),
            (9500.0, &["0", "2000", "4000", "6000", "8000", "10 k"]),
            (0.0, &["0", "0.2", "0.4", "0.6", "0.8", "1"]),
        ] {
            let axis = linear("value", [most].into_iter());
            let named: Vec<&str> = axis.ticks.iter().map(|(_, label)| label.as_str()).collect();
            assert_eq!(named, labels);
            assert!(axis.ends.1 >= most);
        }
    }

    #[test]
    fn a_row_with_a_mark_has_it_in_the_legend_of_every_plot() {
        let mut report = report();
        let mark = "its files changed between its turns";
        for row in report.rows.iter_mut().filter(|row| row.backend == "file" && row.clients == 64) {
            row.marks.push(mark.to_owned());
        }
        let rows: Vec<&Row> = report.rows.iter().filter(|row| row.clients == 64).collect();
        let all: Vec<&Row> = report.rows.iter().collect();
        for svg in [latencies("latency", &rows), throughput("entries", &all)] {
            assert!(svg.contains(">file, fdatasync *</text>"), "{svg}");
            assert!(svg.contains(&format!(">* {mark}: file</text>")), "{svg}");
            assert!(svg.contains(">sqlite, fdatasync</text>"), "{svg}");
        }
    }

    #[test]
    fn tails_have_an_axis_of_their_own() {
        let mut row = report().rows.remove(0);
        row.samples = 1_000_000;
        let svg = latencies("latency", &[&row]);
        for label in ["p50", "p90", "p99", "p99.9", "p99.99"] {
            assert!(svg.contains(&format!(">{label}</text>")), "{label}");
        }
        let places = [0.9, 0.99, 0.999, 0.9999].map(tail_place);
        assert!(places.windows(2).all(|pair| (pair[1] - pair[0] - 1.0).abs() < 1e-9), "{places:?}");
        row.samples = 500;
        let last = tail(&row).into_iter().map(|(_, fraction)| fraction).fold(0.0, f64::max);
        assert!(last < 0.999, "500 samples have no p99.9: {last}");
    }

    #[test]
    fn there_are_ticks_between_the_powers_of_ten() {
        assert_eq!(ticks((80.0, 1100.0), &[1.0, 2.0, 5.0]), [100.0, 200.0, 500.0, 1000.0]);
        let labels = [0.05, 2.0, 500.0, 20_000.0, 2e6, 1e7].map(tick);
        assert_eq!(labels, ["0.05", "2", "500", "20 k", "2 M", "10 M"]);
        assert!(logarithmic("x", [0.1, 1e7].into_iter()).ticks.len() <= MOST_TICKS);
    }

    #[test]
    fn of_the_floors_the_fastest_is_shown() {
        let report = report();
        let mut other = report.rows[3].clone();
        other.backend = "append + fdatasync".to_owned();
        let svg = latencies("latency", &[&report.rows[1], &report.rows[3], &other]);
        assert!(svg.contains("pre-written") && !svg.contains("append"), "{svg}");
        let svg = throughput("entries", &[&report.rows[1], &report.rows[3], &other]);
        assert!(svg.contains("pre-written") && !svg.contains("append"), "{svg}");
    }

    #[test]
    fn where_ways_to_write_are_compared_every_one_has_its_line() {
        let mut report = report();
        let mut fast = report.rows[3].clone();
        fast.work = "verbs".to_owned();
        let mut slow = fast.clone();
        slow.backend = "append + fdatasync".to_owned();
        slow.floor = Some(fast.backend.clone());
        report.rows = vec![fast, slow];
        let rows: Vec<&Row> = report.rows.iter().collect();
        for svg in [latencies("latency", &rows), throughput("entries", &rows)] {
            assert!(svg.contains("pre-written") && svg.contains("append"), "{svg}");
        }
    }

    #[test]
    fn a_subject_has_one_line_though_it_failed_once_and_was_measured_in_any_order() {
        let mut report = report();
        report.rows.retain(|row| row.backend == "file");
        report.rows[1].failures = 3;
        let rows: Vec<&Row> = report.rows.iter().rev().collect();
        assert_eq!(rows.iter().map(|row| row.clients).collect::<Vec<_>>(), [64, 1]);
        let svg = throughput("entries", &rows);
        assert_eq!(svg.matches("<polyline").count(), 2, "the line and its legend: {svg}");
        assert!(svg.contains(">file, fdatasync, 3 failed</text>"), "{svg}");
        let line = svg.lines().find(|line| line.starts_with("<polyline")).expect("it has a line");
        let (_, points) = line.split_once("points=\"").expect("it has points");
        let across = points.split([' ', '"']).filter_map(|point| point.split_once(','));
        let across: Vec<f64> = across.filter_map(|(x, _)| x.parse().ok()).collect();
        assert!(across.len() == 2 && across[0] < across[1], "from left to right: {line}");
    }

    #[test]
    fn the_floors_of_a_plot_have_looks_of_their_own() {
        let report = report();
        let mut other = report.rows[3].clone();
        other.backend = "append + fdatasync".to_owned();
        let rows = [&report.rows[0], &report.rows[3], &report.rows[1], &other];
        assert_eq!([style(&rows, 1), style(&rows, 3)], [Style::of_floor(0), Style::of_floor(1)]);
    }

    #[test]
    fn a_distribution_has_its_marks_at_the_labelled_fractions() {
        let points = [(10.0, 0.0), (20.0, 0.4), (30.0, 0.6), (40.0, 0.95), (50.0, 0.99)];
        assert_eq!(at_tails(&points), [(30.0, 0.6), (40.0, 0.95), (50.0, 0.99)]);
    }

    #[test]
    fn a_plot_without_lines_can_be_drawn() {
        assert!(throughput("nothing", &[]).contains("</svg>"));
        assert_eq!(extent([f64::NAN, 0.0].into_iter()), (0.5, 2.0));
    }
}
