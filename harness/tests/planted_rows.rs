//! The list of bugs that stores of other projects have had: each is planted somewhere and found by
//! a named check, or its row says why it cannot exist here.
//!
//! The rows are those of `docs/conformance.md`. This test keeps the list consistent: each row has a
//! bug and a killer, which is the check that must find the bug; each bug is in the list of the file
//! in which it is planted, with that killer; and each killer exists. The tests in those files check
//! that the killers find the bugs.

#[path = "planted_files/bug.rs"]
mod files;
#[path = "planted_journal/bug.rs"]
mod journal;
#[path = "planted_rows/rows.rs"]
mod rows;
#[path = "planted_stores/bug.rs"]
mod stores;

use std::fmt::Debug;
use std::path::Path;

use harness::conformance::CHECKS;
use rows::{Kill, ROWS};

/// All rows, so that none is lost: storage mutants, then bugs of log stores.
const EXPECTED: &[(&str, &[u32])] = &[
    ("M", &[1, 2, 3, 6, 7, 8, 9, 10, 11, 12, 15, 17, 18, 19, 20, 24, 25, 27]),
    ("D", &[1, 2, 3, 4, 5, 7, 8, 9, 11, 12, 13, 15, 16, 17, 20, 22, 23, 26, 27]),
];

#[test]
fn every_row_is_planted_and_found() {
    let mut wrong = Vec::new();
    for row in ROWS {
        assert!(!row.kills.is_empty(), "{}: no check is named for it", row.name);
        for kill in row.kills {
            match line_of(kill) {
                Ok(line) => println!("{:<6} {:<48} {line}", row.name, row.what),
                Err(why) => wrong.push(format!("{}: {why}", row.name)),
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn a_bug_that_no_check_of_the_list_finds_has_a_test() {
    let tests = read("harness/tests/planted_files.rs");
    for (bug, test) in files::FOUND_BY_A_TEST {
        assert!(tests.contains(&format!("fn {test}()")), "{bug:?}: there is no test {test}");
        assert!(tests.contains(&format!("Bug::{bug:?}")), "{bug:?} is not planted there");
    }
}

#[test]
fn no_row_is_left_out() {
    for (letter, numbers) in EXPECTED {
        for number in *numbers {
            let name = format!("{letter}{number}");
            let count = ROWS.iter().filter(|row| row.name == name).count();
            assert_eq!(count, 1, "{name} is {count} times in the list");
        }
    }
}

#[test]
fn the_document_has_the_same_rows() {
    let text = read("docs/conformance.md");
    for row in ROWS {
        let line = text.lines().find(|line| line.starts_with(&format!("| {} |", row.name)));
        let line = line.unwrap_or_else(|| panic!("{} is not in docs/conformance.md", row.name));
        for kill in row.kills {
            let bug = named(kill);
            assert!(line.contains(&format!("`{bug}`")), "{}: `{bug}` is not in: {line}", row.name);
        }
    }
}

/// The name of the bug; or, if it cannot exist, the text that forbids it.
fn named(kill: &Kill) -> String {
    match kill {
        Kill::Store(bug) => format!("{bug:?}"),
        Kill::Files(bug) => format!("{bug:?}"),
        Kill::Journal(bug) => format!("{bug:?}"),
        Kill::Backend { bug, .. } | Kill::Trace { bug, .. } | Kill::Simulator { bug, .. } => {
            (*bug).to_owned()
        }
        Kill::CannotExist { because, .. } => (*because).to_owned(),
    }
}

/// A line of the matrix, if the bug and its killer exist.
fn line_of(kill: &Kill) -> Result<String, String> {
    let bug = named(kill);
    match kill {
        Kill::Store(it) => by_check(it, stores::KILLERS),
        Kill::Files(it) => by_check(it, files::KILLERS),
        Kill::Journal(it) => by_check(it, journal::KILLERS),
        Kill::Backend { file, killer, .. } => {
            check(killer)?;
            let line = read(file).lines().any(|line| line.contains(&bug) && line.contains(killer));
            needs(line, || format!("{file} does not list {bug} with {killer}"))?;
            Ok(format!("{bug}: {killer}"))
        }
        Kill::Trace { trace, .. } => {
            let list = read("raft-core/tests/traces/mutants.rs");
            let entry = list.split(&format!("Mutant::{bug},")).nth(1);
            let entry = entry.and_then(|rest| rest.split(')').next());
            needs(entry.is_some_and(|it| it.contains(trace)), || format!("{bug} by {trace}"))?;
            read(&format!("raft-core/tests/traces/{trace}.trace"));
            Ok(format!("{bug}: trace {trace}"))
        }
        Kill::Simulator { file, .. } => {
            let count = read(file).matches(&format!("::{bug},")).count();
            needs(count > 0, || format!("{file} does not list {bug}"))?;
            Ok(format!("{bug}: simulator"))
        }
        Kill::CannotExist { file, because, argument } => {
            needs(read(file).contains(because), || format!("{file} has no `{because}`"))?;
            Ok(format!("cannot exist: {argument} (`{because}`)"))
        }
    }
}

fn by_check<B: Copy + Debug + PartialEq>(
    bug: &B,
    killers: &[(B, &str, usize)],
) -> Result<String, String> {
    let found = killers.iter().find(|(known, ..)| known == bug);
    let (_, killer, promise) = found.ok_or_else(|| format!("{bug:?} has no killer"))?;
    check(killer)?;
    Ok(format!("{bug:?}: {killer} (P{promise})"))
}

fn check(name: &str) -> Result<(), String> {
    let is_it = CHECKS.iter().any(|check| format!("{}::{}", check.family, check.name) == name);
    needs(is_it, || format!("there is no check {name}"))
}

fn needs(is_there: bool, what: impl FnOnce() -> String) -> Result<(), String> {
    if is_there { Ok(()) } else { Err(what()) }
}

fn read(path: &str) -> String {
    std::fs::read_to_string(Path::new("..").join(path))
        .unwrap_or_else(|error| panic!("{path}: {error}"))
}
