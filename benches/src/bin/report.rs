//! Measures what BENCHMARKS.md shows, and puts the tables into it.
//!
//! `run` takes all figures and writes a JSON file for each measurement; `write` puts the tables of
//! such files between the markers of a document and draws the plots that the document shows; `plot`
//! draws all their plots; `all` does all three. Only `run` and `all` measure. Figures are never
//! copied by hand.

use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};

use benches::show::{Plot, fill_in, markdown, plots_of};
use benches::{BenchError, Report};
use clap::{Parser, Subcommand};

/// The measurements of a whole run: a name, and the tool's arguments.
const MEASUREMENTS: [(&str, &[&str]); 8] = [
    ("log", &["log", "--seconds", "60", "--clients", "1,16,256"]),
    ("log-batches", &["log", "--seconds", "60", "--batch", "64", "--clients", "1"]),
    ("log-sizes", &["log", "--seconds", "90", "--size", "64,1k,4k,64k", "--clients", "1"]),
    ("verbs", &["log", "--verbs", "--seconds", "20", "--clients", "1"]),
    ("commit", &["commit", "--seconds", "90", "--clients", "1,64,1024"]),
    // Arrivals that do not wait for answers: tails in which a stall shows.
    ("log-open", &["log", "--seconds", "60", "--rate", "2000"]),
    ("commit-open", &["commit", "--seconds", "60", "--rate", "2000"]),
    ("processes", &["commit", "--processes", "--seconds", "60", "--clients", "1,64,1000"]),
];

#[derive(Debug, Parser)]
struct Arguments {
    #[command(subcommand)]
    what: What,
}

#[derive(Debug, Subcommand)]
enum What {
    /// Take all figures with the tool, and with the program `peers` if it was built.
    Run(Measured),
    /// Take all figures, put the tables into the document, and draw all plots, in one command.
    All {
        /// The document.
        document: PathBuf,
        #[command(flatten)]
        measured: Measured,
    },
    /// Put the tables of these files between the markers of a document, and draw the plots that the
    /// document shows into the files that it names. Nothing is measured.
    Write {
        /// The document.
        document: PathBuf,
        /// The files, each named after its marker: `log.json` fills `<!-- begin log -->`.
        #[arg(required = true)]
        results: Vec<PathBuf>,
    },
    /// Draw all plots of these files, as SVG files beside them. Nothing is measured.
    Plot {
        /// The files.
        #[arg(required = true)]
        results: Vec<PathBuf>,
    },
}

/// What is measured, and where its results go.
#[derive(Debug, clap::Args)]
struct Measured {
    /// Where the JSON and the pages go; with `all`, the plots, too.
    #[arg(long, value_name = "DIR", default_value = "results")]
    into: PathBuf,
    /// The directory whose disk is measured.
    #[arg(long, value_name = "DIR", default_value = ".")]
    dir: PathBuf,
    /// Multiply all times, for a first look.
    #[arg(long, value_name = "FACTOR", default_value_t = 1.0)]
    times: f64,
}

fn main() -> ExitCode {
    let done = match Arguments::parse().what {
        What::Run(measured) => run(&measured),
        What::All { document, measured } => all(&document, &measured),
        What::Write { document, results } => write(&document, &results),
        What::Plot { results } => results.iter().try_for_each(|file| plot(file)),
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error}\n  {}", error.advice());
            ExitCode::FAILURE
        }
    }
}

fn run(Measured { into, dir, times }: &Measured) -> Result<(), BenchError> {
    std::fs::create_dir_all(into).map_err(|error| BenchError::of_path("making", into, error))?;
    let tool = beside_this("kontiki").ok_or_else(|| {
        BenchError::options(
            "the tool was not built",
            "cargo build --release --package kontiki-cli --features sqlite",
        )
    })?;
    for (name, words) in MEASUREMENTS {
        let mut command = Command::new(&tool);
        command.arg("bench").args(scaled(words, *times)).arg("--dir").arg(dir);
        call(command, into, name)?;
    }
    match beside_this("peers") {
        Some(program) => {
            let mut command = Command::new(program);
            let seconds = ((60.0 * times) as u64).max(1).to_string();
            command.arg("--seconds").arg(seconds).arg("--dir").arg(dir);
            call(command, into, "peers")
        }
        None => {
            eprintln!(
                "left out: peers (cargo build --release --package kontiki-benches --features peers)"
            );
            Ok(())
        }
    }
}

/// Takes all figures, and uses those of this run for the document and the plots.
fn all(document: &Path, measured: &Measured) -> Result<(), BenchError> {
    run(measured)?;
    let mut names: Vec<&str> = MEASUREMENTS.iter().map(|(name, _)| *name).collect();
    if beside_this("peers").is_some() {
        names.push("peers");
    }
    let results: Vec<PathBuf> =
        names.iter().map(|name| measured.into.join(format!("{name}.json"))).collect();
    write(document, &results)?;
    results.iter().try_for_each(|file| plot(file))
}

/// The same arguments, with the number after `--seconds` multiplied.
fn scaled(words: &[&str], times: f64) -> Vec<String> {
    let mut scaled: Vec<String> = words.iter().map(|word| (*word).to_owned()).collect();
    for place in 1..scaled.len() {
        if let (true, Ok(seconds)) = (words[place - 1] == "--seconds", words[place].parse::<f64>())
        {
            scaled[place] = (seconds * times).to_string();
        }
    }
    scaled
}

fn call(mut command: Command, into: &Path, name: &str) -> Result<(), BenchError> {
    let file = |ending: &str| into.join(format!("{name}.{ending}"));
    command.arg("--json").arg(file("json")).arg("--html").arg(file("html"));
    eprintln!("measuring {name}");
    let status = command.status();
    let status = status.map_err(|error| BenchError::failed(format!("measuring {name}"), error))?;
    match status.success() {
        true => Ok(()),
        false => Err(BenchError::failed(format!("measuring {name}"), status.to_string())),
    }
}

