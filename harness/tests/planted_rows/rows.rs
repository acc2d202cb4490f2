//! The rows: what went wrong elsewhere, and the planted bug for it here.

use super::files::Bug as FileBug;
use super::journal::Bug as JournalBug;
use super::stores::Bug as StoreBug;

/// A bug that a store of another project has had.
pub struct Row {
    pub name: &'static str,
    pub what: &'static str,
    pub kills: &'static [Kill],
}

/// Where a bug is planted, and which check finds it.
pub enum Kill {
    /// In the store in memory; its list names the check.
    Store(StoreBug),
    /// In the store in a file, whose power is cut.
    Files(FileBug),
    /// In the journal, which is damaged and whose disk fails.
    Journal(JournalBug),
    /// In a backend, or in a separate store; the file lists it with the check.
    Backend { file: &'static str, bug: &'static str, killer: &'static str },
    /// In the core; a golden trace finds it, and the simulator searches for it.
    Trace { bug: &'static str, trace: &'static str },
    /// In the code that drives the store; the simulator searches for all bugs that the file lists.
    Simulator { bug: &'static str, file: &'static str },
    /// It cannot be planted, because of this text in this file.
    CannotExist { because: &'static str, file: &'static str, argument: &'static str },
}

const fn row(name: &'static str, what: &'static str, kills: &'static [Kill]) -> Row {
    Row { name, what, kills }
}

pub const ROWS: &[Row] = &[
    row(
        "M1",
        "term and vote written apart",
        &[Kill::Files(FileBug::TermBeforeItsVote), Kill::Files(FileBug::BatchInTwoSyncs)],
    ),
    row(
        "M2",
        "a failed save of the vote is ignored",
        &[
            Kill::Simulator { bug: "FailureReportedAsDurable", file: "harness/src/sim/planted.rs" },
            Kill::Journal(JournalBug::SyncErrorIsIgnored),
        ],
    ),
    row(
        "M3",
        "votes requested before the own vote is durable",
        &[Kill::Trace {
            bug: "CandidateAsksBeforeDurable",
            trace: "election/candidate_asks_once_its_own_vote_is_durable",
        }],
    ),
    row(
        "M6",
        "a heartbeat reports what was received",
        &[Kill::Trace {
            bug: "HeartbeatReportsVerified",
            trace: "append/heartbeat_reports_what_is_durable",
        }],
    ),
    row(
        "M7",
        "a leader counts what its disk lacks",
        &[Kill::Trace {
            bug: "LeaderCountsBeforeSync",
            trace: "commit/leader_counts_itself_only_when_durable",
        }],
    ),
    row(
        "M8",
        "answered before the flush",
        &[
            Kill::Trace {
                bug: "AckBeforeSync",
                trace: "append/one_answer_for_all_that_one_sync_made_durable",
            },
            Kill::Simulator {
                bug: "DurableReportedBeforeSync",
                file: "harness/src/sim/planted.rs",
            },
        ],
    ),
    row(
        "M9",
        "a truncation does not lower the durable index",
        &[Kill::Trace {
            bug: "LateCompletionConfirmsRewritten",
            trace: "writes/late_completion_confirms_nothing_new",
        }],
    ),
    row(
        "M10",
        "a late completion confirms other entries",
        &[Kill::Trace {
            bug: "LateCompletionConfirmsRewritten",
            trace: "writes/late_completion_confirms_nothing_new",
        }],
    ),
    row(
        "M11",
        "the mark is not lowered: a match that is not",
        &[Kill::Trace {
            bug: "LateCompletionConfirmsRewritten",
            trace: "writes/late_completion_confirms_nothing_new",
        }],
    ),
    row("M12", "cut and append in two steps", &[Kill::Files(FileBug::TruncateAndAppendInTwoSyncs)]),
    row("M15", "a cut that is only in memory", &[Kill::Store(StoreBug::TruncationIsNotPersistent)]),
    row(
        "M17",
        "the boundary is not kept; purged entries return",
        &[
            Kill::Store(StoreBug::EmptyLogForgetsItsBoundary),
            Kill::Store(StoreBug::PurgedEntriesComeBack),
        ],
    ),
    row(
        "M18",
        "on from memory after a failed write",
        &[Kill::Journal(JournalBug::ContinuesAfterAFailure)],
    ),
    row(
        "M19",
        "a failed sync is tried again",
        &[
            Kill::Journal(JournalBug::SyncIsTriedAgain),
            Kill::Journal(JournalBug::OpensWithoutARewrite),
        ],
    ),
    row(
        "M20",
        "names and files in the wrong order",
        &[
            Kill::Files(FileBug::RotatedBeforeItsBytes),
            Kill::Files(FileBug::DirectoryNotSyncedAfterRotation),
            Kill::Files(FileBug::RemovedBeforeItIsReplaced),
        ],
    ),
    row(
        "M24",
        "a failed read is taken for absence",
        &[
            Kill::Journal(JournalBug::FailedReadIsAFreshLog),
            Kill::Store(StoreBug::ReadIsSilentlyShort),
        ],
    ),
    row(
        "M25",
        "only the first entry is found; a first index of 1",
        &[
            Kill::Store(StoreBug::OnlyTheFirstEntryIsFound),
            Kill::Store(StoreBug::FirstIndexIsAlwaysOne),
        ],
    ),
    row(
        "M27",
        "applied ahead of the durable log",
        &[
            Kill::Trace {
                bug: "AppliedBeforeDurable",
                trace: "commit/follower_applies_only_what_its_disk_has",
            },
            Kill::Simulator { bug: "LastCommandAppliedAgain", file: "harness/src/sim/planted.rs" },
        ],
    ),
    row(
        "D1",
        "acknowledged before it is durable",
        &[
            Kill::Files(FileBug::NeverSynced),
            Kill::Backend {
                file: "log-sqlite/tests/planted.rs",
                bug: "SynchronousNormal",
                killer: "power_loss::entries_survive",
            },
            Kill::Backend {
                file: "log-rocksdb/tests/planted.rs",
                bug: "WritesWithoutSync",
                killer: "power_loss::entries_survive",
            },
        ],
    ),
    row("D2", "the vote alone is not synced", &[Kill::Files(FileBug::VoteNotSynced)]),
    row("D3", "a truncation that is not synced", &[Kill::Files(FileBug::TruncationNotSynced)]),
    row(
        "D4",
        "a purge in parts; a wrong boundary at loading",
        &[Kill::Files(FileBug::PurgeInTwoSyncs), Kill::Store(StoreBug::EmptyLogForgetsItsBoundary)],
    ),
    row(
        "D5",
        "a suffix deleted front to back",
        &[Kill::Backend {
            file: "harness/tests/planted_leaves/store.rs",
            bug: "SuffixDeletedFrontToBack",
            killer: "power_loss::rewritten_entries_survive",
        }],
    ),
    row(
        "D7",
        "a truncation off by one, or in memory alone",
        &[
            Kill::Store(StoreBug::TruncationKeepsOneTooMany),
            Kill::Store(StoreBug::TruncationIsNotPersistent),
        ],
    ),
    row(
        "D8",
        "a failed sync is ignored, or tried again",
        &[
            Kill::Journal(JournalBug::SyncErrorIsIgnored),
            Kill::Journal(JournalBug::SyncIsTriedAgain),
        ],
    ),
    row(
        "D9",
        "a directory is not synced",
        &[Kill::Files(FileBug::DirectoryNotSyncedAfterRotation)],
    ),
    row("D11", "a torn tail is taken", &[Kill::Files(FileBug::TornTailIsTaken)]),
    row(
        "D12",
        "damage in the middle ends the log",
        &[Kill::Journal(JournalBug::MiddleDamageEndsTheLog)],
    ),
    row(
        "D13",
        "a checksum that does not bind the place",
        &[Kill::Journal(JournalBug::ChecksumIgnoresThePlace)],
    ),
    row("D15", "a batch that is no unit", &[Kill::Files(FileBug::BatchInTwoSyncs)]),
    row(
        "D16",
        "completions out of order lower the mark",
        &[Kill::CannotExist {
            because: "an_older_completion_changes_nothing",
            file: "raft-core/src/consensus/writes.rs",
            argument: "one write is in flight, completed without a number; old ones are ignored",
        }],
    ),
    row(
        "D17",
        "a completion without a term (ABA)",
        &[Kill::Trace {
            bug: "LateCompletionConfirmsRewritten",
            trace: "writes/late_completion_confirms_nothing_new",
        }],
    ),
    row(
        "D20",
        "a buffer shared between readers",
        &[Kill::CannotExist {
            because: "pub payload: Bytes",
            file: "raft-core/src/types/entry.rs",
            argument: "a payload is `Bytes`, which cannot be written to without unsafe code",
        }],
    ),
    row("D22", "an empty log claims index 0", &[Kill::Store(StoreBug::EmptyLogForgetsItsBoundary)]),
    row(
        "D23",
        "gaps and overlaps are taken",
        &[Kill::Store(StoreBug::GapIsAccepted), Kill::Store(StoreBug::OverwritesWithoutTruncation)],
    ),
    row(
        "D26",
        "opening skips what is damaged",
        &[
            Kill::Journal(JournalBug::MiddleDamageEndsTheLog),
            Kill::Journal(JournalBug::DurableMarkIsNotRead),
        ],
    ),
    row("D27", "two openers", &[Kill::Store(StoreBug::TwoOpeners)]),
    row(
        "own 1",
        "an opening that syncs, but rewrites nothing",
        &[Kill::Journal(JournalBug::OpensWithoutARewrite)],
    ),
    row("own 2", "an opening that does not sync", &[Kill::Files(FileBug::OpensWithoutSync)]),
    row(
        "own 3",
        "synced late",
        &[
            Kill::Files(FileBug::SyncedEverySecondTime),
            Kill::Files(FileBug::SyncedBeforeTheWrite),
            Kill::Files(FileBug::CloseIsTheOnlySync),
        ],
    ),
];
