//! The families `damage` and `io_errors` prove themselves: a correct store in a journal passes the
//! whole suite, and each bug that is planted in it is found by the check named for it, which names
//! the promise broken.

#![cfg(target_os = "linux")]

#[path = "planted_journal/bug.rs"]
mod bug;
#[path = "planted_journal/store.rs"]
mod store;

use std::sync::Arc;
use std::time::Duration;

use bug::{Bug, KILLERS};
use harness::conformance::{CHECKS, Check, Factory, Outcome, in_dir, run, run_within};
use store::Journal;

/// How long the matrix waits for a check that a bug makes stand still.
const PATIENCE: Duration = Duration::from_secs(3);

harness::conformance!(without_a_bug, in_dir(async |dir| Journal::open(dir, None).await));

#[test]
fn each_planted_bug_is_found_by_its_check() {
    let mut missed = Vec::new();
    for (bug, killer, promise) in KILLERS {
        match run(check(killer), &planted(*bug)) {
            Ok(Outcome::Skipped(why)) => println!("skipped: {bug:?}: {why}"),
            Err(failure) if failure.promise == Some(*promise) => {
                println!("{bug:?}: P{promise} by {killer}");
            }
            Err(failure) => missed.push(format!("{bug:?}: P{promise} by {killer}, not\n{failure}")),
            Ok(outcome) => missed.push(format!("{bug:?}: not found by {killer}: {outcome:?}")),
        }
    }
    assert!(missed.is_empty(), "not found as they should be:\n{}", missed.join("\n"));
}

/// Which family finds which bug, besides the check named for it; under `KONTIKI_DEEP` alone, for
/// the time it takes.
#[test]
fn the_matrix_of_bugs_and_checks() {
    if std::env::var_os("KONTIKI_DEEP").is_none() {
        return println!("only with KONTIKI_DEEP=1");
    }
    for (bug, killer, _) in KILLERS {
        let factory = planted(*bug);
        let finds = |check: &&'static Check| run_within(PATIENCE, check, &factory).is_err();
        let failed: Vec<String> = CHECKS.iter().filter(finds).map(name).collect();
        println!("{bug:?}: {}", failed.join(", "));
        let machine = matches!(run(check(killer), &factory), Ok(Outcome::Skipped(_)));
        assert!(machine || failed.iter().any(|it| it == killer), "{bug:?} survives {killer}");
    }
}

fn name(check: &'static Check) -> String {
    format!("{}::{}", check.family, check.name)
}

fn planted(bug: Bug) -> Factory {
    Arc::new(move || Box::new(in_dir(async move |dir| Journal::open(dir, Some(bug)).await)))
}

fn check(name: &str) -> &'static Check {
    let found = CHECKS.iter().find(|check| self::name(check) == name);
    found.unwrap_or_else(|| panic!("there is no check {name}"))
}
