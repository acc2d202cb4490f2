//! Plots, as SVG text that stands inside a page or a file of its own.

use plotters::backend::SVGBackend;
use plotters::prelude::*;

use super::table::{count, name};
use crate::BenchError;
use crate::Row;

/// The size of a plot, in pixels.
const SIZE: (u32, u32) = (760, 420);

/// How many numbers stand at an axis, about; more would run into each other.
const LABELS: usize = 4;

/// About how high the part of a plot is that has the lines in it, and a line of a legend.
const LINES_HEIGHT: u32 = 330;
const LEGEND_LINE: u32 = 20;

/// The height of letters.
const LABEL_SIZE: u32 = 16;

/// The colors of the lines, in order; told apart in print, too, with the marks of the points.
const COLORS: [RGBColor; 12] = [
    RGBColor(0x1b, 0x5e, 0x9b),
    RGBColor(0xd9, 0x5f, 0x02),
    RGBColor(0x1b, 0x9e, 0x77),
    RGBColor(0x75, 0x70, 0xb3),
    RGBColor(0xe7, 0x29, 0x8a),
    RGBColor(0x66, 0xa6, 0x1e),
    RGBColor(0x80, 0x60, 0x20),
    RGBColor(0x66, 0x66, 0x66),
    RGBColor(0xc0, 0x1c, 0x28),
    RGBColor(0x5d, 0xb8, 0xd8),
    RGBColor(0xe6, 0xab, 0x02),
    RGBColor(0x4b, 0x1d, 0x6e),
];

/// One line: a name, and its points.
type Line = (String, Vec<(f64, f64)>);

/// What the axes are.
struct Axes<'a> {
    title: &'a str,
    x: &'a str,
    y: &'a str,
    /// Whether the vertical axis is a fraction; else it is logarithmic, like the other.
    fraction: bool,
}

/// The distribution of latencies: for each row, the fraction that took no longer.
pub fn latencies(title: &str, rows: &[&Row]) -> Result<String, BenchError> {
    let lines = rows.iter().map(|row| (name(row), row.cdf.clone())).collect::<Vec<_>>();
    draw(&lines, &Axes { title, x: "latency, us", y: "fraction", fraction: true })
}

/// Entries a second against clients: a line for each backend.
pub fn throughput(title: &str, rows: &[&Row]) -> Result<String, BenchError> {
    let mut lines: Vec<Line> = Vec::new();
    for row in rows {
        let point = (row.clients as f64, row.per_second.max(1.0));
        match lines.iter_mut().find(|(line, _)| *line == name(row)) {
            Some((_, points)) => points.push(point),
            None => lines.push((name(row), vec![point])),
        }
    }
    draw(&lines, &Axes { title, x: "clients", y: "entries a second", fraction: false })
}

fn draw(lines: &[Line], axes: &Axes) -> Result<String, BenchError> {
    let mut svg = String::new();
    let drawn = match axes.fraction {
        true => draw_fractions(&mut svg, lines, axes),
        false => draw_counts(&mut svg, lines, axes),
    };
    drawn.map_err(|error| BenchError::failed("drawing a plot", error.to_string()))?;
    Ok(svg)
}

type Drawn<'a> = Result<(), Box<dyn std::error::Error + 'a>>;

fn draw_fractions<'a>(svg: &'a mut String, lines: &[Line], axes: &Axes) -> Drawn<'a> {
    let area = SVGBackend::with_string(svg, SIZE).into_drawing_area();
    let (low, high) = extent(lines.iter().flat_map(|(_, points)| points).map(|point| point.0));
    let mut builder = ChartBuilder::on(&area);
    layout(&mut builder, axes.title);
    let mut chart = builder.build_cartesian_2d((low..high).log_scale(), 0.0..1.0)?;
    chart
        .configure_mesh()
        .x_desc(axes.x)
        .y_desc(axes.y)
        .x_labels(LABELS)
        .x_label_formatter(&tick)
        .label_style(("sans-serif", LABEL_SIZE))
        .light_line_style(WHITE)
        .draw()?;
    for (place, (name, points)) in lines.iter().enumerate() {
        let color = COLORS[place % COLORS.len()];
        let series = LineSeries::new(points.iter().copied(), color.stroke_width(2));
        chart.draw_series(series)?.label(name).legend(move |at| key(at, color));
    }
    legend(&mut chart)?;
    drop(chart);
    Ok(area.present()?)
}

