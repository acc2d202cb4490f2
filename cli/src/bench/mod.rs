//! `kontiki bench`: measures which log suits this machine, and how fast a server answers.
//!
//! The crate `benches` measures; this module has the arguments, the signals and the output files.
//! A measurement blocks, so it runs on a separate thread while this thread waits for signals.
//! Ctrl-C ends it at the next write; the figures up to then are shown, and its files are removed.

mod arguments;
mod values;

use std::path::Path;
use std::process::ExitCode;

use benches::show::{advise, page, table};
use benches::{BenchError, Report, SCHEMA, Stop};
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::oneshot;

pub use arguments::Bench;
use arguments::{Output, Task};

use crate::failure::Failure;

/// The exit status of an interrupted measurement, the one that a shell reports after Ctrl-C. The
/// figures up to then are shown.
const INTERRUPTED: u8 = 130;

/// Runs the measurement and shows its figures.
pub async fn run(bench: Bench) -> Result<ExitCode, Failure> {
    let output = bench.output().clone();
    output.check()?;
    let task = bench.into_task()?;
    // The handlers are installed before the first file is created. Otherwise a signal could leave
    // the file behind.
    let listen =
        |kind| signal(kind).map_err(|error| Failure::of("signals cannot be listened for", &error));
    let (mut interrupt, mut terminate) =
        (listen(SignalKind::interrupt())?, listen(SignalKind::terminate())?);
    let stop = Stop::new();
    let (sender, mut result) = oneshot::channel();
    let stopped = stop.clone();
    let measuring = std::thread::Builder::new().name("bench".to_owned()).spawn(move || {
        // The receiver is gone if waiting for the result was given up.
        let _ = sender.send(measure(&task, &stopped));
    });
    measuring.map_err(|error| Failure::of("a thread cannot be started", &error))?;
    let report = loop {
        tokio::select! {
            report = &mut result => break report,
            _ = interrupt.recv() => stop.ask(),
            _ = terminate.recv() => stop.ask(),
        }
    };
    let report = report.map_err(|_| Failure::new("the measurement ended with a panic"))?;
    let report = report.map_err(|error| failed(&error))?;
    show(&report, &output)?;
    Ok(if report.interrupted { ExitCode::from(INTERRUPTED) } else { ExitCode::SUCCESS })
}

/// Runs the task in its directory, which is removed afterwards.
fn measure(task: &Task, stop: &Stop) -> Result<Report, BenchError> {
    let place = task.place()?;
    let mut facts = task.facts(&place)?;
    for warning in facts.warnings() {
        eprintln!("warning: {warning}");
    }
    let rows = task.run(&place, stop)?;
    facts.end();
    let (command, interrupted) = (command_line(), stop.is_asked());
    Ok(Report { schema: SCHEMA, command, facts, interrupted, rows })
}

/// The command line, for readers of the report.
fn command_line() -> String {
    let words: Vec<String> = std::env::args().skip(1).collect();
    format!("kontiki {}", words.join(" "))
}

fn show(report: &Report, output: &Output) -> Result<(), Failure> {
    let json = report.to_json();
    if let Some(path) = &output.html {
        write(path, &page(report))?;
    }
    match &output.json {
        Some(path) if path == Path::new("-") => {
            println!("{json}");
            return Ok(());
        }
        Some(path) => write(path, &json)?,
        None => {}
    }
    print!("{}", table(report));
    let advice = advise(report);
    if advice.is_empty() && !report.doubts().is_empty() {
        println!("no log is recommended from these figures");
    }
    for one in advice {
        let mark = if one.best { "=>" } else { "  " };
        println!("{mark} {}\n   {}", one.headline(), one.reason);
    }
    Ok(())
}

fn write(path: &Path, text: &str) -> Result<(), Failure> {
    let written = std::fs::write(path, text);
    written.map_err(|error| Failure::of(format!("{} cannot be written", path.display()), &error))
}

fn failed(error: &BenchError) -> Failure {
    Failure::of("nothing was measured", error).advise(error.advice())
}
