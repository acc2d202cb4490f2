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
}

impl Default for Timing {
    fn default() -> Timing {
        Timing {
            heartbeat_ticks: 6,
            election_ticks_min: 30,
            election_ticks_max: 60,
            stall_ticks: 100,
        }
    }
}
