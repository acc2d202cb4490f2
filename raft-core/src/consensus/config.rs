//! Every limit of the protocol, with its number.
//!
//! Time is counted in ticks; the node steps one [`Input::Tick`](super::Input::Tick) every 10 ms.
//! Safety never depends on any of these numbers (thesis, section 3.9), but progress does: a message
//! round must take far less than an election timeout.

use thiserror::Error;

#[cfg(feature = "mutants")]
use super::planted::Mutant;
use crate::types::NodeId;

/// The settings of one member's protocol. Checked by [`Config::check`].
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Config {
    /// This member.
    pub id: NodeId,
    /// The seed of the random election timeouts, which are the only randomness in the protocol.
    pub seed: u64,
    /// Ticks between two heartbeats of a leader; by default 6 (60 ms).
    pub heartbeat_ticks: u32,
    /// The shortest election timeout, and the time after hearing a leader in which no vote is
    /// granted; by default 30 (300 ms).
    pub election_ticks_min: u32,
    /// The longest election timeout; by default 60 (600 ms).
    pub election_ticks_max: u32,
    /// How long a write may be in flight before its disk counts as stalled; by default 100 (1 s).
    pub stall_ticks: u32,
    /// The most entries in one append; by default 4,096.
    pub max_append_entries: u64,
    /// The most entries sent to a member and not yet acknowledged; by default 65,536.
    pub max_inflight_entries: u64,
    /// The most payload bytes sent to a member and not yet acknowledged; by default 16 MiB.
    pub max_inflight_bytes: u64,
    /// Whether a member asks for pre-votes before it raises its term (thesis, section 9.6).
    pub pre_vote: bool,
    /// Whether a leader steps down when it hears no majority for an election timeout (thesis,
    /// section 6.2).
    pub check_quorum: bool,
    /// A planted bug to run with, which a test must find.
    #[cfg(feature = "mutants")]
    pub mutant: Option<Mutant>,
}

/// Why settings cannot work. Nothing was started; correct them and try again.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum ConfigError {
    /// A setting that must be at least one is zero.
    #[error("{0} must be at least 1")]
    Zero(&'static str),
    /// Election timeouts must be longer than the heartbeat interval, and must differ, so that they
    /// can be drawn at random.
    #[error("timeouts must rise: heartbeat < election min < election max")]
    TimeoutsDoNotRise,
}

impl Config {
    /// The default settings for a member.
    pub fn new(id: NodeId, seed: u64) -> Config {
        Config {
            id,
            seed,
            heartbeat_ticks: 6,
            election_ticks_min: 30,
            election_ticks_max: 60,
            stall_ticks: 100,
            max_append_entries: 4096,
            max_inflight_entries: 65_536,
            max_inflight_bytes: 16 << 20,
            pre_vote: true,
            check_quorum: true,
            #[cfg(feature = "mutants")]
            mutant: None,
        }
    }

    /// Refuses settings with which no cluster could make progress.
    pub fn check(&self) -> Result<(), ConfigError> {
        let at_least_one = [
            ("heartbeat_ticks", u64::from(self.heartbeat_ticks)),
            ("stall_ticks", u64::from(self.stall_ticks)),
            ("max_append_entries", self.max_append_entries),
            ("max_inflight_entries", self.max_inflight_entries),
            ("max_inflight_bytes", self.max_inflight_bytes),
        ];
        if let Some((name, _)) = at_least_one.iter().find(|(_, number)| *number == 0) {
            return Err(ConfigError::Zero(name));
        }
        let rise = self.heartbeat_ticks < self.election_ticks_min
            && self.election_ticks_min < self.election_ticks_max;
        if rise { Ok(()) } else { Err(ConfigError::TimeoutsDoNotRise) }
    }
}
