//! `kontiki bench`: which log suits this machine, and what a server answers.
//!
//! The measuring is done in the crate `benches`; here are the words for it, the signals, and the
//! files. A measurement blocks, so it has a thread of its own, and this one waits for Ctrl-C, which
//! ends it at the next write, with the figures that there are, and without a file left behind.

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

/// The exit status of a measurement that was ended before its time, as a shell gives it after
/// Ctrl-C. What was measured until then is shown all the same.
const INTERRUPTED: u8 = 130;

/// Measures, and shows what was measured.
pub async fn run(bench: Bench) -> Result<ExitCode, Failure> {
    let output = bench.output().clone();
    output.check()?;
    let task = bench.into_task()?;
    // Before the first file is made: a signal that nobody heard would leave it behind.
    let listen =
        |kind| signal(kind).map_err(|error| Failure::of("signals cannot be listened for", &error));
    let (mut interrupt, mut terminate) =
        (listen(SignalKind::interrupt())?, listen(SignalKind::terminate())?);
    let stop = Stop::new();
    let (tell, mut told) = oneshot::channel();
    let stopped = stop.clone();
    let measuring = std::thread::Builder::new().name("bench".to_owned()).spawn(move || {
        // Nobody listens where the wait was given up.
        let _ = tell.send(measure(&task, &stopped));
    });
    measuring.map_err(|error| Failure::of("a thread cannot be started", &error))?;
    let report = loop {
        tokio::select! {
            report = &mut told => break report,
            _ = interrupt.recv() => stop.ask(),
            _ = terminate.recv() => stop.ask(),
        }
    };
    let report = report.map_err(|_| Failure::new("the measurement ended with a panic"))?;
    let report = report.map_err(|error| failed(&error))?;
    show(&report, &output)?;
    Ok(if report.interrupted { ExitCode::from(INTERRUPTED) } else { ExitCode::SUCCESS })
}

/// Runs the task where its directory is, which goes with it.
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

/// What was typed, for whoever reads the figures later.
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
        println!("no log is recommended on these figures");
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
