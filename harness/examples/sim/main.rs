//! `cargo run --release -p kontiki-harness --example sim`: runs seeds of the simulator, replays
//! one, or hunts planted bugs.
//!
//! This is an example and not a program of the crate, because it uses backends, on which the
//! harness itself must not depend (decision 0050).

mod disks;

use std::collections::BTreeMap;
use std::process::ExitCode;
use std::time::Instant;

use harness::sim::{Marks, Planted, Report, Rng, Settings, SimulatedDisk, run};

const HELP: &str = "\
Runs whole clusters on one thread, with networks, clocks and disks that fail.

Usage: sim [options]

  --inputs N       stop after this many inputs of all seeds together (default 1000000)
  --length N       inputs of one seed before calm (default 20000)
  --first S        the first seed (default 1)
  --seed S         this seed alone, twice, which must give the same hash
  --trace          with --seed: print every happening
  --mutant NAME    run with this planted bug; stop when it is found
  --mutants        hunt every planted bug, --inputs each; fail if one is not found
  --outcomes-only  do not compare promises with disks; find only harm that others can see
  --marks          fail if something rare never happened
  --store NAME     the backend: memory (default), file, or mixed
  --list           name the planted bugs of this build

Exit status: 0 as expected, 1 something was found (or a planted bug was not), 2 not understood.
";

/// The parsed arguments.
struct Asked {
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
    // A panic of the code under test is reported as a finding.
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
        Ok(asked) if answer(&asked) => ExitCode::SUCCESS,
        Ok(_) => ExitCode::FAILURE,
    }
}

fn parse(arguments: &[String]) -> Result<Asked, String> {
    let mut asked = Asked {
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
        let mut value = || rest.next().ok_or(format!("{option} lacks its value"));
        match option.as_str() {
            "--inputs" => asked.inputs = number(value()?)?,
            "--length" => asked.length = number(value()?)?,
            "--first" => asked.first = number(value()?)?,
            "--seed" => asked.seed = Some(number(value()?)?),
            "--trace" => asked.trace = true,
            "--mutant" => asked.mutant = Some(bug(value()?)?),
            "--mutants" => asked.mutants = true,
            "--outcomes-only" => asked.outcomes_only = true,
            "--marks" => asked.marks = true,
            "--store" => asked.store = value()?.clone(),
            other => return Err(format!("there is no option {other:?}")),
        }
    }
    if disks::STORES.contains(&asked.store.as_str()) {
        Ok(asked)
    } else {
        Err(format!("there is no store {:?}; choose one of {:?}", asked.store, disks::STORES))
    }
}

fn number(text: &str) -> Result<u64, String> {
    text.replace('_', "").parse().map_err(|_| format!("{text:?} is not a number"))
}

fn bug(name: &str) -> Result<Planted, String> {
    Planted::named(name).ok_or_else(|| {
        format!("no planted bug {name:?} here; see --list, and build with --features mutants")
    })
}

/// Does what the arguments say; returns whether everything is as expected.
fn answer(asked: &Asked) -> bool {
    match (asked.seed, asked.mutants, asked.mutant) {
        (Some(seed), ..) => replay(asked, seed),
        (None, true, _) => hunt_all(asked),
        (None, false, Some(bug)) => hunt(asked, bug),
        (None, false, None) => guard(asked),
    }
}

fn one(asked: &Asked, seed: u64, planted: Option<Planted>, aloud: bool) -> Report {
    let mut settings = Settings::new(seed, asked.length);
    settings.planted = planted;
    settings.inspects_promises = !asked.outcomes_only;
    settings.aloud = aloud;
    let disks = |member: u64, rng: Rng| -> Box<dyn SimulatedDisk> {
        disks::blank(&asked.store, member, rng).expect("a store that parse accepts")
    };
    run(settings, &disks)
}

/// One seed, twice.
fn replay(asked: &Asked, seed: u64) -> bool {
    let first = one(asked, seed, asked.mutant, asked.trace);
    let second = one(asked, seed, asked.mutant, false);
    println!("seed {seed}: {} inputs, hash {:016x}", first.inputs, first.hash);
    println!("{}", first.marks);
    report(&first, &asked.store);
    let same = (first.hash, &first.marks) == (second.hash, &second.marks);
    if !same {
        println!("NOT REPEATED: the second run has hash {:016x}", second.hash);
    }
    same && first.found.is_none()
}

/// Many seeds without bugs.
fn guard(asked: &Asked) -> bool {
    let begin = Instant::now();
    let mut marks = Marks::default();
    let mut inputs = 0;
    let mut seeds = 0;
    let mut hash = 0_u64;
    let mut time = 0;
    let mut operations = 0;
    let mut committed = 0;
    while inputs < asked.inputs {
        let done = one(asked, asked.first + seeds, None, false);
        if done.found.is_some() {
            report(&done, &asked.store);
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
        println!("never happened: {missing:?}");
    }
    missing.is_empty() || !asked.marks
}

/// Seeds with one bug, until it is found.
fn hunt(asked: &Asked, bug: Planted) -> bool {
    let mut inputs = 0;
    let mut seed = asked.first;
    while inputs < asked.inputs {
        let done = one(asked, seed, Some(bug), false);
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

fn hunt_all(asked: &Asked) -> bool {
    let found: BTreeMap<String, bool> =
        Planted::all().into_iter().map(|bug| (bug.to_string(), hunt(asked, bug))).collect();
    let count = found.values().filter(|found| **found).count();
    println!("{count} of {} planted bugs found", found.len());
    count == found.len()
}

/// What was found, and how to see it again.
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
        "  again: cargo run --release -p kontiki-harness --example sim{feature} -- --seed {seed} \
         --length {inputs} --store {store}{bug}{only} --trace"
    );
}

/// The commit, if this is a git tree and git is installed.
fn commit() -> Option<String> {
    let git = std::process::Command::new("git").args(["rev-parse", "--short", "HEAD"]).output();
    let text = String::from_utf8(git.ok().filter(|run| run.status.success())?.stdout).ok()?;
    Some(text.trim().to_owned())
}
