//! The bugs that are planted in a store of files, each with the check that has to find it and the
//! promise that the check has to name.

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
    CutAndAppendInTwoSyncs,
    PurgeInTwoSyncs,
    DirectoryNotSyncedAfterRotation,
    RotatedBeforeItsBytes,
    RemovedBeforeItIsReplaced,
    RotationForgetsTheVote,
    CloseIsTheOnlySync,
    HintAloneIsCareless,
    LargeRecordNotSynced,
    MegabytesInParts,
    RotationForgetsTheIdentity,
    LockIsOfTheName,
}

use Bug::*;

/// A bug, the check that finds it, and the promise broken.
pub const KILLERS: &[(Bug, &str, usize)] = &[
    (NeverSynced, "power_loss::entries_survive", 1),
    (NeverSynced, "power_loss::a_real_power_cut_takes_nothing", 1),
    (SyncedBeforeTheWrite, "power_loss::entries_survive", 1),
    (SyncedEverySecondTime, "power_loss::entries_survive", 1),
    (VoteNotSynced, "power_loss::votes_survive", 8),
    (EntriesNotSynced, "power_loss::entries_survive", 1),
    (TruncationNotSynced, "power_loss::what_is_rewritten_survives", 7),
    (PurgeNotSynced, "power_loss::a_purge_survives", 7),
    (ResetNotSynced, "power_loss::a_reset_survives", 7),
    (IdentityNotSynced, "power_loss::the_identity_survives", 1),
    (OpensWithoutSync, "power_loss::entries_survive", 2),
    (TornTailIsTaken, "power_loss::a_torn_write_is_no_entry", 10),
    (BatchInTwoSyncs, "power_loss::a_batch_survives", 4),
    (LargeBatchInParts, "power_loss::a_large_batch_survives", 4),
    (EntriesBeforeTheVote, "power_loss::a_batch_survives", 4),
    (TermBeforeItsVote, "power_loss::votes_survive", 8),
    (CutAndAppendInTwoSyncs, "power_loss::what_is_rewritten_survives", 1),
    (PurgeInTwoSyncs, "power_loss::a_purge_survives", 6),
    (DirectoryNotSyncedAfterRotation, "power_loss::a_long_life_survives", 1),
    (RotatedBeforeItsBytes, "power_loss::a_long_life_survives", 1),
    (RemovedBeforeItIsReplaced, "power_loss::a_long_life_survives", 1),
    (RotationForgetsTheVote, "power_loss::a_long_life_survives", 8),
    (CloseIsTheOnlySync, "power_loss::a_closed_store_survives", 1),
    (HintAloneIsCareless, "power_loss::a_batch_survives", 1),
    (LargeRecordNotSynced, "power_loss::a_large_batch_survives", 1),
    (MegabytesInParts, "power_loss::a_large_batch_survives", 4),
    (RotationForgetsTheIdentity, "purge_and_reset::many_purges_leave_the_rest_whole", 1),
    (RotationForgetsTheIdentity, "power_loss::a_long_life_survives", 1),
    (LockIsOfTheName, "reopening::one_opener_at_a_time", 17),
];
