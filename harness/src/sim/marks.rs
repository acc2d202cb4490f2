//! Rare situations that must occur in some runs.
//!
//! A run without a violation proves little if nothing difficult happened in it. Each mark counts
//! the occurrences of one difficult situation. The large run of the simulator (`--marks`) fails if
//! a mark is still zero.

use std::fmt;

/// A situation that must occur in some runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[non_exhaustive]
pub enum Mark {
    /// Two or more entries were truncated at once.
    TruncatedTwoOrMore,
    /// A crash came between issuing a vote and its becoming durable.
    CrashBeforeVoteDurable,
    /// A crash came between issuing entries and their becoming durable.
    CrashBeforeEntriesDurable,
    /// A crash lost a write that was not synced.
    UnsyncedWriteLost,
    /// A write survived a crash although it had not been reported as durable.
    UnreportedWriteSurvived,
    /// All members lost power at once.
    PowerCut,
    /// Two members asked for votes in one term.
    SplitVote,
    /// A message of an earlier term was delivered.
    OldTermDelivered,
    /// A message from the archive was delivered again.
    ArchiveDelivered,
    /// A message was delivered a second time.
    DuplicateDelivered,
    /// Two members led at the same time, in different terms.
    TwoLeaders,
    /// An entry of an earlier term was durable on a majority but not committed when a leader was
    /// elected (Figure 8 of the Raft paper).
    OldEntryOnMajority,
    /// An entry was committed before it was durable on its leader's own disk.
    CommittedBeforeOwnSync,
    /// A follower's client got the answer to a proposal that was forwarded.
    ForwardAnswered,
    /// A command was lost: another leader's entry was committed in its place.
    CommandLost,
    /// A command whose outcome was reported as unknown had been committed, or was committed later.
    UnknownYetCommitted,
    /// A leader stepped down while reads were waiting.
    ReadsAcrossStepDown,
    /// A follower served a read.
    FollowerRead,
    /// A disk completed no write for longer than the stall limit.
    DiskStalled,
    /// A write failed, and its member stopped.
    WriteFailed,
    /// A read of entries failed.
    ReadFailed,
    /// Reads of entries failed repeatedly, and the member stopped.
    ReadsGivenUp,
    /// A state machine could not apply a batch, and its member stopped.
    ApplyFailed,
    /// A member stopped because its leader lacked an entry that the member knows to be committed.
    DataLossReported,
    /// Entries were read from the store because they were not in memory.
    ColdFetch,
    /// The log was truncated between a read of entries and its answer.
    FetchRaced,
    /// A member was restarted within the shortest election timeout.
    QuickRestart,
    /// A member whose state machine keeps its state was restarted.
    DurableMachineRestarted,
    /// A leader handed over to another member, which was elected.
    TransferSucceeded,
    /// A leader gave a transfer up, because the other member was not elected in time.
    TransferAbandoned,
    /// A leader left a joint membership.
    JointLeft,
    /// A membership was truncated, so that the one before it was in force again.
    MembershipTruncated,
    /// A leader that a change removed stopped leading.
    LeaderRemoved,
    /// A node that joined was elected.
    NewcomerLeads,
    /// A snapshot could not be written.
    SnapshotFailed,
    /// A part of a snapshot could not be written by its receiver.
    SnapshotNotReceived,
    /// A member was asked for a part of a snapshot that it did not have any more.
    SnapshotGone,
    /// A member was restored from a snapshot of another member.
    SnapshotInstalled,
    /// The log held the last entry of the snapshot that was installed.
    InstallKeptTheLog,
    /// A snapshot replaced the whole log.
    InstallReplacedTheLog,
    /// A member that started repeated the install that a crash had interrupted.
    InstallRepeated,
    /// A node that joined was brought up to date by a snapshot.
    NewcomerInstalled,
    /// A log was purged.
    LogPurged,
    /// A member stopped because its own log showed that it was removed.
    RemovalInOwnLog,
    /// A member stopped because another one told it that it was removed.
    RemovalTold,
    /// A change of the membership was refused, since a member runs an older program.
    ChangeOfOldProgram,
    /// A member stopped because its program could not read a membership.
    MembershipUnreadable,
    /// The feature level of the cluster was raised.
    FeatureLevelRaised,
    /// A node could not connect, since its program does not support the feature level.
    OlderProgramRefused,
    /// A request of a session had been applied when it was made again, and got the first answer.
    RetryAnsweredFromTable,
    /// A request was refused, since its session had expired.
    SessionExpired,
    /// A request was refused, since its answer had been acknowledged.
    AcknowledgedNumberRefused,
    /// A request had run, and its answer was not kept.
    SessionAnswerDropped,
    /// A member started from a snapshot with sessions.
    SessionsRestored,
    /// A member installed a snapshot with sessions.
    SessionsInstalled,
    /// A change of the membership went the whole way.
    ChangeSucceeded,
    /// A change failed because a new voter did not catch up.
    VoterNotCaughtUp,
    /// A change was cancelled.
    ChangeCancelled,
    /// A change failed because its leader was deposed.
    ChangeLost,
    /// A change was refused, or was not committed in time.
    ChangeRefused,
    /// A leader answered a read by its lease.
    LeaseRead,
    /// A leader answered a read by its lease while another member had a later term.
    LeaseReadBesideCandidate,
    /// A leader's lease ran out.
    LeaseExpired,
    /// A leader gave its lease up because it asked another member to campaign.
    LeaseDropped,
    /// A member served a read from what it knew itself.
    LocalRead,
    /// A local read failed because what the member knew was too old.
    ReadTooOld,
}

