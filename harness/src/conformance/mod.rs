//! The conformance suite: checks whether a store keeps the contract, with one named test for each
//! check.
//!
//! [`conformance!`](macro@crate::conformance) in a test file of ten lines runs the suite on a
//! backend, in this repository or outside of it. The suite needs a [`Place`] from the backend: the
//! location of one store, which can be opened repeatedly.
//!
//! | module | |
//! |---|---|
//! | `subject` | the store under test beside the suite's own model; each request is made to both |
//! | `model` | what a store must do, in about two hundred lines |
//! | `request` | how a change is requested, how its answer is judged, and the text of both |
//! | `journal` | the requests and answers that a failure prints |
//! | `contents` | everything that a store shows, and which promise a difference breaks |
//! | `place` | the location of a store |
//! | `samples`, `drafts` | entries that contain their ids, random batches that fit a log |
//! | `sequences` | random sequences of steps, which are tried and shortened |
//! | `image`, `state_history` | damaged files, and what a damaged store may show |
//! | `interrupted` | what a store may hold after a batch that was interrupted |
//! | `gate`, `member` | a member of the engine on the store, whose writes can be held back |
//! | `lock_step` | several stores that run the same steps |
//! | `workbench` | what a backend's own tests may use of all this |
//! | `planted` | planted bugs, each found by the check that is named for it |
//! | `report` | how a check ends, and the text of a broken promise |
//! | `run` | one check on one store, with a time limit |
//! | `second` | a second opener in a separate process |
//! | `test_name` | the full name of a test, to run it again |
//! | `tally` | what a run counts, and the summary of each family |
//! | `elsewhere` | the families `io_errors` and `power_loss` on systems other than Linux |
//! | `checks` | the checks, one family of promises in each file |
//!
//! Each check runs twice: its requests as small verbs, and as batches given to `write`. What a
//! store declares (`StoreInfo`) decides which checks apply: a volatile store is never opened again.
//!
//! Deliberately absent: several Raft groups in one store; failing disks and power cuts on systems
//! other than Linux.

use std::future::Future;
use std::pin::Pin;

pub mod checks;
mod contents;
mod drafts;
#[doc(hidden)]
pub mod elsewhere;
mod gate;
mod image;
mod interrupted;
mod journal;
mod lock_step;
mod member;
mod model;
mod place;
pub mod planted;
mod report;
mod request;
mod run;
mod samples;
mod second;
mod sequences;
mod settings;
mod state_history;
mod subject;
mod tally;
mod test_name;
pub mod workbench;

pub use lock_step::{NamedStore, lock_step};
pub use place::{Factory, InDir, Lacks, OpenedBy, Place, in_dir, opened_by};
pub use report::{Broken, Checked, Halt, Outcome, promise_text};
pub use run::{Failure, hold, open_if_asked, run, run_in, run_within};
pub use subject::{Ending, Subject, Way};
pub use test_name::TestName;

/// One check: a scenario that a correct store goes through without breaking a promise.
#[derive(Clone, Copy)]
pub struct Check {
    /// The family of promises, which is the name of its file.
    pub family: &'static str,
    /// What holds, as a name.
    pub name: &'static str,
    /// The scenario.
    pub scenario: Scenario,
}

/// The steps of a check on a subject.
pub type Scenario = for<'a> fn(&'a mut Subject) -> Pin<Box<dyn Future<Output = Checked> + 'a>>;

/// Runs the suite on a backend: `conformance!(name, place)`, where `place` is an expression that
/// gives a new [`Place`](crate::conformance::Place) each time it is evaluated.
///
/// ```
/// use harness::conformance::in_dir;
/// # use log_memory::MemoryLog;
/// # struct FileLog;
/// # use raft_core::storage::LogError;
/// # impl FileLog {
/// #     fn open(_: &std::path::Path) -> Result<MemoryLog, LogError> { Ok(MemoryLog::new()) }
/// # }
///
/// harness::conformance!(file_log, in_dir(async |dir| FileLog::open(dir)));
/// ```
#[macro_export]
macro_rules! conformance {
    ($name:ident, $place:expr) => {
        fn $name() -> Box<dyn $crate::conformance::Place> {
            Box::new($place)
        }

        $crate::list_of_checks!(tests_of_checks $name);
    };
}

