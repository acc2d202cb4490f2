//! The settings of a member that are not its identity.

use std::path::PathBuf;
use std::sync::Arc;

use crate::member::admission::PeerRecord;
use crate::pump::Limits;

/// A member's times, its limits, its snapshots, and its record of its peers' stores.
///
/// ```
/// use raft_node::{Limits, NodeConfig};
///
/// let limits = Limits { command_bytes: 1 << 20, ..Limits::default() };
/// let config = NodeConfig { limits, ..NodeConfig::default() };
/// assert_eq!(config.timing.heartbeat_ticks, 6);
/// ```
#[derive(Clone, Debug, Default)]
pub struct NodeConfig {
    /// The times of the protocol.
    pub timing: Timing,
    /// Limits of queues, batches and waits.
    pub limits: Limits,
    /// The directory of the member's snapshots, which belongs to the member alone: for a member
    /// with a directory, [`DataDir::snapshots`](crate::DataDir::snapshots). With `None` the member
    /// takes no snapshots.
    pub snapshots: Option<PathBuf>,
    /// Where the member keeps the store ids of its peers across restarts: for a member with a
    /// directory, [`DataDir::peers`](crate::DataDir::peers). With `None` the member remembers them
    /// only while it runs.
    pub peers: Option<Arc<dyn PeerRecord>>,
}

/// The times of the protocol, in ticks of 10 ms. All members should have the same times.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Timing {
    /// The time between two heartbeats; by default 6 (60 ms).
    pub heartbeat_ticks: u32,
    /// The shortest election timeout; by default 30 (300 ms).
    pub election_ticks_min: u32,
    /// The longest election timeout; by default 60 (600 ms).
    pub election_ticks_max: u32,
    /// The time after which a disk that completes nothing counts as stalled; by default 100 (1 s).
    pub stall_ticks: u32,
    /// The bound on the drift between the clocks of any two members, in parts per thousand, which
    /// turns leases on at this member; by default `None`, for no leases.
    ///
    /// With leases, a leader answers reads of [`Consistency::Lease`](crate::Consistency) without
    /// asking a majority, and such a read is linearizable **only if** no clock of a member runs
    /// faster than another's by more than this bound. Clocks of healthy machines differ by less
    /// than
    /// 1 per thousand; 10 is a cautious bound. The clock must count while the machine is suspended
    /// (on Linux it does), and a virtual machine must not be resumed from an older state.
    ///
    /// A leader has a lease only from voters that have leases turned on, so turn them on at all
    /// members, one after another. A member that is restarted with leases votes only after
    /// `election_ticks_min`. A member that was stopped with leases must not be started *without*
    /// them before that time has passed: it would not keep what it had promised.
    pub lease_drift: Option<u32>,
}

impl Default for Timing {
    fn default() -> Timing {
        Timing {
            heartbeat_ticks: 6,
            election_ticks_min: 30,
            election_ticks_max: 60,
            stall_ticks: 100,
            lease_drift: None,
        }
    }
}