impl Mark {
    /// All marks.
    pub const ALL: [Mark; 66] = [
        Mark::TruncatedTwoOrMore,
        Mark::CrashBeforeVoteDurable,
        Mark::CrashBeforeEntriesDurable,
        Mark::UnsyncedWriteLost,
        Mark::UnreportedWriteSurvived,
        Mark::PowerCut,
        Mark::SplitVote,
        Mark::OldTermDelivered,
        Mark::ArchiveDelivered,
        Mark::DuplicateDelivered,
        Mark::TwoLeaders,
        Mark::OldEntryOnMajority,
        Mark::CommittedBeforeOwnSync,
        Mark::ForwardAnswered,
        Mark::CommandLost,
        Mark::UnknownYetCommitted,
        Mark::ReadsAcrossStepDown,
        Mark::FollowerRead,
        Mark::DiskStalled,
        Mark::WriteFailed,
        Mark::ReadFailed,
        Mark::ReadsGivenUp,
        Mark::ApplyFailed,
        Mark::DataLossReported,
        Mark::ColdFetch,
        Mark::FetchRaced,
        Mark::QuickRestart,
        Mark::DurableMachineRestarted,
        Mark::TransferSucceeded,
        Mark::TransferAbandoned,
        Mark::JointLeft,
        Mark::MembershipTruncated,
        Mark::LeaderRemoved,
        Mark::NewcomerLeads,
        Mark::SnapshotFailed,
        Mark::SnapshotNotReceived,
        Mark::SnapshotGone,
        Mark::SnapshotInstalled,
        Mark::InstallKeptTheLog,
        Mark::InstallReplacedTheLog,
        Mark::InstallRepeated,
        Mark::NewcomerInstalled,
        Mark::LogPurged,
        Mark::RemovalInOwnLog,
        Mark::RemovalTold,
        Mark::ChangeOfOldProgram,
        Mark::MembershipUnreadable,
        Mark::FeatureLevelRaised,
        Mark::OlderProgramRefused,
        Mark::RetryAnsweredFromTable,
        Mark::SessionExpired,
        Mark::AcknowledgedNumberRefused,
        Mark::SessionAnswerDropped,
        Mark::SessionsRestored,
        Mark::SessionsInstalled,
        Mark::ChangeSucceeded,
        Mark::VoterNotCaughtUp,
        Mark::ChangeCancelled,
        Mark::ChangeLost,
        Mark::ChangeRefused,
        Mark::LeaseRead,
        Mark::LeaseReadBesideCandidate,
        Mark::LeaseExpired,
        Mark::LeaseDropped,
        Mark::LocalRead,
        Mark::ReadTooOld,
    ];
}

/// How often each situation occurred.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Marks {
    counts: [u64; Mark::ALL.len()],
}

impl Default for Marks {
    fn default() -> Marks {
        Marks { counts: [0; Mark::ALL.len()] }
    }
}

impl Marks {
    /// Counts one occurrence.
    pub(crate) fn hit(&mut self, mark: Mark) {
        self.hit_times(mark, 1);
    }

    /// Counts several occurrences.
    pub(crate) fn hit_times(&mut self, mark: Mark, times: u64) {
        self.counts[mark as usize] += times;
    }

    /// Counts an occurrence if `holds` is true.
    pub(crate) fn hit_if(&mut self, holds: bool, mark: Mark) {
        self.hit_times(mark, u64::from(holds));
    }

    /// How often the situation occurred.
    pub fn count(&self, mark: Mark) -> u64 {
        self.counts[mark as usize]
    }

    /// Adds the counts of another run.
    pub fn add(&mut self, other: &Marks) {
        for (count, more) in self.counts.iter_mut().zip(other.counts) {
            *count += more;
        }
    }

    /// The situations that never occurred.
    pub fn missing(&self) -> Vec<Mark> {
        Mark::ALL.into_iter().filter(|mark| self.count(*mark) == 0).collect()
    }
}

/// Formats a table with one mark on each line.
impl fmt::Display for Marks {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        Mark::ALL.iter().try_for_each(|mark| {
            writeln!(f, "  {:<28} {:>9}", format!("{mark:?}"), self.count(*mark))
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_list_of_marks_is_complete_and_in_order() {
        for (position, mark) in Mark::ALL.into_iter().enumerate() {
            assert_eq!(mark as usize, position);
        }
        let mut marks = Marks::default();
        marks.hit(Mark::PowerCut);
        assert_eq!(marks.missing().len(), Mark::ALL.len() - 1);
    }
}
