//! Plots of lines as SVG text, which can be embedded in a page or be a separate file.
//!
//! A plot has a background, and colours for light and for dark pages; the settings of the reader's
//! system choose between them. The legend is below the axes, where it hides no line. Deliberately
//! absent: scripts, fonts and everything else that would have to be loaded.

use std::fmt::Write;

use super::style::{PALETTE, Style, classes};
use super::table::MARK;

/// The size of the area with the axes, in pixels, and of its margins.
const WIDTH: f64 = 760.0;
const HEIGHT: f64 = 400.0;
const LEFT: f64 = 84.0;
const RIGHT: f64 = 24.0;
const TOP: f64 = 44.0;
const BOTTOM: f64 = 56.0;

/// The height of a line of the legend, in pixels.
const LEGEND_LINE: f64 = 20.0;

/// One line of a plot.
#[derive(Clone, Debug)]
pub struct Line {
    /// Its name in the legend.
    pub name: String,
    /// Its look.
    pub style: Style,
    /// Whether each point has a mark.
    pub has_marks: bool,
    /// Its points, in the units of the axes.
    pub points: Vec<(f64, f64)>,
}

/// An axis: how values map to positions, the range, and the ticks.
#[derive(Clone, Debug)]
pub struct Axis {
    /// What the axis shows.
    pub name: &'static str,
    /// Maps a value to a position, in any unit.
    pub place: fn(f64) -> f64,
    /// The values at its ends.
    pub ends: (f64, f64),
    /// The ticks, each with its label.
    pub ticks: Vec<(f64, String)>,
}

impl Axis {
    /// The position of this value on the axis, from 0 (its start) to 1 (its end).
    fn part(&self, value: f64) -> f64 {
        let [low, high, at] = [self.ends.0, self.ends.1, value].map(self.place);
        ((at - low) / (high - low)).clamp(0.0, 1.0)
    }
}

/// Draws the lines. The notes below the legend explain the `*` after a name.
pub fn draw(title: &str, x: &Axis, y: &Axis, lines: &[Line], notes: &[String]) -> String {
    let height = HEIGHT + LEGEND_LINE * (lines.len() + notes.len()) as f64 + 12.0;
    let mut svg = format!(
        "<svg class=\"plot\" width=\"{WIDTH}\" height=\"{height}\" \
         viewBox=\"0 0 {WIDTH} {height}\" \
         xmlns=\"http://www.w3.org/2000/svg\">\n<style>{}</style>\n\
         <rect class=\"back\" width=\"{WIDTH}\" height=\"{height}\"/>\n",
        classes()
    );
    text(&mut svg, WIDTH / 2.0, 26.0, "title", "middle", title);
    axes(&mut svg, x, y);
    let at = |(value, other): (f64, f64)| (across(x.part(value)), up(y.part(other)));
    for line in lines {
        let points: Vec<(f64, f64)> = line.points.iter().map(|point| at(*point)).collect();
        polyline(&mut svg, line.style, &points);
        if line.has_marks {
            points.iter().for_each(|point| mark(&mut svg, line.style, *point));
        }
    }
    for (row, line) in lines.iter().enumerate() {
        let down = HEIGHT + 8.0 + LEGEND_LINE * row as f64;
        polyline(&mut svg, line.style, &[(LEFT, down - 4.0), (LEFT + 44.0, down - 4.0)]);
        mark(&mut svg, line.style, (LEFT + 22.0, down - 4.0));
        text(&mut svg, LEFT + 54.0, down, "label", "start", &line.name);
    }
    for (row, note) in notes.iter().enumerate() {
        let down = HEIGHT + 8.0 + LEGEND_LINE * (lines.len() + row) as f64;
        text(&mut svg, LEFT, down, "note", "start", &format!("{MARK} {note}"));
    }
    svg + "</svg>\n"
}

fn across(part: f64) -> f64 {
    LEFT + part * (WIDTH - LEFT - RIGHT)
}

fn up(part: f64) -> f64 {
    HEIGHT - BOTTOM - part * (HEIGHT - TOP - BOTTOM)
}

fn axes(svg: &mut String, x: &Axis, y: &Axis) {
    let (left, right, low, high) = (across(0.0), across(1.0), up(0.0), up(1.0));
    for (value, label) in &x.ticks {
        let at = across(x.part(*value));
        rule(svg, (at, low), (at, high));
        text(svg, at, low + 18.0, "label", "middle", label);
    }
    for (value, label) in &y.ticks {
        let at = up(y.part(*value));
        rule(svg, (left, at), (right, at));
        text(svg, left - 8.0, at + 5.0, "label", "end", label);
    }
    text(svg, (left + right) / 2.0, low + 42.0, "label", "middle", x.name);
    // A name may be longer than the margin is wide, so it starts at the edge of the plot.
    text(svg, 8.0, high - 10.0, "label", "start", y.name);
}

fn rule(svg: &mut String, from: (f64, f64), to: (f64, f64)) {
    let ((x1, y1), (x2, y2)) = (from, to);
    add(
        svg,
        format_args!(
            "<line class=\"rule\" x1=\"{x1:.1}\" y1=\"{y1:.1}\" x2=\"{x2:.1}\" y2=\"{y2:.1}\"/>\n"
        ),
    );
}

fn polyline(svg: &mut String, style: Style, points: &[(f64, f64)]) {
    let points: Vec<String> = points.iter().map(|(x, y)| format!("{x:.1},{y:.1}")).collect();
    add(
        svg,
        format_args!(
            "<polyline class=\"line {}\" stroke-dasharray=\"{}\" points=\"{}\"/>\n",
            style.class(),
            style.dashes,
            points.join(" ")
        ),
    );
}

/// A mark that can be recognised without its colour.
fn mark(svg: &mut String, style: Style, (x, y): (f64, f64)) {
    let corners: &[(f64, f64)] = match style.color % 4 {
        0 => &[(-4.0, -4.0), (4.0, -4.0), (4.0, 4.0), (-4.0, 4.0)],
        1 => &[(0.0, -5.0), (5.0, 4.0), (-5.0, 4.0)],
        2 => &[(0.0, -5.5), (5.5, 0.0), (0.0, 5.5), (-5.5, 0.0)],
        _ => &[(0.0, 5.0), (5.0, -4.0), (-5.0, -4.0)],
    };
    let corner = |(right, down): &(f64, f64)| format!("{:.1},{:.1}", x + right, y + down);
    let corners: Vec<String> = corners.iter().map(corner).collect();
    // Marks in colours of the second half of the palette are hollow.
    let fill = if style.color < PALETTE.len() / 2 { "full" } else { "hollow" };
    let class = style.class();
    add(
        svg,
        format_args!("<polygon class=\"{fill} {class}\" points=\"{}\"/>\n", corners.join(" ")),
    );
}

fn text(svg: &mut String, x: f64, y: f64, class: &str, anchor: &str, words: &str) {
    let words = words.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;");
    add(
        svg,
        format_args!(
            "<text class=\"{class}\" x=\"{x:.1}\" y=\"{y:.1}\" \
             text-anchor=\"{anchor}\">{words}</text>\n"
        ),
    );
}

fn add(svg: &mut String, piece: std::fmt::Arguments<'_>) {
    svg.write_fmt(piece).expect("text grows");
}
