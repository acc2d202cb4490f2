//! Tests of the conformance suite: each planted bug is found by the check named for it, which names
//! the broken promise, and a correct store passes.
//!
//! `the_matrix_of_bugs_and_checks` prints which family finds which bug. To print the whole matrix,
//! run `KONTIKI_DEEP=1 cargo test -p kontiki-harness --test planted_stores the_matrix --
//! --nocapture`.
//!
//! Deliberately absent: a bug that changes bytes after a read returned them. It cannot be planted
//! without `unsafe` code, since the type `Bytes` forbids it; the check is for stores that call code
//! in another language.

#[path = "planted_stores/bug.rs"]
mod bug;
#[path = "planted_stores/plain.rs"]
mod plain;
#[path = "planted_stores/reader.rs"]
mod reader;
#[path = "planted_stores/state.rs"]
mod state;
#[path = "planted_stores/store.rs"]
mod store;

use std::sync::Arc;
use std::time::Duration;

use bug::{Bug, KILLERS};
use harness::conformance::planted::each_is_found;
use harness::conformance::{CHECKS, Check, Factory, Failure, NamedStore, Outcome};
use harness::conformance::{lock_step, opened_by, run, run_within};
use plain::PlainStore;
use state::SharedState;
use store::PlantedStore;

/// How long the matrix waits for a check that a bug makes hang.
const PATIENCE: Duration = Duration::from_secs(3);

harness::conformance!(without_a_bug, {
    let stored = SharedState::default();
    opened_by(async move || PlantedStore::open(&stored, None))
});

harness::conformance!(by_small_verbs_alone, {
    let stored = SharedState::default();
    opened_by(async move || PlantedStore::open(&stored, None).map(PlainStore))
});

#[test]
fn each_planted_bug_is_found_by_its_check() {
    each_is_found(KILLERS, planted);
}

/// With `KONTIKI_DEEP` each bug is run with every check; otherwise, to save time, with every
/// eighth.
#[test]
fn the_matrix_of_bugs_and_checks() {
    let mut families: Vec<&str> = CHECKS.iter().map(|check| check.family).collect();
    families.dedup();
    println!("{:<32} {}", "checks that fail, by family", families.join("  "));
    let every = if std::env::var_os("KONTIKI_DEEP").is_some() { 1 } else { 8 };
    for (bug, killer, _) in KILLERS.iter().step_by(every) {
        let factory = planted(*bug);
        let finds = |check: &&'static Check| run_within(PATIENCE, check, &factory).is_err();
        let failed: Vec<&str> = CHECKS.iter().filter(finds).map(|check| check.family).collect();
        let count = |family: &str| failed.iter().filter(|failed| **failed == family).count();
        let cells = families.iter().map(|family| {
            let width = family.len();
            format!("{:>width$}", count(family))
        });
        println!("{:<32} {}", format!("{bug:?}"), cells.collect::<Vec<_>>().join("  "));
        let own = Check::named(killer).family;
        assert!(count(own) > 0, "{bug:?} is not found in {own}");
    }
}

#[test]
fn a_failure_shows_the_steps_that_led_to_it() {
    let failure =
        run(Check::named("append_and_read::a_gap_is_refused"), &planted(Bug::GapIsAccepted));
    let text = failure.expect_err("the bug is found").to_string();
    for words in [
        "broken promise P5: No holes and no falling terms, ever.",
        "what was seen: Ok, for a request to be refused: entry 2 came where 1 had to follow",
        "through the small verbs:",
        "    1. open a fresh store: Ok",
        "    2. append 2@1: Ok",
    ] {
        assert!(text.contains(words), "`{words}` is missing in:\n{text}");
    }
}

#[test]
fn a_random_sequence_is_found_and_shrunk() {
    let random = Check::named("random::sound_and_unsound_steps_agree_with_the_model");
    let Failure { journal, what, .. } =
        run(random, &planted(Bug::ResetForgetsTheHardState)).expect_err("the bug is found");
    assert!(journal.len() <= 6, "{} steps are left: {journal:?}", journal.len());
    assert!(what.contains("KONTIKI_SEED="), "{what}");
}

#[test]
fn the_wrong_one_of_several_stores_is_named() {
    let row = vec![
        NamedStore::new("sound", sound()),
        NamedStore::new("wrong", planted(Bug::ResetForgetsTheHardState)),
    ];
    let failure = lock_step(row).expect_err("the bug is found").to_string();
    for words in ["wrong: after a reset, the hard state is", "sound: open a fresh store: Ok"] {
        assert!(failure.contains(words), "`{words}` is missing in:\n{failure}");
    }
}

/// What went wrong: no promise was named for a store that never answered.
#[test]
fn a_store_that_never_answers_breaks_a_promise() {
    let silent: Factory = Arc::new(|| {
        Box::new(opened_by(async || {
            std::future::pending::<()>().await;
            Ok(log_memory::MemoryLog::new())
        }))
    });
    let outcome = run_within(PATIENCE, Check::named("positions::a_fresh_store_is_blank"), &silent);
    assert_eq!(outcome.expect_err("it hangs").promise, Some(21));
}

#[test]
fn a_check_that_does_not_apply_is_reported() {
    let volatile: Factory =
        Arc::new(|| Box::new(opened_by(async || Ok(log_memory::MemoryLog::new()))));
    let outcome = run(Check::named("reopening::everything_comes_back"), &volatile);
    let does_not_apply =
        matches!(outcome, Ok(Outcome::DoesNotApply(why)) if why.contains("volatile"));
    assert!(does_not_apply, "{outcome:?}");
}

fn sound() -> Factory {
    plan(None)
}

fn planted(bug: Bug) -> Factory {
    plan(Some(bug))
}

fn plan(bug: Option<Bug>) -> Factory {
    Arc::new(move || {
        let stored = SharedState::default();
        Box::new(opened_by(async move || PlantedStore::open(&stored, bug)))
    })
}
