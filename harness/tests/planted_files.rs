//! The family `power_loss` proves itself: a correct store in a file passes, and each bug that is
//! planted in it is found by the check named for it, which names the promise broken.

#![cfg(target_os = "linux")]

#[path = "planted_files/bug.rs"]
mod bug;
#[path = "planted_files/store.rs"]
mod store;

use std::path::{Path, PathBuf};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use bug::{Bug, KILLERS};
use harness::conformance::{CHECKS, Check, Factory, Outcome, in_dir, run, run_within};
use raft_core::storage::{LogError, LogOp};
use store::FileStore;

/// How long the matrix waits for a check that a bug makes stand still.
const PATIENCE: Duration = Duration::from_secs(3);

harness::conformance!(without_a_bug, in_dir(async |dir| FileStore::open(dir, None).await));

#[test]
fn each_planted_bug_is_found_by_its_check() {
    let mut missed = Vec::new();
    for (bug, killer, promise) in KILLERS {
        let found = run(check(killer), &planted(*bug));
        match found {
            Ok(Outcome::Skipped(why)) => return println!("skipped: {why}"),
            Err(failure) if failure.promise == Some(*promise) => {
                println!("{bug:?}: P{promise} by {killer}\n{failure}\n");
            }
            found => missed.push(format!("{bug:?}: {killer} must name P{promise}: {found:?}")),
        }
    }
    assert!(missed.is_empty(), "not found as they should be:\n{}", missed.join("\n"));
}

#[test]
fn a_failure_says_what_the_cut_took() {
    let failure = match run(check("power_loss::entries_survive"), &planted(Bug::NeverSynced)) {
        Ok(Outcome::Skipped(_)) => return,
        other => other.expect_err("the bug is found").to_string(),
    };
    for words in [
        "broken promise P1: A mutating verb that returned `Ok` is durable",
        "that was acknowledged is gone: found the log after 0@0 up to 0@0",
        "of KONTIKI_SEED=1947",
        "open a fresh store: Ok",
        "append 1@1: Ok",
        "    on the disk: write",
        "the power is cut after",
        "bytes at 0 of log: lost",
    ] {
        assert!(failure.contains(words), "`{words}` is missing in:\n{failure}");
    }
}

/// A store that is durable, but not where it was told to lie: no cut can be made, which must not
/// look like a check that does not concern it.
#[test]
fn a_store_that_lies_elsewhere_is_told() {
    let elsewhere: Factory = Arc::new(|| {
        let own = tempfile::tempdir().expect("a temporary directory can be made");
        Box::new(in_dir(async move |_| FileStore::open(own.path(), None).await))
    });
    let outcome = run(check("power_loss::entries_survive"), &elsewhere);
    let is_told = matches!(&outcome, Ok(Outcome::Skipped(why)) if why.contains("unverified"));
    assert!(is_told, "{outcome:?}");
}

/// A store that opens only in the directory that it saw first.
#[test]
fn a_store_that_opens_in_one_directory_alone_fails() {
    let choosy: Factory = Arc::new(|| {
        let first: OnceLock<PathBuf> = OnceLock::new();
        Box::new(in_dir(async move |dir: &Path| {
            match first.get_or_init(|| dir.to_owned()) == dir {
                true => FileStore::open(dir, None).await,
                false => Err(LogError::io(LogOp::Open, std::io::Error::other("not my home"))),
            }
        }))
    });
    let failure = run(check("power_loss::entries_survive"), &choosy).expect_err("it is found");
    assert_eq!(failure.promise, Some(13), "{failure}");
    assert!(failure.what.contains("a second, empty directory"), "{failure}");
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
    Arc::new(move || Box::new(in_dir(async move |dir| FileStore::open(dir, Some(bug)).await)))
}

fn check(name: &str) -> &'static Check {
    let found = CHECKS.iter().find(|check| self::name(check) == name);
    found.unwrap_or_else(|| panic!("there is no check {name}"))
}
