//! The bugs that are planted in a journal, each with the check that must find it and the promise
//! that the check must name.

/// What a planted journal does wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Bug {
    NoChecksum,
    MiddleDamageEndsTheLog,
    DurableMarkIsNotRead,
    ChecksumIgnoresThePlace,
    ForeignJournalIsAccepted,
    MissingFileIsAFreshLog,
    ZerosEndTheLog,
    OpeningProvesNothing,
    OpensWithoutARewrite,
    DamageIsReportedAsAbsence,
    DamageHasNoPlace,
    WriteErrorIsIgnored,
    ShortWriteIsTakenForAWholeOne,
    SyncErrorIsIgnored,
    OpeningSyncErrorIsIgnored,
    SyncIsTriedAgain,
    ContinuesAfterAFailure,
    PurgesAfterAFailure,
    ContinuesAfterAFailedClose,
    IdentityErrorIsIgnored,
    IdentityErrorDoesNotPoison,
    FailedReadIsAFreshLog,
    TemporaryFileBlocksTheNextOpening,
    IdentifiesItsFilesByTheirAge,
    RefusedWriteIsShown,
    RefusedBatchIsLost,
}

use Bug::*;

/// A bug, the check that finds it, and the broken promise.
pub const KILLERS: &[(Bug, &str, usize)] = &[
    (NoChecksum, "damage::a_flipped_byte_never_passes_for_data", 14),
    (MiddleDamageEndsTheLog, "damage::only_the_last_batch_may_pass_for_torn", 14),
    (DurableMarkIsNotRead, "damage::a_shorter_file_never_passes_for_a_whole_one", 14),
    (ChecksumIgnoresThePlace, "damage::a_longer_file_does_not_make_a_longer_log", 13),
    (ForeignJournalIsAccepted, "damage::foreign_files_are_not_accepted", 14),
    (MissingFileIsAFreshLog, "damage::a_missing_file_never_passes_for_an_empty_one", 14),
    (ZerosEndTheLog, "damage::zeroed_sectors_never_pass_for_data", 14),
    (OpeningProvesNothing, "damage::what_an_opening_showed_is_proven", 14),
    (OpensWithoutARewrite, "io_errors::a_failed_sync_is_never_trusted", 3),
    (DamageIsReportedAsAbsence, "damage::a_flipped_byte_never_passes_for_data", 13),
    (DamageHasNoPlace, "damage::a_flipped_byte_never_passes_for_data", 14),
    (WriteErrorIsIgnored, "io_errors::a_failed_write_is_reported_and_loses_nothing", 3),
    (ShortWriteIsTakenForAWholeOne, "io_errors::a_short_write_is_not_taken_for_a_whole_one", 3),
    (SyncErrorIsIgnored, "io_errors::a_failed_sync_is_never_trusted", 3),
    (OpeningSyncErrorIsIgnored, "io_errors::a_failed_sync_is_never_trusted", 3),
    (SyncIsTriedAgain, "io_errors::a_failed_sync_is_never_trusted", 3),
    (ContinuesAfterAFailure, "io_errors::a_failed_write_is_reported_and_loses_nothing", 15),
    (PurgesAfterAFailure, "io_errors::a_failed_write_is_reported_and_loses_nothing", 15),
    (ContinuesAfterAFailedClose, "io_errors::a_failed_sync_is_never_trusted", 15),
    (IdentityErrorIsIgnored, "io_errors::a_failed_save_of_the_identity_is_reported", 1),
    (IdentityErrorDoesNotPoison, "io_errors::a_failed_save_of_the_identity_is_reported", 15),
    (RefusedWriteIsShown, "io_errors::a_failed_write_is_reported_and_loses_nothing", 16),
    (RefusedBatchIsLost, "io_errors::a_failed_write_is_reported_and_loses_nothing", 16),
    (FailedReadIsAFreshLog, "io_errors::a_failed_read_is_not_taken_for_absence", 13),
    (IdentifiesItsFilesByTheirAge, "damage::a_flipped_byte_never_passes_for_data", 14),
    (
        TemporaryFileBlocksTheNextOpening,
        "io_errors::a_full_disk_loses_nothing_and_opens_once_there_is_space",
        15,
    ),
];