/// Every check by family. The list is passed to another macro, which makes tests or a table of it.
#[doc(hidden)]
#[macro_export]
macro_rules! list_of_checks {
    ($then:ident $($head:ident)?) => {
        $crate::$then! {
            ($($head)?)
            positions {
                a_fresh_store_is_blank
                the_first_index_follows_the_boundary
                bounds_follow_each_change
                numbers_of_every_width_are_stored
                an_identity_is_saved_once
            }
            append_and_read {
                bytes_come_back_exactly
                lengths_at_every_edge_come_back
                many_entries_in_one_append_come_back
                an_append_of_more_than_65536_entries_comes_back
                a_large_payload_comes_back
                every_kind_comes_back
                a_gap_is_refused
                an_append_below_the_end_is_refused
                a_hole_inside_an_append_is_refused
                a_falling_term_is_refused
                an_append_of_no_entries_succeeds
                a_read_returns_its_range
                a_read_returns_what_fits_and_at_least_one_entry
                a_read_outside_the_log_returns_the_reason
                a_term_can_be_read_for_each_entry
            }
            hard_state {
                term_and_vote_come_back_as_one
                the_hard_state_never_goes_back
                truncations_and_purges_leave_the_hard_state_alone
                a_reset_leaves_the_hard_state_alone
            }
            truncation {
                truncated_entries_are_removed
                a_truncation_past_the_end_does_nothing
                a_truncation_below_the_boundary_is_refused
                one_index_is_rewritten_many_times
                a_deep_truncation_reaches_the_old_entries
                a_batch_truncates_before_it_appends
                a_refusal_leaves_the_batch_undone
                committed_entries_are_not_truncated
            }
            purge_and_reset {
                a_purge_moves_the_boundary
                a_purge_of_everything_keeps_the_boundary
                a_purge_at_or_below_the_boundary_does_nothing
                a_purge_beyond_the_end_is_refused
                a_purge_of_another_term_is_refused
                a_reset_replaces_everything
                a_batch_resets_first_and_purges_last
                a_purge_removes_nothing_after_it
                many_purges_leave_the_rest_intact
                a_purge_frees_space
            }
            reopening {
                everything_comes_back
                an_empty_log_keeps_its_boundary
                a_truncated_suffix_never_comes_back
                a_truncated_suffix_never_comes_back_after_a_shorter_one
                purged_entries_never_come_back
                a_reset_outlives_its_handle
                the_hard_state_comes_back
                the_identity_comes_back
                recovery_reports_what_the_log_holds
                a_commit_hint_is_never_too_high
                refusals_leave_nothing_behind
                one_opener_at_a_time
                another_process_cannot_open_the_store
            }
            concurrency {
                an_older_reader_sees_later_writes
                many_readers_read_at_once
                bytes_that_were_read_never_change
                readers_race_with_the_writer
            }
            damage {
                a_flipped_byte_never_passes_for_data
                what_an_opening_showed_is_proven
                only_the_last_batch_may_pass_for_torn
                zeroed_sectors_never_pass_for_data
                stale_sectors_never_pass_for_data
                a_missing_file_never_passes_for_an_empty_one
                a_shorter_file_never_passes_for_a_whole_one
                a_longer_file_does_not_make_a_longer_log
                foreign_files_are_not_accepted
            }
            io_errors {
                a_failed_write_is_reported_and_loses_nothing
                a_short_write_is_not_taken_for_a_whole_one
                a_failed_sync_is_never_trusted
                a_failed_save_of_the_identity_is_reported
                a_failed_change_of_names_loses_nothing
                a_full_disk_loses_nothing_and_opens_once_there_is_space
                a_failed_read_is_not_taken_for_absence
                a_failed_read_may_be_tried_again
            }
            persist {
                each_proposal_is_answered_once
                many_proposals_share_a_write
                a_command_is_not_answered_before_it_is_durable
                a_late_write_confirms_nothing_rewritten
                dropped_futures_lose_nothing
                a_write_wakes_its_last_poller
                a_dropped_write_leaves_a_legal_prefix
                an_end_with_work_under_way_leaves_a_legal_prefix
                a_shutdown_flushes_and_answers_every_client
                a_full_queue_pushes_back
                a_failed_write_is_answered_truthfully
            }
            declarations {
                declarations_do_not_change
                an_atomic_batch_is_refused_as_a_whole
                a_store_that_never_blocks_never_sleeps
                a_reader_that_never_blocks_never_sleeps
            }
            power_loss {
                entries_survive
                votes_survive
                rewritten_entries_survive
                a_purge_survives
                a_reset_survives
                the_identity_survives
                a_batch_survives
                a_large_batch_survives
                a_closed_store_survives
                a_dropped_store_survives
                a_torn_write_is_not_an_entry
                a_long_running_log_survives
                an_answer_waits_for_its_sync
                random_batches_survive
                a_real_power_cut_loses_nothing
            }
            random {
                sound_and_unsound_steps_agree_with_the_model
            }
        }
    };
}

/// Makes a module of tests.
#[doc(hidden)]
#[macro_export]
macro_rules! tests_of_checks {
    (($name:ident) $($family:ident { $($check:ident)* })*) => {
        mod $name {
            $(mod $family {
                $(#[test]
                fn $check() {
                    let test = $crate::conformance::TestName {
                        package: env!("CARGO_PKG_NAME"),
                        binary: env!("CARGO_CRATE_NAME"),
                        module: module_path!(),
                    };
                    let (family, check) = (stringify!($family), stringify!($check));
                    $crate::conformance::hold(family, check, super::super::$name, test);
                })*
            })*
        }
    };
}

/// Makes the table of all checks.
#[doc(hidden)]
#[macro_export]
macro_rules! table_of_checks {
    (() $($family:ident { $($check:ident)* })*) => {
        &[$($($crate::conformance::Check {
            family: stringify!($family),
            name: stringify!($check),
            scenario: |subject| Box::pin($crate::conformance::checks::$family::$check(subject)),
        },)*)*]
    };
}

/// Makes the families that need a Linux disk, with checks that are skipped.
#[doc(hidden)]
#[macro_export]
macro_rules! skipped_checks {
    (() $($family:ident { $($check:ident)* })*) => {
        $($crate::skipped_family! { $family $($check)* })*
    };
}

/// Makes one family, if it is one of those that need a Linux disk.
#[doc(hidden)]
#[macro_export]
macro_rules! skipped_family {
    (io_errors $($check:ident)*) => {
        $crate::skipped_family! { io_errors: "operations fail on Linux only" $($check)* }
    };
    (power_loss $($check:ident)*) => {
        $crate::skipped_family! { power_loss: "the power is cut on Linux only" $($check)* }
    };
    ($family:ident: $why:literal $($check:ident)*) => {
        /// Needs Linux.
        pub mod $family {
            $(
                /// Needs Linux.
                pub async fn $check(
                    _: &mut $crate::conformance::Subject,
                ) -> $crate::conformance::Checked {
                    Err($crate::conformance::Halt::Skipped($why.to_owned()))
                }
            )*
        }
    };
    ($family:ident $($check:ident)*) => {};
}

/// Every check, in order.
pub const CHECKS: &[Check] = list_of_checks!(table_of_checks);
