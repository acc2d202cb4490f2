//! Tests of the family `power_loss`: a correct store in a file passes, and each bug that is planted
//! in it is found by the check named for it, which names the broken promise.

#![cfg(target_os = "linux")]

#[path = "planted_files/bug.rs"]
mod bug;
#[path = "planted_files/lock.rs"]
mod lock;
#[path = "planted_files/store.rs"]
mod store;

use std::path::{Path, PathBuf};
use std::sync::{Arc, OnceLock};

use bug::{Bug, FOUND_BY_A_TEST, KILLERS};
use harness::conformance::planted::{each_is_found, print_matrix};
use harness::conformance::{Check, Factory, Outcome, TestName, in_dir, open_if_asked, run, run_in};
use raft_core::storage::{LogError, LogOp};
use store::FileStore;

harness::conformance!(without_a_bug, in_dir(async |dir| FileStore::open(dir, None).await));

#[test]
fn each_planted_bug_is_found_by_its_check() {
    each_is_found(KILLERS, planted);
}

/// The store that hands its writes to the kernel is correct as long as its opening waits for the
/// writes of the process before.
#[test]
fn late_writes_that_an_opening_waits_for_do_no_harm() {
    let direct: Factory =
        Arc::new(|| Box::new(in_dir(async |dir| FileStore::open_direct(dir).await)));
    for check in ["power_loss::entries_survive", "power_loss::a_long_running_log_survives"] {
        let outcome = run(Check::named(check), &direct);
        assert!(outcome.is_ok(), "{check}: {outcome:?}");
    }
}

#[test]
fn a_failure_says_what_the_cut_removed() {
    let failure = match run(Check::named("power_loss::entries_survive"), &planted(Bug::NeverSynced))
    {
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

/// A store that is durable, but keeps its files in another directory: no cut can be made, which
/// must not look like a check that does not apply.
#[test]
fn a_store_that_lies_elsewhere_is_reported() {
    let elsewhere: Factory = Arc::new(|| {
        let own = tempfile::tempdir().expect("a temporary directory can be made");
        Box::new(in_dir(async move |_| FileStore::open(own.path(), None).await))
    });
    let outcome = run(Check::named("power_loss::entries_survive"), &elsewhere);
    let is_told = matches!(&outcome, Ok(Outcome::Skipped(why)) if why.contains("unverified"));
    assert!(is_told, "{outcome:?}");
}

/// A store that opens only in the directory that it saw first.
#[test]
fn a_store_that_opens_in_one_directory_alone_fails() {
    let choosy: Factory = Arc::new(|| {
        let first: OnceLock<PathBuf> = OnceLock::new();
        Box::new(in_dir(async move |dir: &Path| {
            if first.get_or_init(|| dir.to_owned()) == dir {
                FileStore::open(dir, None).await
            } else {
                Err(LogError::io(LogOp::Open, std::io::Error::other("another directory")))
            }
        }))
    });
    let failure =
        run(Check::named("power_loss::entries_survive"), &choosy).expect_err("it is found");
    assert_eq!(failure.promise, Some(13), "{failure}");
    assert!(failure.what.contains("a second, empty directory"), "{failure}");
}

#[test]
fn a_bug_is_found_by_a_check_of_the_list_or_by_a_test_of_its_own() {
    for (bug, test) in FOUND_BY_A_TEST {
        assert!(KILLERS.iter().all(|(known, ..)| known != bug), "{bug:?} needs no test {test}");
    }
}

/// A store that only ever appends was not seen to rotate while the power was cut, and this is
/// reported.
#[test]
fn a_store_that_never_rotated_is_reported() {
    let check = Check::named("power_loss::a_long_running_log_survives");
    match run(check, &planted(Bug::NeverRotates)) {
        Ok(Outcome::Skipped(_)) => {}
        Ok(Outcome::Thin(why)) => assert!(why.contains("small files"), "{why}"),
        other => panic!("{other:?}"),
    }
}

/// A list of open directories in the process keeps out a second handle here, but no other process.
#[test]
fn a_lock_of_one_process_alone_is_found() {
    const NAME: &str = "a_lock_of_one_process_alone_is_found";
    let process = planted(Bug::LockIsOfTheProcess);
    open_if_asked(&process);
    let test = TestName {
        package: env!("CARGO_PKG_NAME"),
        binary: env!("CARGO_CRATE_NAME"),
        module: module_path!(),
    };
    let one_opener = run_in(test, NAME, Check::named("reopening::one_opener_at_a_time"), &process);
    assert_eq!(one_opener.map_err(|failure| failure.to_string()), Ok(Outcome::Held));
    let check = Check::named("reopening::another_process_is_kept_out");
    let failure = run_in(test, NAME, check, &process).expect_err("another process opened it");
    assert_eq!(failure.promise, Some(17), "{failure}");
}

#[test]
fn the_matrix_of_bugs_and_checks() {
    print_matrix(KILLERS, planted);
}

fn planted(bug: Bug) -> Factory {
    Arc::new(move || Box::new(in_dir(async move |dir| FileStore::open(dir, Some(bug)).await)))
}
