//! What a read may show.

use std::time::Duration;

use raft_core::types::LogIndex;

/// What a read may show: how new the state must be from which it is served.
///
/// | | shows at least | needs | relies on clocks |
/// |---|---|---|---|
/// | `Linearizable` | all that was answered to any client before | a majority | no |
/// | `Lease` | the same | the leader, or a majority | if the leader has a lease |
/// | `AtLeast` | what an index includes | this member | no |
/// | `Local` | what the leader had committed when this member last heard it | this member | no |
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Consistency {
    /// Everything that was answered to any client of the cluster before the read was asked for. The
    /// leader asks a majority whether it still leads.
    #[default]
    Linearizable,
    /// The same, but a leader that has a lease answers without asking. This holds only as long as
    /// the clocks of the members run within the declared bound
    /// ([`Timing::lease_drift`](crate::Timing)). Without a lease, because none is configured or
    /// none holds now, the read is confirmed as a linearizable one. A follower asks its leader
    /// either way.
    Lease,
    /// Everything up to an index, and possibly more; the read waits until that is applied here.
    /// With the index of a client's last answer ([`ReadAnswer::index`](crate::ReadAnswer)), the
    /// client never sees an older state than it saw before, at whatever member it asks. What other
    /// clients were answered may be missing.
    AtLeast {
        /// The index.
        index: LogIndex,
    },
    /// What this member knows, without asking: at least everything that its leader had committed
    /// when it sent the newest message that this member has. The message arrived no longer ago than
    /// the greatest age; the time that it took to arrive is not known and does not count. A leader
    /// that has been replaced and does not know it yet may have sent it. A leader itself reads what
    /// it has committed, and the age is the time since a majority last answered it.
    Local {
        /// The greatest age. If what this member knows is older, the read fails with
        /// [`ReadError::TooOld`](crate::ReadError).
        max_age: Duration,
    },
}
