//! The plots that compare subjects: the distribution of latencies, and throughput against clients.

use super::style::Style;
use super::svg::{Axis, Line, draw};
use super::table::{marked_name, marks, name};
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
    let floor = rows.iter().find_map(|row| row.floor.as_deref());
    let is_shown = |row: &&&Row| {
        row.role != Role::Floor || row.work == "verbs" || floor == Some(row.backend.as_str())
    };
    let shown: Vec<&Row> = rows.iter().filter(is_shown).copied().collect();
    let line = |(place, row): (usize, &&Row)| Line {
        name: marked_name(row),
        style: style(row, place),
        has_marks: false,
        points: tail(row),
    };
    let lines: Vec<Line> = shown.iter().enumerate().map(line).collect();
    let x = logarithmic("latency, us (logarithmic)", values(&lines, |point| point.0));
    let most = values(&lines, |point| point.1).fold(0.99, f64::max);
    let ticks = TAILS.iter().filter(|(fraction, _)| *fraction <= most + 1e-9);
    let ticks = ticks.map(|(fraction, label)| (*fraction, (*label).to_owned())).collect();
    let y = Axis { name: "fraction", place: tail_place, ends: (0.0, most), ticks };
    draw(title, &x, &y, &lines, &marks(&shown))
}

/// Entries per second against clients, with a line for each backend.
pub fn throughput(title: &str, rows: &[&Row]) -> String {
    let mut lines: Vec<Line> = Vec::new();
    let mut shown: Vec<&Row> = Vec::new();
    // Only floors that were the fastest for some number of clients are shown.
    let is_floor = |name: &str| rows.iter().any(|row| row.floor.as_deref() == Some(name));
    let is_shown = |row: &&&Row| row.role != Role::Floor || is_floor(&row.backend);
    for row in rows.iter().filter(is_shown) {
        let point = (row.clients as f64, row.per_second.max(1.0));
        shown.push(row);
        let line = lines.iter_mut().find(|line| line.name == name(row));
        match line {
            Some(line) => line.points.push(point),
            None => {
                let (name, style) = (name(row), style(row, lines.len()));
                lines.push(Line { name, style, has_marks: true, points: vec![point] });
            }
        }
    }
    for line in &mut lines {
        // A line is marked if one of its rows is.
        let of_this = shown.iter().filter(|row| name(row) == line.name);
        if let Some(marked) = of_this.clone().find(|row| !row.marks.is_empty()) {
            line.name = marked_name(marked);
        }
    }
    let mut x = logarithmic("clients (logarithmic)", values(&lines, |point| point.0));
    // Only numbers of clients that were measured have a tick.
    let mut clients: Vec<u64> = rows.iter().map(|row| row.clients).collect();
    clients.sort_unstable();
    clients.dedup();
    x.ticks = clients.into_iter().map(|number| (number as f64, number.to_string())).collect();
    let y = logarithmic("entries/s", values(&lines, |point| point.1));
    draw(title, &x, &y, &lines, &marks(&shown))
}

fn style(row: &Row, place: usize) -> Style {
    match row.role {
        Role::Floor if row.work == "verbs" => Style::of_place(place),
        Role::Floor => Style::of_floor(place),
        _ => Style::of_backend(&row.backend),
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
    let is_told = |(_, fraction): &&(f64, f64)| {
        let beyond = (1.0 - fraction) * samples;
        *fraction <= 0.9999 && beyond >= 1.0 - 1e-6
    };
    row.cdf.iter().filter(is_told).copied().collect()
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
    fn a_plot_without_lines_can_be_drawn() {
        assert!(throughput("nothing", &[]).contains("</svg>"));
        assert_eq!(extent([f64::NAN, 0.0].into_iter()), (0.5, 2.0));
    }
}
