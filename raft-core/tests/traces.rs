//! Golden traces: the behaviour of the protocol, as text.
//!
//! Each file under `tests/traces` states a claim in its first line, gives commands, and shows every
//! output that followed. The test runs the commands again, checks the laws after each step, and
//! fails on any difference. After an intended change, rewrite the outputs with
//! `KONTIKI_TRACES=write cargo test -p kontiki-core --test traces`, and review the difference.

#[cfg(feature = "mutants")]
#[path = "traces/mutants.rs"]
mod mutants;
#[path = "traces/random.rs"]
mod random;
#[path = "traces/runner/mod.rs"]
mod runner;

use std::path::{Path, PathBuf};
use std::{env, fs};

use runner::{Outcome, Planted, Script};

/// The environment variable that makes the test rewrite the outputs, and its value.
const WRITE: (&str, &str) = ("KONTIKI_TRACES", "write");

#[test]
fn every_trace_shows_the_outputs_that_occur() {
    let complaints: Vec<String> = traces().iter().filter_map(|path| replay(path).err()).collect();
    let count = complaints.len();
    assert!(complaints.is_empty(), "{count} traces differ\n\n{}", complaints.join("\n\n"));
}

#[test]
fn two_runs_of_a_trace_are_equal_byte_for_byte() {
    for path in traces() {
        let script = Script::parse(&read(&path)).expect("checked above");
        let texts = [(); 2].map(|()| match runner::run(&script, Planted::default()) {
            Outcome::Ran(blocks) => Script { blocks }.write(),
            Outcome::Broke { why, .. } => why,
        });
        assert_eq!(texts[0], texts[1], "L16: {}", path.display());
    }
}

#[test]
fn an_invalid_command_is_reported() {
    let text = "# A claim.\ncluster nodes=1\nsing 1\n---\n";
    let script = Script::parse(text).expect("a claim and a block");
    match runner::run(&script, Planted::default()) {
        Outcome::Broke { line: 3, why } => assert!(why.contains(runner::VERBS), "{why}"),
        _ => panic!("a verb that does not exist was run"),
    }
}

/// Every trace, in order of name.
fn traces() -> Vec<PathBuf> {
    let root = Path::new("tests/traces");
    let mut found = Vec::new();
    for folder in fs::read_dir(root).expect("the folder of traces").flatten() {
        let Ok(files) = fs::read_dir(folder.path()) else { continue };
        found.extend(files.flatten().map(|file| file.path()));
    }
    found.retain(|path| path.extension().is_some_and(|extension| extension == "trace"));
    found.sort();
    assert!(!found.is_empty(), "no traces were found");
    found
}

fn read(path: &Path) -> String {
    fs::read_to_string(path).expect("a readable trace")
}

/// Runs one trace, and compares or writes its outputs.
fn replay(path: &Path) -> Result<(), String> {
    let name = path.display();
    let text = read(path);
    let script = Script::parse(&text).map_err(|why| format!("{name}: {why}"))?;
    let blocks = match runner::run(&script, Planted::default()) {
        Outcome::Ran(blocks) => blocks,
        Outcome::Broke { line, why } => return Err(format!("{name}:{line}: {why}")),
    };
    let written = Script { blocks }.write();
    if env::var(WRITE.0).is_ok_and(|value| value == WRITE.1) {
        fs::write(path, &written).map_err(|why| format!("{name}: {why}"))?;
        return Ok(());
    }
    match difference(&text, &written) {
        None => Ok(()),
        Some(difference) => {
            let how =
                format!("if the difference is intended, run again with {}={}", WRITE.0, WRITE.1);
            Err(format!("{name}:{difference}\n  {how}"))
        }
    }
}

/// The first line in which two texts differ.
fn difference(expected: &str, found: &str) -> Option<String> {
    let mut old = expected.lines();
    let mut new = found.lines();
    for line in 1.. {
        match (old.next(), new.next()) {
            (None, None) => return None,
            (one, other) if one == other => {}
            (one, other) => {
                let shown = |line: Option<&str>| line.unwrap_or("(the end)").to_string();
                let one = shown(one);
                let other = shown(other);
                return Some(format!(
                    "{line}:\n  the trace says: {one}\n  what happens:   {other}"
                ));
            }
        }
    }
    None
}
