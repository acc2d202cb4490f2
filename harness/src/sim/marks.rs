//! Rare things that must happen sometimes.
//!
//! A run without a violation proves little if nothing difficult happened in it. Each mark counts
//! one such thing; the run that guards the project asserts that none is left at zero.

use std::fmt;

/// What must happen sometimes.
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
    UntoldWriteKept,
    /// All members lost power at once.
    PowerCut,
    /// Two members asked for votes in one term.
    SplitVote,
    /// A message of an earlier term was delivered.
    OldTermDelivered,
    /// A message from the archive was delivered again.
    ArchiveDelivered,
    /// A message went twice.
    DuplicateDelivered,
    /// Two members led at once, in different terms.
    TwoLeaders,
    /// An entry of an earlier term stood on a majority, not committed, when a leader was elected
    /// (Figure 8).
    OldEntryOnMajority,
    /// An entry was committed before it was durable on its leader's own disk.
    CommittedBeforeOwnSync,
    /// A follower's client got the answer to a proposal that was forwarded.
    ForwardAnswered,
    /// A command was lost: another leader's entry was committed in its place.
    CommandLost,
    /// A command whose outcome was told to be unknown had happened, or did later.
    UnknownYetCommitted,
    /// Reads waited while the leadership ended.
    ReadsAcrossStepDown,
    /// A follower served a read.
    FollowerRead,
    /// A disk completed no write for longer than the stall limit.
    DiskStalled,
    /// A write failed, and its member stopped.
    WriteFailed,
    /// A read of entries failed.
    ReadFailed,
    /// Reads of entries failed again and again, and the member stopped.
    ReadsGivenUp,
    /// A machine could not apply a batch, and its member stopped.
    ApplyFailed,
    /// A member stopped since its leader lacked what is committed here.
    DataLossReported,
    /// Entries were read from the store since they were not in memory.
    ColdFetch,
    /// The log was truncated between a read of entries and its answer.
    FetchRaced,
    /// A member was restarted within the shortest election timeout.
    QuickRestart,
    /// A machine that keeps its state itself was restarted.
    DurableMachineRestarted,
}

impl Mark {
    /// All marks.
    pub const ALL: [Mark; 28] = [
        Mark::TruncatedTwoOrMore,
        Mark::CrashBeforeVoteDurable,
        Mark::CrashBeforeEntriesDurable,
        Mark::UnsyncedWriteLost,
        Mark::UntoldWriteKept,
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
    ];
}

/// How often each thing happened.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Marks {
    counts: [u64; Mark::ALL.len()],
}

impl Marks {
    /// It happened.
    pub(crate) fn hit(&mut self, mark: Mark) {
        self.hit_times(mark, 1);
    }

    /// It happened so often.
    pub(crate) fn hit_times(&mut self, mark: Mark, times: u64) {
        self.counts[mark as usize] += times;
    }

    /// Hits the mark if this holds.
    pub(crate) fn hit_if(&mut self, holds: bool, mark: Mark) {
        self.hit_times(mark, u64::from(holds));
    }

    /// How often it happened.
    pub fn count(&self, mark: Mark) -> u64 {
        self.counts[mark as usize]
    }

    /// Adds what happened in another run.
    pub fn add(&mut self, other: &Marks) {
        for (count, more) in self.counts.iter_mut().zip(other.counts) {
            *count += more;
        }
    }

    /// What never happened.
    pub fn missing(&self) -> Vec<Mark> {
        Mark::ALL.into_iter().filter(|mark| self.count(*mark) == 0).collect()
    }
}

/// A table, one mark to a line.
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
    fn every_mark_has_its_place() {
        for (place, mark) in Mark::ALL.into_iter().enumerate() {
            assert_eq!(mark as usize, place);
        }
        let mut marks = Marks::default();
        marks.hit(Mark::PowerCut);
        assert_eq!(marks.missing().len(), Mark::ALL.len() - 1);
    }
}
