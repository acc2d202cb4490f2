//! Tests of the family `power_loss`: a correct store in a file passes, and each bug that is planted
//! in it is found by the check named for it, which names the broken promise.

#![cfg(target_os = "linux")]

#[path = "planted_files/bug.rs"]
mod bug;
#[path = "planted_files/lock.rs"]
mod lock;
#[path = "planted_files/record.rs"]
mod record;
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

/// The store that gives its writes to the kernel without waiting is correct as long as its opening
/// waits for the writes of the previous process.
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
        "acknowledged change is lost: found the log after 0@0 up to 0@0",
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

/// A durable store keeps its files in another directory, so the power cannot be cut under it. That
/// must count as skipped, and not as a check that does not apply.
#[test]
fn a_store_with_files_elsewhere_is_reported() {
    let elsewhere: Factory = Arc::new(|| {
        let own = tempfile::tempdir().expect("a temporary directory can be made");
        Box::new(in_dir(async move |_| FileStore::open(own.path(), None).await))
    });
    let outcome = run(Check::named("power_loss::entries_survive"), &elsewhere);
    let is_reported =
        matches!(&outcome, Ok(Outcome::Skipped(why)) if why.contains("cannot be verified"));
    assert!(is_reported, "{outcome:?}");
}

/// A store opens only in the directory in which it was first opened.
#[test]
fn a_store_that_opens_in_only_one_directory_fails() {
    let one_directory: Factory = Arc::new(|| {
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
        run(Check::named("power_loss::entries_survive"), &one_directory).expect_err("it is found");
    assert_eq!(failure.promise, Some(13), "{failure}");
    assert!(failure.what.contains("a second, empty directory"), "{failure}");
}

#[test]
fn each_bug_is_in_the_list_or_has_its_own_test() {
    for (bug, test) in FOUND_BY_A_TEST {
        assert!(KILLERS.iter().all(|(known, ..)| known != bug), "{bug:?} needs no test {test}");
    }
}

/// A store that only appends never rotates its files during the check, which is reported.
#[test]
fn a_store_that_never_rotated_is_reported() {
    let check = Check::named("power_loss::a_long_running_log_survives");
    match run(check, &planted(Bug::NeverRotates)) {
        Ok(Outcome::Skipped(_)) => {}
        Ok(Outcome::Thin(why)) => assert!(why.contains("small files"), "{why}"),
        other => panic!("{other:?}"),
    }
}

/// A lock that is only a list in the process refuses a second handle in that process, but not in
/// another one.
#[test]
fn a_lock_of_one_process_alone_is_found() {
    const NAME: &str = "a_lock_of_one_process_alone_is_found";
    let process = planted(Bug::LockIsByProcess);
    open_if_asked(&process);
    let test = TestName {
        package: env!("CARGO_PKG_NAME"),
        binary: env!("CARGO_CRATE_NAME"),
        module: module_path!(),
    };
    let one_opener = run_in(test, NAME, Check::named("reopening::one_opener_at_a_time"), &process);
    assert_eq!(one_opener.map_err(|failure| failure.to_string()), Ok(Outcome::Held));
    let check = Check::named("reopening::another_process_cannot_open_the_store");
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