fn write(document: &Path, results: &[PathBuf]) -> Result<(), BenchError> {
    let mut text = read(document)?;
    let mut plots = Vec::new();
    for path in results {
        let (name, report) = (stem(path), report(path)?);
        text = fill_in(&text, &name, &markdown(&report)).ok_or_else(|| {
            let markers = format!("<!-- begin {name} --> and <!-- end {name} -->");
            BenchError::options(
                format!("{} has no place for {name}", document.display()),
                format!("put the lines {markers} where the tables belong"),
            )
        })?;
        plots.extend(plots_of(&report).into_iter().map(|plot| (file_name(&name, &plot), plot)));
    }
    put(document, &text)?;
    draw_shown(document, &text, &plots)
}

/// Draws the plots that a document shows. A picture that is no plot of these results stays as it
/// is, and is named on standard error.
fn draw_shown(document: &Path, text: &str, plots: &[(String, Plot)]) -> Result<(), BenchError> {
    let folder = document.parent().unwrap_or(Path::new(""));
    for picture in pictures(text) {
        let path = folder.join(picture);
        let name = path.file_name().unwrap_or_default();
        match plots.iter().find(|(file, _)| name == file.as_str()) {
            Some((_, plot)) => put(&path, &plot.svg)?,
            None => eprintln!("{picture} stays as it is: no plot of these results has its name"),
        }
    }
    Ok(())
}

/// The SVG files that a Markdown document shows, relative to its folder.
fn pictures(text: &str) -> impl Iterator<Item = &str> {
    let targets = text.split("](").skip(1).filter_map(|rest| rest.split_once(')'));
    targets.map(|(target, _)| target).filter(|target| target.ends_with(".svg"))
}

fn plot(path: &Path) -> Result<(), BenchError> {
    let name = stem(path);
    for plot in plots_of(&report(path)?) {
        put(&path.with_file_name(file_name(&name, &plot)), &plot.svg)?;
    }
    Ok(())
}

/// The name of a plot's file: that of the results, unless the plot's own begins with it, and that
/// of the plot.
fn file_name(results: &str, plot: &Plot) -> String {
    if plot.name.starts_with(&format!("{results}-")) {
        format!("{}.svg", plot.name)
    } else {
        format!("{results}-{}.svg", plot.name)
    }
}

fn stem(path: &Path) -> String {
    path.file_stem().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default()
}

fn report(path: &Path) -> Result<Report, BenchError> {
    let report = serde_json::from_str(&read(path)?);
    report.map_err(|error| BenchError::failed(format!("reading {}", path.display()), error))
}

fn read(path: &Path) -> Result<String, BenchError> {
    std::fs::read_to_string(path).map_err(|error| BenchError::of_path("reading", path, error))
}

fn put(path: &Path, text: &str) -> Result<(), BenchError> {
    std::fs::write(path, text).map_err(|error| BenchError::of_path("writing", path, error))
}

fn beside_this(name: &str) -> Option<PathBuf> {
    let program = std::env::current_exe().ok()?.with_file_name(name);
    program.is_file().then_some(program)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_measurement_has_its_place_in_the_document() {
        let document = include_str!("../../../BENCHMARKS.md");
        for (name, _) in MEASUREMENTS {
            assert!(fill_in(document, name, "").is_some(), "{name} has no markers");
        }
        let is_open = |(_, words): &&(&str, &[&str])| words.contains(&"--rate");
        assert_eq!(MEASUREMENTS.iter().filter(is_open).count(), 2);
    }

    #[test]
    fn all_figures_take_at_most_fifteen_minutes() {
        let seconds = |words: &[&str]| -> u64 {
            let at = words.iter().position(|word| *word == "--seconds").expect("it is limited");
            words[at + 1].parse().expect("a number of seconds")
        };
        let tool: u64 = MEASUREMENTS.iter().map(|(_, words)| seconds(words)).sum();
        let peers = 4 * 60;
        assert!(tool + peers <= 15 * 60, "{tool} s and {peers} s");
    }

    #[test]
    fn the_pictures_of_a_document_are_drawn_into_the_files_that_it_names() {
        let folder = tempfile::tempdir().expect("a directory");
        let document = folder.path().join("DOCUMENT.md");
        let text = "![a](plots/log-a.svg) and ![b](plots/peers-log-a.svg), [c](c.md)\n\
                    ![d](plots/other.svg)\n";
        std::fs::create_dir(folder.path().join("plots")).expect("a directory");
        let plot = |results, title, svg: &str| {
            let plot = Plot::new(title, svg.to_owned());
            (file_name(results, &plot), plot)
        };
        let plots = [
            plot("log", "log: A", "of log"),
            plot("peers", "log: A", "of peers"),
            plot("log", "log: unused", "unused"),
        ];
        draw_shown(&document, text, &plots).expect("the directory is there");
        let drawn = |name: &str| std::fs::read_to_string(folder.path().join("plots").join(name));
        assert_eq!(drawn("log-a.svg").expect("drawn"), "of log");
        assert_eq!(drawn("peers-log-a.svg").expect("drawn"), "of peers");
        assert!(drawn("other.svg").is_err() && drawn("log-unused.svg").is_err());
    }

    #[test]
    fn a_first_look_takes_less_time() {
        let words = scaled(&["log", "--seconds", "60", "--clients", "1"], 0.1);
        assert_eq!(words, ["log", "--seconds", "6", "--clients", "1"]);
    }
}
