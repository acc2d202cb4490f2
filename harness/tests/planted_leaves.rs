//! A store of many files: a suffix that is deleted from the wrong end leaves a hole when the power
//! is cut between two files.
//!
//! The store has one file for each entry, does not declare atomic batches, and deletes a suffix
//! from its end. The planted bug deletes in the other direction, as a log of segments in another
//! project did.

#![cfg(target_os = "linux")]

#[path = "planted_leaves/store.rs"]
mod store;

use std::sync::Arc;

use harness::conformance::planted::each_is_found;
use harness::conformance::{Factory, in_dir};
use store::{Bug, KILLERS, LeafStore};

harness::conformance!(without_a_bug, in_dir(async |dir| LeafStore::open(dir, None).await));

#[test]
fn each_planted_bug_is_found_by_its_check() {
    each_is_found(KILLERS, planted);
}

fn planted(bug: Bug) -> Factory {
    Arc::new(move || Box::new(in_dir(async move |dir| LeafStore::open(dir, Some(bug)).await)))
}
