//! A member's counters, as plain integers. They are published on each tick, not with each write.

use std::collections::BTreeMap;

use raft_core::consensus::Rejection;

/// Counts since the member's start.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Counters {
    /// Turns of the pump.
    pub turns: u64,
    /// Commands that this member appended as leader.
    pub proposed: u64,
    /// Commands forwarded to a leader.
    pub forwarded: u64,
    /// Entries written.
    pub entries_written: u64,
    /// Writes handed to the store, each with one sync.
    pub writes: u64,
    /// Payload bytes written.
    pub bytes_written: u64,
    /// Commands applied.
    pub applied: u64,
    /// Groups of reads of its own clients that this member answered by its lease.
    pub reads_by_lease: u64,
    /// Snapshots taken.
    pub snapshots_taken: u64,
    /// Snapshots that could not be taken.
    pub snapshots_failed: u64,
    /// Snapshots of other members that were installed.
    pub snapshots_installed: u64,
    /// Bytes of snapshot files sent.
    pub snapshot_bytes_sent: u64,
    /// Envelopes sent.
    pub sent: u64,
    /// Envelopes that arrived.
    pub delivered: u64,
    /// Reads of entries from the store, because they were no longer in memory.
    pub cold_fetches: u64,
    /// Reads of entries that failed for a reason that may be temporary; they are tried again.
    pub failed_fetches: u64,
    /// Envelopes that were not well formed, or of another cluster.
    pub malformed: u64,
    /// Messages that the protocol rejected, by reason.
    pub rejected: BTreeMap<Rejection, u64>,
}
