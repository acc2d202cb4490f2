//! Every limit of the protocol, with its number.
//!
//! Time is counted in ticks; the node steps one [`Input::Tick`](super::Input::Tick) every 10 ms.
//! Safety never depends on any of these numbers (thesis, section 3.9), except for `lease_drift`,
//! which is off by default. But progress does: a message round must take far less than an election
//! timeout.

use thiserror::Error;

#[cfg(feature = "mutants")]
use super::planted::Mutant;
use super::time::TICK_MICROS;
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
    /// The bound on the drift of clocks, in parts per thousand, if this member takes part in
    /// leases: while the clock of one member advances by a second, that of another never advances
    /// by more than a second and this many milliseconds. If the clocks differ more, a read by lease
    /// may miss what was committed. `None`, the default, for no leases.
    pub lease_drift: Option<u32>,
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
    /// No two clocks run exactly alike, and clocks that differ by more are broken.
    #[error("the bound on clock drift must be from 1 to 1000 per thousand, not {0}")]
    DriftOutOfRange(u32),
    /// A lease would end before the next heartbeat could renew it.
    #[error("a lease must last longer than two heartbeat intervals: raise the election timeouts")]
    LeaseTooShort,
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
            lease_drift: None,
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
        if !rise {
            return Err(ConfigError::TimeoutsDoNotRise);
        }
        self.check_lease()
    }

    fn check_lease(&self) -> Result<(), ConfigError> {
        let Some(drift) = self.lease_drift else { return Ok(()) };
        if !(1..=1000).contains(&drift) {
            return Err(ConfigError::DriftOutOfRange(drift));
        }
        let renewed = 2 * u64::from(self.heartbeat_ticks) * TICK_MICROS;
        let lease = self.lease_micros(self.promise_micros());
        if lease.is_some_and(|lease| lease > renewed) {
            Ok(())
        } else {
            Err(ConfigError::LeaseTooShort)
        }
    }

    /// How long a promise of this member lasts, in microseconds: the shortest election timeout.
    pub(super) fn promise_micros(&self) -> u64 {
        u64::from(self.election_ticks_min) * TICK_MICROS
    }

    /// How long the lease lasts that a promise of this many microseconds gives; `None` without
    /// leases.
    pub(super) fn lease_micros(&self, promise: u64) -> Option<u64> {
        let drift = u64::from(self.lease_drift?);
        // Readings of the clocks are rounded down to a microsecond.
        Some((promise / (1000 + drift) * 1000).saturating_sub(2))
    }
}