fn draw_counts<'a>(svg: &'a mut String, lines: &[Line], axes: &Axes) -> Drawn<'a> {
    // The lines go from corner to corner: the legend has room of its own below them.
    let legend_height = LEGEND_LINE * (lines.len() as u32 + 1);
    let size = (SIZE.0, SIZE.1 + legend_height);
    let area = SVGBackend::with_string(svg, size).into_drawing_area();
    let all = || lines.iter().flat_map(|(_, points)| points);
    let (left, right) = extent(all().map(|point| point.0));
    let (low, high) = extent(all().map(|point| point.1));
    let low = low / (high / low).powf(f64::from(legend_height) / f64::from(LINES_HEIGHT));
    let mut builder = ChartBuilder::on(&area);
    layout(&mut builder, axes.title);
    let mut chart =
        builder.build_cartesian_2d((left..right).log_scale(), (low..high).log_scale())?;
    chart
        .configure_mesh()
        .x_desc(axes.x)
        .y_desc(axes.y)
        .x_labels(LABELS)
        .y_labels(LABELS)
        .x_label_formatter(&tick)
        .y_label_formatter(&tick)
        .label_style(("sans-serif", LABEL_SIZE))
        .light_line_style(WHITE)
        .draw()?;
    for (place, (name, points)) in lines.iter().enumerate() {
        let color = COLORS[place % COLORS.len()];
        let series = LineSeries::new(points.iter().copied(), color.stroke_width(2));
        chart.draw_series(series)?.label(name).legend(move |at| key(at, color));
        let marks = points.iter().map(|point| Circle::new(*point, 3, color.filled()));
        chart.draw_series(marks)?;
    }
    legend(&mut chart)?;
    drop(chart);
    Ok(area.present()?)
}

/// A number at an axis.
fn tick(value: &f64) -> String {
    match value {
        0.0..1.0 => format!("{value:.2}"),
        _ => count(*value),
    }
}

fn layout<DB: DrawingBackend>(builder: &mut ChartBuilder<DB>, title: &str) {
    builder
        .caption(title, ("sans-serif", 20))
        .margin(12)
        .x_label_area_size(42)
        .y_label_area_size(72);
}

fn key(at: (i32, i32), color: RGBColor) -> PathElement<(i32, i32)> {
    PathElement::new(vec![at, (at.0 + 18, at.1)], color.stroke_width(2))
}

fn legend<'a, DB, CT>(
    chart: &mut ChartContext<'a, DB, CT>,
) -> Result<(), Box<dyn std::error::Error>>
where
    DB: DrawingBackend + 'a,
    DB::ErrorType: 'static,
    CT: CoordTranslate,
{
    chart
        .configure_series_labels()
        .position(SeriesLabelPosition::LowerRight)
        .label_font(("sans-serif", LABEL_SIZE))
        .background_style(WHITE.mix(0.85))
        .border_style(RGBColor(0xbb, 0xbb, 0xbb))
        .draw()?;
    Ok(())
}

/// The range of an axis: all values, with a little room, and never empty.
fn extent(values: impl Iterator<Item = f64>) -> (f64, f64) {
    let around = values.filter(|value| value.is_finite() && *value > 0.0);
    let (low, high) =
        around.fold((f64::MAX, 0.0_f64), |(low, high), value| (low.min(value), high.max(value)));
    match low <= high {
        true => (low / 1.2, high * 1.2),
        false => (0.5, 2.0),
    }
}

#[cfg(test)]
mod tests {
    use super::super::table::tests::report;
    use super::*;

    #[test]
    fn every_backend_has_its_line() {
        let report = report();
        let rows: Vec<&Row> = report.rows.iter().collect();
        let svg = throughput("entries", &rows).expect("it can be drawn");
        for name in ["file", "sqlite", "memory", "pre-written"] {
            assert!(svg.contains(name), "{name}");
        }
        let svg = latencies("latency", &rows[..3]).expect("it can be drawn");
        assert!(svg.starts_with("<svg") && svg.trim_end().ends_with("</svg>"));
    }

    #[test]
    fn nothing_can_be_drawn_too() {
        assert!(throughput("nothing", &[]).is_ok());
        assert_eq!(extent([f64::NAN, 0.0].into_iter()), (0.5, 2.0));
    }
}
