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
const HEIGHT: f64 = 440.0;
const LEFT: f64 = 84.0;
const RIGHT: f64 = 24.0;
const TOP: f64 = 62.0;
const BOTTOM: f64 = 56.0;

/// The height of a line of the legend and of a line of a note, in pixels.
const LEGEND_LINE: f64 = 20.0;
const NOTE_LINE: f64 = 16.0;

/// The most letters in a line of a note. As many letters of average width fill the plot.
const NOTE_LETTERS: usize = 100;

/// The distance of the text of a note from its mark, in pixels.
const NOTE_INDENT: f64 = 10.0;

/// The width of a letter of a tick label, in pixels, if it is a digit.
const LETTER: f64 = 8.0;

/// A plot.
#[derive(Clone, Debug)]
pub struct Plot {
    /// Its title in lower-case letters, digits and hyphens.
    pub name: String,
    /// The plot itself.
    pub svg: String,
}

impl Plot {
    /// A plot with this title.
    pub fn new(title: &str, svg: String) -> Plot {
        let lower = title.to_lowercase();
        let words = lower.split(|letter: char| !letter.is_ascii_alphanumeric());
        let words: Vec<&str> = words.filter(|word| !word.is_empty()).collect();
        Plot { name: words.join("-"), svg }
    }
}

/// One line of a plot.
#[derive(Clone, Debug)]
pub struct Line {
    /// Its name in the legend.
    pub name: String,
    /// Its look.
    pub style: Style,
    /// Its points, in the units of the axes.
    pub points: Vec<(f64, f64)>,
    /// The points that have a mark. The legend shows the mark if there is such a point.
    pub marked: Vec<(f64, f64)>,
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
    let notes: Vec<String> = notes.iter().flat_map(|note| wrapped(note)).collect();
    let notes_top = HEIGHT + LEGEND_LINE * lines.len() as f64;
    let height = notes_top + NOTE_LINE * notes.len() as f64 + 12.0;
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
    }
    // Marks are drawn after all lines, so that no line hides one.
    for line in lines {
        line.marked.iter().for_each(|point| mark(&mut svg, line.style, at(*point)));
    }
    for (row, line) in lines.iter().enumerate() {
        legend_line(&mut svg, line, HEIGHT + 8.0 + LEGEND_LINE * row as f64);
    }
    for (row, note) in notes.iter().enumerate() {
        let down = notes_top + 8.0 + NOTE_LINE * row as f64;
        // The mark of a note is to the left of all its lines.
        let indent = if note.starts_with(MARK) { 0.0 } else { NOTE_INDENT };
        text(&mut svg, LEFT + indent, down, "note", "start", note);
    }
    svg + "</svg>\n"
}

/// A line of the legend looks like the line in the plot, with a mark only where that has marks.
fn legend_line(svg: &mut String, line: &Line, down: f64) {
    polyline(svg, line.style, &[(LEFT, down - 4.0), (LEFT + 44.0, down - 4.0)]);
    if !line.marked.is_empty() {
        mark(svg, line.style, (LEFT + 22.0, down - 4.0));
    }
    text(svg, LEFT + 54.0, down, "label", "start", &line.name);
}

/// The lines of a note, since SVG does not break text.
fn wrapped(note: &str) -> Vec<String> {
    let mut lines = vec![MARK.to_string()];
    for word in note.split(' ') {
        let last = lines.last_mut().expect("there is a first line");
        if last.chars().count() + 1 + word.chars().count() > NOTE_LETTERS {
            lines.push(word.to_owned());
        } else {
            *last += &format!(" {word}");
        }
    }
    lines
}

fn across(part: f64) -> f64 {
    LEFT + part * (WIDTH - LEFT - RIGHT)
}

fn up(part: f64) -> f64 {
    HEIGHT - BOTTOM - part * (HEIGHT - TOP - BOTTOM)
}

fn axes(svg: &mut String, x: &Axis, y: &Axis) {
    let (left, right, low, high) = (across(0.0), across(1.0), up(0.0), up(1.0));
    let mut free = 0.0;
    for (value, label) in &x.ticks {
        let at = across(x.part(*value));
        rule(svg, (at, low), (at, high));
        // A label that would touch the one before it is left out.
        let half = LETTER * (label.len() as f64 + 1.0) / 2.0;
        if at - half >= free {
            text(svg, at, low + 18.0, "label", "middle", label);
            free = at + half;
        }
    }
    for (value, label) in &y.ticks {
        let at = up(y.part(*value));
        rule(svg, (left, at), (right, at));
        text(svg, left - 8.0, at + 5.0, "label", "end", label);
    }
    text(svg, (left + right) / 2.0, low + 42.0, "label", "middle", x.name);
    // A name may be longer than the margin is wide, so it starts at the edge of the plot. It has a
    // line of its own below the title.
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

#[cfg(test)]
mod tests {
    use super::*;

    fn axis(ticks: &[(f64, &str)]) -> Axis {
        let ticks = ticks.iter().map(|(value, label)| (*value, (*label).to_owned())).collect();
        Axis { name: "value", place: |value| value, ends: (0.0, 100.0), ticks }
    }

    fn line(marked: &[(f64, f64)]) -> Line {
        let points = vec![(0.0, 0.0), (50.0, 20.0), (100.0, 100.0)];
        let style = Style::of_backend("file");
        Line { name: "file".to_owned(), style, points, marked: marked.to_vec() }
    }

    #[test]
    fn the_name_of_a_plot_can_be_the_name_of_a_file() {
        let plot = Plot::new("log, 64 x 256 B, 1 client: file:ring / p50 *", String::new());
        assert_eq!(plot.name, "log-64-x-256-b-1-client-file-ring-p50");
    }

    #[test]
    fn the_legend_shows_a_mark_only_where_the_line_has_marks() {
        let axis = axis(&[]);
        let drawn = |marked| draw("plot", &axis, &axis, &[line(marked)], &[]);
        assert_eq!(drawn(&[]).matches("<polygon").count(), 0);
        assert_eq!(drawn(&[(50.0, 20.0)]).matches("<polygon").count(), 2, "the point, the legend");
    }

    #[test]
    fn labels_of_ticks_that_are_close_do_not_overlap() {
        let (close, other) = (axis(&[(50.0, "1000"), (51.0, "1024"), (90.0, "4096")]), axis(&[]));
        let svg = draw("plot", &close, &other, &[line(&[])], &[]);
        for (label, is_shown) in [("1000", true), ("1024", false), ("4096", true)] {
            assert_eq!(svg.contains(&format!(">{label}</text>")), is_shown, "{label}");
        }
        assert_eq!(svg.matches("<line").count(), 3, "each tick has its rule");
    }

    #[test]
    fn a_long_note_is_broken_into_lines_inside_the_plot() {
        let names: Vec<String> = (0..20).map(|number| format!("subject {number};")).collect();
        let lines = wrapped(&format!("few samples: {}", names.join(" ")));
        assert!(lines.len() > 1 && lines.iter().all(|line| line.chars().count() <= NOTE_LETTERS));
        assert!(lines[0].starts_with("* few samples: subject 0; subject 1;"), "{lines:?}");
        let words = |text: &str| text.split_whitespace().map(str::to_owned).collect::<Vec<_>>();
        assert_eq!(words(&lines.join(" ")).len(), 1 + 2 + 40, "no word is lost");
    }
}
