//! `cargo run --release -p kontiki-harness --example sim`: runs seeds of the simulator, replays a
//! seed, or searches for planted bugs.
//!
//! It is an example and not a binary of the crate, because it uses backends, which the harness
//! itself must not know (decision 0050).

mod disks;

use std::collections::BTreeMap;
use std::process::ExitCode;
use std::time::Instant;

use harness::sim::{Marks, Planted, Report, Rng, Settings, SimulatedDisk, run};

const HELP: &str = "\
Runs whole clusters on one thread, with simulated networks, clocks and disks that fail.

Usage: sim [options]

  --inputs N       stop after this many inputs in all seeds together (default 1000000)
  --length N       inputs of one seed before the calm phase (default 20000)
  --first S        the first seed (default 1)
  --seed S         run only this seed, twice; both runs must have the same hash
  --trace          with --seed: print each event
  --mutant NAME    run with this planted bug; stop when it is found
  --mutants        search for each planted bug with up to --inputs inputs; fail if one is missed
  --outcomes-only  do not compare promises with disks; find bugs by their consequences alone
  --marks          fail if a rare situation never occurred
  --store NAME     the backend: memory (default), file, or mixed
  --list           print the names of the planted bugs of this build

Exit status: 0 success, 1 a violation was found (or a planted bug was not), 2 invalid arguments.
";

/// The options of the command line.
struct Options {
    inputs: u64,
    length: u64,
    first: u64,
    seed: Option<u64>,
    trace: bool,
    mutant: Option<Planted>,
    mutants: bool,
    outcomes_only: bool,
    marks: bool,
    store: String,
}

fn main() -> ExitCode {
    // A panic of the code under test is reported as a violation, so it need not be printed here.
    std::panic::set_hook(Box::new(|_| {}));
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    if arguments.iter().any(|argument| argument == "--help" || argument == "-h") {
        print!("{HELP}");
        return ExitCode::SUCCESS;
    }
    if arguments.iter().any(|argument| argument == "--list") {
        Planted::all().iter().for_each(|bug| println!("{bug}"));
        return ExitCode::SUCCESS;
    }
    match parse(&arguments) {
        Err(wrong) => {
            eprintln!("error: {wrong}\n\n{HELP}");
            ExitCode::from(2)
        }
        Ok(options) if execute(&options) => ExitCode::SUCCESS,
        Ok(_) => ExitCode::FAILURE,
    }
}

fn parse(arguments: &[String]) -> Result<Options, String> {
    let mut options = Options {
        inputs: 1_000_000,
        length: 20_000,
        first: 1,
        seed: None,
        trace: false,
        mutant: None,
        mutants: false,
        outcomes_only: false,
        marks: false,
        store: "memory".to_owned(),
    };
    let mut rest = arguments.iter();
    while let Some(option) = rest.next() {
        let mut value = || rest.next().ok_or(format!("{option} needs a value"));
        match option.as_str() {
            "--inputs" => options.inputs = number(value()?)?,
            "--length" => options.length = number(value()?)?,
            "--first" => options.first = number(value()?)?,
            "--seed" => options.seed = Some(number(value()?)?),
            "--trace" => options.trace = true,
            "--mutant" => options.mutant = Some(bug(value()?)?),
            "--mutants" => options.mutants = true,
            "--outcomes-only" => options.outcomes_only = true,
            "--marks" => options.marks = true,
            "--store" => options.store = value()?.clone(),
            other => return Err(format!("there is no option {other:?}")),
        }
    }
    if disks::STORES.contains(&options.store.as_str()) {
        Ok(options)
    } else {
        Err(format!("there is no store {:?}; choose one of {:?}", options.store, disks::STORES))
    }
}

fn number(text: &str) -> Result<u64, String> {
    text.replace('_', "").parse().map_err(|_| format!("{text:?} is not a number"))
}

fn bug(name: &str) -> Result<Planted, String> {
    Planted::named(name).ok_or_else(|| {
        format!("this build has no planted bug {name:?}; see --list; --features mutants adds more")
    })
}

/// Does what the options ask for. Returns whether it succeeded.
fn execute(options: &Options) -> bool {
    match (options.seed, options.mutants, options.mutant) {
        (Some(seed), ..) => replay(options, seed),
        (None, true, _) => search_all(options),
        (None, false, Some(bug)) => search(options, bug),
        (None, false, None) => run_many(options),
    }
}

