//! Compares Kontiki with other projects in one run: openraft, raft-engine, plain libraries, etcd.
//!
//! `cargo run --release --package kontiki-benches --features peers --bin peers`

use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use benches::etcd::servers::on_path;
use benches::peers::{Parts, SideBySide, run, summary};
use benches::show::{page, table};
use benches::{BenchError, Place, Report, SCHEMA, Stop};
use clap::Parser;
use tokio::signal::unix::{SignalKind, signal};

#[derive(Debug, Parser)]
struct Arguments {
    /// Only these comparisons: memory, durable, log, etcd.
    #[arg(long, value_name = "NAME,...", value_delimiter = ',', value_parser = parse_part)]
    only: Vec<Parts>,
    /// The time for each comparison.
    #[arg(long, value_name = "SECONDS", default_value_t = 60)]
    seconds: u64,
    /// A directory on the disk to measure [default: the current one].
    #[arg(long, value_name = "DIR")]
    dir: Option<PathBuf>,
    /// The tool `kontiki` [default: beside this program].
    #[arg(long, value_name = "FILE")]
    kontiki: Option<PathBuf>,
    /// Also write all figures as JSON.
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
    /// Also write a page with plots.
    #[arg(long, value_name = "FILE")]
    html: Option<PathBuf>,
}

/// The exit status of a comparison that was interrupted, as a shell gives it after Ctrl-C.
const INTERRUPTED: u8 = 130;

fn parse_part(name: &str) -> Result<Parts, String> {
    let names = Parts::ALL.map(Parts::name).join(", ");
    Parts::from_name(name).ok_or_else(|| format!("choose from {names}"))
}

fn main() -> ExitCode {
    match compare(&Arguments::parse()) {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::from(INTERRUPTED),
        Err(error) => {
            eprintln!("error: {error}\n  {}", error.advice());
            ExitCode::FAILURE
        }
    }
}

/// Returns whether the comparison was complete.
fn compare(arguments: &Arguments) -> Result<bool, BenchError> {
    let place = Place::new(arguments.dir.as_deref())?;
    let mut facts = place.facts();
    facts.file_log_io = place.file_log()?.map(|file_log| file_log.auto.to_owned());
    facts.warnings().iter().for_each(|warning| eprintln!("warning: {warning}"));
    let plan = SideBySide {
        parts: if arguments.only.is_empty() { Parts::ALL.to_vec() } else { arguments.only.clone() },
        time: Duration::from_secs(arguments.seconds),
        kontiki: arguments.kontiki.clone().or_else(beside_this),
        etcd: on_path("etcd"),
    };
    let stop = Stop::new();
    ask_at_signals(&stop)?;
    let rows = run(&plan, &place, &stop)?;
    facts.end();
    let report = Report {
        schema: SCHEMA,
        command: "peers".to_owned(),
        facts,
        interrupted: stop.is_asked(),
        rows,
    };
    print!("{}\n{}", table(&report), summary(&report.rows));
    if let Some(path) = &arguments.html {
        write(path, &page(&report))?;
    }
    if let Some(path) = &arguments.json {
        write(path, &report.to_json())?;
    }
    Ok(!report.interrupted)
}

/// After Ctrl-C or a termination signal the program shows the figures measured so far and leaves no
/// file behind.
fn ask_at_signals(stop: &Stop) -> Result<(), BenchError> {
    let failed = |error| BenchError::failed("listening for signals", error);
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let runtime = runtime.map_err(failed)?;
    let listening = runtime.enter();
    let mut interrupt = signal(SignalKind::interrupt()).map_err(failed)?;
    let mut terminate = signal(SignalKind::terminate()).map_err(failed)?;
    drop(listening);
    let stop = stop.clone();
    std::thread::spawn(move || {
        runtime.block_on(async {
            loop {
                tokio::select! {
                    _ = interrupt.recv() => stop.ask(),
                    _ = terminate.recv() => stop.ask(),
                }
            }
        });
    });
    Ok(())
}

fn beside_this() -> Option<PathBuf> {
    let program = std::env::current_exe().ok()?.with_file_name("kontiki");
    program.is_file().then_some(program)
}

fn write(path: &PathBuf, text: &str) -> Result<(), BenchError> {
    let written = std::fs::write(path, text);
    written.map_err(|error| BenchError::of_path("writing", path, error))
}
