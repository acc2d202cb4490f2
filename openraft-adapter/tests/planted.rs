//! Tests of the adapter: a correct store written for openraft's `RaftLogStorage` passes the suite,
//! power cuts included, and each bug that is planted in it is found by the check named for it.

#[path = "planted/store.rs"]
mod store;

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use harness::conformance::planted::{Killer, each_is_found};
use harness::conformance::{Check, Factory, in_dir, run_within};
use openraft_adapter::v010::{OpenraftLog010, adapt};
use openraft_adapter::{Data, Declared, LACKS, bytes_of, text_of};
use raft_core::storage::{LogError, LogOp};
use store::{Bug, FileStore, Types};

/// openraft's own types have a `String` for a command.
const DATA: Data<String> = Data::new(|bytes| text_of(&bytes), |text| bytes_of(text));

/// How long a store that is expected to hang may take for one step.
const PATIENCE: Duration = Duration::from_secs(3);

use Bug::*;

const KILLERS: &[Killer<Bug>] = &[
    (VoteNotSynced, "power_loss::votes_survive", 8),
    (CallbackBeforeTheSync, "power_loss::entries_survive", 1),
    (CallbackAtOnceAndSyncBehindIt, "power_loss::an_answer_waits_for_its_sync", 1),
    (CallbackIsDropped, "append_and_read::bytes_come_back_exactly", 13),
    (TruncationNotSynced, "power_loss::rewritten_entries_survive", 7),
    (TruncationKeepsOneTooMany, "truncation::truncated_entries_are_removed", 7),
    (PurgeForgetsItsBoundary, "reopening::an_empty_log_keeps_its_boundary", 6),
    (PanicsOnALargeEntry, "append_and_read::a_large_payload_comes_back", 20),
    (ReaderSkipsTheLastEntry, "append_and_read::a_read_returns_its_range", 10),
];

async fn open(dir: &Path, bug: Option<Bug>) -> Result<OpenraftLog010<Types, FileStore>, LogError> {
    let store = FileStore::open(dir, bug).map_err(|error| LogError::io(LogOp::Open, error))?;
    adapt(store, DATA, Declared::durable("a file, for openraft")).await
}

harness::conformance!(without_a_bug, in_dir(async |dir| open(dir, None).await).that_lacks(LACKS));

#[test]
fn each_planted_bug_is_found_by_its_check() {
    each_is_found(KILLERS, planted);
}

#[test]
fn a_callback_that_is_never_called_is_found() {
    let check = Check::named("append_and_read::bytes_come_back_exactly");
    let failure = run_within(PATIENCE, check, &planted(CallbackIsForgotten));
    assert_eq!(failure.expect_err("it hangs").promise, Some(21));
}

fn planted(bug: Bug) -> Factory {
    Arc::new(move || {
        Box::new(in_dir(async move |dir| open(dir, Some(bug)).await).that_lacks(LACKS))
    })
}