fn run_seed(options: &Options, seed: u64, planted: Option<Planted>, prints_events: bool) -> Report {
    let mut settings = Settings::new(seed, options.length);
    settings.planted = planted;
    settings.inspects_promises = !options.outcomes_only;
    settings.prints_events = prints_events;
    let disks = |member: u64, rng: Rng| -> Box<dyn SimulatedDisk> {
        disks::blank(&options.store, member, rng).expect("a store that parse knows")
    };
    run(settings, &disks)
}

/// Runs one seed twice. Returns whether both runs were equal and found no violation.
fn replay(options: &Options, seed: u64) -> bool {
    let first = run_seed(options, seed, options.mutant, options.trace);
    let second = run_seed(options, seed, options.mutant, false);
    println!("seed {seed}: {} inputs, hash {:016x}", first.inputs, first.hash);
    println!("{}", first.marks);
    report(&first, &options.store);
    let same = (first.hash, &first.marks) == (second.hash, &second.marks);
    if !same {
        println!("RUNS DIFFER: the second run has hash {:016x}", second.hash);
    }
    same && first.found.is_none()
}

/// Runs many seeds without planted bugs. Returns whether no violation was found.
fn run_many(options: &Options) -> bool {
    let begin = Instant::now();
    let mut marks = Marks::default();
    let mut inputs = 0;
    let mut seeds = 0;
    let mut hash = 0_u64;
    let mut time = 0;
    let mut operations = 0;
    let mut committed = 0;
    while inputs < options.inputs {
        let done = run_seed(options, options.first + seeds, None, false);
        if done.found.is_some() {
            report(&done, &options.store);
            return false;
        }
        seeds += 1;
        inputs += done.inputs;
        time += done.time;
        operations += done.operations;
        committed += done.committed;
        hash = hash.rotate_left(5) ^ done.hash;
        marks.add(&done.marks);
    }
    let seconds = begin.elapsed().as_secs_f64();
    let simulated = time as f64 / 1e6;
    println!(
        "{seeds} seeds, {inputs} inputs, {operations} operations, {committed} entries committed"
    );
    println!(
        "{simulated:.0} s simulated in {seconds:.1} s: {:.0} inputs/s, hash {hash:016x}",
        inputs as f64 / seconds
    );
    print!("{marks}");
    let missing = marks.missing();
    if !missing.is_empty() {
        println!("never occurred: {missing:?}");
    }
    missing.is_empty() || !options.marks
}

/// Runs seeds with one planted bug until it is found. Returns whether it was found.
fn search(options: &Options, bug: Planted) -> bool {
    let mut inputs = 0;
    let mut seed = options.first;
    while inputs < options.inputs {
        let done = run_seed(options, seed, Some(bug), false);
        inputs += done.found.as_ref().map_or(done.inputs, |found| found.inputs);
        if let Some(found) = done.found {
            println!("{bug:<32} {inputs:>9} inputs, seed {seed:>4}  {}", found.violation);
            return true;
        }
        seed += 1;
    }
    println!("{bug:<32} NOT FOUND in {inputs} inputs");
    false
}

fn search_all(options: &Options) -> bool {
    let found: BTreeMap<String, bool> =
        Planted::all().into_iter().map(|bug| (bug.to_string(), search(options, bug))).collect();
    let count = found.values().filter(|found| **found).count();
    println!("{count} of {} planted bugs found", found.len());
    count == found.len()
}

/// Prints the violation that was found, and the command that replays it.
fn report(done: &Report, store: &str) {
    let Some(found) = &done.found else { return };
    let Settings { seed, inputs, planted, inspects_promises, .. } = done.settings;
    println!("FOUND after {} inputs: {}", found.inputs, found.violation);
    if let Some(commit) = commit() {
        println!("  at commit {commit}");
    }
    let bug = planted.map_or_else(String::new, |bug| format!(" --mutant {bug}"));
    let feature = if cfg!(feature = "mutants") { " --features mutants" } else { "" };
    let only = if inspects_promises { "" } else { " --outcomes-only" };
    println!(
        "  replay: cargo run --release -p kontiki-harness --example sim{feature} -- --seed {seed} \
         --length {inputs} --store {store}{bug}{only} --trace"
    );
}

/// The current commit, if this is a git work tree and git can be run.
fn commit() -> Option<String> {
    let git = std::process::Command::new("git").args(["rev-parse", "--short", "HEAD"]).output();
    let text = String::from_utf8(git.ok().filter(|run| run.status.success())?.stdout).ok()?;
    Some(text.trim().to_owned())
}
