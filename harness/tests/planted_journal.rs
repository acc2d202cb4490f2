//! Tests of the families `damage` and `io_errors`: a correct store in a journal passes the whole
//! suite, and each bug that is planted in it is found by the check named for it, which names the
//! broken promise.

#![cfg(target_os = "linux")]

#[path = "planted_journal/bug.rs"]
mod bug;
#[path = "planted_journal/record.rs"]
mod record;
#[path = "planted_journal/store.rs"]
mod store;

use std::sync::Arc;

use bug::{Bug, KILLERS};
use harness::conformance::planted::{each_is_found, print_matrix};
use harness::conformance::{Factory, Lacks, in_dir};
use store::Journal;

// No purge rewrites the journal, since tests of damage depend on the position of each byte.
harness::conformance!(
    without_a_bug,
    in_dir(async |dir| Journal::open(dir, None).await)
        .that_lacks(Lacks { space: true, ..Lacks::default() })
);

#[test]
fn each_planted_bug_is_found_by_its_check() {
    each_is_found(KILLERS, planted);
}

#[test]
fn the_matrix_of_bugs_and_checks() {
    print_matrix(KILLERS, planted);
}

fn planted(bug: Bug) -> Factory {
    Arc::new(move || Box::new(in_dir(async move |dir| Journal::open(dir, Some(bug)).await)))
}
