//! The families `damage` and `io_errors` prove themselves: a correct store in a journal passes the
//! whole suite, and each bug that is planted in it is found by the check named for it, which names
//! the promise broken.

#![cfg(target_os = "linux")]

#[path = "planted_journal/bug.rs"]
mod bug;
#[path = "planted_journal/store.rs"]
mod store;

use std::sync::Arc;

use bug::{Bug, KILLERS};
use harness::conformance::{CHECKS, Check, Factory, Outcome, in_dir, run};
use store::Journal;

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

fn planted(bug: Bug) -> Factory {
    Arc::new(move || Box::new(in_dir(async move |dir| Journal::open(dir, Some(bug)).await)))
}

fn check(name: &str) -> &'static Check {
    let found = CHECKS.iter().find(|check| format!("{}::{}", check.family, check.name) == name);
    found.unwrap_or_else(|| panic!("there is no check {name}"))
}
