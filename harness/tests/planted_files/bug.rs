//! The bugs that are planted in a store of files, each with the check that must find it and the
//! promise that the check must name.

/// What a planted store of files does wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Bug {
    NeverSynced,
    SyncedBeforeTheWrite,
    SyncedEverySecondTime,
    VoteNotSynced,
    EntriesNotSynced,
    TruncationNotSynced,
    PurgeNotSynced,
    ResetNotSynced,
    IdentityNotSynced,
    OpensWithoutSync,
    TornTailIsTaken,
    BatchInTwoSyncs,
    LargeBatchInParts,
    EntriesBeforeTheVote,
    TermBeforeItsVote,
    TruncateAndAppendInTwoSyncs,
    PurgeInTwoSyncs,
    DirectoryNotSyncedAfterRotation,
    RotatedBeforeItsBytes,
    RemovedBeforeItIsReplaced,
    RotationForgetsTheVote,
    CloseIsTheOnlySync,
    HintAloneRewritesTheLog,
    LargeRecordNotSynced,
    MegabytesInParts,
    RotationForgetsTheIdentity,
    LockIsByPath,
    LockIsByProcess,
    LateWriteHitsTheNext,
    DsyncOfTheCommitOnly,
    SyncsAfterTheAnswer,
    NeverRotates,
    NeverFreesSpace,
    AFailedReadPoisons,
}

use Bug::*;

/// A bug, the check that finds it, and the broken promise.
pub const KILLERS: &[(Bug, &str, usize)] = &[
    (NeverSynced, "power_loss::entries_survive", 1),
    (NeverSynced, "power_loss::a_real_power_cut_loses_nothing", 1),
    (SyncedBeforeTheWrite, "power_loss::entries_survive", 1),
    (SyncedEverySecondTime, "power_loss::entries_survive", 1),
    (VoteNotSynced, "power_loss::votes_survive", 8),
    (EntriesNotSynced, "power_loss::entries_survive", 1),
    (TruncationNotSynced, "power_loss::rewritten_entries_survive", 7),
    (PurgeNotSynced, "power_loss::a_purge_survives", 7),
    (ResetNotSynced, "power_loss::a_reset_survives", 7),
    (IdentityNotSynced, "power_loss::the_identity_survives", 1),
    (OpensWithoutSync, "power_loss::entries_survive", 2),
    (TornTailIsTaken, "power_loss::a_torn_write_is_not_an_entry", 10),
    (BatchInTwoSyncs, "power_loss::a_batch_survives", 4),
    (LargeBatchInParts, "power_loss::a_large_batch_survives", 4),
    (EntriesBeforeTheVote, "power_loss::a_batch_survives", 4),
    (TermBeforeItsVote, "power_loss::votes_survive", 8),
    (TruncateAndAppendInTwoSyncs, "power_loss::rewritten_entries_survive", 1),
    (PurgeInTwoSyncs, "power_loss::a_purge_survives", 6),
    (DirectoryNotSyncedAfterRotation, "power_loss::a_long_running_log_survives", 1),
    (RotatedBeforeItsBytes, "power_loss::a_long_running_log_survives", 1),
    (RemovedBeforeItIsReplaced, "power_loss::a_long_running_log_survives", 1),
    (RotationForgetsTheVote, "power_loss::a_long_running_log_survives", 8),
    (CloseIsTheOnlySync, "power_loss::a_closed_store_survives", 1),
    (HintAloneRewritesTheLog, "power_loss::a_batch_survives", 1),
    (LargeRecordNotSynced, "power_loss::a_large_batch_survives", 1),
    (MegabytesInParts, "power_loss::a_large_batch_survives", 4),
    (RotationForgetsTheIdentity, "purge_and_reset::many_purges_leave_the_rest_intact", 1),
    (RotationForgetsTheIdentity, "power_loss::a_long_running_log_survives", 1),
    (LateWriteHitsTheNext, "power_loss::entries_survive", 1),
    (DsyncOfTheCommitOnly, "power_loss::entries_survive", 1),
    (SyncsAfterTheAnswer, "power_loss::an_answer_waits_for_its_sync", 1),
    (NeverFreesSpace, "purge_and_reset::a_purge_frees_space", 19),
    (AFailedReadPoisons, "io_errors::a_failed_read_may_be_tried_again", 13),
    (LockIsByPath, "reopening::one_opener_at_a_time", 17),
];

/// Bugs that no check of the list finds, each with the test of `planted_files.rs` that finds it.
pub const FOUND_BY_A_TEST: &[(Bug, &str)] = &[
    (NeverRotates, "a_store_that_never_rotated_is_reported"),
    (LockIsByProcess, "a_lock_of_one_process_alone_is_found"),
];
